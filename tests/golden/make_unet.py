"""Writes unet.json: what PyTorch computes for the diffusion model's UNet: predicted noise, loss, every parameter's gradient
and ten updates, in float64.

    python tests/golden/make_unet.py            needs torch and numpy, CPU only, about a minute

As in networks.json, inputs and weights are float32 numbers drawn from Philox, so the file holds none of them, and beside each
value stands how far PyTorch's own float32 is from the truth.
"""

import argparse
import json
import pathlib
import re
import sys

import numpy as np
import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "twins"))
import philox  # noqa: E402
import unet  # noqa: E402

BATCH, SIZE = 2, 16
TIMESTEPS = (37, 811)
WEIGHT_SEED, INPUT_SEED = 31, 13
STEPS = 10
OPTIMIZER = {"lr": 3e-4, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
OUTPUT_SAMPLES, GRADIENT_SAMPLES = 8, 4
SHAPE = {"size": SIZE, "channels": 64, "multipliers": (1, 2), "blocks": 1, "attention": (8,), "heads": 2}
CASES = {"added": {"scale_shift": False, "resample_in_blocks": True},
         "scale_shift": {"scale_shift": True, "resample_in_blocks": False}}
ABOUT = {
    "numbers": "Element e of a draw is word e%4 of Philox{seed, stream, step}.bits(e/4); u = uniform01 of it, float32.",
    "inputs": f"x_0 (step 0): [{BATCH},{SIZE},{SIZE},3], NHWC flat index, -1 + 2u; noise (step 1): the same, sqrt(3)*(-1 + 2u); "
              "stream drawing (7), input_seed. x_t = sqrt(a)*x_0 + sqrt(1 - a)*noise, a = alphas_cumprod of the linear "
              "schedule, in float64, rounded to float32.",
    "weights": "Stream weights (1), weight_seed, step = index in gradients. Rank above 1: OIHW flat index, "
               "(2u-1)*sqrt(3/fan_in) in float32; norm weights 0.75 + 0.5u; biases (2u-1)*0.1f. Nothing starts at zero.",
    "output": "The predicted noise: l2 of the whole tensor, samples at NHWC flat indices.",
    "gradients": "Of the mean squared error: l2 of the whole gradient, samples at OIHW flat indices.",
    "f32_error": "|f32 - f64| / |f64| over the whole tensor, the worse of PyTorch's NCHW and channels_last paths.",
    "training": "Losses before each of ten AdamW updates on the same batch, all parameters decayed.",
}


@torch.no_grad()
def draw_weights(model: unet.UNet) -> None:
    for step, (name, p) in enumerate(model.named_parameters()):
        if p.dim() > 1:
            bound = np.sqrt(np.float32(3.0) / np.float32(p[0].numel()))
            values = philox.symmetric(WEIGHT_SEED, step, p.numel(), bound)
        elif name.endswith("weight"):
            values = philox.uniform(WEIGHT_SEED, philox.STREAM_WEIGHTS, step, p.numel(), 0.75, 1.25)
        else:
            values = philox.symmetric(WEIGHT_SEED, step, p.numel(), np.float32(0.1))
        p.copy_(torch.from_numpy(values.reshape(p.shape)))


def draw_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """x_t and the noise, float32 NCHW."""
    def draw(step, bound):
        flat = philox.uniform(INPUT_SEED, philox.STREAM_DRAWING, step, BATCH * SIZE * SIZE * 3, -bound, bound)
        return torch.from_numpy(flat).view(BATCH, SIZE, SIZE, 3).permute(0, 3, 1, 2).contiguous()

    x_0, noise = draw(0, 1.0), draw(1, np.sqrt(np.float32(3.0)))
    a = torch.from_numpy(unet.linear_alphas_cumprod())[list(TIMESTEPS)][:, None, None, None]
    return (a.sqrt() * x_0.double() + (1 - a).sqrt() * noise.double()).float(), noise


class Run:
    """The network with its first weights and its batch, in one dtype and memory format."""

    def __init__(self, case: str, dtype: torch.dtype, memory_format: torch.memory_format):
        self.model = unet.UNet(unet.Config(**SHAPE, **CASES[case]))
        draw_weights(self.model)
        self.model.to(dtype=dtype, memory_format=memory_format)
        self.x_t, self.noise = (x.to(dtype=dtype, memory_format=memory_format) for x in draw_inputs())
        self.t = torch.tensor(TIMESTEPS)

    def predict(self):
        prediction = self.model(self.x_t, self.t)
        return prediction, F.mse_loss(prediction, self.noise)


def first_step(case: str, dtype, memory_format) -> dict:
    run = Run(case, dtype, memory_format)
    prediction, loss = run.predict()
    loss.backward()
    return {"output": prediction.detach().double().permute(0, 2, 3, 1).contiguous(), "loss": loss.detach().double(),
            "gradients": {n: p.grad.double().contiguous() for n, p in run.model.named_parameters()}}


def train(case: str, dtype, memory_format) -> list[float]:
    run = Run(case, dtype, memory_format)
    optimizer = torch.optim.AdamW(run.model.parameters(), **OPTIMIZER)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        _, loss = run.predict()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def relative_error(truth: torch.Tensor, others: list[torch.Tensor]) -> float:
    return float(f"{max(float((o - truth).norm()) for o in others) / float(truth.norm()):.1e}")


def describe(name: str, truth: torch.Tensor, others: list[torch.Tensor], samples: int) -> dict:
    count, flat = truth.numel(), truth.flatten()
    indices = sorted({((2 * k + 1) * count // (2 * samples) + 37 * k) % count for k in range(samples)})
    return {"name": name, "shape": list(truth.shape), "l2": float(truth.norm()), "indices": indices,
            "samples": [float(flat[i]) for i in indices], "f32_error": relative_error(truth, others)}


def compute_case(case: str) -> dict:
    paths = [(torch.float64, torch.contiguous_format), (torch.float32, torch.contiguous_format),
             (torch.float32, torch.channels_last)]
    truth, *others = [first_step(case, *path) for path in paths]
    losses, *f32_losses = [train(case, *path) for path in paths]
    return {
        "config": CASES[case],
        "parameters": sum(g.numel() for g in truth["gradients"].values()),
        "output": describe("prediction", truth["output"], [o["output"] for o in others], OUTPUT_SAMPLES),
        "loss": {"value": float(truth["loss"]), "f32_error": relative_error(truth["loss"], [o["loss"] for o in others])},
        "gradients": [describe(name, g, [o["gradients"][name] for o in others], GRADIENT_SAMPLES)
                      for name, g in truth["gradients"].items()],
        "training": {"losses": losses,
                     "f32_error": [float(f"{max(abs(o[i] / losses[i] - 1) for o in f32_losses):.1e}") for i in range(STEPS)]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_name("unet.json"))
    out = parser.parse_args().out
    document = {
        "about": ABOUT,
        "made_with": {"script": "tests/golden/make_unet.py", "torch": torch.__version__},
        "batch": BATCH, "shape": SHAPE, "timesteps": TIMESTEPS, "optimizer": OPTIMIZER,
        "weight_seed": WEIGHT_SEED, "input_seed": INPUT_SEED,
        "cases": {case: compute_case(case) for case in CASES},
    }
    # One line for an object or an array that holds no other.
    text = re.sub(r"[{\[][^{}\[\]]*[}\]]", lambda m: re.sub(r"\s*\n\s*", " ", m[0]), json.dumps(document, indent=1))
    out.write_text(text + "\n", encoding="utf-8")
    print(f"{out}: {out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
