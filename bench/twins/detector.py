"""Times the detector in PyTorch on a CPU, as fast as PyTorch's own switches make it: the number the engine is held against.

    python detector.py --what train --batch 8 --head s --precision bf16 --mode compile --seconds 30

train: teacher on I_n and I_a (no gradient, BatchNorm folded, one forward pass for both), student, head, losses,
       backward, fused AdamW on everything. The batch lies in memory, in the layout and type that the networks take.
infer: teacher, student and head (BatchNorm folded into the convolutions unless --bn plain), to logits at a quarter of the
       input's size; --map adds sigmoid, the resize to the input's size and the mean of the top 100 pixels.

Prints one JSON line. Times are of whole steps, after a warm-up (`warm_up_s`, compilation included). `cpu_ms` is the processor
time of all threads per step, and `load` the machine's load average at the start: where load exceeds threads, or where median
and p5 are far apart, something else was running and the line is no result.
"""

import argparse
import json
import os
import re
import time

import numpy as np
import torch
from torch import nn
from torch._inductor import config as inductor_config

import networks

WARM_UP_STEPS = 3
LEAST_STEPS = 5
SEED = 1
TOP_PIXELS = 100


class Inspector(nn.Module):
    """x: [N,3,S,S] -> logits [N,1,S/4,S/4]; with_map: (probability map [N,S,S], score [N])."""

    def __init__(self, teacher, student, head, with_map: bool):
        super().__init__()
        self.teacher, self.student, self.head, self.with_map = teacher, student, head, with_map

    def forward(self, x):
        logits = self.head(networks.feature_product(self.teacher(x), self.student(x)))
        if not self.with_map:
            return logits
        probability = networks.upsample(torch.sigmoid(logits.float()), x.shape[-2:])[:, 0]
        return probability, probability.flatten(1).topk(TOP_PIXELS).values.mean(1)


def make_networks(options):
    teacher = networks.load_teacher(options.teacher) if options.teacher else networks.Teacher(folded=True)
    student, head = networks.Student(), networks.SegmentationHead(networks.HEAD_WIDTHS[options.head])
    if not options.teacher:
        networks.initialise_folded_teacher(teacher, SEED)
    networks.initialise(student, head, SEED)
    return [m.to(memory_format=torch.channels_last) for m in (teacher, student, head)]


def pictures(options, dtype):
    x = torch.randn(options.batch, 3, options.size, options.size, generator=torch.Generator().manual_seed(SEED))
    return x.to(dtype=dtype, memory_format=torch.channels_last)


def training_step(options, teacher, student, head):
    """Returns a function that does one training step."""
    low = options.precision == "bf16"
    dtype = torch.bfloat16 if low else torch.float32
    teacher.to(dtype)  # frozen: its weights need no f32 copy
    normal, augmented = pictures(options, dtype), pictures(options, dtype).flip(-1)
    quarter = options.size // 4
    mask = (torch.rand(options.batch, 1, quarter, quarter) < 0.1).to(torch.uint8)
    parameters = [*student.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.01, fused=True)

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            return networks.joint_losses(teacher, student, head, normal, augmented, mask)[0]["total"]

    forward = torch.compile(forward) if options.mode == "compile" else forward

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        optimizer.step()
        return loss

    return step


def inspection_step(options, teacher, student, head):
    """Returns a function that inspects one batch."""
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    inspector = Inspector(teacher, student, head, options.map).eval()
    if options.bn == "folded":
        networks.fold_batch_norm(inspector)
    inspector.requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)
    x = pictures(options, dtype)
    run = inspector
    if options.mode == "compile":
        inductor_config.freezing = True  # weights become constants: packed once, element-wise ops fused
        run = torch.compile(inspector)
    elif options.mode == "jit":
        with torch.no_grad():
            run = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(inspector, x)))

    def step():
        with torch.no_grad():
            return run(x)

    return step


def measure(step, seconds: float) -> tuple[float, np.ndarray, np.ndarray]:
    """(seconds of warm-up, milliseconds of each step, processor milliseconds of each step)."""
    begin = time.perf_counter()
    for _ in range(WARM_UP_STEPS):
        step()
    start = time.perf_counter()
    times, cpu_times = [], []
    while len(times) < LEAST_STEPS or time.perf_counter() - start < seconds:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        times.append(1e3 * (time.perf_counter() - wall))
        cpu_times.append(1e3 * (time.process_time() - cpu))
    return start - begin, np.array(times), np.array(cpu_times)


def onednn_version() -> str:
    found = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    return found[1] if found else "none"


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["train", "infer"], required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="pixels a side, a multiple of 32")
    parser.add_argument("--head", choices=sorted(networks.HEAD_WIDTHS), default="s", help="64, 128 or 256 channels")
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--mode", choices=["eager", "compile", "jit"], default="eager", help="jit: infer only")
    parser.add_argument("--bn", choices=["folded", "plain"], default="folded", help="infer: student's and head's BatchNorm")
    parser.add_argument("--map", action="store_true", help="infer: full-size map and score too")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--teacher", help="ResNet-18 safetensors file; default: drawn weights, which take the same time")
    options = parser.parse_args()
    if options.size % 32 or options.size <= 0:
        parser.error("--size must be a positive multiple of 32")
    if options.batch < (2 if options.what == "train" else 1):
        parser.error("--batch must be at least 1, and 2 to train: BatchNorm sees one pooled value a picture")
    if options.mode == "jit" and options.what == "train":
        parser.error("--mode jit is for --what infer")
    return options


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    make_step = training_step if options.what == "train" else inspection_step
    load = os.getloadavg()[0]
    warm_up, times, cpu_times = measure(make_step(options, *make_networks(options)), options.seconds)
    plain = ["plain"] if options.what == "infer" and options.bn == "plain" else []
    mapped = ["map"] if options.what == "infer" and options.map else []
    name = "/".join(["detector", options.what, f"head_{options.head}", f"b{options.batch}", str(options.size),
                     options.precision, options.mode, *plain, *mapped])
    median = float(np.median(times))
    print(json.dumps({
        "name": name,
        "median_ms": round(median, 3),
        "p5": round(float(np.percentile(times, 5)), 3),
        "p95": round(float(np.percentile(times, 95)), 3),
        "n": len(times),
        "img_per_s": round(1e3 * options.batch / median, 2),
        "cpu_ms": round(float(np.median(cpu_times)), 3),
        "warm_up_s": round(warm_up, 2),
        "load": round(load, 2),
        "torch": torch.__version__,
        "onednn": onednn_version(),
        "threads": options.threads,
    }))


if __name__ == "__main__":
    main()
