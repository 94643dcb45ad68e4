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


def measure(step, seconds: float) -> tuple[float, np.ndarray, np.ndarray]:
    """(seconds of warm-up, seconds of each step, processor seconds of each step)."""
    begin = time.perf_counter()
    for _ in range(WARM_UP_STEPS):
        step()
    start = time.perf_counter()
    times, cpu_times = [], []
    while len(times) < LEAST_STEPS or time.perf_counter() - start < seconds:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        times.append(time.perf_counter() - wall)
        cpu_times.append(time.process_time() - cpu)
    return start - begin, np.array(times), np.array(cpu_times)


def onednn_version() -> str:
    found = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    return found[1] if found else "none"


def summary(times) -> dict:
    p5, median, p95 = (float(np.percentile(times, p)) for p in (5, 50, 95))
    return {"samples": len(times), "median_s": median, "p5_s": p5, "p95_s": p95, "spread": (p95 - p5) / (2 * median)}


def row(name: str, axes: dict, hot: dict, pictures: int, check: str, command: str) -> dict:
    """One row; what the twins do not count is 0."""
    return {"name": name, "group": name.split("/")[0], "device": "cpu", "axes": {k: str(v) for k, v in axes.items()},
            "status": "ok", "check": check, "hot": hot, "pictures": pictures,
            "pictures_per_s": pictures / hot["median_s"], "bytes": 0, "bytes_per_s": 0, "flops": 0, "flops_per_s": 0,
            "roof": "", "roof_share": 0, "peak_bytes": 0, "command": command}


def results(program: str, machine: dict, rows: list) -> dict:
    return {"schema": SCHEMA, "version": VERSION, "program": program, "machine": machine, "roofs": {}, "warnings": [],
            "rows": rows}


def run(name: str, axes: dict, pictures: int, make_step, options, command: str) -> None:
    """Times what make_step() returns and prints the results as one line of JSON."""
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    warm_up, times, cpu_times = measure(make_step(), options.seconds)
    entry = row(name, {**axes, "mode": options.mode}, summary(times), pictures, "", command)
    entry["cpu_s"] = float(np.median(cpu_times))
    entry["warm_up_s"] = warm_up
    machine = {"torch": torch.__version__, "onednn": onednn_version(), "threads": str(options.threads),
               "python": platform.python_version(), "load": f"{load:.2f}"}
    print(json.dumps(results(f"torch {torch.__version__} {options.mode}", machine, [entry])))
