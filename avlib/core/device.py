"""The device that a run computes on."""

import os

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
