"""The batches of an epoch, and learning-rate factors over training progress in [0, 1]."""

import math
from collections.abc import Callable

import torch


def step_decay(interval: float) -> Callable[[float], float]:
    """Learning-rate factor that is halved after each `interval`, a share of the training."""
    return lambda progress: 0.5 ** int(progress / interval)


def constant_then_cosine(share: float) -> Callable[[float], float]:
    """Learning-rate factor that is 1, and falls to 0 as a cosine over the last `share` of the training.

    Without the decay, the result depends on the last few steps: the vertex error of an animator varies by a tenth.
    ValueError for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"joint.lr_decay_fraction: expected a share of the training, 0 to 1, got {share}")
    cosine = warmup_cosine(0.0)
    return lambda progress: cosine(max(0.0, (progress - 1 + share) / share)) if share else 1.0


def warmup_cosine(warmup: float) -> Callable[[float], float]:
    """Learning-rate factor that rises linearly to 1 at progress `warmup`, and then falls to 0 as a cosine."""

    def factor(progress: float) -> float:
        if progress < warmup:
            return (progress + 1e-3) / (warmup + 1e-3)
        return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    return factor


def length_batches(lengths: torch.Tensor, budget: int, generator: torch.Generator) -> list[list[int]]:
    """Batches of clips of similar length, in random order, of at most `budget` frames each, padding included.

    lengths: (N,) in frames. Every clip occurs once; a clip longer than the budget forms a batch alone.
    """
    jitter = 1 + 0.1 * torch.rand(len(lengths), generator=generator)  # so that the batches differ between epochs
    batches, batch, longest = [], [], 0
    for i in torch.argsort(lengths * jitter).tolist():
        longest = max(longest, int(lengths[i]))
        if batch and longest * (len(batch) + 1) > budget:
            batches.append(batch)
            batch, longest = [], int(lengths[i])
        batch.append(i)
    batches.append(batch)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def shuffled_batches(count: int, size: int, generator: torch.Generator) -> list[list[int]]:
    """Batches of `size` examples in random order; each of the `count` examples occurs once."""
    order = torch.randperm(count, generator=generator).tolist()
    return [order[i : i + size] for i in range(0, count, size)]
