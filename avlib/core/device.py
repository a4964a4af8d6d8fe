"""Which device a run computes on."""

import os

import torch


def pick_device(name: str) -> torch.device:
    """ "auto" is a GPU where there is one. ValueError for a device that this machine lacks."""
    cuda = torch.cuda.is_available()
    known = {"auto": "cuda" if cuda else "cpu", "cpu": "cpu"} | ({"cuda": "cuda"} if cuda else {})
    if name not in known:
        raise ValueError(f"device: expected one of {', '.join(known)} on this machine, got {name!r}")
    return torch.device(known[name], int(os.environ.get("LOCAL_RANK", 0)) if known[name] == "cuda" else None)
