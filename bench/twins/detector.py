"""Times the detector in PyTorch, as fast as PyTorch's own switches make it: the number the engine is held against.

    python detector.py --what train --batch 8 --head s --precision bf16 --mode compile --seconds 30

train: teacher on I_n and I_a (no gradient, BatchNorm folded, one forward pass for both), student, head, losses,
       backward, fused AdamW on everything. The batch lies in memory, in the layout and type that the networks take.
infer: the same work as the engine's inspection, from u8 pictures to a score each: normalisation, teacher, student and head
       (BatchNorm folded into the convolutions unless --bn plain), cosine distances, distance to the nearest of the feature
       memory's vectors, the three maps at the picture's size, their sum, the mean of its highest pixels.

Prints one line of JSON in the schema of ddpmts_bench (bench/twins/measure.py). Times are of whole steps, after a warm-up
(`warm_up_s`, compilation included). `cpu_s` is the processor time of all threads per step, and `load` the machine's load
average at the start: where load exceeds threads, or where median and p5 are far apart, something else was running and the
line is no result.
"""

import argparse
import sys

import torch
import torch.nn.functional as F
from torch import nn
from torch._inductor import config as inductor_config

import measure
import networks

SEED = 1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
QUERIES_AT_ONCE = 1024  # their products with the memory stay in the cache


def memory_features(teacher_features):
    """Each level averaged over its neighbourhood, at layer2's resolution (models/feature_memory.h): [N,448,h,w]."""
    layer1, layer2, layer3 = teacher_features
    coarse = networks.upsample(F.avg_pool2d(layer3, 3, 1, 1), layer2.shape[-2:])
    return torch.cat([F.avg_pool2d(layer1, 6, 2, 2), F.avg_pool2d(layer2, 3, 1, 1), coarse], dim=1)


class FeatureMemory(nn.Module):
    """Distance of each position to the nearest of the vectors: a matrix product, as |q|^2 + min_j(|c_j|^2 - 2 q c_j)."""

    def __init__(self, vectors: torch.Tensor):
        super().__init__()
        self.register_buffer("transposed", vectors.t().contiguous())
        self.register_buffer("norms", vectors.float().square().sum(1))

    def forward(self, features):
        n, channels, h, w = features.shape
        queries = features.permute(0, 2, 3, 1).reshape(-1, channels)
        norms = self.norms.to(queries.dtype)
        nearest = [torch.addmm(norms, part, self.transposed, alpha=-2).amin(1) for part in queries.split(QUERIES_AT_ONCE)]
        squared = torch.cat(nearest).float() + queries.float().square().sum(1)
        return squared.clamp_min(0).sqrt().view(n, 1, h, w)


class Inspector(nn.Module):
    """u8 pictures [N,S,S,3] -> (anomaly map [N,S,S], score [N])."""

    def __init__(self, teacher, student, head, memory, dtype):
        super().__init__()
        self.teacher, self.student, self.head, self.memory, self.dtype = teacher, student, head, memory, dtype
        self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(STD)).view(1, 3, 1, 1))
        self.register_buffer("shift", -(torch.tensor(MEAN) / torch.tensor(STD)).view(1, 3, 1, 1))

    def forward(self, pictures):
        size = pictures.shape[1:3]
        x = (pictures.permute(0, 3, 1, 2).float() * self.scale + self.shift).to(self.dtype)
        t, s = self.teacher(x), self.student(x)
        distance = 1.0
        for level_t, level_s in zip(t, s):
            cosine = (level_t * level_s).sum(1, keepdim=True, dtype=torch.float32) * networks._inverse_norms(level_t, level_s)
            distance = distance * networks.upsample(1.0 - cosine, size)
        logits = self.head(networks.feature_product(t, s))
        anomaly = distance + networks.upsample(torch.sigmoid(logits.float()), size)
        if self.memory is not None:
            anomaly = anomaly + networks.upsample(self.memory(memory_features(t)), size)
        anomaly = anomaly[:, 0]
        top = max(1, (size[0] * size[1] + 100) // 200)
        return anomaly, anomaly.flatten(1).topk(top, sorted=False).values.mean(1)


def make_networks(options):
    teacher = networks.load_teacher(options.teacher) if options.teacher else networks.Teacher(folded=True)
    student, head = networks.Student(), networks.SegmentationHead(networks.HEAD_WIDTHS[options.head])
    if not options.teacher:
        networks.initialise_folded_teacher(teacher, SEED)
    networks.initialise(student, head, SEED)
    return [m.to(memory_format=torch.channels_last) for m in (teacher, student, head)]


def pictures(options, dtype):
    x = torch.randn(options.batch, 3, options.size, options.size, generator=measure.generator(options, SEED))
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
        with torch.autocast(options.device, torch.bfloat16, enabled=low):
            return networks.joint_losses(teacher, student, head, normal, augmented, mask)[0]["total"]

    forward = measure.compiled(forward, options) if options.mode == "compile" else forward

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
    generator = measure.generator(options, SEED)
    memory = None
    if options.memory:
        memory = FeatureMemory(torch.rand(options.memory, 448, generator=generator).to(dtype))
    inspector = Inspector(teacher, student, head, memory, dtype).eval()
    if options.bn == "folded":
        networks.fold_batch_norm(inspector)
    inspector.requires_grad_(False)
    for network in (inspector.teacher, inspector.student, inspector.head):
        network.to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.randint(0, 256, (options.batch, options.size, options.size, 3), dtype=torch.uint8, generator=generator)
    run = inspector
    if options.mode == "compile":
        inductor_config.freezing = True  # weights become constants: packed once, element-wise ops fused
        run = measure.compiled(inspector, options)
    elif options.mode == "jit":
        with torch.no_grad():
            run = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(inspector, x)))

    def step():
        with torch.no_grad():
            return run(x)

    return step


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["train", "infer"], required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="pixels a side, a multiple of 32")
    parser.add_argument("--head", choices=sorted(networks.HEAD_WIDTHS), default="s", help="64, 128 or 256 channels")
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--mode", choices=["eager", "compile", "jit"], default="eager", help="jit: infer only")
    parser.add_argument("--bn", choices=["folded", "plain"], default="folded", help="infer: student's and head's BatchNorm")
    parser.add_argument("--memory", type=int, default=2048, help="infer: vectors of the feature memory; 0: none")
    measure.add_options(parser)
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
    measure.prepare(options)
    torch.manual_seed(SEED)
    make_step = training_step if options.what == "train" else inspection_step
    what = "detector_training_step" if options.what == "train" else "inspection"
    place = measure.device_name(options)
    name = f"pipelines/{what}/head_{options.head}/{options.size}/{options.precision}/b{options.batch}/{place}"
    axes = {"precision": options.precision, "batch": options.batch, "size": options.size, "head": options.head}
    if options.what == "infer":
        axes |= {"bn": options.bn, "memory": options.memory}
    measure.run(name, axes, options.batch, lambda: make_step(options, *make_networks(options)), options, " ".join(sys.argv))


if __name__ == "__main__":
    main()
