"""Small helpers on tensors: padding, masks, precision, devices, and generators seeded by numbers."""

import torch
from torch import Tensor, nn

from .config import digest


def frame_mask(lengths: Tensor, frames: int | None = None) -> Tensor:
    """True at an item's own frames, False in its padding: (B,) -> (B, T), T = max(lengths) unless given."""
    frames = int(lengths.max()) if frames is None else frames
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def at_least_float32(x: Tensor) -> Tensor:
    """Losses are not for the half precision of autocast; double stays double."""
    return x if x.dtype == torch.float64 else x.float()


def pad(items: list[torch.Tensor]) -> torch.Tensor:
    """Items of different lengths along their first axis, stacked with zeros behind."""
    return nn.utils.rnn.pad_sequence(items, batch_first=True)


def to_device(batch: dict, device: torch.device) -> dict:
    return {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}


def seeded_generator(*numbers: int) -> torch.Generator:
    """A generator that depends on the numbers alone, so that any step can be made again without the ones before."""
    return torch.Generator().manual_seed(int(digest(list(numbers)), 16))
