"""What the image shows, where the gradient goes, and which input is refused."""

import importlib.util
import math
import platform
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import avg_pool2d, normalize

from avlib.render.camera import Camera
from avlib.render.renderer import Lights, Renderer, usable_backend
from tests.render.meshes import CAMERA, NEAR, dome, triangles

BACKENDS = [
    "avlib",
    pytest.param(
        "pytorch3d",
        marks=pytest.mark.skipif(importlib.util.find_spec("pytorch3d") is None, reason="PyTorch3D is not installed"),
    ),
]


def pixel_by_pixel(vertices, faces, camera, albedo=180 / 255):
    """Reference without any acceleration, every face at every pixel centre: image and visible face, (h, w) each."""
    corners = vertices[faces]  # (F, 3, 3)
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = normalize(torch.zeros_like(vertices).index_add(0, faces.flatten(), cross.repeat_interleave(3, 0)), dim=-1)
    lights = Lights()
    directions = normalize(torch.tensor(lights.directions, dtype=vertices.dtype), dim=-1)
    image, seen = torch.zeros(camera.size, dtype=vertices.dtype), torch.full(camera.size, -1)
    for i in range(camera.size[0]):
        for j in range(camera.size[1]):
            x = ((j + camera.columns[0] + 0.5) * 2 / camera.image_size - 1) / camera.scale + camera.centre[0]
            y = (1 - (i + camera.rows[0] + 0.5) * 2 / camera.image_size) / camera.scale + camera.centre[1]
            # A point of the face, corners · weights with weights that add up to one, lies on the pixel's ray,
            # eye + t · direction.
            eye = torch.tensor([*camera.centre, camera.distance / camera.scale], dtype=vertices.dtype)
            direction = torch.tensor([x, y, 0], dtype=vertices.dtype) - eye
            if not camera.perspective:
                eye[:2], direction = torch.tensor([x, y]), torch.tensor([0, 0, -1.0], dtype=vertices.dtype)
            system = torch.cat([corners.mT, -direction.expand(len(faces), 3)[..., None]], 2)
            system = torch.cat([system, torch.tensor([[[1, 1, 1, 0]]]).expand(len(faces), 1, 4)], 1)
            *weights, distance = torch.linalg.solve(system, torch.cat([eye, torch.ones(1)]).to(system)).unbind(1)
            weights = torch.stack(weights, 1)
            inside = (weights >= 0).all(1)
            if inside.any():
                face = torch.where(inside, distance, torch.inf).argmin()
                normal = weights[face] @ normals[faces[face]]
                image[i, j] = albedo * lights.intensity * (directions @ normal).clamp_min(0).mean()
                seen[i, j] = face
    return image.clamp(0, 1), seen


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("camera", [CAMERA, replace(CAMERA, centre=(0.2, 0.1), rows=(3, 30), columns=(-2, 20)), NEAR])
def test_equals_reference_on_random_triangles(generator, camera, backend):
    vertices, faces = triangles(60, generator)
    image, seen = pixel_by_pixel(vertices, faces, camera)
    renderer = Renderer(faces, camera, backend=backend)
    assert (seen >= 0).float().mean() > 0.5 and (seen < 0).any()
    assert (renderer.rasterise(vertices[None]).face[0] == seen).float().mean() > 0.998
    assert ((renderer(vertices) - image).abs() < 1e-4).float().mean() > 0.998


@pytest.mark.parametrize("camera", [CAMERA, NEAR])
def test_gradient_matches_finite_differences(generator, camera):
    """On a surface that fills the image, so that no silhouette moves; in float64."""
    vertices, faces = dome()
    renderer = Renderer(faces, camera)
    weight = torch.randn(32, 32, generator=generator, dtype=torch.float64)
    vertices.requires_grad_()
    (gradient,) = torch.autograd.grad((renderer(vertices) * weight).sum(), vertices)
    assert gradient.abs().max() > 0.1
    for _ in range(5):
        step = 1e-7 * torch.randn(vertices.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            change = ((renderer(vertices + step) - renderer(vertices - step)) * weight).sum() / 2
        assert (gradient * step).sum() == pytest.approx(change.item(), rel=1e-4)


@pytest.mark.parametrize("camera", [CAMERA, NEAR])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_agree(generator, camera, antialias, backend):
    """Images and gradients of a mesh that folds over itself and has a vertex that is not finite."""
    vertices, faces = dome(side=14)
    vertices = vertices + 0.2 * torch.randn(3, *vertices.shape, generator=generator, dtype=torch.float64)
    vertices[1, 20] = torch.nan
    weight = torch.randn(3, 32, 32, generator=generator, dtype=torch.float64)
    images, gradients = [], []
    for name in ("avlib", backend):
        moving = vertices.clone().requires_grad_()
        image = Renderer(faces, camera, antialias=antialias, backend=name)(moving)
        (image * weight).sum().backward()
        images.append(image.detach())
        gradients.append(moving.grad)
    assert (images[0] > 0).float().mean() > 0.3
    assert ((images[0] - images[1]).abs() < 1e-4).float().mean() > 0.995
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[0].norm()


def test_faces_behind_the_camera_are_not_rendered():
    vertices, faces = dome()
    behind = vertices + torch.tensor([0.0, 0, 5])
    both = torch.cat([vertices, behind]).requires_grad_()
    renderer = Renderer(torch.cat([faces, faces + len(vertices)]), NEAR)
    torch.testing.assert_close(renderer(both).detach(), Renderer(faces, NEAR)(vertices))
    renderer(both).sum().backward()
    assert both.grad.isfinite().all() and (both.grad[len(vertices) :] == 0).all()


def test_albedo_and_lights_of_each_mesh_are_used_and_get_a_gradient(generator):
    vertices, faces = dome()
    albedo = torch.rand(2, len(vertices), generator=generator, dtype=torch.float64, requires_grad=True)
    directions = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    both = Renderer(faces, CAMERA)(vertices.expand(2, -1, -1), albedo, directions)
    alone = [
        Renderer(faces, CAMERA, Lights(tuple(map(tuple, d.tolist()))), a)(vertices)
        for a, d in zip(albedo.detach(), directions)
    ]
    torch.testing.assert_close(both.detach(), torch.stack(alone))
    vertices, faces = dome(side=4)
    small = Renderer(faces, Camera(1.0, 5))
    for shape in ((4, 3), (1, 4, 3)):  # lights that all meshes share, and lights of each mesh
        assert torch.autograd.gradcheck(
            small,
            (
                vertices[None].requires_grad_(),
                albedo[0, :16].detach().requires_grad_(),
                directions[0].view(shape).requires_grad_(),
            ),
            atol=1e-4,
        )


def test_batch_equals_each_and_keeps_axes(generator):
    vertices, faces = dome(dtype=torch.float32)
    moved = vertices + 0.05 * torch.randn(3, 4, len(vertices), 3, generator=generator)
    renderer = Renderer(faces, CAMERA)
    images = renderer(moved)
    assert images.shape == (3, 4, 32, 32)
    torch.testing.assert_close(images, torch.stack([torch.stack([renderer(v) for v in row]) for row in moved]))
    assert renderer(moved[:0]).shape == (0, 4, 32, 32)


def test_chunks_do_not_change_the_image(generator, monkeypatch):
    vertices, faces = triangles(80, generator)
    moved = vertices + 0.1 * torch.randn(7, 1, 3, generator=generator, dtype=torch.float64)
    whole = Renderer(faces, CAMERA)(moved)
    monkeypatch.setattr("avlib.render.renderer.CHUNK_ELEMENTS", 3 * (len(faces) + 4 * 32 * 32))
    monkeypatch.setattr("avlib.render.rasterizer.CANDIDATES", 64)
    torch.testing.assert_close(Renderer(faces, CAMERA)(moved), whole)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("camera", [CAMERA, NEAR])
def test_crop_equals_that_part_of_the_whole_image(generator, camera, backend):
    vertices, faces = triangles(200, generator)
    whole = Renderer(faces, camera, backend=backend)(vertices)
    crop = Renderer(faces, replace(camera, rows=(5, 19), columns=(11, 30)), backend=backend)(vertices)
    tolerance = 1e-7 if backend == "avlib" else 1e-5  # PyTorch3D computes in float32
    torch.testing.assert_close(crop, whole[5:19, 11:30], atol=tolerance, rtol=tolerance)


def test_crop_may_reach_beyond_the_image(generator):
    vertices, faces = triangles(50, generator)
    beyond = Renderer(faces, Camera(1.0, 32, rows=(-8, 32), columns=(0, 40)))(vertices)
    torch.testing.assert_close(beyond[8:, :32], Renderer(faces, CAMERA)(vertices))


def test_image_does_not_depend_on_face_order(generator):
    vertices, faces = triangles(100, generator)
    shuffled = faces[torch.randperm(len(faces), generator=generator)].roll(1, dims=1)
    torch.testing.assert_close(Renderer(shuffled, CAMERA)(vertices), Renderer(faces, CAMERA)(vertices))


@pytest.mark.parametrize("front", [0, 1])
def test_nearer_face_is_visible(front):
    vertices = torch.tensor([[-3.0, -3, 0], [3, -3, 0], [0, 4, 0]]).repeat(2, 1)
    vertices[3 * front : 3 * front + 3, 2] = 0.01
    faces = torch.arange(6).view(2, 3)
    assert (Renderer(faces, CAMERA).rasterise(vertices[None]).face == front).all()


def test_x_points_right_and_y_up():
    vertices = torch.tensor([[0.1, 0.2, 0], [0.9, 0.2, 0], [0.1, 0.9, 0]])
    rows, columns = Renderer(torch.tensor([[0, 1, 2]]), CAMERA)(vertices).nonzero().T
    assert rows.max() < 16 and columns.min() >= 16


def test_facing_plane_has_lambert_brightness():
    vertices = torch.tensor([[-3.0, -3, 0], [3, -3, 0], [0, 4, 0]])
    lights = Lights(((0, 0, 2.0), (0, 1, 1)), intensity=1.2)
    image = Renderer(torch.tensor([[0, 1, 2]]), CAMERA, lights, 0.5)(vertices)
    torch.testing.assert_close(image, torch.full((32, 32), 0.5 * 1.2 * (1 + math.sqrt(0.5)) / 2))
    assert (Renderer(torch.tensor([[0, 2, 1]]), CAMERA, lights, 0.5)(vertices) == 0).all()  # unlit, though visible
    assert Renderer(torch.tensor([[0, 1, 2]]), CAMERA, Lights(intensity=9.0))(vertices).max() == 1


def test_vertices_of_visible_faces_and_their_neighbours_alone_get_a_gradient():
    """Those of neighbouring faces get it through the normals."""
    vertices, faces = dome()
    hidden = vertices - torch.tensor([0.0, 0, 2])
    both, both_faces = torch.cat([vertices, hidden]).requires_grad_(), torch.cat([faces, faces + len(vertices)])
    renderer = Renderer(both_faces, Camera(1.0, 32, (8, 14), (9, 16)))
    renderer(both).square().sum().backward()
    seen = both_faces[renderer.rasterise(both.detach()[None]).face.unique()].unique()
    touching = both_faces[torch.isin(both_faces, seen).any(1)].unique()
    assert len(seen) < len(touching) < len(vertices)
    assert torch.equal((both.grad != 0).any(1).nonzero().squeeze(1), touching)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("antialias", [False, True])
def test_faces_without_area_or_with_a_nan_change_nothing_else(antialias, backend):
    vertices, faces = dome()
    V = len(vertices)
    bad_vertices = torch.tensor(
        [
            [math.nan, 0, 0.5],
            [0.1, math.inf, 0.5],
            [0.2, 0.3, math.nan],
            [0, 0, 0.9],
            [0.5, 0.5, 0.9],
            [50, 50, 1],
            [51, 50, 1],
            [50, 51, 1],
        ],
        dtype=torch.float64,
    )
    all_vertices = torch.cat([vertices, bad_vertices]).requires_grad_()
    line, point, off_screen = [V + 3, V + 4, V + 3], [V + 3] * 3, [V + 5, V + 6, V + 7]
    not_finite = [[V, V + 3, V + 4], [V + 1, V + 3, V + 4], [V + 2, 0, 1], [40, V, 41]]
    all_faces = torch.cat([faces, torch.tensor([line, point, off_screen, *not_finite])])
    clean = vertices.clone().requires_grad_()
    expected = Renderer(faces, CAMERA, antialias=antialias, backend=backend)(clean)
    image = Renderer(all_faces, CAMERA, antialias=antialias, backend=backend)(torch.stack([all_vertices, all_vertices]))
    torch.testing.assert_close(image, expected.expand(2, -1, -1))
    expected.square().sum().backward()
    image[0].square().sum().backward()
    torch.testing.assert_close(all_vertices.grad[:V], clean.grad)
    assert (all_vertices.grad[V : V + 3] == 0).all()


@pytest.mark.parametrize("antialias", [False, True])
def test_a_mesh_out_of_view_gives_black_and_zero_gradient(antialias):
    vertices, faces = dome()
    vertices = (vertices + 100).requires_grad_()
    image = Renderer(faces, CAMERA, antialias=antialias)(vertices)
    image.sum().backward()
    assert (image == 0).all() and (vertices.grad == 0).all()


def test_supersampling_averages_a_finer_image(generator):
    vertices, faces = triangles(100, generator)
    fine = Renderer(faces, CAMERA.finer(3))(vertices)
    torch.testing.assert_close(Renderer(faces, CAMERA, supersampling=3)(vertices), avg_pool2d(fine[None], 3)[0])


def test_invalid_input_is_refused():
    vertices, faces = dome()
    renderer = Renderer(faces, CAMERA)
    with pytest.raises(ValueError, match=r"\(F, 3\).*\(0, 3\)"):
        Renderer(faces[:0], CAMERA)
    with pytest.raises(ValueError, match="V >= 81.*80"):
        renderer(vertices[:80])
    with pytest.raises(ValueError, match="float32 or float64"):
        renderer(vertices.half())
    with pytest.raises(ValueError, match="albedo must be"):
        renderer(vertices, torch.ones(80))
    with pytest.raises(ValueError, match="directions must be"):
        renderer(vertices, directions=torch.ones(2, 5, 3))
    with pytest.raises(ValueError, match="faces on cpu, vertices on meta"):
        renderer(vertices.to("meta"))
    with pytest.raises(ValueError, match="avlib or pytorch3d, got 'opengl'"):
        Renderer(faces, CAMERA, backend="opengl")


def test_a_missing_backend_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="PyTorch3D is not installed"):
        Renderer(dome()[1], CAMERA, backend="pytorch3d")


def test_a_backend_that_cannot_be_imported_gives_way_with_a_line(monkeypatch, capsys):
    """The compiled part of PyTorch3D fits one build of torch."""

    def import_module(name):
        raise ImportError("libcudart.so.13: cannot open shared object file\nmore")

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert usable_backend("avlib") == "avlib" and capsys.readouterr().out == ""
    assert usable_backend("pytorch3d") == "avlib"
    (line,) = capsys.readouterr().out.splitlines()
    assert "PyTorch3D cannot be imported (libcudart.so.13:" in line and "own rasteriser renders" in line


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or not (torch.version.cuda or "").startswith("13"),
    reason="PyTorch3D has no wheel for this machine or this torch",
)
def test_where_it_has_a_wheel_pytorch3d_is_installed_and_fits_torch():
    assert usable_backend("pytorch3d") == "pytorch3d"
