"""Tracking noise has the stated size, and is correlated in time and over the skin."""

import math

import torch

from avlib.corpus.embedded.tracking_noise import SECONDS, tracking_noise


def test_size_and_correlations(generator):
    line = torch.zeros(60, 3)
    line[:, 0] = torch.arange(60) * 0.002  # metres: a strip of skin
    noise = torch.stack([tracking_noise(line, 50, 25, generator) for _ in range(60)])  # (draws, T, V, 3)
    assert noise.shape == (60, 50, 60, 3)
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    persistence = (noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()
    assert abs(persistence - math.exp(-1 / (25 * SECONDS))) < 0.05
    near, far = ((noise[:, :, d:] * noise[:, :, : 60 - d]).mean() for d in (1, 40))
    assert near > 0.9 and abs(far) < 0.15
    axes = (noise[..., 0] * noise[..., 1]).mean()
    assert abs(axes) < 0.05
