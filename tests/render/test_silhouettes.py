"""Soft silhouettes have a gradient and bring the image nearer to a supersampled one; other pixels do not change."""

import pytest
import torch

from avlib.render.renderer import Renderer
from avlib.render.silhouettes import face_neighbours
from tests.render.meshes import CAMERA, dome, ring


@pytest.mark.parametrize("motion", ["right", "up", "open"])
def test_antialiasing_gives_moving_silhouettes_a_gradient(motion):
    """The gradient is that of the image's finite differences and near that of a supersampled image's.

    Hard silhouettes have none.
    """
    vertices, faces = ring()
    step = torch.zeros_like(vertices)
    step[:600] = {
        "right": vertices.new_tensor([1, 0, 0]),
        "up": vertices.new_tensor([0, 1, 0]),
        "open": vertices[:600],
    }[motion]
    x = torch.linspace(-1, 1, 32, dtype=torch.float64)
    weight = (1 + x) ** 2 + (2 - x[:, None]) ** 2

    def finite_difference(renderer: Renderer, size: float) -> float:
        ahead, behind = renderer(vertices + size * step), renderer(vertices - size * step)
        return ((ahead - behind) * weight).sum().item() / (2 * size)

    def derivative(renderer: Renderer) -> float:
        moving = vertices.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((renderer(moving) * weight).sum(), moving)
        return (gradient * step).sum().item()

    smooth = Renderer(faces, CAMERA, antialias=True)
    truth = finite_difference(Renderer(faces, CAMERA, supersampling=16), 0.01)
    assert derivative(smooth) == pytest.approx(finite_difference(smooth, 1e-7), rel=1e-5)
    assert derivative(smooth) == pytest.approx(truth, rel=0.1)
    assert abs(derivative(Renderer(faces, CAMERA))) < 1e-3 * abs(truth)


def test_antialiased_image_is_nearer_to_the_supersampled_one():
    vertices, faces = ring()
    truth = Renderer(faces, CAMERA, supersampling=16)(vertices)
    hard, smooth = ((Renderer(faces, CAMERA, antialias=on)(vertices) - truth).abs().mean() for on in (False, True))
    assert smooth < 0.2 * hard


def test_antialiasing_does_not_change_pixels_within_a_surface():
    vertices, faces = dome()
    assert torch.equal(Renderer(faces, CAMERA, antialias=True)(vertices), Renderer(faces, CAMERA)(vertices))


def test_face_neighbours_share_the_edge():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3], [3, 1, 4]])
    assert face_neighbours(faces).tolist() == [[1, -1, -1], [2, -1, 0], [-1, -1, 1]]
