"""Writes networks.json: what PyTorch computes for the detector's networks, losses, gradients and joint training, in float64.

    python tests/golden/make_networks.py            needs torch and numpy, CPU only, about a minute

Inputs and weights are float32 numbers drawn from Philox (bench/twins/philox.py = kernels/philox.h), so the file holds
none of them. All of it is then computed in float64: the truth. Beside each value stands how far PyTorch's own float32 is
from it (the worse of its NCHW and channels_last paths), as a guide for a test's tolerance.

Two cases. `initial` starts as training does, and there float32 itself is far from the truth: thirty BatchNorms on few pixels
amplify rounding, and every activation that crosses a ReLU's kink changes the gradient by a jump (gradients differ by
percents, training drifts apart within a few steps). `conditioned` draws the BatchNorms' weights and biases so that few
activations are near a kink; it is the one to hold gradients and training against.
"""

import argparse
import json
import pathlib
import re
import sys

import torch
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "twins"))
import networks  # noqa: E402
import philox  # noqa: E402

BATCH, SIZE, WIDTH = 2, 64, 64
MAP = SIZE // 4
WEIGHT_SEED, TEACHER_SEED, INPUT_SEED = 11, 22, 7
MASK_PROBABILITY = 0.1
STEPS = 10
OUTPUT_SAMPLES, GRADIENT_SAMPLES = 8, 4
OPTIMIZERS = {
    "adamw": (torch.optim.AdamW, {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-4}),
}
CASES = {"initial": {"adamw": 1e-3, "sgd": 0.05}, "conditioned": {"adamw": 2e-4, "sgd": 0.005}}  # learning rates
ABOUT = {
    "numbers": "Element e of a draw is word e%4 of Philox{seed, stream, step}.bits(e/4); u = uniform01 of it.",
    "inputs": f"normal (step 0), augmented (step 1): [{BATCH},{SIZE},{SIZE},3], NHWC flat index, -2 + 4u; mask (step 2): "
              f"[{BATCH},{MAP},{MAP}], 1 where u < 0.1f; stream drawing (7), input_seed.",
    "weights": "Stream weights (1), weight_seed, step = index in gradients.joint. Convolutions: OIHW flat index, "
               "(2u-1)*sqrt(6/(O*kh*kw)) in float32; BatchNorm weight 1; every bias 0.",
    "conditioned": "As weights, but the BatchNorms draw too: bias 1 + u; weight 0.125 + 0.25u where the name ends in "
                   "bn2.weight or downsample.1.weight, else 0.5 + 0.5u; and classifier.conv2.weight is multiplied by 0.125.",
    "teacher": "Stream weights, teacher_seed, step = index in conv1.weight, conv1.bias, layer1.0.conv1.weight, ... "
               "(conv1, conv2, downsample.0 in a block). Weights: OIHW, (2u-1)*sqrt(6/(I*kh*kw)); biases: (2u-1)*0.1f.",
    "outputs": "l2 of the whole tensor; samples at NHWC flat indices. f32_error: |f32 - f64| / |f64| over the whole tensor.",
    "gradients": "l2 of the whole gradient; samples at OIHW flat indices. joint: d total. stop_gradient: d total when the "
                 "head's input is detached from the student. f32_error as above.",
    "running_statistics": "After one training forward pass: l2 of each BatchNorm's running_mean and running_var.",
    "training": "Losses before each of ten updates on the same batch, all parameters decayed; then outputs in eval mode.",
}


def draw_inputs() -> dict[str, torch.Tensor]:
    """float32 NCHW pictures and the mask [N,1,h,w]."""
    def picture(step):
        flat = philox.uniform(INPUT_SEED, philox.STREAM_DRAWING, step, BATCH * SIZE * SIZE * 3, -2.0, 2.0)
        return torch.from_numpy(flat).view(BATCH, SIZE, SIZE, 3).permute(0, 3, 1, 2).contiguous()

    u = torch.from_numpy(philox.uniform01(INPUT_SEED, philox.STREAM_DRAWING, 2, BATCH * MAP * MAP))
    mask = (u < torch.tensor(MASK_PROBABILITY, dtype=torch.float32)).view(BATCH, 1, MAP, MAP)
    return {"normal": picture(0), "augmented": picture(1), "mask": mask.to(torch.uint8)}


class Detector:
    """The three networks with a case's first weights, in one dtype and memory format."""

    def __init__(self, case: str, dtype: torch.dtype, memory_format: torch.memory_format):
        self.teacher, self.student = networks.Teacher(folded=True), networks.Student()
        self.head = networks.SegmentationHead(WIDTH)
        networks.initialise_folded_teacher(self.teacher, TEACHER_SEED)
        networks.initialise(self.student, self.head, WEIGHT_SEED)
        if case == "conditioned":
            self.draw_norms()
        for module in (self.teacher, self.student, self.head):
            module.to(dtype=dtype, memory_format=memory_format)
        drawn = draw_inputs()
        self.normal, self.augmented = (drawn[k].to(dtype=dtype, memory_format=memory_format)
                                       for k in ("normal", "augmented"))
        self.mask = drawn["mask"]

    @torch.no_grad()
    def draw_norms(self) -> None:
        norms = {f"{network}.{name}" for network, name, _ in self.named_norms()}
        for step, (network, name, p) in enumerate(self.named_parameters()):
            if f"{network}.{name}".rpartition(".")[0] not in norms:
                continue
            small = name.endswith(("bn2.weight", "downsample.1.weight"))
            low, high = (1.0, 2.0) if name.endswith("bias") else (0.125, 0.375) if small else (0.5, 1.0)
            drawn = philox.uniform(WEIGHT_SEED, philox.STREAM_WEIGHTS, step, p.numel(), low, high)
            p.copy_(torch.from_numpy(drawn))
        self.head.classifier.conv2.weight.mul_(0.125)

    def losses(self, stop_gradient: bool = False):
        return networks.joint_losses(self.teacher, self.student, self.head, self.normal, self.augmented, self.mask,
                                     stop_gradient)

    def named_parameters(self):
        return networks.trainable_parameters(self.student, self.head)

    def named_norms(self):
        return [(network, name, m) for network, module in (("student", self.student), ("head", self.head))
                for name, m in module.named_modules() if isinstance(m, nn.BatchNorm2d)]


def forward_and_gradients(case: str, dtype, memory_format, stop_gradient: bool) -> dict[str, dict[tuple, torch.Tensor]]:
    """Every tensor of the first training step, as float64, NHWC where it is a feature map."""
    d = Detector(case, dtype, memory_format)
    losses, features, logits = d.losses(stop_gradient)
    losses["total"].backward()

    def nhwc(x):
        return x.detach().double().permute(0, 2, 3, 1).contiguous()

    with torch.no_grad():
        out = {("teacher", f"normal.layer{k}"): nhwc(x) for k, x in enumerate(d.teacher(d.normal), 1)}
        out |= {("teacher", f"augmented.layer{k}"): nhwc(x) for k, x in enumerate(d.teacher(d.augmented), 1)}
    out |= {("student", f"d{k}"): nhwc(x) for k, x in enumerate(features, 1)}
    out[("head", "logits")] = nhwc(logits)
    return {
        "outputs": out,
        "losses": {("", name): value.detach().double() for name, value in losses.items()},
        "gradients": {(network, name): p.grad.double().contiguous() for network, name, p in d.named_parameters()},
        "running_statistics": {(network, f"{name}.{kind}"): getattr(m, kind).double()
                               for network, name, m in d.named_norms() for kind in ("running_mean", "running_var")},
    }


def train(case: str, dtype, memory_format, kind: str) -> dict:
    """Ten joint steps; the losses before each, and what the networks give in eval mode afterwards."""
    d = Detector(case, dtype, memory_format)
    make, options = OPTIMIZERS[kind]
    optimizer = make([p for _, _, p in d.named_parameters()], lr=CASES[case][kind], **options)
    history: dict[str, list[float]] = {}
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses, _, _ = d.losses()
        losses["total"].backward()
        optimizer.step()
        for name, value in losses.items():
            history.setdefault(name, []).append(float(value.detach()))
    d.student.eval(), d.head.eval()
    with torch.no_grad():
        _, features, logits = d.losses()
    maps = {("student", f"d{k}"): x for k, x in enumerate(features, 1)} | {("head", "logits"): logits}
    return {"losses": history, "outputs": {k: x.double().permute(0, 2, 3, 1).contiguous() for k, x in maps.items()}}


def sample_indices(tensor: torch.Tensor, samples: int, kernel_taps: int = 1) -> list[int]:
    """About evenly spaced, over different channels, and not where a ReLU left a zero. Of a 3x3 kernel's, every second one
    is moved to the centre tap: a dilation wider than the map leaves the outer taps without gradient."""
    flat, count, indices = tensor.flatten(), tensor.numel(), []
    for k in range(samples):
        i = ((2 * k + 1) * count // (2 * samples) + 37 * k) % count
        if kernel_taps == 9 and k % 2 == 0:
            i += 4 - i % 9
        elif kernel_taps == 1 and flat[i] == 0:
            later = flat[i:].nonzero()
            i += int(later[0]) if len(later) else 0
        indices.append(i)
    return sorted(set(indices))


def relative_error(truth: torch.Tensor, others: list[torch.Tensor]) -> float:
    scale = float(truth.norm())
    return float(f"{max(float((o - truth).norm()) for o in others) / scale:.1e}") if scale > 0 else 0.0


def describe(key, truth: torch.Tensor, others: list[torch.Tensor], samples: int, kernel_taps: int) -> dict:
    indices = sample_indices(truth, samples, kernel_taps)
    flat = truth.flatten()
    return {"network": key[0], "name": key[1], "shape": list(truth.shape), "l2": float(truth.norm()), "indices": indices,
            "samples": [float(flat[i]) for i in indices], "f32_error": relative_error(truth, others)}


def describe_outputs(truth: dict, others: list[dict]) -> list[dict]:
    return [describe(key, x, [o[key] for o in others], OUTPUT_SAMPLES, 1) for key, x in truth.items()]


def describe_gradients(truth: dict, others: list[dict]) -> list[dict]:
    return [describe(key, g, [o[key] for o in others], GRADIENT_SAMPLES, g[0, 0].numel() if g.dim() == 4 else 1)
            for key, g in truth.items()]


def describe_losses(truth: dict, others: list[dict]) -> dict:
    return {key[1]: {"value": float(value), "f32_error": relative_error(value, [o[key] for o in others])}
            for key, value in truth.items()}


def first_values(case: str) -> list[dict]:
    """The first numbers of a few draws: what to look at first when nothing else agrees."""
    d, drawn = Detector(case, torch.float32, torch.contiguous_format), draw_inputs()
    tensors = [("input", k, drawn[k].permute(0, 2, 3, 1)) for k in ("normal", "augmented", "mask")]
    tensors += [("teacher", n, p) for n, p in d.teacher.named_parameters() if n in ("conv1.weight", "conv1.bias")]
    tensors += [(network, n, p) for network, n, p in d.named_parameters()
                if n in ("encoder.conv1.weight", "encoder.bn1.weight", "encoder.bn1.bias", "decoder.layer3.0.downsample.0.weight", "classifier.conv2.weight")]
    return [{"network": network, "name": n, "first": x.detach().double().flatten()[:4].tolist(),
             "sum": float(x.detach().double().sum())} for network, n, x in tensors]


def compute_case(case: str) -> dict:
    truth_path = (torch.float64, torch.contiguous_format)
    f32_paths = [(torch.float32, torch.contiguous_format), (torch.float32, torch.channels_last)]
    joint, *joint_f32 = [forward_and_gradients(case, *path, stop_gradient=False) for path in [truth_path, *f32_paths]]
    stopped, *stopped_f32 = [forward_and_gradients(case, *path, stop_gradient=True) for path in [truth_path, *f32_paths]]

    def student_only(result):
        return {k: v for k, v in result["gradients"].items() if k[0] == "student"}

    training = {}
    for kind, (_, options) in OPTIMIZERS.items():
        truth, *others = [train(case, *path, kind) for path in [truth_path, *f32_paths]]
        total = truth["losses"]["total"]
        gaps = [max(abs(o["losses"]["total"][i] / total[i] - 1) for o in others) for i in range(STEPS)]
        training[kind] = {
            "options": {"lr": CASES[case][kind]} | options,
            "losses": truth["losses"],
            "f32_error": [float(f"{g:.1e}") for g in gaps],
            "eval_outputs": describe_outputs(truth["outputs"], [o["outputs"] for o in others]),
        }
    return {
        "first_values": first_values(case),
        "losses": describe_losses(joint["losses"], [f["losses"] for f in joint_f32]),
        "outputs": describe_outputs(joint["outputs"], [f["outputs"] for f in joint_f32]),
        "gradients": {
            "joint": describe_gradients(joint["gradients"], [f["gradients"] for f in joint_f32]),
            "stop_gradient": describe_gradients(student_only(stopped), [student_only(f) for f in stopped_f32]),
        },
        "running_statistics": [
            {"network": key[0], "name": key[1], "l2": float(value.norm()),
             "f32_error": relative_error(value, [f["running_statistics"][key] for f in joint_f32])}
            for key, value in joint["running_statistics"].items()],
        "training": training,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_name("networks.json"))
    out = parser.parse_args().out
    document = {
        "about": ABOUT,
        "made_with": {"script": "tests/golden/make_networks.py", "torch": torch.__version__},
        "batch": BATCH, "size": SIZE, "head_width": WIDTH,
        "weight_seed": WEIGHT_SEED, "teacher_seed": TEACHER_SEED, "input_seed": INPUT_SEED,
        "cases": {case: compute_case(case) for case in CASES},
    }
    # One line for an object or an array that holds no other.
    text = re.sub(r"[{\[][^{}\[\]]*[}\]]", lambda m: re.sub(r"\s*\n\s*", " ", m[0]), json.dumps(document, indent=1))
    out.write_text(text + "\n", encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
