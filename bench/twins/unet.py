"""The diffusion model's UNet in PyTorch, with the engine's parameter names; run as a program, it times the model.

    python unet.py --what train  --preset s --size 64 --batch 8 --precision bf16 --mode compile --seconds 20
    python unet.py --what sample --preset s --size 64 --batch 8 --precision bf16 --mode compile --seconds 10
    python unet.py --count

Architecture: Dhariwal and Nichol, "Diffusion models beat GANs on image synthesis" (arXiv 2105.05233, ADM), with its optional
parts as switches; names as in that paper's public checkpoints. Attention channels are [q | k | v], each heads x head channels.

train:  noise x_0, predict the noise, mean squared error, backward, clip to norm 1, fused AdamW, moving average of the weights.
sample: one ancestral reverse step (arXiv 2006.11239 eq. 11, x_0 clamped): UNet and the update of x_t.

Prints one line of JSON in the schema of ddpmts_bench (see detector.py for what to look at).
"""

import argparse
import copy
import dataclasses
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import measure

GROUPS = 32
SEED = 1


@dataclasses.dataclass
class Config:
    size: int = 64
    channels: int = 64
    multipliers: tuple = (1, 2, 3, 4)
    blocks: int = 2  # residual blocks per level
    attention: tuple = (32, 16, 8)  # sides of the maps that attend
    heads: int = 4
    scale_shift: bool = False
    resample_in_blocks: bool = True
    dropout: float = 0.0
    in_channels: int = 3
    out_channels: int = 3


MULTIPLIERS = {64: (1, 2, 3, 4), 128: (1, 1, 2, 3, 4), 256: (1, 1, 2, 2, 4, 4)}  # ADM's for these sizes


def preset(name: str, size: int) -> Config:
    shape = {
        "xs": {"channels": 32, "heads": 2},
        "s": {"channels": 64, "heads": 4},
        "m": {"channels": 128, "heads": 1, "attention": (16,), "resample_in_blocks": False},
    }[name]
    return Config(size=size, multipliers=MULTIPLIERS[size], **shape)


def time_embedding(t: torch.Tensor, channels: int) -> torch.Tensor:
    """[cos, sin] of t*f_i, f_i = exp(-ln(10000) i / half): [N, channels]."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float64, device=t.device) / half)
    angles = t.double()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ResidualBlock(nn.Module):
    def __init__(self, c: Config, in_channels: int, out_channels: int, resample: str = ""):
        super().__init__()
        self.resample, self.scale_shift = resample, c.scale_shift
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, in_channels), nn.SiLU(),
                                       nn.Conv2d(in_channels, out_channels, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * c.channels, out_channels * (2 if c.scale_shift else 1)))
        self.out_layers = nn.Sequential(nn.GroupNorm(GROUPS, out_channels), nn.SiLU(), nn.Dropout(c.dropout),
                                        nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip_connection = (nn.Identity() if in_channels == out_channels
                                else nn.Conv2d(in_channels, out_channels, 1))

    def change_size(self, x):
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resample == "down" else x

    def forward(self, x, embedding):
        norm, silu, convolution = self.in_layers
        h = convolution(self.change_size(silu(norm(x))))
        e = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + e)
        return self.skip_connection(self.change_size(x)) + h


class AttentionBlock(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x, _):
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(n, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(y.transpose(1, 2).reshape(n, h, w, c).permute(0, 3, 1, 2))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x, _):
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, _):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Stem(nn.Conv2d):
    def forward(self, x, _):
        return super().forward(x)


class UNet(nn.Module):
    """x [N,C,S,S], timesteps [N] -> predicted noise of x's shape."""

    def __init__(self, c: Config):
        super().__init__()
        self.config = c
        wide = 4 * c.channels
        self.time_embed = nn.Sequential(nn.Linear(c.channels, wide), nn.SiLU(), nn.Linear(wide, wide))
        ch = c.multipliers[0] * c.channels
        self.input_blocks = nn.ModuleList([nn.ModuleList([Stem(c.in_channels, ch, 3, padding=1)])])
        skips, side = [ch], c.size
        for level, multiplier in enumerate(c.multipliers):
            for _ in range(c.blocks):
                out = multiplier * c.channels
                parts = [ResidualBlock(c, ch, out)]
                ch = out
                if side in c.attention:
                    parts.append(AttentionBlock(ch, c.heads))
                self.input_blocks.append(nn.ModuleList(parts))
                skips.append(ch)
            if level + 1 < len(c.multipliers):
                down = ResidualBlock(c, ch, ch, "down") if c.resample_in_blocks else Downsample(ch)
                self.input_blocks.append(nn.ModuleList([down]))
                skips.append(ch)
                side //= 2
        self.middle_block = nn.ModuleList([ResidualBlock(c, ch, ch), AttentionBlock(ch, c.heads), ResidualBlock(c, ch, ch)])
        self.output_blocks = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(c.multipliers))):
            for i in range(c.blocks + 1):
                out = multiplier * c.channels
                parts = [ResidualBlock(c, ch + skips.pop(), out)]
                ch = out
                if side in c.attention:
                    parts.append(AttentionBlock(ch, c.heads))
                if level > 0 and i == c.blocks:
                    parts.append(ResidualBlock(c, ch, ch, "up") if c.resample_in_blocks else Upsample(ch))
                    side *= 2
                self.output_blocks.append(nn.ModuleList(parts))
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, ch), nn.SiLU(), nn.Conv2d(ch, c.out_channels, 3, padding=1))
        self.start_zeros()

    def start_zeros(self) -> None:
        """Residual branches and the output start as zero (arXiv 2105.05233)."""
        for name, p in self.named_parameters():
            if ".out_layers.3." in name or ".proj_out." in name or name.startswith("out.2."):
                nn.init.zeros_(p)

    def forward(self, x, timesteps):
        weight = self.time_embed[0].weight
        embedding = self.time_embed(time_embedding(timesteps, self.config.channels).to(weight.dtype))
        skips = []
        for parts in self.input_blocks:
            for part in parts:
                x = part(x, embedding)
            skips.append(x)
        for part in self.middle_block:
            x = part(x, embedding)
        for parts in self.output_blocks:
            x = torch.cat([x, skips.pop()], dim=1)
            for part in parts:
                x = part(x, embedding)
        return self.out(x)


def linear_alphas_cumprod(steps: int = 1000) -> np.ndarray:
    return np.cumprod(1.0 - np.linspace(1e-4, 0.02, steps, dtype=np.float64))


def training_step(options, model):
    """Returns a function that does one training step on noised pictures that lie in memory."""
    alphas = torch.tensor(linear_alphas_cumprod(), dtype=torch.float32)
    x_0 = (torch.rand(options.batch, 3, options.size, options.size) * 2 - 1).to(memory_format=torch.channels_last)
    average = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def loss_of(x_t, t, noise):
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            prediction = model(x_t, t)
        return F.mse_loss(prediction.float(), noise)

    forward = measure.compiled(loss_of, options) if options.mode == "compile" else loss_of

    def step():
        t = torch.randint(0, 1000, (options.batch,), device=options.device)
        noise = torch.randn_like(x_0)
        a = alphas[t][:, None, None, None]
        loss = forward(a.sqrt() * x_0 + (1 - a).sqrt() * noise, t, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, list(model.parameters()), 1e-4)
        return loss

    return step


def sampling_step(options, model):
    """Returns a function that takes one ancestral step from x_t."""
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    model = copy.deepcopy(model).eval().requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.randn(options.batch, 3, options.size, options.size).to(memory_format=torch.channels_last)
    alphas = linear_alphas_cumprod()[::50]
    i = 10
    beta = 1 - alphas[i] / alphas[i - 1]
    from_x_0 = math.sqrt(alphas[i - 1]) * beta / (1 - alphas[i])
    from_x = math.sqrt(1 - beta) * (1 - alphas[i - 1]) / (1 - alphas[i])
    sigma = math.sqrt(beta * (1 - alphas[i - 1]) / (1 - alphas[i]))
    t = torch.full((options.batch,), 50 * i)

    def reverse(x_t):
        noise = model(x_t.to(dtype), t).float()
        x_0 = (math.sqrt(1 / alphas[i]) * x_t - math.sqrt(1 / alphas[i] - 1) * noise).clamp(-1, 1)
        return from_x_0 * x_0 + from_x * x_t + sigma * torch.randn_like(x_t)

    if options.mode == "compile":
        from torch._inductor import config as inductor_config

        inductor_config.freezing = True  # weights become constants: packed once
        reverse = measure.compiled(reverse, options)

    def step():
        with torch.no_grad():
            return reverse(x)

    return step


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["train", "sample"])
    parser.add_argument("--count", action="store_true", help="print how many parameters every preset has, and stop")
    parser.add_argument("--preset", choices=["xs", "s", "m"], default="s")
    parser.add_argument("--size", type=int, choices=sorted(MULTIPLIERS), default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--mode", choices=["eager", "compile"], default="eager")
    measure.add_options(parser)
    options = parser.parse_args()
    if not options.count and not options.what:
        parser.error("--what is needed")
    return options


def main() -> None:
    options = parse_options()
    if options.count:
        for name in ("xs", "s", "m"):
            for size in MULTIPLIERS:
                with torch.device("meta"):
                    print(name, size, sum(p.numel() for p in UNet(preset(name, size)).parameters()))
        return
    measure.prepare(options)
    torch.manual_seed(SEED)
    model = UNet(preset(options.preset, options.size)).to(memory_format=torch.channels_last)
    make_step = training_step if options.what == "train" else sampling_step
    what = "diffusion_training_step" if options.what == "train" else "diffusion_sampling_step"
    place = measure.device_name(options)
    name = f"pipelines/{what}/unet_{options.preset}/{options.size}/{options.precision}/b{options.batch}/{place}"
    axes = {"precision": options.precision, "batch": options.batch, "size": options.size, "unet": options.preset}
    measure.run(name, axes, options.batch, lambda: make_step(options, model), options, " ".join(sys.argv))


if __name__ == "__main__":
    main()
