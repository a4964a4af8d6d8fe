"""Batches of an epoch and learning-rate factors."""

import math
from collections.abc import Callable

import torch


def step_decay(share: float):
    """Learning-rate factor over training progress in [0, 1]: halved after each such share of it."""
    return lambda progress: 0.5 ** int(progress / share)


def constant_then_cosine(share: float) -> Callable[[float], float]:
    """Learning-rate factor over training progress: 1, and over the last `share` of the training a cosine down to 0. Where it does
    not fall, what is left of an animator is the accident of its last steps, on which its vertex error differs by a tenth."""
    if not 0 <= share <= 1:
        raise ValueError(f"joint.lr_decay_fraction: expected a share of the training, 0 to 1, got {share}")
    fall = warmup_cosine(0.0)
    return lambda progress: fall(max(0.0, (progress - 1 + share) / share)) if share else 1.0


def bucket_batches(lengths: torch.Tensor, budget: int, generator: torch.Generator) -> list[list[int]]:
    """Batches of clips of like length, in random order: at most `budget` frames each, padding counted.

    lengths (N,) in frames. Every clip comes once; one longer than the budget comes alone.
    """
    jitter = 1 + 0.1 * torch.rand(len(lengths), generator=generator)
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
    order = torch.randperm(count, generator=generator).tolist()
    return [order[i : i + size] for i in range(0, count, size)]


def warmup_cosine(warmup: float) -> Callable[[float], float]:
    """Learning-rate factor over training progress in [0, 1]: linear up to 1 at `warmup`, then a cosine down to 0."""

    def factor(progress: float) -> float:
        if progress < warmup:
            return (progress + 1e-3) / (warmup + 1e-3)
        return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    return factor
