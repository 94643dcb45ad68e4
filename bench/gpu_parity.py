"""One device against another on the same seeds, by the program itself: 20 training losses, then scores and maps. And one device
with graphs against the same without, which must be equal to the last digit.

The first device trains on parts that the program draws, f32, every step logged; the second does the same. Both then
inspect the same pictures with the first one's model; the second also in bf16. Standard library only.
"""

import json
import math
import struct
import zlib
from pathlib import Path

STEPS = 20
LOSSES = ("cosine", "focal", "l1", "grad_norm")

# How far apart two devices may be. A loss: |a - b| against |b| + the mean of that loss over the run. A score: against
# |b| + the mean of all scores. A map: against its whole range (16 bits).
FIRST_LOSSES = 1e-3  # one step from the same weights: sums in another order
ALL_LOSSES = 0.03  # AdamW's first steps follow the sign of gradients, so that roundings of small ones grow
SCORES = {"f32": 1e-3, "bf16": 0.05}
MAPS = {"f32": 0.005, "bf16": 0.05}


def read_losses(path: Path) -> dict:
    """training.jsonl -> {loss: [value of each step]}."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    if [record["step"] for record in records] != list(range(1, STEPS + 1)):
        raise ValueError(f"{path}: expected steps 1 to {STEPS}, one a line")
    return {name: [record[name] for record in records] for name in LOSSES}


def read_scores(path: Path) -> dict:
    """predictions.json -> {file name: raw score}; names hold the folder too, which is the kind of defect."""
    pictures = json.loads(path.read_text())["pictures"]
    failed = [picture for picture in pictures if picture["error"] is not None]
    if failed or not pictures:
        raise ValueError(f"{path}: {failed[0]['error'] if failed else 'no pictures'}")
    return {"/".join(Path(picture["path"]).parts[-2:]): picture["raw_score"] for picture in pictures}


def paeth(a: int, b: int, c: int) -> int:
    p = a + b - c
    da, db, dc = abs(p - a), abs(p - b), abs(p - c)
    return a if da <= db and da <= dc else b if db <= dc else c


def read_map(path: Path) -> list:
    """Values of a 16-bit grey PNG (ISO/IEC 15948), row after row."""
    data = path.read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path}: no PNG")
    at, packed, header = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    if header is None or header[2:] != (16, 0, 0, 0, 0):
        raise ValueError(f"{path}: expected 16-bit grey, not interlaced")
    width, height = header[:2]
    raw, stride = zlib.decompress(packed), 2 * width
    above, values = bytearray(stride), []
    for row in range(height):
        start = row * (stride + 1)
        kind, line = raw[start], bytearray(raw[start + 1:start + 1 + stride])
        for i in range(stride):
            left, corner = (line[i - 2], above[i - 2]) if i >= 2 else (0, 0)
            guess = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind]
            line[i] = (line[i] + guess) & 255
        values += struct.unpack(f">{width}H", line)
        above = line
    return values


def worst_of(actual: list, expected: list) -> float:
    """The largest |a - b| / (|b| + mean of |b|); infinite where something is not a number or missing."""
    if len(actual) != len(expected) or not expected:
        return math.inf
    mean = sum(abs(b) for b in expected) / len(expected)
    worst = 0.0
    for a, b in zip(actual, expected):
        if a is None or b is None or not (math.isfinite(a) and math.isfinite(b)):
            return math.inf
        worst = max(worst, abs(a - b) / (abs(b) + mean) if a != b else 0.0)
    return worst


def row(what: str, difference: float, allowed: float) -> dict:
    return {"what": what, "difference": difference, "allowed": allowed, "ok": difference <= allowed}


def compare_losses(actual: dict, expected: dict) -> list:
    first, whole = [], []
    for name in LOSSES:
        mean = sum(map(abs, expected[name])) / len(expected[name])
        first.append(worst_of([actual[name][0], mean], [expected[name][0], mean]))
        whole.append(worst_of(actual[name], expected[name]))
    return [row("losses of the first step", max(first), FIRST_LOSSES),
            row(f"losses of {STEPS} steps", max(whole), ALL_LOSSES)]


def compare_scores(actual: dict, expected: dict, precision: str) -> dict:
    same = actual.keys() == expected.keys()
    difference = worst_of([actual[name] for name in expected], list(expected.values())) if same else math.inf
    return row(f"scores in {precision}", difference, SCORES[precision])


def compare_maps(actual: Path, expected: Path, precision: str) -> dict:
    names = sorted(path.name for path in expected.glob("*_map.png"))
    difference = 0.0 if names and names == sorted(path.name for path in actual.glob("*_map.png")) else math.inf
    if difference == 0.0:
        for name in names:
            if (actual / name).read_bytes() == (expected / name).read_bytes():
                continue
            a, b = read_map(actual / name), read_map(expected / name)
            far = max(abs(x - y) for x, y in zip(a, b)) if len(a) == len(b) else math.inf
            difference = max(difference, far / 65535)
    return row(f"maps in {precision}", difference, MAPS[precision])


def draw_parts(program: Path, folder: Path, run) -> Path:
    run([program, "draw", "-o", folder / "parts", "--size", "128", "--train", "24", "--test-good", "2", "--test-defect", "1"])
    return folder / "parts" / "blister"


def train(program: Path, parts: Path, output: Path, device: str, run, *more):
    run([program, "train", parts, "-o", output, "--device", device, "--precision", "f32", "--teacher", "random", "--size", "128",
         "--batch", "4", "--steps", STEPS, "--log-every", "1", "--memory", "64", "--seed", "3", "--no-test", *more])


def compare_graphs(program: Path, device: str, folder: Path, run) -> list:
    """The same training with graphs and without, then inspections at three batch sizes; no difference is allowed."""
    parts = draw_parts(program, folder, run)
    plain = ("--no-graph", "--deterministic")
    train(program, parts, folder / "graph", device, run, "--deterministic")
    train(program, parts, folder / "plain", device, run, *plain)
    losses = [read_losses(folder / name / "training.jsonl") for name in ("graph", "plain")]
    rows = [row(f"losses of {STEPS} steps", max(worst_of(losses[0][name], losses[1][name]) for name in LOSSES), 0.0)]
    scores = maps = 0.0
    for batch in (1, 3, 8):
        for name, more in (("graph", ("--deterministic",)), ("plain", plain)):
            run([program, "predict", folder / "plain", parts / "train" / "good", "-o", folder / f"{name}{batch}", "--device",
                 device, "--precision", "f32", "--batch", batch, "--no-overlays", *more])
        actual, expected = folder / f"graph{batch}", folder / f"plain{batch}"
        found = [read_scores(path / "predictions.json") for path in (actual, expected)]
        same = found[0].keys() == found[1].keys()
        scores = max(scores, worst_of(list(found[0].values()), list(found[1].values())) if same else math.inf)
        maps = max(maps, compare_maps(actual, expected, "f32")["difference"])
    return [*rows, row("scores", scores, 0.0), row("maps", maps, 0.0)]


def compare_devices(program: Path, devices: list, folder: Path, run) -> list:
    """run(command) runs one and raises where it fails. Returns rows of {what, difference, allowed, ok}."""
    parts = draw_parts(program, folder, run)
    for i, device in enumerate(devices):
        train(program, parts, folder / f"run{i}", device, run)
    rows = compare_losses(*(read_losses(folder / f"run{i}" / "training.jsonl") for i in (1, 0)))

    def predict(device, precision, name):
        run([program, "predict", folder / "run0", *sorted((parts / "test").iterdir()), "-o", folder / name, "--device", device,
             "--precision", precision, "--no-overlays"])
        return folder / name

    expected = predict(devices[0], "f32", "expected")
    for precision in ("f32", "bf16"):
        actual = predict(devices[1], precision, precision)
        rows.append(compare_scores(read_scores(actual / "predictions.json"), read_scores(expected / "predictions.json"),
                                   precision))
        rows.append(compare_maps(actual, expected, precision))
    return rows
