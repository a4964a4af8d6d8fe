"""Identities of the embedded face: the traits that shape a person's template, and a random complexion."""

from dataclasses import dataclass

import numpy as np
import torch

from .face import EYE, MOUTH_Y, bump, ramp


@dataclass(frozen=True)
class Identity:
    """One person.

    template: (V, 3), metres. shapes: (K, V, 3), displacement at weight 1, metres. albedo: (V,), 0 to 1.
    """

    template: torch.Tensor
    shapes: torch.Tensor
    albedo: torch.Tensor


@dataclass(frozen=True)
class Complexion:
    """Albedos of one person's face, 0 to 1. skin: (V,), with blotches and beard; the others are one number each."""

    skin: np.ndarray
    lips: float
    hair: float
    brows: float
    iris: float
    teeth: float


def random_complexion(points: np.ndarray, generator: torch.Generator) -> Complexion:
    """The albedos of a random person. points: (V, 3), metres, in the frame of `face`."""
    draw = torch.randn(40, generator=generator).double().numpy()
    tone, lips, brows, hair, iris, teeth, beard = draw[:7]
    x, y = points[:, 0], points[:, 1]
    skin = np.clip(0.60 + 0.11 * tone, 0.36, 0.82)
    albedo = np.full(len(x), skin)
    for k, (fx, fy, phase) in enumerate(draw[7:40].reshape(-1, 3)):  # blotches, coarse to fine
        albedo += skin * 0.012 * np.cos(2 * np.pi * (fx * x + fy * y) / (0.02 + 0.01 * (k % 4)) + 6 * phase)
    albedo *= 1 - np.clip(0.14 * beard - 0.05, 0, 0.3) * ramp(-y, 0.028, 0.04) * ramp(-y, -0.125, -0.095)
    hair_tone = np.clip(0.16 + 0.12 * hair, 0.05, 0.45)
    return Complexion(
        albedo,
        skin * np.clip(0.62 + 0.06 * lips, 0.5, 0.78),
        hair_tone,
        np.clip(0.17 + 0.06 * brows + 0.3 * (hair_tone - 0.16), 0.06, 0.35),
        np.clip(0.3 + 0.1 * iris, 0.1, 0.55),
        np.clip(0.93 + 0.04 * teeth, 0.8, 1),
    )


def identity_traits(points: np.ndarray, lip: np.ndarray) -> np.ndarray:
    """(M, V, 3), metres: the basis of the identity space, one standard deviation per trait.

    points: (V, 3), metres. lip: (V,), how much a vertex follows the height of its lip, positive on the upper lip.
    """
    x, y = points[:, 0], points[:, 1]
    none = np.zeros_like(x)
    out = np.sign(x)
    eye = bump(x, y, EYE[0], EYE[1], 0.019, 0.015)
    mouth = bump(x, y, 0, MOUTH_Y, 0.036, 0.02)
    nose = bump(x, y, 0, -0.019, 0.02, 0.012)
    upper, lower = np.maximum(lip, 0), np.maximum(-lip, 0)
    return np.stack(
        [
            np.stack(np.broadcast_arrays(*mode), -1)
            for mode in (
                (0.05 * x, none, none),  # width of the head
                (none, 0.0035 * ramp(y, -0.035, 0.02) + 0.004 * ramp(y, 0.045, 0.1), none),  # length above the mouth
                (none, -0.0045 * ramp(-y, 0.058, 0.09), none),  # length of the chin
                (0.09 * x * ramp(-y, 0.005, 0.07) * ramp(np.abs(x), 0.02, 0.045), none, none),  # jaw
                (none, none, 0.0035 * bump(x, y, 0, -0.084, 0.02, 0.013)),  # chin forward
                (none, none, 0.0035 * bump(x, y, 0.045, -0.04, 0.018, 0.025)),  # full cheeks
                (none, none, 0.0025 * bump(x, y, 0.043, -0.006, 0.016, 0.012)),  # cheekbones
                (none, -0.0022 * nose, none),  # length of the nose
                (0.16 * x * nose, none, none),  # width of the nose
                (none, none, 0.0032 * bump(x, y, 0, -0.016, 0.011, 0.014)),  # tip of the nose
                (none, none, 0.0025 * bump(x, y, 0, 0.012, 0.008, 0.018)),  # bridge of the nose
                (0.09 * x * mouth, none, none),  # width of the mouth
                (none, 0.0017 * upper, 0.0009 * upper),  # upper lip
                (none, -0.0020 * lower, 0.0010 * lower),  # lower lip
                (0.11 * (x - out * EYE[0]) * eye, 0.13 * (y - EYE[1]) * eye, none),  # size of the eyes
                (0.0018 * out * bump(x, y, EYE[0], EYE[1], 0.02, 0.03), none, none),  # distance of the eyes
                (none, 0.11 * (np.abs(x) - EYE[0]) * eye, none),  # slant of the eyes
                (none, 0.0020 * bump(x, y, 0.03, 0.041, 0.026, 0.0085), none),  # height of the brows
                (none, none, 0.0022 * bump(x, y, 0.024, 0.038, 0.022, 0.008)),  # brow ridge
            )
        ]
    )
