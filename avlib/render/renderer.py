"""Differentiable rendering of lip crops: camera -> rasteriser -> fragments -> shading -> image.

Which face covers which pixel is found without gradient; barycentrics, vertex normals and shading are then recomputed
from the vertices, so the image's gradient reaches them (the normals are not detached).

Frames of one chunk lie last, (V, N): every gather moves whole rows, and all arithmetic runs over contiguous planes.
"""

import importlib.util
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .camera import Camera
from .rasterizer import rasterise, rasterise_pytorch3d
from .shading import Barycentrics, Interpolate, Lambert, vertex_normals
from .silhouettes import antialias, face_neighbours

# PyTorch3D adds this to twice a face's signed area, in normalised device coordinates (image side 2), before it divides
# by it: slivers darken a little and come a little nearer. Without it, the two differ by 1e-3 on small faces.
AREA_EPSILON = 1e-8
# Sums of area-weighted normals shorter than this, in the mesh's squared unit, stay short, as in the released renderer.
NORMAL_FLOOR = 1e-6
CHUNK_ELEMENTS = 1 << 20  # bounds (faces + 4 pixels) x frames rendered at once: memory, and what the cache holds


@dataclass(frozen=True)
class Lights:
    """Directional lights; `directions` point from the mesh to the light and need not be unit."""

    directions: tuple[tuple[float, float, float], ...] = ((-1, 1, 1), (1, 1, 1), (-1, -1, 1), (1, -1, 1), (0, 0, 1))
    intensity: float = 1.7


@dataclass(frozen=True)
class Fragments:
    """What the P covered pixels of N images see, in terms of the part of the mesh near the crop.

    face: (N, h, w) index of the visible face of the whole mesh, -1 where there is none. No gradient.
    pixel: (P,) index of each covered pixel in the flattened (N, h, w).
    vertices: (3, V', N) near vertices, pixels from the mesh's origin (x right, y up, z nearer). With gradient.
    faces: (F', 3) faces among the near vertices: all that touch a visible face.
    corners: (3, P) int32, the three corners of the face each pixel sees, as indices into a flattened (V', N).
    barycentrics: (3, P) of the pixel centre in that face. With gradient.
    near: (V',) index of the near vertices in the whole mesh.
    """

    face: Tensor
    pixel: Tensor
    vertices: Tensor
    faces: Tensor
    corners: Tensor
    barycentrics: Tensor
    near: Tensor


class Renderer(nn.Module):
    """Vertices to grey images of the camera's crop, differentiable in vertices and albedo. On any device.

    faces: (F, 3) vertex indices. albedo: one reflectance, or (V,) one per vertex, in [0, 1].
    supersampling: pixels averaged along each side of one pixel of the image.
    backend: "avlib", or "pytorch3d" where PyTorch3D is installed, which then finds the faces and their barycentrics.
    antialias: blend pixels across silhouettes, which gives moving silhouettes, such as the mouth's opening, a gradient;
    without it, as in the released renderer, coverage is hard and only shading has one.
    """

    def __init__(
        self,
        faces: Tensor,
        camera: Camera,
        lights: Lights = Lights(),
        albedo: float | Tensor = 180 / 255,
        supersampling: int = 1,
        antialias: bool = False,
        backend: str = "avlib",
    ):
        super().__init__()
        if backend not in ("avlib", "pytorch3d"):
            raise ValueError(f"Renderer: backend must be avlib or pytorch3d, got {backend!r}")
        if backend == "pytorch3d" and importlib.util.find_spec("pytorch3d") is None:
            raise ValueError(
                "Renderer: backend pytorch3d: PyTorch3D is not installed (conda install -c conda-forge pytorch3d)"
            )
        self.backend = backend
        if faces.ndim != 2 or faces.shape[-1] != 3 or faces.is_floating_point() or not len(faces) or faces.min() < 0:
            raise ValueError(f"Renderer: faces must be (F, 3) integers >= 0 with F >= 1, got {_told(faces)}")
        directions = torch.tensor(lights.directions, dtype=torch.float64)
        if directions.ndim != 2 or directions.shape[1] != 3:
            raise ValueError(f"Renderer: light directions must be (L, 3), got {_told(directions)}")
        self.camera, self.lights, self.supersampling = camera.finer(supersampling), lights, supersampling
        self.min_vertices = int(faces.max()) + 1
        self.register_buffer("faces", faces.long(), persistent=False)
        self.register_buffer("neighbours", face_neighbours(self.faces) if antialias else None, persistent=False)
        albedo = torch.as_tensor(albedo, dtype=None if torch.is_tensor(albedo) else torch.float64, device=faces.device)
        self.register_buffer("albedo", albedo, persistent=False)
        self.register_buffer("directions", directions.to(faces.device), persistent=False)

    def forward(self, vertices: Tensor, albedo: Tensor | None = None, directions: Tensor | None = None) -> Tensor:
        """Images (..., h, w) in [0, 1] of vertices (..., V, 3), mesh unit, float32 or float64.

        albedo: (V,) or (..., V), instead of the constructor's. directions: (L, 3) or (..., L, 3) from each mesh to its
        lights, instead of the constructor's. Vertices that are not finite take their faces out of the picture.
        """
        albedo = self.albedo if albedo is None else albedo
        self._check(vertices, albedo, directions)
        (*lead, V, _), (height, width) = vertices.shape, self.camera.size
        meshes = vertices.reshape(-1, V, 3)
        if albedo.ndim:
            albedo = albedo.expand(*lead, V).reshape(-1, V)
        if directions is not None:
            directions = directions.expand(*lead, *directions.shape[-2:]).reshape(-1, *directions.shape[-2:])
        if not len(meshes):
            return vertices.new_zeros(*lead, height // self.supersampling, width // self.supersampling)
        step = max(1, CHUNK_ELEMENTS // (len(self.faces) + 4 * height * width))
        parts = [
            x.split(step) if x is not None and x.ndim else itertools.repeat(x) for x in (meshes, albedo, directions)
        ]
        images = torch.cat([self.shade(self.rasterise(part), *look) for part, *look in zip(*parts)])
        if self.supersampling > 1:
            images = nn.functional.avg_pool2d(images[:, None], self.supersampling)[:, 0]
        return images.view(*lead, *images.shape[1:])

    def rasterise(self, meshes: Tensor) -> Fragments:
        """What each pixel sees, for meshes (N, V, 3)."""
        height, width = self.camera.size
        epsilon = AREA_EPSILON * (self.camera.image_size / 2) ** 2
        N = len(meshes)
        seen, near, faces = self._near(meshes.detach())
        vertices = meshes.index_select(1, near).permute(2, 1, 0).contiguous() * self.camera.pixels_per_unit
        if not vertices.detach().sum().isfinite():
            # A vertex without a position takes its faces out of the picture, and neither gets nor passes a gradient.
            vertices = vertices.where(vertices.isfinite().all(0), torch.nan)
        column, row, distance = self.camera.to_pixels(vertices)
        if self.backend == "pytorch3d":
            local, barycentrics = rasterise_pytorch3d(
                column, row, distance, faces[: len(seen)], (height, width), self.camera.perspective
            )
        else:
            # on screen it is the inverse of the distance that is linear over a face seen in perspective
            depth = distance.detach()
            if self.camera.perspective:
                depth = 2 - depth.where(depth > 0, torch.inf).min() / depth
            local = rasterise(column.detach(), row.detach(), depth, faces[: len(seen)], (height, width), epsilon)
        pixel = (local >= 0).flatten().nonzero().squeeze(1)
        frame = torch.arange(N, device=pixel.device).repeat_interleave(height * width).index_select(0, pixel)
        centre_x = torch.arange(width, device=pixel.device, dtype=torch.int16).repeat(N * height)
        centre_y = torch.arange(height, device=pixel.device, dtype=torch.int16).repeat_interleave(width).repeat(N)
        visible = local.flatten().index_select(0, pixel)
        corners = (faces.T.contiguous().index_select(1, visible) * N + frame).int()
        if self.backend == "avlib":
            flat = not self.camera.perspective
            barycentrics = Barycentrics.apply(
                column,
                row,
                None if flat else distance,
                corners,
                centre_x.index_select(0, pixel),
                centre_y.index_select(0, pixel),
                epsilon if flat else 0.0,
            )
        face = torch.cat([seen.new_full((1,), -1), seen]).index_select(0, (local + 1).flatten()).view(local.shape)
        return Fragments(face, pixel, vertices, faces, corners, barycentrics, near)

    def shade(self, fragments: Fragments, albedo: Tensor, directions: Tensor | None = None) -> Tensor:
        """Lambertian shading of the fragments under the lights, averaged over them; black elsewhere. (N, h, w)."""
        f = fragments
        floor = NORMAL_FLOOR * self.camera.pixels_per_unit**2
        normals = vertex_normals(f.vertices, f.faces, floor).flatten(1)
        normal = Interpolate.apply(normals, f.corners, f.barycentrics)  # (3, P), as it comes
        lights = self.directions if directions is None else directions  # (L, 3) or (N, L, 3)
        lights = nn.functional.normalize(lights.to(normal.dtype), dim=-1).movedim(-1, 0)[..., None]
        if lights.ndim == 4:
            lights = lights[..., 0].mT.index_select(2, f.pixel // f.face[0].numel())  # (3, L, P)
        shade = Lambert.apply(normal, lights) * self.lights.intensity
        albedo = albedo.to(shade.dtype)
        if albedo.ndim:
            (albedo,) = Interpolate.apply(albedo.index_select(1, f.near).T.reshape(1, -1), f.corners, f.barycentrics)
        else:
            albedo = albedo * f.barycentrics.sum(0)
        colour = (albedo * shade).clamp(0, 1)
        image = colour.new_zeros(f.face.numel()).index_copy(0, f.pixel, colour).view(f.face.shape)
        if self.neighbours is None:
            return image
        column, row, distance = (axis.flatten() for axis in self.camera.to_pixels(f.vertices))
        depth = (distance.detach().index_select(0, f.corners.flatten()).view(3, -1) * f.barycentrics.detach()).sum(0)
        depth = torch.full_like(image, torch.inf).flatten().index_copy(0, f.pixel, depth).view(f.face.shape)
        x, y, z = normal.detach()
        slope = x.new_zeros(2, f.face.numel()).index_copy(1, f.pixel, torch.stack([x, -y]) / z.clamp_min(1e-6))
        place = self.faces.new_zeros(self.min_vertices)
        place[f.near] = torch.arange(len(f.near), device=place.device)
        return antialias(
            image,
            f.face,
            depth,
            slope.view(2, *f.face.shape),
            torch.stack([column, row]),
            place[self.faces],
            self.neighbours,
        )

    def _near(self, meshes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The part of the mesh that the crop of some frame can see.

        Returns the faces that reach the crop, (S,); the vertices of all faces that share a vertex with those, (V',);
        and those faces as (F', 3) indices into these vertices, the S first."""
        (height, width), k = self.camera.size, self.camera.pixels_per_unit
        low, high = (edge.view(-1, 3) for edge in (meshes.flatten(1).amin(0), meshes.flatten(1).amax(0)))
        # each vertex stays in a box; on screen, the corners of its box are its extremes
        box = torch.stack(
            [
                torch.cat([torch.stack([low, high])[:, :, :2], z[None, :, 2:].expand(2, -1, -1)], 2)
                for z in ((low, high) if self.camera.perspective else (low,))
            ]
        )
        column, row, _ = self.camera.to_pixels(box.flatten(0, 1).permute(2, 0, 1) * k)
        beyond = [
            column.amax(0) < 0,
            column.amin(0) > width - 1,
            row.amax(0) < 0,
            row.amin(0) > height - 1,
        ]  # no NaN is
        beyond = sum(side.byte() << bit for bit, side in enumerate(beyond))
        away = torch.stack([beyond.index_select(0, corner) for corner in self.faces.T])
        away = away[0] & away[1] & away[2]  # all corners beyond the same side of the crop
        seen = (away == 0).nonzero().squeeze(1)
        visible = torch.zeros(meshes.shape[1], dtype=torch.bool, device=meshes.device)
        visible[self.faces[seen].flatten()] = True
        touching = visible[self.faces].any(1)
        touching[seen] = False
        faces = self.faces[torch.cat([seen, touching.nonzero().squeeze(1)])]
        visible[faces.flatten()] = True
        near = visible.nonzero().squeeze(1)
        place = torch.cumsum(visible, 0) - 1
        return seen, near, place[faces]

    def _check(self, vertices: Tensor, albedo: Tensor, directions: Tensor | None):
        if vertices.ndim < 2 or vertices.shape[-1] != 3 or vertices.shape[-2] < self.min_vertices:
            raise ValueError(
                f"Renderer: vertices must be (..., V, 3) with V >= {self.min_vertices} for these faces, "
                f"got {_told(vertices)}"
            )
        if vertices.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"Renderer: vertices must be float32 or float64, got {_told(vertices)}")
        *lead, V, _ = vertices.shape
        for name, x, end in (
            ("faces", self.faces, None),
            ("albedo", albedo, (V,)),
            ("directions", directions, (-1, 3)),
        ):
            if x is not None and x.device != vertices.device:
                raise ValueError(f"Renderer: {name} on {x.device}, vertices on {vertices.device}")
            if x is None or end is None or x.ndim == 0:
                continue
            own, tail = x.shape[: -len(end)], x.shape[-len(end) :]
            fits = len(own) <= len(lead) and all(a in (1, b) for a, b in zip(own[::-1], lead[::-1]))
            if not fits or len(tail) < len(end) or any(want not in (-1, got) for want, got in zip(end, tail)):
                raise ValueError(f"Renderer: {name} must be {end} or {(*lead, *end)}, got {_told(x)}")


def _told(x: Tensor) -> str:
    return f"{tuple(x.shape)} {x.dtype}"
