"""Differentiable rendering of lip crops: camera -> rasteriser -> fragments -> shading -> image.

The rasteriser finds without gradient which face covers which pixel. Barycentrics, vertex normals and shading are then
computed from the vertices, so the image's gradient reaches these (the normals are not detached).

Frames are the last axis, (V, N): every gather moves whole rows, and all arithmetic runs over contiguous planes.
"""

import importlib.util
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.progress import log
from .camera import Camera
from .culling import near_mesh
from .rasterizer import rasterise, rasterise_pytorch3d
from .shading import Barycentrics, Interpolate, Lambert, vertex_normals
from .silhouettes import antialias, face_neighbours

# PyTorch3D adds this to twice a face's signed area, in normalised device coordinates (image side 2), before it divides
# by it, which makes slivers a little darker and nearer. Without it, the two backends differ by 1e-3 on small faces.
AREA_EPSILON = 1e-8
# Sums of area-weighted normals shorter than this, in the mesh's squared unit, are not scaled to unit length, as in the
# released renderer.
NORMAL_FLOOR = 1e-6
BACKENDS = ("avlib", "pytorch3d")
CHUNK_ELEMENTS = 1 << 20  # bounds (faces + 4 pixels) x frames rendered at once, to save memory and fit the cache
LARGE_CHUNK = 8  # frames of large images, in up to so many times the elements: a chunk also has a fixed cost
ACCELERATOR_CHUNKS = 8  # so many times as large on an accelerator, which has to wait for the host in each chunk


@dataclass(frozen=True)
class Lights:
    """Directional lights.

    directions: from the mesh to each light, of any length. intensity: factor on the mean shade under all lights.
    """

    directions: tuple[tuple[float, float, float], ...] = ((-1, 1, 1), (1, 1, 1), (-1, -1, 1), (1, -1, 1), (0, 0, 1))
    intensity: float = 1.7


@dataclass(frozen=True)
class Fragments:
    """What the P covered pixels of N images show, in terms of the part of the mesh near the crop.

    face: (N, h, w) index of the visible face in the whole mesh, -1 where there is none. No gradient.
    pixel: (P,) index of each covered pixel in the flattened (N, h, w).
    vertices: (3, V', N) near vertices, pixels from the mesh's origin (x right, y up, z nearer). With gradient.
    faces: (F', 3) faces among the near vertices: all that share a vertex with a face that reaches the crop.
    corners: (3, P) int32, the three corners of each pixel's face, as indices into a flattened (V', N).
    barycentrics: (3, P) of the pixel centre in that face. With gradient.
    near: (V',) index of the near vertices in the whole mesh.
    finite: whether all vertices are.
    """

    face: Tensor
    pixel: Tensor
    vertices: Tensor
    faces: Tensor
    corners: Tensor
    barycentrics: Tensor
    near: Tensor
    finite: bool


class Renderer(nn.Module):
    """Vertices to grey images of the camera's crop, differentiable in vertices, albedo and lights. On any device.

    faces: (F, 3) vertex indices. albedo: one reflectance, or (V,) one per vertex, in [0, 1].
    supersampling: pixels averaged along each side of one pixel of the image.
    antialias: blend pixels across silhouettes, which gives moving silhouettes, such as the mouth's opening, a gradient.
        Without it, as in the released renderer, coverage is hard and only shading has a gradient.
    backend: "avlib", or "pytorch3d", which leaves faces and barycentrics to PyTorch3D.
    Errors: ValueError for faces or lights of a wrong shape, an unknown backend, or PyTorch3D missing.
    """

    faces: Tensor
    neighbours: Tensor | None
    albedo: Tensor
    directions: Tensor

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
        if backend not in BACKENDS:
            raise ValueError(f"Renderer: backend must be avlib or pytorch3d, got {backend!r}")
        if backend == "pytorch3d" and importlib.util.find_spec("pytorch3d") is None:
            raise ValueError(
                "Renderer: backend pytorch3d: PyTorch3D is not installed (pip install easypytorch3d, or conda install "
                "-c conda-forge pytorch3d)"
            )
        if faces.ndim != 2 or faces.shape[-1] != 3 or faces.is_floating_point() or not len(faces) or faces.min() < 0:
            raise ValueError(f"Renderer: faces must be (F, 3) integers >= 0 with F >= 1, got {_shape_and_dtype(faces)}")
        directions = torch.tensor(lights.directions, dtype=torch.float64)
        if directions.ndim != 2 or directions.shape[1] != 3:
            raise ValueError(f"Renderer: light directions must be (L, 3), got {_shape_and_dtype(directions)}")
        self.backend, self.lights, self.supersampling = backend, lights, supersampling
        self.camera = camera.finer(supersampling)
        self.min_vertices = int(faces.max()) + 1
        self.register_buffer("faces", faces.long(), persistent=False)
        self.register_buffer("neighbours", face_neighbours(self.faces) if antialias else None, persistent=False)
        albedo = torch.as_tensor(albedo, dtype=None if torch.is_tensor(albedo) else torch.float64, device=faces.device)
        self.register_buffer("albedo", albedo, persistent=False)
        self.register_buffer("directions", directions.to(faces.device), persistent=False)

    def forward(self, vertices: Tensor, albedo: Tensor | None = None, directions: Tensor | None = None) -> Tensor:
        """Images (..., h, w) in [0, 1] of vertices (..., V, 3), mesh unit, float32 or float64.

        albedo: (V,) or (..., V), instead of the constructor's.
        directions: (L, 3) or (..., L, 3) from each mesh to its lights, instead of the constructor's.
        Faces with a vertex that is not finite are left out. Errors: ValueError for a wrong shape, dtype or device.
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
        elements = CHUNK_ELEMENTS * (1 if vertices.device.type == "cpu" else ACCELERATOR_CHUNKS)
        per_frame = len(self.faces) + 4 * height * width
        frames = max(1, elements // per_frame, min(LARGE_CHUNK, LARGE_CHUNK * elements // per_frame))  # of a chunk
        albedos = albedo.split(frames) if albedo.ndim else itertools.repeat(albedo)
        lights = itertools.repeat(None) if directions is None else directions.split(frames)
        images = []
        for chunk, chunk_albedo, chunk_lights in zip(meshes.split(frames), albedos, lights):
            images.append(self.shade(self.rasterise(chunk), chunk_albedo, chunk_lights))
        images = torch.cat(images)
        if self.supersampling > 1:
            images = nn.functional.avg_pool2d(images[:, None], self.supersampling)[:, 0]
        return images.view(*lead, *images.shape[1:])

    def rasterise(self, meshes: Tensor) -> Fragments:
        """What each pixel of the crop shows of the meshes (N, V, 3), mesh unit."""
        near = near_mesh(meshes.detach(), self.faces, self.camera)
        reaching = near.faces[: len(near.reaching)]
        vertices = meshes.index_select(1, near.vertices).permute(2, 1, 0).contiguous() * self.camera.pixels_per_unit
        if not near.finite:
            # A vertex that is not finite takes its faces out of the image, and neither gets nor passes on a gradient.
            vertices = vertices.where(vertices.isfinite().all(0), torch.nan)
        column, row, distance = self.camera.to_pixels(vertices)
        barycentrics = None
        if self.backend == "pytorch3d":
            near_face, barycentrics = rasterise_pytorch3d(
                column, row, distance, reaching, self.camera.size, self.camera.perspective
            )
        else:
            depth = self._linear_depth(distance.detach())
            near_face = rasterise(
                column.detach(), row.detach(), depth, reaching, self.camera.size, self._area_epsilon()
            )
        (N, height, width), device = near_face.shape, near_face.device
        pixel = (near_face >= 0).flatten().nonzero().squeeze(1)
        frame = torch.arange(N, device=device).repeat_interleave(height * width).index_select(0, pixel)
        face_of_pixel = near_face.flatten().index_select(0, pixel)
        corners = (near.faces.T.contiguous().index_select(1, face_of_pixel) * N + frame).int()
        if barycentrics is None:
            barycentrics = self._barycentrics(column, row, distance, corners, pixel)
        no_face = near.reaching.new_full((1,), -1)
        face = torch.cat([no_face, near.reaching]).index_select(0, (near_face + 1).flatten()).view(near_face.shape)
        return Fragments(face, pixel, vertices, near.faces, corners, barycentrics, near.vertices, near.finite)

    def _linear_depth(self, distance: Tensor) -> Tensor:
        """A depth that is linear over a face in the image and grows with the distance, (V', N) -> (V', N)."""
        if not self.camera.perspective:
            return distance
        # In perspective the inverse of the distance is linear. From 1 at the nearest vertex to 2 at infinity.
        return 2 - distance.where(distance > 0, torch.inf).min() / distance

    def _area_epsilon(self) -> float:
        """`AREA_EPSILON` in pixels²."""
        return AREA_EPSILON * (self.camera.image_size / 2) ** 2

    def _barycentrics(self, column: Tensor, row: Tensor, distance: Tensor, corners: Tensor, pixel: Tensor) -> Tensor:
        """Of the covered pixels in their faces, (3, P), with gradient. column, row, distance: (V', N), pixels."""
        (height, width), N = self.camera.size, column.shape[1]
        x = torch.arange(width, device=pixel.device, dtype=torch.int16).repeat(N * height).index_select(0, pixel)
        y = torch.arange(height, device=pixel.device, dtype=torch.int16).repeat_interleave(width).repeat(N)
        y = y.index_select(0, pixel)
        if self.camera.perspective:
            return Barycentrics.apply(column, row, distance, corners, x, y, 0.0)
        return Barycentrics.apply(column, row, None, corners, x, y, self._area_epsilon())

    def shade(self, fragments: Fragments, albedo: Tensor, directions: Tensor | None = None) -> Tensor:
        """Images (N, h, w): Lambertian shading of the fragments, averaged over the lights; black elsewhere.

        albedo: () or (N, V). directions: (N, L, 3) to the lights of each mesh; None: the constructor's lights.
        """
        f = fragments
        floor = NORMAL_FLOOR * self.camera.pixels_per_unit**2
        normals = vertex_normals(f.vertices, f.faces, floor, f.finite).flatten(1)
        normal = Interpolate.apply(normals, f.corners, f.barycentrics)  # (3, P), not normalised
        lights = self.directions if directions is None else directions  # (L, 3) or (N, L, 3)
        lights = nn.functional.normalize(lights.to(normal.dtype), dim=-1).movedim(-1, 0)[..., None]
        if lights.ndim == 4:
            lights = lights[..., 0].mT.index_select(2, f.pixel // f.face[0].numel())  # (3, L, P)
        shade = Lambert.apply(normal, lights) * self.lights.intensity
        albedo = albedo.to(shade.dtype)
        if albedo.ndim:
            near_albedo = albedo.index_select(1, f.near).T.reshape(1, -1)
            (albedo,) = Interpolate.apply(near_albedo, f.corners, f.barycentrics)
        else:
            albedo = albedo * f.barycentrics.sum(0)  # the sum is not one on slivers, because of the epsilon
        colour = (albedo * shade).clamp(0, 1)
        image = colour.new_zeros(f.face.numel()).index_copy(0, f.pixel, colour).view(f.face.shape)
        return image if self.neighbours is None else self._antialias(image, f, normal.detach(), self.neighbours)

    def _antialias(self, image: Tensor, f: Fragments, normal: Tensor, neighbours: Tensor) -> Tensor:
        """The image (N, h, w) blended across silhouettes. normal: (3, P), see `shade`; neighbours: of the faces."""
        column, row, distance = (axis.flatten() for axis in self.camera.to_pixels(f.vertices))
        depth = (distance.detach().index_select(0, f.corners.flatten()).view(3, -1) * f.barycentrics.detach()).sum(0)
        depth = torch.full_like(image, torch.inf).flatten().index_copy(0, f.pixel, depth).view(f.face.shape)
        x, y, z = normal
        slope = x.new_zeros(2, f.face.numel()).index_copy(1, f.pixel, torch.stack([x, -y]) / z.clamp_min(1e-6))
        index_in_near = self.faces.new_zeros(self.min_vertices)
        index_in_near[f.near] = torch.arange(len(f.near), device=f.near.device)
        return antialias(
            image,
            f.face,
            depth,
            slope.view(2, *f.face.shape),
            torch.stack([column, row]),
            index_in_near[self.faces],
            neighbours,
        )

    def _check(self, vertices: Tensor, albedo: Tensor, directions: Tensor | None) -> None:
        """ValueError unless the inputs of `forward` fit each other and the faces."""
        if vertices.ndim < 2 or vertices.shape[-1] != 3 or vertices.shape[-2] < self.min_vertices:
            raise ValueError(
                f"Renderer: vertices must be (..., V, 3) with V >= {self.min_vertices} for these faces, "
                f"got {_shape_and_dtype(vertices)}"
            )
        if vertices.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"Renderer: vertices must be float32 or float64, got {_shape_and_dtype(vertices)}")
        for name, x in (("faces", self.faces), ("albedo", albedo), ("directions", directions)):
            if x is not None and x.device != vertices.device:
                raise ValueError(f"Renderer: {name} on {x.device}, vertices on {vertices.device}")
        *lead, V, _ = vertices.shape
        if albedo.ndim and not _broadcasts(albedo, lead, (V,)):
            raise ValueError(f"Renderer: albedo must be {(V,)} or {(*lead, V)}, got {_shape_and_dtype(albedo)}")
        if directions is not None and not _broadcasts(directions, lead, (-1, 3)):
            raise ValueError(
                f"Renderer: directions must be (L, 3) or (*{tuple(lead)}, L, 3), got {_shape_and_dtype(directions)}"
            )


def usable_backend(backend: str) -> str:
    """The backend, or "avlib" where that is PyTorch3D and cannot be imported; a line then says so and why.

    Its compiled part fits one build of torch.
    """
    if backend == "pytorch3d":
        try:
            importlib.import_module("pytorch3d._C")
        except ImportError as error:
            log(f"PyTorch3D cannot be imported ({str(error).splitlines()[0]}): avlib's own rasteriser renders")
            return "avlib"
    return backend


def _broadcasts(x: Tensor, lead: Sequence[int], tail: Sequence[int]) -> bool:
    """Whether x can be expanded to the shape (*lead, *tail); -1 stands for any size."""
    x_lead, x_tail = x.shape[: -len(tail)], x.shape[-len(tail) :]
    if len(x_lead) > len(lead) or len(x_tail) < len(tail):
        return False
    lead_fits = all(size in (1, expected) for size, expected in zip(reversed(x_lead), reversed(lead)))
    return lead_fits and all(expected in (-1, size) for size, expected in zip(x_tail, tail))


def _shape_and_dtype(x: Tensor) -> str:
    return f"{tuple(x.shape)} {x.dtype}"
