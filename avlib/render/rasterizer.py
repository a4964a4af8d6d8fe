"""Triangle rasterisation in pixel coordinates: which face is the nearest at each pixel centre. Without gradient.

Coordinates come as (V, N), V vertices of N frames: every gather moves whole rows of frames.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# A pixel centre this far outside an edge (as a barycentric, in units of the dtype's epsilon) still counts as inside,
# so that rounding opens no crack between two faces that share the edge.
EDGE_SLACK = 16
CANDIDATES = 1 << 18  # pairs of face and pixel tested at once: bounds memory
# A float32 distance in float64 leaves the low 29 bits of the mantissa zero; they hold the index of the face.
FACE_BITS = (1 << 29) - 1

Corners = list[Tensor]  # one coordinate at a face's three corners, (K,) each


def rasterise(
    column: Tensor, row: Tensor, distance: Tensor, faces: Tensor, size: tuple[int, int], epsilon: float = 0.0
) -> Tensor:
    """The nearest face at every pixel centre; of two equally near faces the one with the lower index.

    column, row, distance from the camera: (V, N), pixels. faces: (F, 3). size: height and width of the image, pixels.
    epsilon: see `renderer.AREA_EPSILON`, pixels².
    Returns (N, height, width) int64, -1 where there is no face. Both sides of a face are visible; faces without area
    or with a NaN are not.
    """
    (height, width), frames = size, column.shape[1]
    corners = [_at_corners(axis, faces) for axis in (column, row, distance)]
    boxes = _bounding_boxes(corners[0], corners[1], size)
    columns, rows, distances = ([corner.index_select(0, boxes.index) for corner in axis] for axis in corners)
    columns, rows = [x - boxes.left for x in columns], [y - boxes.top for y in rows]
    u, v, depth = _planes(columns, rows, distances, epsilon)
    face = boxes.index // frames
    first_pixel = (boxes.index - face * frames) * (height * width) + (boxes.top * width + boxes.left).long()

    # The nearest distance of each pixel, with its face in the low bits: one minimum settles both.
    nearest = torch.full((frames * height * width,), torch.inf, dtype=torch.float64, device=column.device)
    slack = EDGE_SLACK * torch.finfo(column.dtype).eps
    for part, dx, dy, offset in _blocks(boxes, width, column.dtype):
        pixel = first_pixel[part] + offset  # (box height, box width, faces), as all that follows
        u_here, v_here = u.at(part, dx, dy), v.at(part, dx, dy)
        outside = torch.minimum(u_here, v_here).lt(-slack)
        outside = outside.logical_or_((u_here + v_here).le(1 + slack).logical_not_())  # so that a NaN is outside
        key = depth.at(part, dx, dy).float().double().view(torch.int64).bitwise_or_(face[part]).view(torch.float64)
        nearest.scatter_reduce_(0, pixel.view(-1), key.masked_fill_(outside, torch.inf).view(-1), "amin")
    return (nearest.view(torch.int64) & FACE_BITS).masked_fill_(nearest.isinf(), -1).view(frames, height, width)


def _at_corners(axis: Tensor, faces: Tensor) -> Corners:
    """One coordinate (V, N) at the three corners of every face in every frame, (F * N,) each."""
    return [axis.index_select(0, corner).flatten() for corner in faces.T]


class _Boxes(NamedTuple):
    """Boxes of pixels around K faces in their frames, sorted by size: equally large boxes form dense blocks of pixels.

    index: (K,) of each face and frame in a flattened (F, N).
    left, top: (K,) the box's first column and row, as floating-point numbers.
    sizes: width and height of the boxes of each run of equally large ones, pixels. counts: how many boxes each run has.
    """

    index: Tensor
    left: Tensor
    top: Tensor
    sizes: list[tuple[int, int]]
    counts: list[int]


def _bounding_boxes(columns: Corners, rows: Corners, size: tuple[int, int]) -> _Boxes:
    """The boxes of all faces that may cover a pixel centre of the image. columns, rows: (F * N,) at each corner."""
    height, width = size
    device = columns[0].device
    first, extent = [], []  # the first pixel centre within each face's bounds, and how many more there are
    for (a, b, c), limit in ((columns, width), (rows, height)):
        low = torch.minimum(torch.minimum(a, b), c).ceil_().clamp_(min=0)
        high = torch.maximum(torch.maximum(a, b), c).floor_().clamp_(max=limit - 1)
        first.append(low)
        extent.append(high.sub_(low))
    index = torch.minimum(*extent).ge_(0).nonzero().squeeze(1)  # a NaN is not

    # A box grows to the next of a few sizes, for otherwise there would be too many different ones.
    (widths, width_class), (heights, height_class) = (_box_sides(limit, device) for limit in (width, height))
    across, down = (
        side_class.index_select(0, e.index_select(0, index).int())
        for side_class, e in zip((width_class, height_class), extent)
    )
    size_class, order = (down * len(widths) + across).sort(stable=True)
    index = index.index_select(0, order)
    classes = torch.arange(len(widths) * len(heights) + 1, device=device)
    counts = torch.searchsorted(size_class, classes.to(size_class)).diff().tolist()
    sizes = [(width, height) for height in heights for width in widths]

    # A box that has grown beyond the image moves back into it.
    last_left, last_top = (
        torch.tensor(edge, dtype=columns[0].dtype, device=device).repeat_interleave(
            torch.tensor(counts, dtype=torch.int64, device=device), output_size=len(index)
        )
        for edge in ([width - w for w, _ in sizes], [height - h for _, h in sizes])
    )
    left = torch.minimum(first[0].index_select(0, index), last_left)
    top = torch.minimum(first[1].index_select(0, index), last_top)
    return _Boxes(index, left, top, sizes, counts)


def _box_sides(limit: int, device: torch.device) -> tuple[list[int], Tensor]:
    """Box sides 2, 3, 4, 6, 8, 12, 16, ... up to the limit; and which of them holds 1, 2, ..., limit pixels."""
    sides = sorted({s for power in range(limit.bit_length()) for s in (2 << power, 3 << power) if s < limit} | {limit})
    return sides, torch.bucketize(torch.arange(1, limit + 1), torch.tensor(sides)).short().to(device)


def _blocks(boxes: _Boxes, image_width: int, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Equally large boxes, at most `CANDIDATES` pixels at once: which of the K boxes, and where their pixels are.

    The positions count from the box's first pixel: columns (box width, 1), rows (box height, 1, 1), and indices into
    the flattened image (box height, box width, 1).
    """
    device, start = boxes.left.device, 0
    for (width, height), count in zip(boxes.sizes, boxes.counts):
        dx = torch.arange(width, dtype=dtype, device=device)[:, None]
        dy = torch.arange(height, dtype=dtype, device=device)[:, None, None]
        offset = (dy * image_width + dx).long()
        end, step = start + count, max(1, CANDIDATES // (width * height))
        for first in range(start, end, step):
            yield slice(first, min(first + step, end)), dx, dy, offset
        start = end


class _Plane(NamedTuple):
    """A quantity that is linear over each of K faces: at the first pixel of its box, and its slopes. (K,) each."""

    value: Tensor
    per_column: Tensor
    per_row: Tensor

    def at(self, part: slice, dx: Tensor, dy: Tensor) -> Tensor:
        """(box height, box width, faces of the part). part, dx, dy: see `_blocks`."""
        return torch.addcmul(torch.addcmul(self.value[part], self.per_column[part], dx), self.per_row[part], dy)


def _planes(columns: Corners, rows: Corners, distances: Corners, epsilon: float) -> tuple[_Plane, _Plane, _Plane]:
    """The barycentrics of the first and second corner, and the distance, over the boxes of K faces.

    columns, rows: of the corners, from the box's first pixel. NaN for faces without area.
    """
    (ax, bx, cx), (ay, by, cy), (az, bz, cz) = columns, rows, distances
    area = (by - ay) * (cx - ax) - (bx - ax) * (cy - ay)  # doubled, positive for faces seen from the front
    area = area.where(area.abs() > 2 * epsilon, torch.nan)
    u = _Plane((by * cx - bx * cy) / area, (cy - by) / area, (bx - cx) / area)
    v = _Plane((cy * ax - cx * ay) / area, (ay - cy) / area, (cx - ax) / area)
    scale, from_a, from_b = area / (area + epsilon), az - cz, bz - cz
    depth = _Plane(
        (from_a * u.value + from_b * v.value + cz) * scale,
        (from_a * u.per_column + from_b * v.per_column) * scale,
        (from_a * u.per_row + from_b * v.per_row) * scale,
    )
    return u, v, depth


def rasterise_pytorch3d(
    column: Tensor, row: Tensor, distance: Tensor, faces: Tensor, size: tuple[int, int], perspective: bool
) -> tuple[Tensor, Tensor]:
    """The same as `rasterise` by PyTorch3D, in float32; of two equally near faces either.

    Returns the faces (N, height, width), and the barycentrics (3, P) of the P covered pixels with PyTorch3D's gradient.
    """
    from pytorch3d.renderer.mesh.rasterize_meshes import (  # pyright: ignore[reportMissingImports] (optional package)
        rasterize_meshes,
    )
    from pytorch3d.structures import Meshes  # pyright: ignore[reportMissingImports] (optional package)

    height, width = size
    side = min(size)  # PyTorch3D's x points to the left, its y up, and the image's shorter side spans -1 to 1
    points = (
        torch.stack([width - 1 - 2 * column, height - 1 - 2 * row, 2 * distance], -1).transpose(0, 1).float() / side
    )
    finite = points.detach().isfinite().all(2)  # (N, V)
    # PyTorch3D must not get faces with a corner that is not finite; which these are differs from frame to frame.
    kept = [in_frame[faces].all(1).nonzero().squeeze(1) for in_frame in finite]
    meshes = Meshes(
        [p.where(in_frame[:, None], 0) for p, in_frame in zip(points, finite)], [faces[index] for index in kept]
    )
    packed_face, _, weights, _ = rasterize_meshes(
        meshes, size, blur_radius=0.0, faces_per_pixel=1, perspective_correct=perspective
    )
    packed_face = packed_face.squeeze(-1)  # index among the kept faces of all frames
    original = torch.cat(kept)
    face = torch.where(packed_face < 0, -1, original[packed_face.clamp_min(0)]) if len(original) else packed_face
    return face, weights.squeeze(3)[face >= 0].T.to(column.dtype)
