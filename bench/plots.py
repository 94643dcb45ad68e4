#!/usr/bin/env python3
"""Plots of what ddpmts_bench and bench/versus.sh stored, as SVG; Python 3.9's standard library alone.

    bench/plots.py --out docs/images/performance run.json sweep.json onednn.json versus.json

Draws what the files hold together; where two hold the same row, the later file's counts. All must be of one machine.

roofs.svg       how near every kernel and convolution comes to the roof that binds it
pipelines.svg   where the time of each pipeline goes (ddpmts_bench --split)
batches.svg     time of a picture against the batch, where there are several (--set batch=1,8,32)
sizes.svg       time of a picture against its size (--set size=128,256,512)
onednn.svg      each network's convolutions against oneDNN alone (--against onednn)
ratios.svg      PyTorch's best time over ours (bench/versus.sh)

A plot of which nothing was measured is not written; within a plot, what was not measured is blank.
"""
import argparse
import json
import math
from pathlib import Path

from plot_svg import COLOURS, GREY, MARKS, WIDTH, bar, legend, line, mark, page, piece, text

SCHEMA, VERSION = "ddpmts_bench", 1
LABEL, RIGHT, LINE = 330, 100, 24  # widths left and right of bars, height of a row
PARTS_SHOWN = 6


def read(path):
    """The results of one file. Ends the program with one line where it is none."""
    try:
        results = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"plots.py: {path}: {error}")
    if not isinstance(results, dict) or results.get("schema") != SCHEMA or results.get("version") != VERSION:
        raise SystemExit(f"plots.py: {path}: not version {VERSION} of what ddpmts_bench writes with --json")
    return results


def caption_of(files):
    """Where it was measured; ends the program where that is not one machine."""
    processors = {results["machine"].get("processor", "") for results in files}
    if len(processors) > 1:
        raise SystemExit(f"plots.py: files of {len(processors)} machines: {'; '.join(sorted(processors))}; draw them apart")
    commits = sorted({results["machine"].get("commit", "")[:12] for results in files} - {""})
    warned = "; measured with warnings" if any(results["warnings"] for results in files) else ""
    return f"{processors.pop()}; commit {', '.join(commits)}{warned}"


def rows_of(files, wanted):
    """ddpmts_bench's rows that say what is wanted, the later file's where two have one name; in the order of their first file."""
    rows = {}
    for results in files:
        if "ratios" in results:  # versus.sh's rows are medians of rounds: for the ratios alone
            continue
        for row in results["rows"]:
            if wanted(row):
                rows[row["name"]] = row
    return list(rows.values())


def is_timed(row):
    return row["status"] == "ok" and row["hot"]["samples"] > 0


def label_of(row, without=()):
    """"inspection, head s, 256 px, batch 8, bf16" of a row's name and axes."""
    axes, words = row["axes"], [row["name"].split("/")[1].replace("_", " ")]
    for axis, form in (("head", "head {}"), ("unet", "UNet {}"), ("size", "{} px"), ("batch", "batch {}"), ("precision", "{}")):
        if axis in axes and axis not in without:
            words.append(form.format(axes[axis]))
    return ", ".join(words + ([row["device"]] if row["device"] != "cpu" else []))


def milliseconds(seconds):
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def colour_of(precision):
    return COLOURS[0] if precision == "bf16" else COLOURS[1]


def precision_key():
    return [(lambda x, y: bar(x - 4, y - 4, 10, 8, colour_of("bf16")), "bf16"),
            (lambda x, y: bar(x - 4, y - 4, 10, 8, colour_of("f32"), True), "f32")]


def roofs(files, caption):
    """A line for each kind of kernel, a mark for each shape."""
    lines = {}
    for row in rows_of(files, lambda row: is_timed(row) and row["roof"] and row["group"] in ("kernels", "convs")):
        names = row["name"].split("/")
        kind = names[1] if row["group"] == "kernels" else f"convolution {row['axes']['pass']}"
        lines.setdefault(kind.replace("_", " "), []).append(row)
    if not lines:
        return None
    left, width = 230, WIDTH - 230 - 30
    most = max(1.05, *(row["roof_share"] for rows in lines.values() for row in rows))
    body, y = legend(60, [(lambda x, y: mark("circle", x, y, COLOURS[0]), "memory binds, bf16"),
                          (lambda x, y: mark("circle", x, y, COLOURS[0], True), "memory, f32"),
                          (lambda x, y: mark("diamond", x, y, COLOURS[1]), "arithmetic binds, bf16"),
                          (lambda x, y: mark("diamond", x, y, COLOURS[1], True), "arithmetic, f32")])
    top, bottom = y + 16, y + 20 + 18 * len(lines)
    ticks = range(0, int(100 * most) + 1, 20)
    for percent in ticks:
        x = left + width * percent / 100 / most
        body += [line(x, top - 4, x, bottom, "line" if percent == 100 else "grid", percent == 80),
                 text(x, top - 8, f"{percent} %", "middle", "soft", 11)]
    for i, (kind, rows) in enumerate(lines.items()):
        y = top + 12 + 18 * i
        body += [text(left - 10, y + 4, kind, "end"), line(left, y, left + width, y)]
        for row in rows:
            product = row["roof"] == "product"
            body.append(mark("diamond" if product else "circle", left + width * row["roof_share"] / most, y,
                             COLOURS[1] if product else COLOURS[0], row["axes"]["precision"] == "f32"))
    return page("Share of the roof that binds", "a mark for each shape; 100 %: the measured roof, dashed: 80 %", bottom + 6, body,
                caption)


def pipelines(files, caption):
    """Stacked bars of the parts; the total beside them."""
    with_parts = rows_of(files, lambda row: is_timed(row) and row["group"] == "pipelines" and row.get("parts"))
    if not with_parts:
        return None
    weight = {}
    for row in with_parts:
        total = sum(part["seconds"] for part in row["parts"])
        for part in row["parts"]:
            weight[part["name"]] = weight.get(part["name"], 0.0) + max(0.0, part["seconds"]) / total
    shown = sorted(weight, key=weight.get, reverse=True)[:PARTS_SHOWN]
    body, y = legend(60, [(lambda x, y, c=colour: piece(x - 4, y - 4, 11.5, 8, c), name.replace("_", " "))
                          for name, colour in zip([*shown, "everything else"], [*COLOURS, GREY])])
    width = WIDTH - LABEL - RIGHT
    for row in with_parts:
        seconds = {part["name"]: max(0.0, part["seconds"]) for part in row["parts"]}
        total, x = sum(seconds.values()), float(LABEL)
        body.append(text(LABEL - 8, y + 16, label_of(row), "end"))
        others = sum(value for name, value in seconds.items() if name not in shown)
        for i, share in enumerate([*(seconds.get(name, 0.0) / total for name in shown), others / total]):
            if share > 0.0:
                body.append(piece(x, y + 3, width * share, LINE - 8, [*COLOURS, GREY][i]))
            if share > 0.08:
                body.append(text(x + width * share / 2, y + 15, f"{100 * share:.0f} %", "middle", "inside", 11))
            x += width * share
        body.append(text(LABEL + width + 6, y + 16, milliseconds(row["hot"]["median_s"])))
        y += LINE
    return page("Where the time goes", "shares of one run's time, kernel by kernel; on the right the whole run", y + 4, body, caption)


def swept(files, axis):
    """label -> {value of the axis: milliseconds of a picture}, for every pipeline that has several values of it."""
    series = {}
    for row in rows_of(files, lambda row: is_timed(row) and row["group"] == "pipelines" and row["pictures"]):
        if axis in row["axes"]:
            points = series.setdefault(label_of(row, (axis,)), {})
            points[int(row["axes"][axis])] = 1e3 * row["hot"]["median_s"] / row["pictures"]
    return {name: points for name, points in series.items() if len(points) > 1}


def curves(title, x_name, series, caption):
    """Lines over evenly spaced values of x; milliseconds of a picture upwards, on a logarithmic scale."""
    if not series:
        return None
    places = sorted({x for points in series.values() for x in points})
    values = [y for points in series.values() for y in points.values()]
    steps = [step * 10.0 ** e for e in range(-6, 7) for step in (1, 2, 5)]
    low, high = max(s for s in steps if s <= min(values)), min(s for s in steps if s >= max(values) and s > min(values))
    left, top, width, height = 60, 58, 400, max(260, 20 * len(series))
    at = {x: left + 20 + (width - 40) * i / max(1, len(places) - 1) for i, x in enumerate(places)}

    def up(y):
        return top + height * (1 - math.log(y / low) / math.log(high / low))

    body = [line(left, top, left, top + height, "line"), line(left, top + height, left + width, top + height, "line")]
    body += [text(at[x], top + height + 17, str(x), "middle") for x in places]
    for step in steps:
        if low <= step <= high:
            body += [line(left, up(step), left + width, up(step)), text(left - 6, up(step) + 4, f"{step:g}", "end")]
    for i, (name, points) in enumerate(sorted(series.items(), key=lambda item: -item[1][max(item[1])])):
        colour, shape, hollow = COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)], i >= len(COLOURS)
        path = " ".join(f"{at[x]:.1f},{up(y):.1f}" for x, y in sorted(points.items()))
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body += [mark(shape, at[x], up(y), colour, hollow) for x, y in points.items()]
        y = top + 12 + 20 * i
        body += [mark(shape, left + width + 24, y - 4, colour, hollow), text(left + width + 36, y, name)]
    body.append(text(left + width / 2, top + height + 34, x_name, "middle"))
    return page(title, "milliseconds of a picture, logarithmic", top + height + 40, body, caption)


def bars(title, subtitle, pairs, ticks, caption):
    """pairs: label -> {precision: (value, words)}; a bar for each precision, blank where there is none."""
    precisions = [p for p in ("bf16", "f32") if any(p in values for values in pairs.values())]
    most = max([value for values in pairs.values() for value, _ in values.values()] + [x for x, _, _ in ticks])
    scale = (WIDTH - LABEL - RIGHT) / most
    body, y = legend(60, precision_key()) if len(precisions) > 1 else ([], 54)
    top, y = y + 14, y + 18
    for label, values in pairs.items():
        body.append(text(LABEL - 8, y + 6 + 8 * len(precisions), label, "end"))
        for i, precision in enumerate(precisions):
            if precision in values:
                value, words = values[precision]
                body += [bar(LABEL, y + 16 * i + 3, value * scale, 11, colour_of(precision), precision == "f32"),
                         text(WIDTH - 8, y + 16 * i + 13, words, "end", size=11)]
        y += 16 * len(precisions) + 8
    for x, words, dashed in ticks:
        body += [line(LABEL + x * scale, top, LABEL + x * scale, y, "line", dashed),
                 text(LABEL + x * scale, top - 4, words, "middle", "soft", 11)]
    return page(title, subtitle, y + 4, body, caption)


def ratios(files, caption):
    pairs = {}
    for results in files:
        ours = {row["name"]: row for row in results["rows"]}
        for entry in results.get("ratios", []):
            row = ours[entry["name"]]
            pairs.setdefault(label_of(row, ("precision",)), {})[row["axes"]["precision"]] = (
                entry["ratio"], f"{entry['ratio']:.2f} ({entry['best']})")
    if not pairs:
        return None
    return bars("Time of PyTorch's best mode over ours", "longer is better; 1: as fast as PyTorch", pairs, [(1.0, "1", True)], caption)


def against_onednn(files, caption):
    """Sums as bench/network_sums.h makes them, pass by pass."""
    sums = {}
    for row in rows_of(files, lambda row: is_timed(row) and row.get("onednn")):
        for network, uses in row.get("networks", {}).items():
            key = (network, row["axes"]["batch"], row["axes"]["pass"], row["axes"]["precision"])
            ours, alone = sums.get(key, (0.0, 0.0))
            sums[key] = (ours + uses * row["hot"]["median_s"], alone + uses * row["onednn"]["median_s"])
    pairs = {}
    networks, passes = [key[0] for key in sums], ["forward", "data_gradient", "weight_gradient"]
    for network, batch, which, precision in sorted(sums, key=lambda key: (networks.index(key[0]), int(key[1]), passes.index(key[2]))):
        ours, alone = sums[network, batch, which, precision]
        name, size = network.replace("unet", "UNet").replace("_", " ").split("/")
        label = f"{name}, {size} px, batch {batch}, {which.replace('_', ' ')}"
        pairs.setdefault(label, {})[precision] = (alone / ours, f"{100 * alone / ours:.0f} %")
    if not pairs:
        return None
    return bars("Convolutions against oneDNN alone", "oneDNN's time over ours, all convolutions of a network; longer is better", pairs,
                [(1.0, "100 %", False), (0.8, "80 %", True)], caption)


def plots_of(files):
    """name of the file -> its SVG, None where nothing was measured"""
    caption = caption_of(files)
    return {"roofs.svg": roofs(files, caption), "pipelines.svg": pipelines(files, caption),
            "batches.svg": curves("Cost against batch", "batch", swept(files, "batch"), caption),
            "sizes.svg": curves("Cost against picture size", "pixels on a side", swept(files, "size"), caption),
            "onednn.svg": against_onednn(files, caption), "ratios.svg": ratios(files, caption)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="JSON files of ddpmts_bench or versus.sh")
    parser.add_argument("--out", type=Path, required=True, help="folder for the plots; made where it is not there")
    options = parser.parse_args()
    plots = plots_of([read(path) for path in options.files])
    options.out.mkdir(parents=True, exist_ok=True)
    for name, drawn in plots.items():
        if drawn is not None:
            (options.out / name).write_text(drawn)
            print(options.out / name)
    if not any(plots.values()):
        raise SystemExit("plots.py: nothing was measured in these files that has a plot")


if __name__ == "__main__":
    main()
