"""Film of the 2D part: perspective, exposure and compression are what they say."""

import numpy as np
import torch

from avlib.corpus.embedded.studio import Studio, compressed, film, foreshortened
from avlib.render.camera import Camera
from avlib.render.renderer import Renderer

FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])
SQUARE = torch.tensor([[-0.9, -0.9, 0.0], [0.9, -0.9, 0.1], [0.9, 0.9, 0.0], [-0.9, 0.9, -0.1]])


def test_foreshortened_points_lie_where_a_camera_in_perspective_sees_them(generator):
    points = torch.randn(3, 20, 3, generator=generator, dtype=torch.float64) * 0.03
    distance, centre = 0.4, torch.tensor([0.004, -0.01, 0.0], dtype=torch.float64)
    parallel = Camera(scale=10.0, image_size=48, centre=(0.004, -0.01))
    near = Camera(scale=10.0, image_size=48, centre=(0.004, -0.01), distance=distance * 10, perspective=True)
    k = parallel.pixels_per_unit
    moved = foreshortened(points, centre, distance)
    for one, other in zip(
        parallel.to_pixels(moved.movedim(-1, 0) * k)[:2], near.to_pixels(points.movedim(-1, 0) * k)[:2]
    ):
        torch.testing.assert_close(one, other)
    assert torch.equal(moved[..., 2], points[..., 2])


def test_compression_loses_more_at_less_quality_and_nothing_of_even_pictures(generator):
    pictures = 255 * torch.rand(4, 16, 24, generator=generator).numpy()
    errors = [np.abs(compressed(pictures, quality) - pictures).mean() for quality in (100, 70, 30, 5)]
    assert errors[0] < 0.6 and errors == sorted(errors)
    even = np.full((2, 8, 8), 128.0)
    assert np.abs(compressed(even, 10) - even).max() < 1e-9


def test_pictures_are_exposed_to_the_mean_of_the_range(generator):
    renderer = Renderer(FACES, Camera(scale=1.0, image_size=16))
    vertices = SQUARE.expand(3, -1, -1)
    for lights in (((0.0, 0.0, 1.0),), ((1.0, 1.0, 0.3),)):
        studio = Studio(lights=lights, exposure=(0.4, 0.4), turns=(0, 0, 0), size=(1, 1), shift=0, noise=0.0)
        video = film(renderer, vertices, torch.full((4,), 0.6), (0.0, 0.0, 0.0), generator, studio)
        assert video.dtype == torch.uint8 and abs(video.float().mean() / 255 - 0.4) < 0.02


def test_a_dim_mouth_darkens_what_is_inside_it_alone():
    renderer = Renderer(FACES, Camera(scale=1.0, image_size=16))
    albedo = torch.full((4,), 0.6)
    plain = dict(turns=(0, 0, 0), size=(1, 1), shift=0, noise=0.0, brightness=(1.0, 1.0), light_spread=0.0)
    pictures = [
        film(
            renderer,
            SQUARE[None],
            albedo,
            (0.0, 0.0, 0.0),
            torch.Generator().manual_seed(0),
            Studio(teeth=(0.5, 0.5), **plain),
            inside,
        )
        for inside in (None, torch.tensor([True, True, False, False]))
    ]
    change = pictures[0].float() - pictures[1].float()
    assert change.min() >= 0 and change[0, -4:].mean() > 1.5 * change[0, 4:8].mean() > 0
    assert torch.equal(albedo, torch.full((4,), 0.6))
