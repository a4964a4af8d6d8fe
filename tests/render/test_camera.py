"""Where the camera puts vertices, and what its crop must hold."""

import math
from dataclasses import replace

import pytest
import torch

from avlib.render.camera import Camera, camera_for, crop_camera
from avlib.render.renderer import Renderer
from tests.render.meshes import CAMERA, NEAR, dome


def test_perspective_enlarges_near_points_and_leaves_the_origin_plane_unchanged():
    plane, faces = dome()
    plane[:, 2] = 0
    near = replace(CAMERA, perspective=True, distance=3.0)
    torch.testing.assert_close(
        Renderer(faces, near)(0.7 * plane), Renderer(faces, CAMERA)(0.7 * plane), atol=1e-6, rtol=0
    )
    k = near.pixels_per_unit
    points = torch.tensor([[0.2, 0.1, 0.0], [0.2, 0.1, 1.5], [0.2, 0.1, 3.5]], dtype=torch.float64)
    column, row, distance = near.to_pixels(k * points.T)
    assert (column[:2] - 15.5).tolist() == pytest.approx([3.2, 6.4])
    assert (15.5 - row[:2]).tolist() == pytest.approx([1.6, 3.2])
    assert column[2].isnan() and (distance / k).tolist() == pytest.approx([3.0, 1.5, -0.5])


def test_camera_for_leaves_the_margin_around_the_vertices(generator):
    vertices, faces = dome()
    lips = vertices + torch.tensor([30.0, -20, 5])
    whole = Renderer(faces, camera_for(lips, size=40, margin=0.1))(lips)
    assert whole.shape == (40, 40)
    rows, columns = whole.nonzero().T
    assert rows.min() in (3, 4) and columns.min() in (3, 4) and rows.max() in (35, 36) and columns.max() in (35, 36)
    crop = crop_camera(lips.expand(5, -1, -1) + torch.randn(5, 1, 3, generator=generator), size=24)
    assert crop.size == (24, 24)
    with pytest.raises(ValueError, match="finite"):
        camera_for(lips * math.nan)


@pytest.mark.parametrize("camera", [CAMERA, NEAR])
def test_vertices_outside_the_crop_are_an_error(camera):
    camera = replace(camera, rows=(4, 20), columns=(8, 22))
    inside = torch.tensor([[0.0, 0.3, 0.0], [0.1, 0.2, 0.1]])
    camera.check_holds(inside, "lips")
    with pytest.raises(
        ValueError, match=r"^lips of Ann: spans rows \S+ to \S+ of the image.* crop, whose rows are 4 to 19$"
    ):
        camera.check_holds(inside - torch.tensor([0, 1.0, 0]), "lips of Ann")
    with pytest.raises(ValueError, match="columns are"):
        camera.check_holds(inside + torch.tensor([0.8, 0, 0]), "lips")


def test_invalid_cameras_are_refused():
    with pytest.raises(ValueError, match=r"rows must be .* first < last, got \(9, 9\)"):
        Camera(1.0, rows=(9, 9))
    with pytest.raises(ValueError, match="distance must be positive, got 1.0, 224, 0"):
        Camera(1.0, distance=0)
