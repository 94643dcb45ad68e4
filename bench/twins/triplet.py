"""Times the making of training triplets in PyTorch: Perlin mask, source, blend, normalise, a whole batch at once.

    python triplet.py --batch 8 --precision bf16 --mode compile --seconds 10

The papers' recipe (arXiv 2211.11317, after arXiv 2108.07610): a normal picture, moved a little; Perlin noise of a random
lattice, turned and cut at 1/2; as the source another picture of the set, turned, scaled and recoloured; an opacity each.
I_a = (1 - M) I + M [(1 - b) I + b A]. The usual code does one picture after the other in NumPy, OpenCV and imgaug; here
everything is a tensor operation over the batch, which is the best that PyTorch's own operations do.

Prints one line of JSON in the schema of ddpmts_bench (bench/twins/measure.py).
"""

import argparse
import math
import sys

import torch
import torch.nn.functional as F

import measure

SEED = 1
PICTURES = 16
MOST_CELLS = 32
POINTS = MOST_CELLS + 1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def rotations(angles, scales, shifts):
    """[N] radians, [N], [N,2] in units of half a side -> affine maps [N,2,3] for affine_grid."""
    cosine, sine = angles.cos() / scales, angles.sin() / scales
    return torch.stack([torch.stack([cosine, -sine, shifts[:, 0]], 1), torch.stack([sine, cosine, shifts[:, 1]], 1)], 1)


def perlin_noise(n: int, size: int, device):
    """[N,S,S] in [-1,1]: per picture its own lattice of 1 to 32 cells a side, turned by up to 90 degrees."""
    cells = 2 ** torch.randint(0, 6, (2, n, 1, 1), device=device)
    angle = (torch.rand(n, 1, 1, device=device) * 2 - 1) * (math.pi / 2)
    directions = torch.rand(n, POINTS * POINTS, device=device) * (2 * math.pi)
    gradient_x, gradient_y = directions.cos(), directions.sin()
    line = (torch.arange(size, device=device) + 0.5) / size - 0.5
    x, y = line.view(1, 1, size), line.view(1, size, 1)
    unit_x = angle.cos() * x - angle.sin() * y + 0.5
    unit_y = angle.sin() * x + angle.cos() * y + 0.5
    inside = (unit_x >= 0) & (unit_x < 1) & (unit_y >= 0) & (unit_y < 1)
    u, v = unit_x.clamp(0, 1 - 1e-6) * cells[0], unit_y.clamp(0, 1 - 1e-6) * cells[1]
    column, row = u.floor(), v.floor()
    u, v = u - column, v - row
    first = (row * POINTS + column).long().view(n, -1)

    def corner(dx: int, dy: int):
        at = first + (dy * POINTS + dx)
        return ((u - dx) * gradient_x.gather(1, at).view_as(u) + (v - dy) * gradient_y.gather(1, at).view_as(v))

    def fade(t):
        return t * t * t * (t * (t * 6 - 15) + 10)

    fade_u = fade(u)
    noise = torch.lerp(torch.lerp(corner(0, 0), corner(1, 0), fade_u), torch.lerp(corner(0, 1), corner(1, 1), fade_u), fade(v))
    return math.sqrt(2) * noise * inside


def sample(pictures, indices, maps, padding: str):
    """u8 pictures [count,3,S,S] at the places that the affine maps lead to: [N,3,S,S] f32 in levels."""
    chosen = pictures[indices].float()
    return F.grid_sample(chosen, F.affine_grid(maps, chosen.shape, align_corners=False), mode="bilinear",
                         padding_mode=padding, align_corners=False)


def triplets(pictures, n: int, dtype):
    """-> normal and defective [N,3,S,S] of dtype, normalised, and mask [N,1,S,S] u8."""
    count, size, device = pictures.shape[0], pictures.shape[-1], pictures.device

    def rand(*shape):
        return torch.rand(*shape, device=device)

    small = rotations((rand(n) * 2 - 1) * math.radians(5), 1 + (rand(n) * 2 - 1) * 0.02,
                      (rand(n, 2) * 2 - 1) * 0.04)
    anywhere = rotations(rand(n) * (2 * math.pi), 0.5 + rand(n) * 1.5, rand(n, 2) * 2 - 1)
    normal = sample(pictures, torch.randint(0, count, (n,), device=device), small, "border")
    normal = (normal * (1 + (rand(n, 1, 1, 1) * 2 - 1) * 0.04)).clamp(0, 255)
    source = sample(pictures, torch.randint(0, count, (n,), device=device), anywhere, "reflection")
    source = (source * (0.5 + rand(n, 3, 1, 1)) + (rand(n, 3, 1, 1) * 2 - 1) * 64).clamp(0, 255)
    mask = (perlin_noise(n, size, device) > 0.5).unsqueeze(1)
    opacity = 0.2 + 0.8 * rand(n, 1, 1, 1)
    defective = torch.where(mask, torch.lerp(normal, source, opacity), normal)
    scale = 1.0 / (255.0 * torch.tensor(STD, device=device)).view(1, 3, 1, 1)
    shift = -(torch.tensor(MEAN, device=device) / torch.tensor(STD, device=device)).view(1, 3, 1, 1)

    def normalised(x):
        return (x * scale + shift).to(dtype=dtype, memory_format=torch.channels_last)

    return normalised(normal), normalised(defective), mask.to(torch.uint8)


def synthesis_step(options):
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    pictures = torch.randint(0, 256, (PICTURES, 3, options.size, options.size), dtype=torch.uint8,
                             generator=measure.generator(options, SEED)).contiguous(memory_format=torch.channels_last)
    make = measure.compiled(triplets, options) if options.mode == "compile" else triplets

    def step():
        with torch.no_grad():
            return make(pictures, options.batch, dtype)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--mode", choices=["eager", "compile"], default="eager")
    measure.add_options(parser)
    options = parser.parse_args()
    measure.prepare(options)
    torch.manual_seed(SEED)
    place = measure.device_name(options)
    name = f"pipelines/triplet_synthesis/{options.size}/{options.precision}/b{options.batch}/{place}"
    axes = {"precision": options.precision, "batch": options.batch, "size": options.size}
    measure.run(name, axes, options.batch, lambda: synthesis_step(options), options, " ".join(sys.argv))


if __name__ == "__main__":
    main()
