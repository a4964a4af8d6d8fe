"""Errors of facial capture: smooth in time and over the skin, as a tracker follows patches and filters its result."""

import math

import torch
from torch import Tensor

PATCH_M = 0.012  # distance over which neighbouring points err alike, metres
ANCHORS = 48  # independent patches
SECONDS = 0.08  # time over which errors persist: that of a filter over two or three frames


def tracking_noise(template: Tensor, frames: int, fps: float, generator: torch.Generator) -> Tensor:
    """(T, V, 3): random displacements with standard deviation 1 in each coordinate. template: (V, 3), metres."""
    anchors = template[torch.randperm(len(template), generator=generator)[:ANCHORS]]
    weights = torch.exp(-(torch.cdist(template, anchors) / PATCH_M).square() / 2) + 1e-4
    weights = weights / weights.norm(dim=1, keepdim=True)  # (V, anchors): independent parts with a variance of 1
    kept = math.exp(-1 / (fps * SECONDS))  # correlation of one frame with the next
    fresh = torch.randn(frames, len(anchors), 3, generator=generator)
    errors = [fresh[0]]
    for innovation in fresh[1:]:
        errors.append(kept * errors[-1] + math.sqrt(1 - kept**2) * innovation)
    return torch.einsum("va,tac->tvc", weights, torch.stack(errors))
