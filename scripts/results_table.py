#!/usr/bin/env python3
"""results_table.py OUT: a Markdown table of the runs OUT/<set>-<steps>-<seed>: mean ± standard deviation over the seeds.

Minutes are those of the training's steps (training.jsonl), without reading, calibration and test.
"""
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

METRICS = {"image AUROC": "image_auroc", "F1-max": "f1_max", "pixel AUROC": "pixel_auroc", "pixel AP": "pixel_ap", "AUPRO": "aupro"}


def summary(values, digits=1):
    """'91.2 ± 0.4', or what can be said of fewer than two values."""
    if any(value is None for value in values):
        return "—"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def read_run(folder):
    results = json.loads((folder / "results.json").read_text())
    last = json.loads((folder / "training.jsonl").read_text().splitlines()[-1])
    confusion = results["confusion"]
    defective = confusion["defects_found"] + confusion["defects_missed"]
    good = confusion["false_alarms"] + confusion["good_passed"]
    row = {name: None if results[key] is None else 100 * results[key] for name, key in METRICS.items()}
    row["found, %"] = 100 * confusion["defects_found"] / defective
    row["false alarms, %"] = 100 * confusion["false_alarms"] / good
    row["minutes"] = last["seconds"] / 60
    return row


def main():
    runs = defaultdict(list)
    for folder in sorted(Path(sys.argv[1]).iterdir()):
        name, _, seed = folder.name.rpartition("-")
        if seed.isdigit() and (folder / "results.json").exists():
            runs[tuple(name.rsplit("-", 1))].append(read_run(folder))
    if not runs:
        sys.exit(f"results_table.py: there is no finished run <set>-<steps>-<seed> in {sys.argv[1]}")
    columns = list(next(iter(runs.values()))[0])
    print("| set | steps | seeds |", " | ".join(columns), "|")
    print("|---|--:|--:|" + "--:|" * len(columns))
    for (name, steps), rows in runs.items():
        cells = [summary([row[column] for row in rows]) for column in columns]
        print(f"| {name} | {steps} | {len(rows)} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
