"""What the twins share: timing a step, and a JSON file in the schema of ddpmts_bench (bench/results.h).

A row has the name of the case of ddpmts_bench that it is the twin of, so that `ddpmts_bench compare` puts both side by side.
"""

import json
import os
import platform
import re
import time

import numpy as np
import torch

SCHEMA, VERSION = "ddpmts_bench", 1
WARM_UP_STEPS = 3
LEAST_STEPS = 5


def add_options(parser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="time the step for this long")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")


def prepare(options) -> None:
    """To call before anything is made: what is made without naming a device then lies on the chosen one, until run() starts
    to time."""
    torch.set_num_threads(options.threads)
    if options.device == "cuda":
        torch.set_default_device("cuda")
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # as the engine's default


def device_name(options) -> str:
    """As ddpmts_bench names it."""
    return "cuda:0" if options.device == "cuda" else "cpu"


def compiled(function, options):
    """By TorchInductor; on a GPU with CUDA graphs."""
    return torch.compile(function, mode="reduce-overhead") if options.device == "cuda" else torch.compile(function)


def generator(options, seed: int) -> torch.Generator:
    return torch.Generator(options.device).manual_seed(seed)


def measure(step, seconds: float, wait) -> tuple[float, np.ndarray, np.ndarray]:
    """(seconds of warm-up, seconds of each step, processor seconds of each step); wait() ends when a step's work is done."""
    begin = time.perf_counter()
    for _ in range(WARM_UP_STEPS):
        step()
    wait()
    start = time.perf_counter()
    times, cpu_times = [], []
    while len(times) < LEAST_STEPS or time.perf_counter() - start < seconds:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        wait()
        times.append(time.perf_counter() - wall)
        cpu_times.append(time.process_time() - cpu)
    return start - begin, np.array(times), np.array(cpu_times)


def onednn_version() -> str:
    found = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    return found[1] if found else "none"


def summary(times) -> dict:
    p5, median, p95 = (float(np.percentile(times, p)) for p in (5, 50, 95))
    return {"samples": len(times), "median_s": median, "p5_s": p5, "p95_s": p95, "spread": (p95 - p5) / (2 * median)}


def row(name: str, device: str, axes: dict, hot: dict, pictures: int, check: str, command: str) -> dict:
    """One row; what the twins do not count is 0."""
    return {"name": name, "group": name.split("/")[0], "device": device, "axes": {k: str(v) for k, v in axes.items()},
            "status": "ok", "check": check, "hot": hot, "pictures": pictures,
            "pictures_per_s": pictures / hot["median_s"], "bytes": 0, "bytes_per_s": 0, "flops": 0, "flops_per_s": 0,
            "roof": "", "roof_share": 0, "peak_bytes": 0, "command": command}


def results(program: str, machine: dict, rows: list) -> dict:
    return {"schema": SCHEMA, "version": VERSION, "program": program, "machine": machine, "roofs": {}, "warnings": [],
            "rows": rows}


def run(name: str, axes: dict, pictures: int, make_step, options, command: str) -> None:
    """Times what make_step() returns and prints the results as one line of JSON."""
    load = os.getloadavg()[0]
    step = make_step()
    torch.set_default_device(None)  # it costs time in every call
    wait = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    warm_up, times, cpu_times = measure(step, options.seconds, wait)
    entry = row(name, device_name(options), {**axes, "mode": options.mode}, summary(times), pictures, "", command)
    entry["cpu_s"] = float(np.median(cpu_times))
    entry["warm_up_s"] = warm_up
    machine = {"torch": torch.__version__, "onednn": onednn_version(), "threads": str(options.threads),
               "python": platform.python_version(), "load": f"{load:.2f}"}
    if options.device == "cuda":
        machine |= {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda),
                    "cudnn": str(torch.backends.cudnn.version())}
    print(json.dumps(results(f"torch {torch.__version__} {options.mode}", machine, [entry])))
