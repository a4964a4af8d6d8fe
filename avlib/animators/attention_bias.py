"""Positions and attention biases of FaceFormer's decoder."""

import math

import torch
from torch import Tensor


def periodic_positions(width: int, period: int) -> Tensor:
    """Sinusoidal positions of one period, (period, width); frame t takes row t % period. Fan et al. 2022."""
    if width % 2:
        raise ValueError(f"periodic positions need an even width, got {width}")
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(period)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)


def head_slopes(heads: int) -> Tensor:
    """Slope of each head's distance bias, (heads,). Press et al. 2022 (ALiBi)."""
    power = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * (h + 1) / power) for h in range(power)]
    between = [2.0 ** (-4 * (h + 1) / power) for h in range(0, 2 * power, 2)]
    return torch.tensor(slopes + between[: heads - power])


def distance_bias(heads: int, period: int, frames: int) -> Tensor:
    """Attention bias (heads, frames) for keys 0, 1, ... frames back, lower by a step every period. Fan et al. 2022."""
    return -head_slopes(heads)[:, None] * (torch.arange(frames) // period)


def causal_bias(heads: int, period: int, frames: int) -> Tensor:
    """The same for all queries and keys, (heads, frames, frames), with -inf where a key comes after its query."""
    back = torch.arange(frames)[:, None] - torch.arange(frames)
    return distance_bias(heads, period, frames)[:, back.clamp_min(0)].masked_fill(back < 0, -math.inf)
