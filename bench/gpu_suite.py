#!/usr/bin/env python3
"""Everything that can only be seen on a GPU, in one command and under eight minutes. No network; Python's standard library.

    bench/gpu_suite.sh                                  # all parts
    bench/gpu_suite.sh --parts tests,parity             # some
    bench/gpu_suite.sh --data mvtec/bottle              # with a training of that category
    bench/gpu_suite.sh --parts parity --devices cpu,cpu # what can be tried without a GPU

tests       all tests with the label `cuda`
sanitizers  NVIDIA's compute-sanitizer, its four tools, over small kernel tests
parity      the CPU against the GPU on the same seeds: training losses, scores, maps (bench/gpu_parity.py)
graphs      the GPU with CUDA graphs against the same without: equal losses, scores and maps; both speeds
bench       ddpmts_bench on the GPU: the quick selection, and inspection and training steps at all batches
twin        ddpmts_bench against its PyTorch twins (bench/versus.py), where PyTorch is; TWINS_PYTHON names a Python that has it
training    a category of real pictures from start to result, with --data

Takes --build, or a tree that is built (build-cuda, build); else builds build-cuda first, outside of the eight minutes.
The parts that are chosen share the time, each with a limit of its own: fewer parts get more. A table comes last; a JSON file with GPU, driver, CUDA, cuDNN and commit goes to --out, with the
benchmark's own file and the output of parts that failed beside it.
Exit codes: 0 nothing failed, 1 something did, 2 called wrongly or no GPU to run on.
"""

import argparse
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gpu_parity

ROOT = Path(__file__).resolve().parent.parent
TOTAL_SECONDS = 470
BUILD_FOLDERS = ("build-cuda", "build")

# Tests of every kernel that launch few and small blocks: the sanitizers make them up to a thousand times slower.
SMALL_TESTS = """Add.* AnomalyMap.* BatchNorm.ALarge* BatchNorm.Gradients* BatchNorm.Nan* Cast* ContrastiveLoss.Equal*
    ContrastiveLoss.Nan* CosineLoss.Gradient* CosineLoss.Levels* Dropout.* FarthestPoint.TheFirst* FeatureProduct.Zero*
    ForwardDiffusion.* GaussianBlur.Keeps* GradientNorm.* GroupNorm.Gradients* GroupNorm.Nan* MaskDownsample.* NearestUpdate.*
    NoiseLoss.* NormalizePictures.* NormalizeRows.* OptimizerStep.AnyAlignment* OptimizerStep.FirstSgd* PerlinMask.ASample*
    Resample2x.* ResizeBilinear.* ReverseStep.* SceneViews.AView* SegmentationLoss.Gradient* Silu.* Softmax.Gradient*
    Softmax.MinusInfinity* SquaredNorms.* TimeEmbedding.* TopKMean.Ties* Triplet.APaintedDefect* Triplet.AnEmpty*
    Triplet.Relabels* Triplet.TheCentre*""".split()
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


class UsageError(Exception):
    """Called wrongly, or nothing to run on: exit code 2."""


class PartFailed(Exception):
    pass


class PartSkipped(Exception):
    pass


def first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


class Commands:
    """Runs commands of a part until its time is up, and keeps what they print."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds
        self.output = ""

    def left(self) -> float:
        return max(0.0, self.end - time.monotonic())

    def run(self, command: list, limit: float = 1e9, allowed=(0,)) -> str:
        command = [str(word) for word in command]
        self.output += "$ " + " ".join(command) + "\n"
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   errors="replace", start_new_session=True)
        try:
            output, _ = process.communicate(timeout=min(limit, self.left()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            self.output += output
            raise PartFailed(f"out of time in `{Path(command[0]).name} {' '.join(command[1:3])}`") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        self.output += output
        if process.returncode not in allowed:
            lines = [line for line in output.splitlines() if line.strip()]
            raise PartFailed(f"`{Path(command[0]).name} {' '.join(command[1:3])}` ended with {process.returncode}: "
                             f"{lines[-1].strip() if lines else 'no output'}")
        return output


def run_tests(suite, commands):
    output = commands.run(["ctest", "--test-dir", suite.build, "-L", "^cuda$", "--output-on-failure", "-j", suite.jobs,
                           "--timeout", "60"], allowed=(0, 8))
    found = re.search(r"(\d+)% tests passed, (\d+) tests failed out of (\d+)", output)
    if found is None:
        raise PartFailed("ctest found no tests with the label `cuda`: is CUDA in this build?")
    failed, total = int(found[2]), int(found[3])
    # Without a GPU every one of them skips and counts as passed.
    skipped = len(re.findall(r"\*\*\*Skipped", output))
    names = re.findall(r"^\s*\d+ - (\S+) \((?:Failed|Timeout|SEGFAULT|Subprocess\w*|Child\w*)", output, re.M)
    details = {"total": total, "failed": failed, "skipped": skipped, "failed_tests": names}
    if failed or skipped == total:
        raise PartFailed(f"{failed} of {total} failed, {skipped} skipped: {', '.join(names[:3])}", details)
    return f"{total - skipped} passed, {skipped} skipped", details


def run_sanitizers(suite, commands):
    tool = suite.find("compute-sanitizer")
    if tool is None:
        raise PartSkipped("compute-sanitizer is not installed (it comes with the CUDA toolkit)")
    program = suite.build / "tests" / "gpu" / "test_kernels_cuda"
    details, wrong = {}, []
    for i, name in enumerate(TOOLS):
        share = commands.left() / (len(TOOLS) - i)
        try:
            output = commands.run([tool, "--tool", name, "--error-exitcode", "9", program,
                                   "--gtest_filter=" + ":".join(SMALL_TESTS)], share)
            found = re.search(r"ERROR SUMMARY: (\d+) error", output) or re.search(r"(\d+) hazards? displayed", output)
            ran = re.search(r"\[  PASSED  \] (\d+) test", output)
            details[name] = {"errors": int(found[1]) if found else None, "tests": int(ran[1]) if ran else 0}
            if not found or int(found[1]) or not ran or int(ran[1]) == 0:
                wrong.append(f"{name}: {found[0] if found else 'no summary'}, {details[name]['tests']} tests")
        except PartFailed as failure:
            details[name] = {"failed": failure.args[0]}
            wrong.append(f"{name}: {failure.args[0]}")
    if wrong:
        raise PartFailed("; ".join(wrong), details)
    return f"{len(TOOLS)} tools, no error", details


def run_parity(suite, commands):
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = gpu_parity.compare_devices(suite.program, suite.devices, Path(folder), commands.run)
        except (ValueError, OSError, KeyError) as problem:
            raise PartFailed(f"{type(problem).__name__}: {problem}") from None
    text = ", ".join(f"{row['what']} {row['difference']:.1e} of {row['allowed']:g}" for row in rows)
    if not all(row["ok"] for row in rows):
        raise PartFailed(", ".join(f"{row['what']} {row['difference']:.2g}, allowed {row['allowed']:g}"
                                   for row in rows if not row["ok"]), rows)
    return text, rows


def run_graphs(suite, commands):
    device = suite.devices[1]
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = gpu_parity.compare_graphs(suite.program, device, Path(folder), commands.run)
        except (ValueError, OSError, KeyError) as problem:
            raise PartFailed(f"{type(problem).__name__}: {problem}") from None
    if not all(row["ok"] for row in rows):
        raise PartFailed(", ".join(f"{row['what']} differ by {row['difference']:.2g}" for row in rows if not row["ok"]), rows)
    text = ", ".join(row["what"] for row in rows) + " equal"
    if not device.startswith("cuda"):
        return text, {"rows": rows}
    path = suite.file("graphs.json")
    commands.run([suite.build / "ddpmts_bench", "--device", "cuda", "--graph", "on,off", "--filter",
                  "^pipelines/(inspection|detector_training_step|diffusion_training_step)/(head_s|unet_s)", "--precision", "bf16",
                  "--seconds", "0.2", "--json", path])
    times = {row["name"]: row["hot"]["median_s"] for row in json.loads(path.read_text())["rows"] if row["status"] == "ok"}
    speeds = {name.removeprefix("pipelines/"): {"graph_s": time, "plain_s": times[plain]}
              for name, time in times.items() if (plain := without_graph(name)) in times}
    return (text + "; " + ", ".join(f"{name} {1e3 * found['graph_s']:.2f} of {1e3 * found['plain_s']:.2f} ms"
                                    for name, found in speeds.items()), {"rows": rows, "speeds": speeds})


def without_graph(name: str) -> str:
    """A case's name with graphs -> without: pipelines/inspection/head_s/256[/no_graph]/bf16/b1/cuda:0."""
    parts = name.split("/")
    return "/".join([*parts[:-3], "no_graph", *parts[-3:]])


def run_bench(suite, commands):
    program, rows, wrong = suite.build / "ddpmts_bench", [], []
    selections = {"quick": ["--quick"],
                  "pipelines": ["--filter", "^pipelines/(inspection|detector_training|diffusion)", "--precision", "bf16",
                                "--seconds", "0.3"]}
    for name, selection in selections.items():
        path = suite.file(f"bench_{name}.json")
        commands.run([program, "--device", "cuda", *selection, "--json", path], allowed=(0, 1))
        found = json.loads(path.read_text())
        rows += found["rows"]
        suite.machine.update({f"bench {key}": value for key, value in found["machine"].items()})
    shown = {}
    for row in rows:
        if row["status"] == "FAIL":
            wrong.append(f"{row['name']}: {row['check']}")
        elif row["status"] == "ok" and row["name"].startswith("pipelines/inspection"):
            shown[row["name"].removeprefix("pipelines/inspection/")] = f"{1e3 * row['hot']['median_s']:.2f} ms"
    if wrong:
        raise PartFailed(f"{len(wrong)} of {len(rows)} cases are wrong: {wrong[0]}", {"wrong": wrong})
    return (f"{len(rows)} cases right; inspection " + ", ".join(f"{name} {time}" for name, time in shown.items()),
            {"cases": len(rows), "inspection": shown})


def run_twin(suite, commands):
    python = os.environ.get("TWINS_PYTHON", sys.executable)
    question = "import torch; print(torch.__version__ if torch.cuda.is_available() else '')"
    try:
        version = commands.run([python, "-c", question]).strip()
    except (PartFailed, OSError):
        version = ""
    if not version:
        raise PartSkipped(f"{python} has no PyTorch that sees a GPU; TWINS_PYTHON names another Python")
    path = suite.file("twin.json")
    commands.run([python, "bench/versus.py", "--device", "cuda", "--python", python, "--program",
                  suite.build / "ddpmts_bench", "--rounds", "1", "--seconds", "1", "--precision", "bf16", "--only",
                  suite.twin_cases, "--json", path])
    found = json.loads(path.read_text())
    medians = {row["name"]: row["hot"]["median_s"] for row in found["rows"]}
    details = [{**ratio, "ours_s": medians[ratio["name"]]} for ratio in found["ratios"]]
    suite.machine["torch"] = version
    return ", ".join(f"{r['name'].removeprefix('pipelines/')} {1e3 * r['ours_s']:.2f} ms, {r['ratio']:.2f}x of {r['best']}"
                     for r in details), details


def run_training(suite, commands):
    if suite.data is None:
        raise PartSkipped("no --data")
    with tempfile.TemporaryDirectory() as folder:
        commands.run([suite.program, "train", suite.data, "-o", Path(folder) / "run", "--device", "cuda", "--minutes",
                      f"{suite.training_minutes:g}"])
        results = Path(folder) / "run" / "results.json"
        log = (Path(folder) / "run" / "training.jsonl").read_text().splitlines()
        if not results.exists() or not log:
            raise PartFailed(f"{suite.data} has no test pictures, or no step was made")
        found, last = json.loads(results.read_text()), json.loads(log[-1])
    details = {"data": str(suite.data), "minutes": suite.training_minutes, "steps": last["step"],
               "images_per_second": last["images_per_second"], "memory_mib": last["memory_mib"]}
    details |= {key: found[key] for key in ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")}
    return (f"{last['step']} steps, {last['images_per_second']:.0f} img/s; image AUROC {found['image_auroc']:.4f}, "
            f"AUPRO {found['aupro']:.4f}"), details


# Part -> (what runs it, its share of the time: seconds of TOTAL_SECONDS when all run).
PARTS = {"tests": (run_tests, 90), "sanitizers": (run_sanitizers, 80), "parity": (run_parity, 45), "graphs": (run_graphs, 45),
         "bench": (run_bench, 75), "twin": (run_twin, 80), "training": (run_training, 55)}


def limits_of(parts) -> dict:
    """Seconds of each part that was chosen; together TOTAL_SECONDS."""
    shares = sum(PARTS[part][1] for part in parts)
    return {part: TOTAL_SECONDS * PARTS[part][1] / shares for part in parts}


class Suite:
    def __init__(self, options):
        self.parts = options.parts
        self.devices = options.devices
        self.data = options.data
        self.training_minutes = options.training_minutes
        self.twin_cases = options.twin_cases
        self.jobs = max(1, min(8, os.cpu_count() or 1))
        self.machine = {}
        needs_gpu = any(part not in ("parity", "graphs") or any(d.startswith("cuda") for d in self.devices) for part in self.parts)
        if needs_gpu:
            self.ask_driver()
        self.build = self.find_build(options.build)
        self.program = self.build / "ddpmts"
        if needs_gpu:
            self.ask_program()
        self.commit = self.git("rev-parse", "--short=12", "HEAD") or "unknown"
        if self.commit != "unknown" and self.git("status", "--porcelain", "--untracked-files=no"):
            self.commit += "+"
        self.date = datetime.datetime.now(datetime.timezone.utc)
        name = re.sub(r"[^a-z0-9]+", "_", self.machine.get("gpu", "no_gpu").lower()).strip("_")
        self.out = options.out or ROOT / "bench" / "results" / name
        self.out.mkdir(parents=True, exist_ok=True)

    def file(self, name: str) -> Path:
        return self.out / f"{self.date:%Y-%m-%d_%H%M}_{self.commit}_{name}"

    @staticmethod
    def find(tool: str):
        for folder in [*os.environ.get("PATH", "").split(":"), "/usr/local/cuda/bin"]:
            if folder and os.access(Path(folder) / tool, os.X_OK):
                return Path(folder) / tool
        return None

    @staticmethod
    def git(*arguments) -> str:
        try:
            found = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        except OSError:
            return ""
        return found.stdout.strip() if found.returncode == 0 else ""

    def ask_driver(self):
        try:
            found = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                                   capture_output=True, text=True, timeout=30)
        except FileNotFoundError:
            raise UsageError("no GPU to run on: there is no nvidia-smi, so no NVIDIA driver; nothing was run") from None
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise UsageError(f"no GPU to run on: nvidia-smi does not answer ({problem}); nothing was run") from None
        names = [line.split(", ") for line in found.stdout.splitlines() if ", " in line]
        if found.returncode != 0 or not names:
            raise UsageError(f"no GPU to run on: nvidia-smi says: {first_line(found.stdout + found.stderr) or 'nothing'}; "
                             "nothing was run")
        self.machine |= {"gpu": names[0][0], "driver": names[0][1], "gpus": len(names)}

    def find_build(self, wanted):
        if wanted is not None:
            build = Path(wanted).resolve()
            if not os.access(build / "ddpmts", os.X_OK):
                raise UsageError(f"--build {wanted}: no program `ddpmts` in it")
            return build
        for name in BUILD_FOLDERS:
            cache = ROOT / name / "CMakeCache.txt"
            if os.access(ROOT / name / "ddpmts", os.X_OK) and (ROOT / name / "tests" / "gpu").is_dir() and cache.exists():
                return ROOT / name
        print("gpu_suite: no build with CUDA here; building build-cuda", file=sys.stderr, flush=True)
        for command in (["cmake", "--preset", "cuda"], ["cmake", "--build", "--preset", "cuda"]):
            if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode != 0:
                raise UsageError(f"`{' '.join(command)}` failed (`make setup` fetches what is missing)")
        return ROOT / "build-cuda"

    def ask_program(self):
        found = subprocess.run([self.program, "check"], capture_output=True, text=True, timeout=120)
        lines = [line.removeprefix("cuda").strip() for line in found.stdout.splitlines() if line.startswith("cuda ")]
        if found.returncode != 0 or not lines or not lines[0].startswith("cuda:0 "):
            why = lines[0] if lines else first_line(found.stderr + found.stdout)
            raise UsageError(f"no GPU to run on: {self.program} says: {why}; nothing was run")
        self.machine["device"] = lines[0].removeprefix("cuda:0 ")
        versions = re.search(r"CUDA (\S+) \(driver (\S+)\), cuDNN (\S+), cuBLASLt (\S+)", lines[0])
        if versions is None:
            raise UsageError(f"`ddpmts check` shows no versions: {lines[0]}")
        self.machine |= dict(zip(("cuda", "cuda_of_driver", "cudnn", "cublaslt"), versions.groups()))

    def run(self) -> int:
        start, results = time.monotonic(), []
        for name, limit in limits_of(self.parts).items():
            part = PARTS[name][0]
            commands, began, details = Commands(limit), time.monotonic(), None
            print(f"gpu_suite: {name} (at most {limit:.0f} s)", file=sys.stderr, flush=True)
            try:
                summary, details = part(self, commands)
                status = "ok"
            except PartSkipped as why:
                status, summary = "skip", str(why)
            except PartFailed as why:
                status, summary, details = "FAIL", why.args[0], why.args[1] if len(why.args) > 1 else None
                log = self.file(f"{name}.log")
                log.write_text(commands.output)
                print(f"gpu_suite: {name} failed; what it printed: {log}", file=sys.stderr)
            results.append({"name": name, "status": status, "seconds": round(time.monotonic() - began, 1), "limit_s": round(limit),
                            "summary": summary, "details": details})
        document = {"schema": "ddpmts_gpu_suite", "version": 1, "date": self.date.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "commit": self.commit, "machine": self.machine, "devices": self.devices,
                    "seconds": round(time.monotonic() - start, 1), "parts": results}
        path = self.file("suite.json")
        path.write_text(json.dumps(document, indent=1) + "\n")
        print(f"{self.machine.get('device', 'no GPU')}; commit {self.commit}; {document['seconds']:.0f} s; {path}\n")
        print("| part | result | seconds | |\n|---|---|--:|---|")
        for result in results:
            print(f"| {result['name']} | {result['status']} | {result['seconds']:.0f} | {result['summary']} |")
        return 1 if any(result["status"] == "FAIL" for result in results) else 0


def parse_options(arguments):
    parser = argparse.ArgumentParser(prog="gpu_suite.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    parser.add_argument("--build", help="folder of a build")
    parser.add_argument("--data", type=Path, help="a category in MVTec layout, for the part `training`")
    parser.add_argument("--training-minutes", type=float, default=0.6)
    parser.add_argument("--twin-cases", default="inspection/head_s/256/bf16/b1/", help="those whose name holds this text")
    parser.add_argument("--devices", default="cpu,cuda", help="the two that `parity` compares; `graphs` takes the second")
    parser.add_argument("--out", type=Path, help="folder of the JSON files (bench/results/<gpu>)")
    options = parser.parse_args(arguments)
    options.parts = list(dict.fromkeys(options.parts.split(",")))
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"--parts: '{unknown[0]}' is not one of {', '.join(PARTS)}")
    options.devices = options.devices.split(",")
    if len(options.devices) != 2:
        parser.error("--devices: expected two, such as cpu,cuda")
    if options.data is not None:
        options.data = options.data.resolve()
        if not options.data.is_dir():
            parser.error(f"--data {options.data}: no such folder")
    if options.out is not None:
        options.out = options.out.resolve()
    return options


def main(arguments) -> int:
    try:
        return Suite(parse_options(arguments)).run()
    except UsageError as problem:
        print(f"gpu_suite: {problem}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
