"""Meshes and cameras that the renderer's tests share."""

import math
from dataclasses import replace

import torch

from avlib.render.camera import Camera

CAMERA = Camera(scale=1.0, image_size=32)

NEAR = replace(CAMERA, perspective=True, distance=2.5, centre=(0.1, -0.2))


def dome(side: int = 9, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth open surface that fills the whole image, z = 0.3 - 0.2 x² - 0.1 y² + 0.05 x y: (V, 3), (F, 3)."""
    x, y = torch.meshgrid(
        torch.linspace(-1.3, 1.27, side, dtype=dtype), torch.linspace(1.31, -1.25, side, dtype=dtype), indexing="xy"
    )
    vertices = torch.stack([x, y, 0.3 - 0.2 * x**2 - 0.1 * y**2 + 0.05 * x * y], -1).view(-1, 3)
    corner = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).flatten()
    return vertices, torch.cat(
        [
            torch.stack([corner, corner + side, corner + 1], 1),
            torch.stack([corner + 1, corner + side, corner + side + 1], 1),
        ]
    )


def triangles(count: int, generator, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles that share no vertex, of all sizes and directions, some beyond the image's border: (V, 3), (F, 3)."""
    size = torch.rand(count, 1, 1, generator=generator, dtype=dtype) ** 2
    vertices = (
        torch.rand(count, 1, 3, generator=generator, dtype=dtype) * 2.4
        - 1.2
        + size * torch.randn(count, 3, 3, generator=generator, dtype=dtype)
    )
    return vertices.view(-1, 3), torch.arange(3 * count).view(-1, 3)


def ring(turn: float = 0.1234) -> tuple[torch.Tensor, torch.Tensor]:
    """A flat ring in front of a wall that fills the right half: (V, 3), (F, 3).

    It has inner and outer silhouettes, and several faces to a pixel.
    """
    radius, angle = torch.meshgrid(
        torch.linspace(0.15, 0.55, 10, dtype=torch.float64),
        torch.arange(60, dtype=torch.float64) * math.tau / 60 + turn,
        indexing="ij",
    )
    vertices = torch.stack([radius * angle.cos() + 0.013, radius * angle.sin() + 0.007, radius * 0], -1).view(-1, 3)
    wall = torch.tensor([[0.03, -3, -3], [3, -3, -4.5], [3, 3, -4.5], [0.03, 3, -3]], dtype=torch.float64)
    i, j = (x.flatten() for x in torch.meshgrid(torch.arange(9), torch.arange(60), indexing="ij"))
    a, b = i * 60 + j, i * 60 + (j + 1) % 60
    return torch.cat([vertices, wall]), torch.cat(
        [
            torch.stack([a, a + 60, b], 1),
            torch.stack([b, a + 60, b + 60], 1),
            torch.tensor([[600, 601, 602], [602, 603, 600]]),
        ]
    )
