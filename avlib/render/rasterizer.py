"""Triangles in pixel coordinates: which face each pixel sees, and where silhouettes pass between pixels.

Coordinates come as (V, N), V vertices of N frames: every gather moves whole rows of frames.
"""

import torch
from torch import Tensor

# A pixel centre this far outside an edge (as a barycentric, in units of the dtype's epsilon) still counts as inside,
# so that rounding opens no crack between two faces that share the edge.
EDGE_SLACK = 16
CANDIDATES = 1 << 18  # pairs of face and pixel tested at once: bounds memory


def rasterise(
    column: Tensor, row: Tensor, distance: Tensor, faces: Tensor, size: tuple[int, int], epsilon: float = 0.0
) -> Tensor:
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
    fits = [
        torch.tensor(edge, dtype=column.dtype, device=device).repeat_interleave(
            torch.tensor(counts, dtype=torch.int64, device=device), output_size=len(kept)
        )
        for edge in ([width - box[0] for box in boxes], [height - box[1] for box in boxes])
    ]
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
            pu, pv, away = (
                torch.addcmul(torch.addcmul(at[part], right[part], dx), below[part], dy)
                for at, right, below in (u, v, far)
            )
            outside = torch.minimum(pu, pv).lt(-slack).logical_or_((pu + pv).le(1 + slack).logical_not_())
            # The face goes into the low bits, which a float32's distance leaves free in float64: one minimum for both.
            key = away.float().double().view(torch.int64).bitwise_or_(face[part]).view(torch.float64)
            where = pixel[part] + offset
            nearest.scatter_reduce_(0, where.view(-1), key.masked_fill_(outside, torch.inf).view(-1), "amin")
        start = end
    return (nearest.view(torch.int64) & (1 << 29) - 1).masked_fill_(nearest.isinf(), -1).view(N, height, width)


def rasterise_pytorch3d(
    column: Tensor, row: Tensor, distance: Tensor, faces: Tensor, size: tuple[int, int], perspective: bool
) -> tuple[Tensor, Tensor]:
    """The same by PyTorch3D, in float32: (N, h, w), and of the covered pixels the barycentrics (3, P) as PyTorch3D makes
    them, with its gradient. Of two equally near faces either."""
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    height, width = size
    side = min(size)  # its x goes to the left, its y up, and the image's shorter side from -1 to 1
    points = (
        torch.stack([width - 1 - 2 * column, height - 1 - 2 * row, 2 * distance], -1).transpose(0, 1).float() / side
    )
    there = points.detach().isfinite().all(2)  # (N, V)
    # a face that lacks a corner must not be handed over: which are, frame by frame
    kept = [whole[faces].all(1).nonzero().squeeze(1) for whole in there]
    meshes = Meshes([p.where(whole[:, None], 0) for p, whole in zip(points, there)], [faces[k] for k in kept])
    seen, _, weights, _ = rasterize_meshes(
        meshes, size, blur_radius=0.0, faces_per_pixel=1, perspective_correct=perspective
    )
    seen = seen.squeeze(-1)
    first = torch.cat(kept)  # index among the packed faces -> face
    face = torch.where(seen < 0, -1, first[seen.clamp_min(0)]) if len(first) else seen
    return face, weights.squeeze(3)[face >= 0].T.to(column.dtype)


def _box_sides(limit: int, device: torch.device) -> tuple[list[int], Tensor]:
    """Box sides 2, 3, 4, 6, 8, 12, 16, ... and last the limit; and which of them holds 1, 2, ..., limit pixels."""
    sides = sorted({s for power in range(limit.bit_length()) for s in (2 << power, 3 << power) if s < limit} | {limit})
    return sides, torch.bucketize(torch.arange(1, limit + 1), torch.tensor(sides)).short().to(device)
