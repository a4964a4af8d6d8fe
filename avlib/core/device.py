"""The device that a run computes on."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch


def pick_device(name: str) -> torch.device:
    """The device of a name: auto (a GPU if the machine has one), cpu or cuda.

    A process of `accelerate launch` gets the GPU of its rank. ValueError for a device that this machine lacks.
    """
    has_cuda = torch.cuda.is_available()
    device_types = {"auto": "cuda" if has_cuda else "cpu", "cpu": "cpu"} | ({"cuda": "cuda"} if has_cuda else {})
    if name not in device_types:
        raise ValueError(f"device: expected one of {', '.join(device_types)} on this machine, got {name!r}")
    if device_types[name] == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def computing_in(precision: str, device: torch.device) -> AbstractContextManager:
    """A context in which PyTorch computes products and convolutions in this precision (autocast); weights stay float32.

    precision: float32 or bfloat16. ValueError for any other.
    """
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision: expected float32 or bfloat16, got {precision!r}")
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
