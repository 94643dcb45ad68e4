"""Writes resnet34.json: what PyTorch computes for a ResNet-34 up to layer3 with its BatchNorms, in float64.

    python tests/golden/make_resnet34.py            needs torch and numpy, CPU only, seconds

Weights and the picture are float32 numbers drawn from Philox (bench/twins/philox.py = kernels/philox.h), so the file holds
none of them. The network (arXiv 1512.03385, torchvision's names and order) is written here from PyTorch's modules. Beside each
level stands how far PyTorch's own float32 is from the truth, as a guide for a test's tolerance.
"""

import json
import pathlib
import sys

import torch
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "twins"))
import philox  # noqa: E402

BLOCKS, SIZE, SEED, SAMPLES = (3, 4, 6), 64, 34, 12
ABOUT = {
    "numbers": "Element e of a draw is word e%4 of Philox{seed, stream, step}.bits(e/4); u = uniform01 of it.",
    "picture": f"[1,{SIZE},{SIZE},3], NHWC flat index, -2 + 4u; stream drawing (7), step 0.",
    "weights": "Stream weights (1); steps 5i to 5i+4 for the i-th convolution in the order conv1, layer1.0.conv1, "
               "layer1.0.conv2, ..., downsample.0 after a block's conv2: its weight, OIHW, (2u-1)*sqrt(6/(I*kh*kw)); then its "
               "BatchNorm's weight 0.25 + 0.5u, bias -0.5 + u, running_mean -0.5 + u, running_var 0.5 + u.",
    "levels": "l2 of the whole level; samples at NHWC flat indices. f32_error: |f32 - f64| / |f64| over the whole level.",
}


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for layer, count in enumerate(BLOCKS, 1):
            outputs = 32 << layer
            blocks = [Block(inputs if i == 0 else outputs, outputs, 2 if i == 0 and layer > 1 else 1)
                      for i in range(count)]
            setattr(self, f"layer{layer}", nn.Sequential(*blocks))
            inputs = outputs

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        levels = []
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            levels.append(x)
        return levels

    def units(self):
        """Every convolution with its BatchNorm, in the order that ABOUT names."""
        yield self.conv1, self.bn1
        for layer in (self.layer1, self.layer2, self.layer3):
            for block in layer:
                yield block.conv1, block.bn1
                yield block.conv2, block.bn2
                if block.downsample is not None:
                    yield block.downsample[0], block.downsample[1]

    @torch.no_grad()
    def draw(self):
        for i, (conv, norm) in enumerate(self.units()):
            fan_in = conv.weight[0].numel()
            conv.weight.copy_(torch.from_numpy(philox.symmetric(
                SEED, 5 * i, conv.weight.numel(), philox.kaiming_bound(fan_in))).view_as(conv.weight))
            ranges = ((norm.weight, 0.25, 0.75), (norm.bias, -0.5, 0.5), (norm.running_mean, -0.5, 0.5),
                      (norm.running_var, 0.5, 1.5))
            for j, (tensor, low, high) in enumerate(ranges, 1):
                tensor.copy_(torch.from_numpy(philox.uniform(
                    SEED, philox.STREAM_WEIGHTS, 5 * i + j, tensor.numel(), low, high)))


@torch.no_grad()
def main():
    trunk = Trunk().eval()
    trunk.draw()
    flat = philox.uniform(SEED, philox.STREAM_DRAWING, 0, SIZE * SIZE * 3, -2.0, 2.0)
    picture = torch.from_numpy(flat).view(1, SIZE, SIZE, 3).permute(0, 3, 1, 2).contiguous()
    narrow = [x.double().permute(0, 2, 3, 1).contiguous() for x in trunk(picture)]
    truth = [x.permute(0, 2, 3, 1).contiguous() for x in trunk.double()(picture.double())]
    levels = []
    for k, (x, y) in enumerate(zip(truth, narrow), 1):
        indices = [int(i) for i in torch.linspace(0, x.numel() - 1, SAMPLES).round()]
        levels.append({"name": f"layer{k}", "shape": list(x.shape), "l2": float(x.norm()), "indices": indices,
                       "samples": [float(x.flatten()[i]) for i in indices],
                       "f32_error": float((y - x).norm() / x.norm())})
        print(levels[-1]["name"], levels[-1]["shape"], levels[-1]["l2"] / x.numel() ** 0.5, levels[-1]["f32_error"])
    document = {"about": ABOUT, "torch": torch.__version__, "seed": SEED, "size": SIZE, "levels": levels}
    (pathlib.Path(__file__).parent / "resnet34.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
