"""Small helpers on tensors: padding, masks, precision, typed batches, and generators seeded by numbers."""

import dataclasses
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from .digest import digest


def frame_mask(lengths: Tensor, frames: int | None = None, device: torch.device | None = None) -> Tensor:
    """True at an item's frames, False in its padding: (B,) -> (B, T), with T = max(lengths) unless given.

    device: of the mask; that of the lengths unless given.
    """
    frames = int(lengths.max()) if frames is None else frames
    mask = torch.arange(frames, device=lengths.device) < lengths[:, None]
    return mask if device is None else mask.to(device)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision (autocast) becomes float32, in which losses are computed; float64 stays float64."""
    return x if x.dtype == torch.float64 else x.float()


def pad(items: list[Tensor]) -> Tensor:
    """Items of different lengths along their first axis, padded with zeros at the end: (B, longest, ...)."""
    return nn.utils.rnn.pad_sequence(items, batch_first=True)


@dataclass(kw_only=True)
class Batch:
    """Base of the typed batches: dataclasses of tensors whose first axis is the batch. A field without data is None.

    Lengths and tokens stay on the CPU. The host reads them, to shape or to check what is computed, and would have to
    wait for an accelerator to finish its work.
    """

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def tensors(self) -> dict[str, Tensor]:
        """The fields that hold a tensor, by name."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: value for name, value in values if torch.is_tensor(value)}

    def to(self, device: torch.device) -> Self:
        """A copy on the device, but for lengths and tokens."""
        moved = {name: x.to(device) for name, x in self.tensors().items() if not name.endswith(("lengths", "tokens"))}
        return dataclasses.replace(self, **moved)


def seeded_generator(*numbers: int) -> torch.Generator:
    """A generator that depends on the numbers alone, so that a step can be repeated without the steps before it."""
    return torch.Generator().manual_seed(int(digest(list(numbers)), 16))
