"""Writes torch/*.pth: small files of torch.save in both of its forms, and torch.json: what is in them.

    python tests/golden/make_torch_files.py         needs torch, CPU only, a second

`types` holds a tensor of every element type that is read, a scalar, an empty tensor and parts of a shared storage; `module`
a state_dict of a convolution and a BatchNorm with their Parameters; `checkpoint` what training scripts save around one. The
others must be refused.
"""

import collections
import json
import pathlib

import torch
from torch import nn

FOLDER = pathlib.Path(__file__).resolve().parent / "torch"
FORMS = {"zip": True, "stream": False}


# Without a definition in this file: the stream form would store that, and where the file lies.
WholeModule = type("WholeModule", (nn.Module,), {})


def ramp(shape, dtype, first=-1.5, step=0.25):
    """first, first + step, …: exact in every type of ours."""
    count = 1
    for extent in shape:
        count *= extent
    values = torch.arange(count, dtype=torch.float64) * step + first
    return values.reshape(shape).to(dtype)


def types():
    shared = ramp((10,), torch.float32, first=10)
    return {
        "f32": ramp((2, 3), torch.float32),
        "f16": ramp((3,), torch.float16),
        "bf16": ramp((2, 2), torch.bfloat16),
        "f64": ramp((2,), torch.float64),
        "i32": ramp((3,), torch.int32, first=-1, step=70000),
        "i64": torch.tensor(12345678901),
        "empty": torch.zeros((0, 4)),
        "part": shared[2:8].view(3, 2),
        "last": shared[9:],
    }


def module():
    torch.manual_seed(1)
    net = nn.Sequential(collections.OrderedDict(conv1=nn.Conv2d(3, 2, 1, bias=False), bn1=nn.BatchNorm2d(2)))
    return net.state_dict(keep_vars=True)


def checkpoint():
    optimizer = torch.optim.Adam([nn.Parameter(ramp((2,), torch.float32))])
    return {"epoch": 3, "arch": "resnet18", "best": 71.5, "state_dict": module(), "optimizer": optimizer.state_dict(),
            "none": None}


def described(tensors):
    return [{"name": name, "type": str(t.dtype).removeprefix("torch."), "shape": list(t.shape),
             "values": t.detach().double().flatten().tolist()} for name, t in tensors.items()]


def main():
    FOLDER.mkdir(exist_ok=True)
    contents = {"types": types(), "module": module(), "checkpoint": checkpoint()}
    foreign = {"whole_module": WholeModule(), "strided": {"a": ramp((2, 3), torch.float32).t()},
               "bytes": {"a": torch.zeros(2, dtype=torch.uint8)}, "number": {"a": torch.zeros(2), "epoch": 3}}
    for form, zipped in FORMS.items():
        for name, content in (contents | foreign).items():
            torch.save(content, FOLDER / f"{name}_{form}.pth", _use_new_zipfile_serialization=zipped)
    document = {"about": "What tests/golden/make_torch_files.py put into torch/*.pth.", "torch": torch.__version__,
                "types": described(contents["types"]), "module": described(contents["module"]),
                "checkpoint": described(contents["checkpoint"]["state_dict"])}
    (FOLDER.parent / "torch.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
