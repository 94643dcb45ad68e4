#!/usr/bin/env python3
"""Plots of what ddpmts_bench and bench/versus.sh stored, as SVG; Python's standard library alone.

    bench/plots.py --out docs/images/performance run.json versus.json

Of each file it draws what the file holds: roofs.svg (how near every case comes to the roof that binds it), pipelines.svg
(time of each pipeline), batches.svg and sizes.svg (time of a picture against batch and picture size, where a run swept them)
and ratios.svg (PyTorch's best time over ours). What was not measured is not drawn.
"""
import argparse
import json
import sys
from html import escape
from pathlib import Path

SCHEMA, VERSION = "ddpmts_bench", 1
WIDTH, LINE, LABEL = 860, 22, 430
COLOURS = ["#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#4a5568"]


def read(path):
    """The results of one file. Ends the program with one line where it is none."""
    try:
        results = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"plots.py: {path}: {error}")
    if not isinstance(results, dict) or results.get("schema") != SCHEMA or results.get("version") != VERSION:
        raise SystemExit(f"plots.py: {path}: not version {VERSION} of what ddpmts_bench writes with --json")
    return results


def svg(title, height, body):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">', f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-size="15" font-weight="bold">{escape(title)}</text>', *body, "</svg>", ""])


def bars(title, rows, line=None):
    """rows: (label, value, text, colour). line: a value to mark, as 1 in ratios."""
    most = max([value for _, value, _, _ in rows] + ([line] if line else []))
    scale = (WIDTH - LABEL - 110) / most
    body = []
    for i, (label, value, text, colour) in enumerate(rows):
        y = 34 + i * LINE
        body += [f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>',
                 f'<rect x="{LABEL}" y="{y + 3}" width="{value * scale:.1f}" height="{LINE - 7}" fill="{colour}"/>',
                 f'<text x="{LABEL + value * scale + 5:.1f}" y="{y + 14}">{escape(text)}</text>']
    bottom = 34 + len(rows) * LINE
    if line:
        x = LABEL + line * scale
        body.append(f'<line x1="{x:.1f}" y1="32" x2="{x:.1f}" y2="{bottom}" stroke="black" stroke-dasharray="4 3"/>')
    return svg(title, bottom + 12, body)


def curves(title, x_name, series):
    """series: name -> [(x, milliseconds of a picture)], drawn over evenly spaced x values."""
    places = sorted({x for points in series.values() for x, _ in points})
    most = max(y for points in series.values() for _, y in points)
    left, top, width, height = 60, 40, 470, 260
    at = {x: left + width * i / max(1, len(places) - 1) for i, x in enumerate(places)}
    body = [f'<polyline points="{left},{top} {left},{top + height} {left + width},{top + height}" fill="none" stroke="black"/>']
    for x in places:
        body.append(f'<text x="{at[x]:.0f}" y="{top + height + 16}" text-anchor="middle">{x}</text>')
    for share in (0.25, 0.5, 0.75, 1.0):
        y = top + height * (1 - share)
        body.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{most * share:.3g}</text>')
        body.append(f'<line x1="{left}" y1="{y:.0f}" x2="{left + width}" y2="{y:.0f}" stroke="#ddd"/>')
    body.append(f'<text x="{left}" y="{top + height + 34}">{escape(x_name)}; milliseconds of a picture upwards</text>')
    for i, (name, points) in enumerate(sorted(series.items())):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{at[x]:.1f},{top + height * (1 - y / most):.1f}" for x, y in sorted(points))
        body += [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
                 f'<text x="{left + width + 12}" y="{top + 12 + 18 * i}" fill="{colour}">{escape(name)}</text>']
    return svg(title, top + height + 46, body)


def timed(results, group=None):
    return [row for row in results["rows"]
            if row["status"] == "ok" and row["hot"]["samples"] and (group is None or row["group"] == group)]


def swept(results, axis):
    """Milliseconds of a picture along an axis, for every pipeline that has several values of it and else agrees."""
    series = {}
    for row in timed(results, "pipelines"):
        if axis not in row["axes"] or not row["pictures"]:
            continue
        what = row["name"].split("/")[1]
        rest = [value for key, value in sorted(row["axes"].items()) if key != axis]
        milliseconds = 1e3 * row["hot"]["median_s"] / row["pictures"]
        series.setdefault(" ".join([what, *rest]), []).append((int(row["axes"][axis]), milliseconds))
    return {name: points for name, points in series.items() if len(points) > 1}


def plots_of(results):
    """name of the file -> its SVG"""
    drawn = {}
    near = [(row["name"], row["roof_share"], f'{100 * row["roof_share"]:.0f} % {row["roof"]}',
             COLOURS[1] if row["roof"] == "product" else COLOURS[0])
            for row in timed(results) if row["roof"] and row["group"] in ("kernels", "convs")]
    if near:
        drawn["roofs.svg"] = bars("Share of the measured roof that binds (blue: memory, orange: product)", near, 1.0)
    if "ratios" in results:
        drawn["ratios.svg"] = bars("Time of PyTorch's best mode over ours",
                                   [(r["name"], r["ratio"], f'{r["ratio"]:.2f}x {r["best"]}', COLOURS[2])
                                    for r in results["ratios"]], 1.0)
    else:
        pipelines = [(row["name"], 1e3 * row["hot"]["median_s"], f'{1e3 * row["hot"]["median_s"]:.1f} ms', COLOURS[0])
                     for row in timed(results, "pipelines")]
        if pipelines:
            drawn["pipelines.svg"] = bars("Time of one run", pipelines)
        for axis, name, title in (("batch", "batches.svg", "Cost against batch"),
                                  ("size", "sizes.svg", "Cost against picture size")):
            series = swept(results, axis)
            if series:
                drawn[name] = curves(title, axis, series)
    return drawn


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="JSON files of ddpmts_bench or versus.sh")
    parser.add_argument("--out", type=Path, required=True, help="folder for the plots; made where it is not there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.files:
        for name, text in plots_of(read(path)).items():
            (options.out / name).write_text(text)
            print(options.out / name)


if __name__ == "__main__":
    main()
