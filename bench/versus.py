#!/usr/bin/env python3
"""Our program against the PyTorch twin, interleaved on one machine, so that every claim is a ratio from one run.

    bench/versus.py --python VENV/bin/python --program build/ddpmts_bench --rounds 3

For every case: rounds of (ours, twin in each mode), the median over rounds of each, and the ratio to the twin's best mode.
Prints a table and, with --json FILE, writes what was measured.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

TWINS = Path(__file__).resolve().parent / "twins"

# name, our benchmark, the twin's program and arguments, its modes
CASES = [
    ("training step, head s, batch 8, bf16", "training_step/head_s/bf16/8/real_time",
     ["detector.py", "--what", "train", "--batch", "8", "--head", "s", "--precision", "bf16"], ["eager", "compile"]),
    ("inspection, head s, batch 1, bf16", "inspection/head_s/bf16/1/real_time",
     ["detector.py", "--what", "infer", "--batch", "1", "--head", "s", "--precision", "bf16"], ["eager", "compile", "jit"]),
    ("inspection, head s, batch 8, bf16", "inspection/head_s/bf16/8/real_time",
     ["detector.py", "--what", "infer", "--batch", "8", "--head", "s", "--precision", "bf16"], ["eager", "compile", "jit"]),
    ("inspection, head l, batch 8, bf16", "inspection/head_l/bf16/8/real_time",
     ["detector.py", "--what", "infer", "--batch", "8", "--head", "l", "--precision", "bf16"], ["eager", "compile"]),
    ("diffusion training step, UNet s, 64 pixels, batch 8, bf16", "diffusion_training_step/s/64/bf16/8/real_time",
     ["unet.py", "--what", "train", "--batch", "8", "--preset", "s", "--size", "64", "--precision", "bf16"], ["eager", "compile"]),
    ("diffusion sampling step, UNet s, 64 pixels, batch 8, bf16", "diffusion_sampling_step/s/64/bf16/8/real_time",
     ["unet.py", "--what", "sample", "--batch", "8", "--preset", "s", "--size", "64", "--precision", "bf16"], ["eager", "compile"]),
]


def run_ours(program, benchmark, seconds, environment):
    """Milliseconds of one iteration."""
    command = [program, f"--benchmark_filter=^{benchmark}$", f"--benchmark_min_time={seconds}",
               "--benchmark_format=json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return json.loads(output)["benchmarks"][0]["real_time"]


def run_twin(python, arguments, mode, seconds, environment):
    """Median milliseconds of one iteration, and the whole JSON line."""
    command = [python, str(TWINS / arguments[0]), *arguments[1:], "--mode", mode, "--seconds", str(seconds),
               "--threads", environment["OMP_NUM_THREADS"]]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    record = json.loads(output.strip().splitlines()[-1])
    return record["median_ms"], record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="a Python with PyTorch")
    parser.add_argument("--program", default="build/ddpmts_bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads))

    rows = []
    for name, benchmark, arguments, modes in CASES:
        if options.only not in name:
            continue
        ours, twins, last = [], {mode: [] for mode in modes}, {}
        for _ in range(options.rounds):
            ours.append(run_ours(options.program, benchmark, options.seconds, environment))
            for mode in modes:
                milliseconds, last[mode] = run_twin(options.python, arguments, mode, options.seconds, environment)
                twins[mode].append(milliseconds)
        our_median = statistics.median(ours)
        medians = {mode: statistics.median(values) for mode, values in twins.items()}
        best = min(medians, key=medians.get)
        rows.append({"name": name, "ours_ms": ours, "twin_ms": twins, "best_twin": best,
                     "ratio": medians[best] / our_median, "torch": last[best].get("torch")})
        shown = ", ".join(f"{mode} {value:.1f}" for mode, value in medians.items())
        print(f"{name:40} ours {our_median:8.1f} ms   PyTorch {shown} ms   {rows[-1]['ratio']:.2f}x", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"schema": 1, "threads": options.threads, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
