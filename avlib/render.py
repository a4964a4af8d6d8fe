"""Differentiable rendering of lip crops: camera -> rasteriser -> fragments -> shading -> image.

Which face covers which pixel is found without gradient; barycentrics, vertex normals and shading are then recomputed
from the vertices, so the image's gradient reaches them (the normals are not detached).

Frames of one chunk lie last, (V, N): every gather moves whole rows, and all arithmetic runs over contiguous planes.
"""
from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

# A pixel centre this far outside an edge (as a barycentric, in units of the dtype's epsilon) still counts as inside,
# so that rounding opens no crack between two faces that share the edge.
EDGE_SLACK = 16
# PyTorch3D adds this to twice a face's signed area, in normalised device coordinates (image side 2), before it divides
# by it: slivers darken a little and come a little nearer. Without it, the two differ by 1e-3 on small faces.
AREA_EPSILON = 1e-8
# Sums of area-weighted normals shorter than this, in the mesh's squared unit, stay short, as in the released renderer.
NORMAL_FLOOR = 1e-6
CANDIDATES = 1 << 18  # pairs of face and pixel tested at once
CHUNK_ELEMENTS = 1 << 20  # bounds (faces + 4 pixels) x frames rendered at once: memory, and what the cache holds


@dataclass(frozen=True)
class Camera:
    """Orthographic camera looking along -z: x to the right of the image, y up, larger z nearer.

    scale: a mesh unit spans scale / 2 image sides (`image_size * scale / 2` pixels).
    image_size: side of the whole square image, pixels.
    rows, columns: the crop that is rendered, half-open pixel ranges of the whole image; None: all.
    centre: the point (x, y) of the mesh, in its unit, at the middle of the whole image.
    """
    scale: float
    image_size: int = 224
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    centre: tuple[float, float] = (0.0, 0.0)
    distance: float = 10.0  # to the mesh's origin, half image sides: only slivers feel it

    def __post_init__(self):
        if not (math.isfinite(self.scale) and self.scale > 0 and self.image_size > 0):
            raise ValueError(f"Camera: scale and image_size must be positive, got {self.scale}, {self.image_size}")
        for name in ("rows", "columns"):
            first, last = window = getattr(self, name) or (0, self.image_size)
            if not first < last:
                raise ValueError(f"Camera: {name} must be (first, last) with first < last, got {(first, last)}")
            object.__setattr__(self, name, tuple(int(edge) for edge in window))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crop, pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def finer(self, times: int) -> Camera:
        """The same view in `times` as many pixels along each side."""
        rows, columns = (tuple(edge * times for edge in window) for window in (self.rows, self.columns))
        return replace(self, image_size=self.image_size * times, rows=rows, columns=columns)

    @property
    def pixels_per_unit(self) -> float:
        return self.scale * self.image_size / 2

    def to_pixels(self, vertices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vertices (3, ...) in pixels from the mesh's origin, y up -> column, row, distance; (0, 0) is the centre of the
        crop's first pixel."""
        x, y, z = vertices
        middle, k = (self.image_size - 1) / 2, self.pixels_per_unit
        column = x + (middle - self.columns[0] - k * self.centre[0])
        row = (middle - self.rows[0] + k * self.centre[1]) - y
        return column, row, self.distance * self.image_size / 2 - z


def camera_for(vertices: Tensor, size: int = 512, margin: float = 0.1) -> Camera:
    """A front view that holds every one of the vertices (..., V, 3) in size x size pixels, with `margin` of their
    larger extent left free on each side: a face, or the lips alone (`crop_camera`)."""
    points = vertices.detach().reshape(-1, 3)[:, :2]
    if not len(points) or not points.isfinite().all():
        raise ValueError(f"camera_for: needs finite vertices (..., V, 3), got {tuple(vertices.shape)}")
    low, high = points.amin(0), points.amax(0)
    side = float((high - low).max()) * (1 + 2 * margin)
    if not side > 0:
        raise ValueError("camera_for: all vertices lie in one point of the image plane")
    return Camera(scale=2 / side, image_size=size, centre=tuple(((low + high) / 2).tolist()))


def crop_camera(lip_vertices: Tensor, size: int = 48, margin: float = 0.3) -> Camera:
    """The mouth crop: holds the lips (..., V, 3) of all given frames and some skin around them."""
    return camera_for(lip_vertices, size, margin)


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
    vertices: (3, V', N) near vertices, pixels (x right, y up, z nearer). With gradient.
    faces: (F', 3) faces among the near vertices: all that touch a visible face.
    corners: (3, P) the three corners of the face each pixel sees, as indices into a flattened (V', N).
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


def rasterise(column: Tensor, row: Tensor, distance: Tensor, faces: Tensor, size: tuple[int, int],
              epsilon: float = 0.0) -> Tensor:
    """The nearest face at every pixel centre; of two equally near the lower index.

    column, row, distance from the camera: (V, N) pixels. faces: (F, 3). epsilon: see AREA_EPSILON, pixels².
    Returns (N, h, w) int64, -1 for none. Faces seen from behind count; those without area or with a NaN do not.
    """
    height, width = size
    N, device = column.shape[1], column.device
    nearest = torch.full((N * height * width,), torch.inf, dtype=torch.float64, device=device)
    corners = [[axis.index_select(0, corner).flatten() for corner in faces.T] for axis in (column, row, distance)]

    # Each face's box of pixel centres, inside the crop; faces that hold no centre go no further.
    low, extent = [], []
    for (a, b, c), limit in zip(corners, (width, height)):
        first = torch.minimum(torch.minimum(a, b), c).ceil_().clamp_(min=0)
        last = torch.maximum(torch.maximum(a, b), c).floor_().clamp_(max=limit - 1)
        low.append(first)
        extent.append(last.sub_(first))
    kept = torch.minimum(*extent).ge_(0).nonzero().squeeze(1)

    # Boxes of like size go together, so that their candidate pixels form one dense block.
    sides, kinds = zip(*(_box_sides(limit, device) for limit in (width, height)))
    across, down = (of_kind.index_select(0, e.index_select(0, kept).int()) for of_kind, e in zip(kinds, extent))
    kind, order = (down * len(sides[0]) + across).sort(stable=True)
    kept = kept.index_select(0, order)
    kind, counts = (x.tolist() for x in torch.unique_consecutive(kind, return_counts=True))
    boxes = [(sides[0][k % len(sides[0])], sides[1][k // len(sides[0])]) for k in kind]
    (ax, bx, cx), (ay, by, cy), (az, bz, cz) = [[c.index_select(0, kept) for c in axis] for axis in corners]
    fits = [torch.tensor(edge, dtype=column.dtype, device=device).repeat_interleave(
        torch.tensor(counts, device=device), output_size=len(kept))
        for edge in ([width - box[0] for box in boxes], [height - box[1] for box in boxes])]
    x0, y0 = (torch.minimum(first.index_select(0, kept), fit) for first, fit in zip(low, fits))
    ax, bx, cx, ay, by, cy = ax - x0, bx - x0, cx - x0, ay - y0, by - y0, cy - y0

    # Two barycentrics and the distance as planes over the box: value, slope along columns, slope along rows.
    area = (by - ay) * (cx - ax) - (bx - ax) * (cy - ay)  # doubled, positive seen from the front
    area = area.where(area.abs() > 2 * epsilon, torch.nan)
    u = [t / area for t in (by * cx - bx * cy, cy - by, bx - cx)]
    v = [t / area for t in (cy * ax - cx * ay, ay - cy, cx - ax)]
    scale = area / (area + epsilon)
    far = [((az - cz) * s + (bz - cz) * t + r) * scale for s, t, r in zip(u, v, (cz, 0, 0))]
    face = kept // N
    pixel = (kept - face * N) * (height * width) + (y0 * width + x0).long()

    slack = EDGE_SLACK * torch.finfo(column.dtype).eps
    start = 0
    for (across, down), count in zip(boxes, counts):
        dx = torch.arange(across, dtype=column.dtype, device=device)[:, None]
        dy = torch.arange(down, dtype=column.dtype, device=device)[:, None, None]
        offset = (dy * width + dx).long()
        end, step = start + count, max(1, CANDIDATES // (across * down))
        for part in (slice(first, min(first + step, end)) for first in range(start, end, step)):
            # (down, across, m) each
            pu, pv, away = (torch.addcmul(torch.addcmul(at[part], right[part], dx), below[part], dy)
                            for at, right, below in (u, v, far))
            outside = torch.minimum(pu, pv).lt(-slack).logical_or_((pu + pv).le(1 + slack).logical_not_())
            # The face goes into the low bits, which a float32's distance leaves free in float64: one minimum for both.
            key = away.float().double().view(torch.int64).bitwise_or_(face[part]).view(torch.float64)
            where = pixel[part] + offset
            nearest.scatter_reduce_(0, where.view(-1), key.masked_fill_(outside, torch.inf).view(-1), "amin")
        start = end
    return (nearest.view(torch.int64) & (1 << 29) - 1).masked_fill_(nearest.isinf(), -1).view(N, height, width)


def _box_sides(limit: int, device: torch.device) -> tuple[list[int], Tensor]:
    """Box sides 1, 2, 3, 4, 6, 8, 12, 16, ... and last the limit; and which of them holds 1, 2, ..., limit pixels."""
    sides = sorted({s for power in range(limit.bit_length()) for s in (1 << power, 3 << power >> 1) if s < limit} | {limit})
    return sides, torch.bucketize(torch.arange(1, limit + 1), torch.tensor(sides)).short().to(device)


def vertex_normals(vertices: Tensor, faces: Tensor, floor: float = 1e-6) -> Tensor:
    """Area-weighted unit normals, (3, V, N) -> (3, V, N): each face's normal counts by its area at its three corners.

    floor: a sum of doubled areas below it, in the vertices' squared unit, is not stretched to unit length: where a
    mesh folds onto itself the normals cancel, and what is left points nowhere."""
    a, b, c = (vertices.index_select(1, corner) for corner in faces.T)
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    face_normals = torch.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx])
    normals = torch.zeros_like(vertices)
    for corner in faces.T:
        normals = normals.index_add(1, corner, face_normals)
    return normals * normals.square().sum(0).clamp_min(floor ** 2).rsqrt()


class Renderer(nn.Module):
    """Vertices to grey images of the camera's crop, differentiable in vertices and albedo.

    faces: (F, 3) vertex indices. albedo: one reflectance, or (V,) one per vertex.
    """

    def __init__(self, faces: Tensor, camera: Camera, lights: Lights = Lights(), albedo: float | Tensor = 180 / 255):
        super().__init__()
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.is_floating_point():
            raise ValueError(f"Renderer: faces must be (F, 3) integers, got {tuple(faces.shape)} {faces.dtype}")
        if len(faces) == 0 or faces.min() < 0:
            raise ValueError(f"Renderer: needs faces with indices of 0 and more, got {len(faces)} faces")
        self.camera, self.lights = camera, lights
        self.min_vertices = int(faces.max()) + 1
        self.register_buffer("faces", faces.long(), persistent=False)
        self.register_buffer("albedo", torch.as_tensor(albedo), persistent=False)
        self.register_buffer("directions", torch.tensor(lights.directions, dtype=torch.float64), persistent=False)

    def forward(self, vertices: Tensor, albedo: Tensor | None = None, directions: Tensor | None = None) -> Tensor:
        """vertices: (..., V, 3), mesh unit. albedo: (V,) or (..., V), for the constructor's. directions: (..., L, 3)
        lights of each mesh, for the constructor's. Returns (..., h, w) in [0, 1]."""
        V = self._check(vertices, albedo, directions)
        lead, (height, width) = vertices.shape[:-2], self.camera.size
        meshes = vertices.reshape(-1, V, 3)
        N = len(meshes)
        per_vertex = self.albedo if albedo is None else albedo
        if per_vertex.ndim:
            per_vertex = per_vertex.to(vertices.dtype).expand(*lead, V).reshape(N, V)
        if directions is not None:
            directions = directions.to(vertices.dtype).expand(*lead, *directions.shape[-2:])
            directions = directions.reshape(N, *directions.shape[-2:])
        step = max(1, CHUNK_ELEMENTS // (len(self.faces) + 4 * height * width))
        parts = [x.split(step) if x is not None and x.ndim else itertools.repeat(x)
                 for x in (meshes, per_vertex, directions)]
        images = [self.shade(self.rasterise(part), *look) for part, *look in zip(*parts)]
        return torch.cat(images).reshape(*lead, height, width) if N else vertices.new_zeros(*lead, height, width)

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
        local = rasterise(column.detach(), row.detach(), distance.detach(), faces[:len(seen)], (height, width), epsilon)
        pixel = (local >= 0).flatten().nonzero().squeeze(1)
        frame = torch.arange(N, device=pixel.device).repeat_interleave(height * width).index_select(0, pixel)
        centre_x = torch.arange(width, device=pixel.device, dtype=column.dtype).repeat(N * height)
        centre_y = torch.arange(height, device=pixel.device, dtype=row.dtype).repeat_interleave(width).repeat(N)
        visible = local.flatten().index_select(0, pixel)
        corners = faces.T.contiguous().index_select(1, visible) * N + frame
        ax, bx, cx = column.flatten().index_select(0, corners.flatten()).view(3, -1) - centre_x.index_select(0, pixel)
        ay, by, cy = row.flatten().index_select(0, corners.flatten()).view(3, -1) - centre_y.index_select(0, pixel)
        areas = torch.stack([by * cx - bx * cy, cy * ax - cx * ay, ay * bx - ax * by])
        face = torch.cat([seen.new_full((1,), -1), seen]).index_select(0, (local + 1).flatten()).view(local.shape)
        return Fragments(face, pixel, vertices, faces, corners, areas / (areas.sum(0) + epsilon), near)

    def shade(self, fragments: Fragments, albedo: Tensor, directions: Tensor | None = None) -> Tensor:
        """Lambertian shading of the fragments under the lights, averaged over them; black elsewhere. (N, h, w)."""
        f = fragments
        floor = NORMAL_FLOOR * self.camera.pixels_per_unit ** 2
        normals = vertex_normals(f.vertices, f.faces, floor).flatten(1).index_select(1, f.corners.flatten())
        normal = sum(n * w for n, w in zip(normals.view(3, 3, -1).unbind(1), f.barycentrics))  # (3, P), as it comes
        lights = self.directions if directions is None else directions
        lights = nn.functional.normalize(lights.to(normal.dtype), dim=-1)
        if lights.ndim == 2:
            cosines = lights @ normal
        else:
            frame = f.pixel // f.face[0].numel()
            cosines = (lights.permute(2, 1, 0).index_select(2, frame) * normal[:, None]).sum(0)
        shade = cosines.relu().mean(0) * self.lights.intensity
        if albedo.ndim:
            albedo = albedo.index_select(1, f.near).T.flatten().index_select(0, f.corners.flatten()).view(3, -1)
        colour = ((albedo * f.barycentrics).sum(0) * shade).clamp(0, 1)
        return colour.new_zeros(f.face.numel()).index_copy(0, f.pixel, colour).view(f.face.shape)

    def _near(self, meshes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The part of the mesh that the crop of some frame can see.

        Returns the faces that reach the crop, (S,); the vertices of all faces that share a vertex with those, (V',);
        and those faces as (F', 3) indices into these vertices, the S first."""
        k, (height, width), (x, y) = self.camera.pixels_per_unit, self.camera.size, self.camera.centre
        low, high = (edge.view(-1, 3) for edge in (meshes.flatten(1).amin(0), meshes.flatten(1).amax(0)))
        column, row, _ = self.camera.to_pixels(torch.stack([low, high]).permute(2, 0, 1) * k)
        beyond = [column[1] < 0, column[0] > width - 1, row[0] < 0, row[1] > height - 1]  # never so for a NaN
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

    def _check(self, vertices: Tensor, albedo: Tensor | None, directions: Tensor | None) -> int:
        if vertices.ndim < 2 or vertices.shape[-1] != 3 or vertices.shape[-2] < self.min_vertices:
            raise ValueError(f"Renderer: vertices must be (..., V, 3) with V >= {self.min_vertices}, "
                             f"got {tuple(vertices.shape)}")
        return vertices.shape[-2]
