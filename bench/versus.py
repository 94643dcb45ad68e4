#!/usr/bin/env python3
"""Our program against the PyTorch twins, interleaved on one machine, so that every claim is a ratio from one run.

    bench/versus.sh --rounds 3 --json versus.json
    bench/versus.py --python VENV/bin/python --program build/ddpmts_bench --rounds 3     # with a PyTorch of your own
    bench/versus.py --device cuda --python VENV/bin/python                               # on a GPU

For every case: rounds of (ours, twin in each mode), the median over rounds of each, and the ratio to the twin's best mode.
Prints a Markdown table. --json FILE writes all rows in the schema of ddpmts_bench: ours under the case's name, a twin's with
"/torch-MODE" behind it; interval and samples of a row are those of its rounds. "ratios" holds the table.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TWINS = Path(__file__).resolve().parent / "twins"


def detector(what, head, batch, precision):
    return ["detector.py", "--what", what, "--batch", str(batch), "--head", head, "--precision", precision]


def unet(what, preset, size, batch, precision):
    return ["unet.py", "--what", what, "--preset", preset, "--size", str(size), "--batch", str(batch), "--precision", precision]


def cases(precision, device):
    """(case of ddpmts_bench, the twin's program and arguments, its modes)"""
    p, place = precision, "cuda:0" if device == "cuda" else "cpu"
    training = ["eager", "compile"]
    inspection = training if device == "cuda" else [*training, "jit"]
    inspected = {"cpu": (("s", 1), ("s", 8), ("l", 8)), "cuda": (("s", 1), ("s", 32), ("l", 1), ("l", 32))}[device]
    for head, batch in inspected:
        yield f"pipelines/inspection/head_{head}/256/{p}/b{batch}/{place}", detector("infer", head, batch, p), inspection
    yield f"pipelines/detector_training_step/head_s/256/{p}/b8/{place}", detector("train", "s", 8, p), training
    yield f"pipelines/diffusion_training_step/unet_s/64/{p}/b8/{place}", unet("train", "s", 64, 8, p), training
    for batch in (1, 8) if device == "cuda" else (8,):
        yield f"pipelines/diffusion_sampling_step/unet_s/64/{p}/b{batch}/{place}", unet("sample", "s", 64, batch, p), training
    yield f"pipelines/triplet_synthesis/256/{p}/b8/{place}", ["triplet.py", "--batch", "8", "--precision", p], training


def run_ours(program, name, seconds, environment):
    """The whole results of a run of one case."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        command = [program, "--filter", f"^{re.escape(name)}$", "--precision", name.split("/")[-3], "--seconds", str(seconds),
                   "--device", name.split("/")[-1].split(":")[0], "--json", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        return json.loads(path.read_text())


def run_twin(python, arguments, mode, seconds, device, environment):
    command = [python, str(TWINS / arguments[0]), *arguments[1:], "--mode", mode, "--seconds", str(seconds),
               "--threads", environment["OMP_NUM_THREADS"], "--device", device]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(output.strip().splitlines()[-1])


def over_rounds(runs, name):
    """One row from the rows of several rounds: the median of their medians, between the least and the greatest."""
    medians = [run["rows"][0]["hot"]["median_s"] for run in runs]
    row = dict(runs[-1]["rows"][0], name=name)
    row.pop("cold", None)
    median = statistics.median(medians)
    row["hot"] = {"samples": len(medians), "median_s": median, "p5_s": min(medians), "p95_s": max(medians),
                  "spread": (max(medians) - min(medians)) / (2 * median)}
    row["pictures_per_s"] = row["pictures"] / median
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="a Python with PyTorch")
    parser.add_argument("--program", default="build/ddpmts_bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of timing, for each case, round and mode")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", nargs="+", choices=["bf16", "f32"], default=["bf16", "f32"])
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads))
    wanted = [case for p in options.precision for case in cases(p, options.device) if options.only in case[0]]
    if not wanted:
        parser.error(f"no case's name holds '{options.only}'")

    rows, ratios, ours, machine = [], [], None, {}
    print("| case | ours | PyTorch eager | compiled | jit | ratio to the best |\n|---|--:|--:|--:|--:|--:|")
    for name, arguments, modes in wanted:
        our_runs, twin_runs = [], {mode: [] for mode in modes}
        for _ in range(options.rounds):
            our_runs.append(run_ours(options.program, name, options.seconds, environment))
            for mode in modes:
                twin_runs[mode].append(run_twin(options.python, arguments, mode, options.seconds, options.device,
                                                environment))
        ours = our_runs[-1]
        machine.update(ours["machine"])
        our_row = over_rounds(our_runs, name)
        twin_rows = {mode: over_rounds(runs, f"{name}/torch-{mode}") for mode, runs in twin_runs.items()}
        rows += [our_row, *twin_rows.values()]
        for runs in twin_runs.values():
            machine.update({f"twin {key}": value for key, value in runs[-1]["machine"].items() if key != "load"})
        best = min(twin_rows, key=lambda mode: twin_rows[mode]["hot"]["median_s"])
        ratio = twin_rows[best]["hot"]["median_s"] / our_row["hot"]["median_s"]
        ratios.append({"name": name, "best": best, "ratio": ratio})
        shown = [f"{1e3 * twin_rows[mode]['hot']['median_s']:.1f} ms" if mode in twin_rows else ""
                 for mode in ("eager", "compile", "jit")]
        print(f"| {name} | {1e3 * our_row['hot']['median_s']:.1f} ms | {' | '.join(shown)} | {ratio:.2f}x |", flush=True)
    if options.json:
        merged = {"schema": ours["schema"], "version": ours["version"], "program": "bench/versus.py", "machine": machine,
                  "roofs": ours["roofs"], "warnings": ours["warnings"], "rows": rows, "ratios": ratios,
                  "rounds": options.rounds}
        options.json.write_text(json.dumps(merged, indent=1) + "\n")


if __name__ == "__main__":
    main()
