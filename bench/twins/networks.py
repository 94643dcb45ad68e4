"""The detector's networks and losses in PyTorch, with the engine's parameter names, order and initial weights.

Teacher: ResNet-18 up to layer3 (He et al. 2015). Student and segmentation head: Zhang et al., arXiv 2211.11317 Sec. 3
(the nearest published ancestor of Feng et al., arXiv 2604.19240). Tensors here are NCHW, weights OIHW, as PyTorch has
them; the engine stores NHWC and KRSC.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import philox

NORM_EPSILON = 1e-12  # added to a vector's L2 norm before the division
FOCAL_GAMMA = 4.0
ASPP_RATES = (6, 12, 18)
HEAD_WIDTHS = {"s": 64, "m": 128, "l": 256}


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN, plus the input (through conv1x1-BN where the shape changes), then ReLU.

    folded: the BatchNorms are already inside the convolutions, which therefore have biases.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, folded: bool = False):
        super().__init__()
        norm = nn.Identity if folded else lambda: nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=folded)
        self.bn1 = norm()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=folded)
        self.bn2 = norm()
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=folded), norm())

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + shortcut)


def _stage(in_channels: int, channels: int, stride: int = 1, folded: bool = False) -> nn.Sequential:
    return nn.Sequential(BasicBlock(in_channels, channels, stride, folded), BasicBlock(channels, channels, 1, folded))


class ResNet18(nn.Module):
    """ResNet-18's stem and its first `stages` stages, torchvision's names. x: [N,3,H,W] -> outputs of all stages."""

    def __init__(self, stages: int, folded: bool = False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=folded)
        self.bn1 = nn.Identity() if folded else nn.BatchNorm2d(64)
        self.stage_names = [f"layer{k}" for k in range(1, stages + 1)]
        widths = [64, 64, 128, 256, 512]
        for k, name in enumerate(self.stage_names):
            self.add_module(name, _stage(widths[k], widths[k + 1], 1 if k == 0 else 2, folded))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        outputs = []
        for name in self.stage_names:
            x = getattr(self, name)(x)
            outputs.append(x)
        return outputs


class Teacher(ResNet18):
    """x: [N,3,H,W] -> [64 @ H/4, 128 @ H/8, 256 @ H/16]. Frozen."""

    def __init__(self, folded: bool = True):
        super().__init__(stages=3, folded=folded)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True):
        if mode:
            raise RuntimeError("the teacher is frozen: it has no training mode")
        return super().train(False)


def upsample(x, size):
    """Bilinear with half-pixel centres."""
    return x if x.shape[-2:] == tuple(size) else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Decoder(nn.Module):
    """The reversed ResNet-18: [N,512,h,w] -> (d1 64 @ 8h, d2 128 @ 4h, d3 256 @ 2h). No skip connections."""

    def __init__(self):
        super().__init__()
        self.layer4 = _stage(512, 512)
        self.layer3 = _stage(512, 256)
        self.layer2 = _stage(256, 128)
        self.layer1 = _stage(128, 64)

    def forward(self, x):
        def double(y):
            return F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)

        d3 = self.layer3(double(self.layer4(x)))
        d2 = self.layer2(double(d3))
        d1 = self.layer1(double(d2))
        return [d1, d2, d3]


class Student(nn.Module):
    """x: [N,3,H,W], H and W multiples of 32 -> [64 @ H/4, 128 @ H/8, 256 @ H/16]."""

    def __init__(self):
        super().__init__()
        self.encoder = ResNet18(stages=4)
        self.decoder = Decoder()

    def forward(self, x):
        return self.decoder(self.encoder(x)[-1])


class ConvNorm(nn.Module):
    """conv (no bias)-BN-ReLU, size kept."""

    def __init__(self, in_channels: int, channels: int, kernel: int, dilation: int = 1):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=padding, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: [pool, rate 6, rate 12, rate 18] side by side, then a 3x3 projection."""

    def __init__(self, channels: int):
        super().__init__()
        self.pool = ConvNorm(channels, channels, 1)
        self.branch = nn.ModuleList(ConvNorm(channels, channels, 3, rate) for rate in ASPP_RATES)
        self.project = ConvNorm(4 * channels, channels, 3)

    def forward(self, x):
        pooled = self.pool(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([pooled] + [branch(x) for branch in self.branch], dim=1))


class Classifier(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        return self.conv2(F.relu(self.bn1(self.conv1(x))))


class SegmentationHead(nn.Module):
    """x: [N,448,h,w] from feature_product -> logits [N,1,h,w]."""

    def __init__(self, channels: int):
        super().__init__()
        self.residual = _stage(448, channels)
        self.aspp = ASPP(channels)
        self.classifier = Classifier(channels)

    def forward(self, x):
        return self.classifier(self.aspp(self.residual(x)))


# --- losses ---------------------------------------------------------------------------------------------------------


def _wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def _inverse_norms(teacher, student):
    """1 / ((|T| + eps)(|S| + eps)) per position, [N,1,h,w], never narrower than float32."""
    wide = _wide(teacher.dtype)
    norm_t = torch.linalg.vector_norm(teacher, dim=1, keepdim=True, dtype=wide) + NORM_EPSILON
    norm_s = torch.linalg.vector_norm(student, dim=1, keepdim=True, dtype=wide) + NORM_EPSILON
    return 1.0 / (norm_t * norm_s)


def feature_product(teacher, student):
    """The head's input: per level -(T/|T| * S/|S|), channels kept, upsampled to the finest level and concatenated."""
    size = teacher[0].shape[-2:]
    products = [-(t * s) * _inverse_norms(t, s).to(t.dtype) for t, s in zip(teacher, student)]
    return torch.cat([upsample(p, size) for p in products], dim=1)


def cosine_loss(teacher, student):
    """1/N sum over levels and pictures of mean_ij (1 - cos(T, S)) (arXiv 2211.11317 eq. 1-3)."""
    total = 0.0
    for t, s in zip(teacher, student):
        dot = (t * s).sum(dim=1, keepdim=True, dtype=_wide(t.dtype))
        total = total + (1.0 - dot * _inverse_norms(t, s)).mean()
    return total


def segmentation_losses(logits, mask):
    """logits [N,1,h,w], mask [N,1,h,w] of 0 and 1 -> (focal, l1), each a mean over pixels (arXiv 2211.11317 Sec. 3.4)."""
    logits = logits.to(_wide(logits.dtype))
    target = mask.to(logits.dtype)
    log_p_t = F.logsigmoid(torch.where(mask.bool(), logits, -logits))
    focal = -((1.0 - log_p_t.exp()) ** FOCAL_GAMMA * log_p_t).mean()
    return focal, (torch.sigmoid(logits) - target).abs().mean()


def joint_losses(teacher, student, head, normal, augmented, mask, stop_gradient: bool = False):
    """One joint training step's forward. Returns (losses by name, student features, logits).

    Cosine: S(I_a) against T(I_n). Head: the product of S(I_a) and T(I_a). Both terms weigh 1.
    stop_gradient: the segmentation loss does not reach the student.
    """
    with torch.no_grad():
        both = teacher(torch.cat([normal, augmented]))
        target, reference = ([level.chunk(2)[i] for level in both] for i in (0, 1))
    features = student(augmented)
    compared = [f.detach() for f in features] if stop_gradient else features
    logits = head(feature_product(reference, compared))
    cosine = cosine_loss(target, features)
    focal, l1 = segmentation_losses(logits, mask)
    return {"total": cosine + focal + l1, "cosine": cosine, "focal": focal, "l1": l1}, features, logits


# --- weights --------------------------------------------------------------------------------------------------------


def trainable_parameters(student: nn.Module, head: nn.Module):
    """(network, name, tensor) in the engine's order: the student's, then the head's, each in registration order."""
    return [(network, name, p) for network, module in (("student", student), ("head", head))
            for name, p in module.named_parameters()]


@torch.no_grad()
def initialise(student: nn.Module, head: nn.Module, seed: int) -> None:
    """Parameter p takes step p of the weights stream: convolutions uniform within sqrt(6 / fan_out), fan_out = O*kh*kw,
    element order OIHW; BatchNorm weights 1; every bias 0 (these count as parameters but draw nothing)."""
    for step, (_, name, p) in enumerate(trainable_parameters(student, head)):
        if p.dim() == 4:
            bound = philox.kaiming_bound(p.shape[0] * p.shape[2] * p.shape[3])
            p.copy_(torch.from_numpy(philox.symmetric(seed, step, p.numel(), bound).reshape(p.shape)))
        else:
            p.fill_(0.0 if name.endswith(".bias") else 1.0)


@torch.no_grad()
def initialise_folded_teacher(teacher: Teacher, seed: int) -> None:
    """A teacher that needs no file. Tensor p of conv1.weight, conv1.bias, layer1.0.conv1.weight, ... takes step p of the
    weights stream: weights uniform within sqrt(6 / fan_in), fan_in = I*kh*kw; biases within 0.1."""
    for step, (_, p) in enumerate(teacher.named_parameters()):
        fan_in = int(np.prod(p.shape[1:]))
        bound = philox.kaiming_bound(fan_in) if p.dim() == 4 else np.float32(0.1)
        p.copy_(torch.from_numpy(philox.symmetric(seed, step, p.numel(), bound).reshape(p.shape)))


@torch.no_grad()
def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Moves every BatchNorm into the convolution before it, in place. The module must be in eval mode."""
    pairs = (("conv1", "bn1"), ("conv2", "bn2"), ("conv", "bn"), ("0", "1"))
    for parent in list(module.modules()):
        for conv_name, norm_name in pairs:
            conv, norm = (parent._modules.get(n) for n in (conv_name, norm_name))
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    left = [name for name, m in module.named_modules() if isinstance(m, nn.BatchNorm2d)]
    if left:
        raise RuntimeError(f"BatchNorm without a convolution before it: {left}")
    return module


def load_teacher(path: str) -> Teacher:
    """Reads ResNet-18 from a safetensors file with torchvision's names, its BatchNorms folded or not; returns it folded.

    Raises RuntimeError when a tensor is missing or has another shape; what the teacher does not use (layer4, fc) is ignored.
    """
    from safetensors.torch import load_file

    tensors = load_file(path)
    folded = "conv1.bias" in tensors
    teacher = Teacher(folded=folded)
    used = {k: v for k, v in tensors.items() if not k.startswith(("layer4.", "fc."))}
    result = teacher.load_state_dict(used, strict=False)
    missing = [k for k in result.missing_keys if not k.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise RuntimeError(f"{path} is not a ResNet-18: missing {missing}, not known {result.unexpected_keys}")
    return teacher if folded else fold_batch_norm(teacher)
