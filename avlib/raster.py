"""Triangles in pixel coordinates: which face each pixel sees, and where silhouettes pass between pixels.

Coordinates come as (V, N), V vertices of N frames: every gather moves whole rows of frames.
"""
from __future__ import annotations

import torch
from torch import Tensor

# A pixel centre this far outside an edge (as a barycentric, in units of the dtype's epsilon) still counts as inside,
# so that rounding opens no crack between two faces that share the edge.
EDGE_SLACK = 16
CANDIDATES = 1 << 18  # pairs of face and pixel tested at once: bounds memory
# Between two pixels there may be a silhouette where the farther one lies so many pixels deeper than the slope of the nearer
# one's surface leads to; steeper slopes than this explain nothing, for at a silhouette every smooth surface is steep.
DEPTH_JUMP, STEEPEST = 1.0, 2.0
WALK = 8  # faces crossed at most between two neighbouring pixels


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
        torch.tensor(counts, dtype=torch.int64, device=device), output_size=len(kept))
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


def rasterise_pytorch3d(column: Tensor, row: Tensor, distance: Tensor, faces: Tensor, size: tuple[int, int],
                        perspective: bool) -> tuple[Tensor, Tensor]:
    """The same by PyTorch3D, in float32: (N, h, w), and of the covered pixels the barycentrics (3, P) as PyTorch3D makes
    them, with its gradient. Of two equally near faces either."""
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes
    height, width = size
    side = min(size)        # its x goes to the left, its y up, and the image's shorter side from -1 to 1
    points = torch.stack([width - 1 - 2 * column, height - 1 - 2 * row, 2 * distance], -1).transpose(0, 1).float() / side
    there = points.detach().isfinite().all(2)                               # (N, V)
    # a face that lacks a corner must not be handed over: which are, frame by frame
    kept = [whole[faces].all(1).nonzero().squeeze(1) for whole in there]
    meshes = Meshes([p.where(whole[:, None], 0) for p, whole in zip(points, there)], [faces[k] for k in kept])
    seen, _, weights, _ = rasterize_meshes(meshes, size, blur_radius=0.0, faces_per_pixel=1, perspective_correct=perspective)
    seen = seen.squeeze(-1)
    first = torch.cat(kept)                                                 # index among the packed faces -> face
    face = torch.where(seen < 0, -1, first[seen.clamp_min(0)]) if len(first) else seen
    return face, weights.squeeze(3)[face >= 0].T.to(column.dtype)


def _box_sides(limit: int, device: torch.device) -> tuple[list[int], Tensor]:
    """Box sides 2, 3, 4, 6, 8, 12, 16, ... and last the limit; and which of them holds 1, 2, ..., limit pixels."""
    sides = sorted({s for power in range(limit.bit_length()) for s in (2 << power, 3 << power) if s < limit} | {limit})
    return sides, torch.bucketize(torch.arange(1, limit + 1), torch.tensor(sides)).short().to(device)


def face_neighbours(faces: Tensor) -> Tensor:
    """(F, 3) vertices -> (F, 3) the face across the edge opposite each corner, -1 where the mesh ends."""
    edges = torch.stack([faces.roll(-1, 1), faces.roll(-2, 1)]).flatten(1).sort(0).values
    key, order = (edges[0] * (edges[1].max() + 1) + edges[1]).sort(stable=True)
    first, second = order[:-1][key[1:] == key[:-1]], order[1:][key[1:] == key[:-1]]
    across = torch.full_like(key, -1)
    across[first], across[second] = second // 3, first // 3
    return across.view(-1, 3)


def antialias(image: Tensor, face: Tensor, distance: Tensor, slope: Tensor, points: Tensor, faces: Tensor,
              neighbours: Tensor) -> Tensor:
    """Blends neighbouring pixels where a silhouette passes between their centres, in proportion to what it covers.

    Coverage thereby becomes a continuous function of the silhouette's vertices, with their gradient. After Laine et al.
    2020 (nvdiffrast), section 3.6; here the silhouette is looked for across several faces, which may be smaller than
    pixels. image, face, distance: (N, h, w), distance infinite where there is no face. points: (2, V' * N) column and
    row. slope: (2, N, h, w) by how much the surface recedes from pixel to pixel, along columns and rows. faces: (F, 3) into V'.
    neighbours: see `face_neighbours`.
    """
    width, flat = image.shape[2], distance.flatten()
    pairs = []  # the nearer pixel, and the flat step to the farther one
    for axis, stride, recedes in zip((2, 1), (1, width), slope.clamp(-STEEPEST, STEEPEST)):
        start, end = (lambda x: x.narrow(axis, 0, x.shape[axis] - 1)), (lambda x: x.narrow(axis, 1, x.shape[axis] - 1))
        jump = end(distance) - start(distance)      # NaN between two infinities
        expected = torch.where(jump > 0, start(recedes), -end(recedes)).clamp_min(0)
        jump = jump.where(jump.abs() > DEPTH_JUMP + expected, 0)
        jump = torch.nn.functional.pad(jump, (0, 1) if axis == 2 else (0, 0, 0, 1)).flatten()
        first = jump.nonzero().squeeze(1)
        ahead = jump.index_select(0, first) > 0
        pairs.append(torch.stack([torch.where(ahead, first, first + stride), torch.where(ahead, stride, -stride)]))
    near, step = torch.cat(pairs, 1)
    along = (step.abs() == width).long() if width > 1 else torch.ones_like(step)  # 0 along columns, 1 along rows
    pixel = near % image[0].numel()
    start = torch.stack([pixel % width, pixel // width]).to(points.dtype)
    pair, ends = _silhouettes(start, along, step.sign(), face.flatten().index_select(0, near),
                              near // image[0].numel(), len(image), points.detach(), faces, neighbours)
    near, step, along, start = (x.index_select(-1, pair) for x in (near, step, along, start))

    ends = points.index_select(1, ends.flatten()).view(2, 2, -1) - start[:, None]  # coordinate, end, silhouette
    (u0, u1), (v0, v1) = (ends.gather(0, axis.expand(1, 2, -1))[0] for axis in (along, 1 - along))
    crossing = ((v1 - v0).abs() > 1e-3 * (u1 - u0).abs()).nonzero().squeeze(1)  # the others would weigh nothing
    u0, u1, v0, v1, near, step = (x.index_select(0, crossing) for x in (u0, u1, v0, v1, near, step))
    slope = (u1 - u0) / (v1 - v0)
    covered = ((u0 - v0 * slope) * step.sign()).clamp(0, 1)  # of the way from the near pixel to the far one
    spills = covered.detach() > 0.5
    target, source = torch.where(spills, near + step, near), torch.where(spills, near, near + step)
    colours = image.flatten()
    # Rows and columns each see the whole silhouette: by its direction they share it, in weights that add up to one.
    weight = (covered - 0.5).abs() / (1 + slope.square().square())
    change = weight * (colours.index_select(0, source) - colours.index_select(0, target))
    return colours.index_add(0, target, change).view_as(image).clamp(0, 1)


def _silhouettes(start: Tensor, along: Tensor, step: Tensor, face: Tensor, frame: Tensor, frames: int, points: Tensor,
                 faces: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
    """Walks from face to face, one pixel along an axis from each `start`, (2, K), until the surface ends or turns away.

    Returns which walks came there, (M,), and the two ends of the silhouette edge as indices into `points`, (2, M).
    """
    faces, neighbours = faces.flatten(), neighbours.flatten()
    pair, behind, facing, found = torch.arange(len(face), device=face.device), torch.zeros_like(face), None, []
    for _ in range(WALK):
        corners = [faces.index_select(0, face * 3 + i) * frames + frame.index_select(0, pair) for i in range(3)]
        (ax, bx, cx), (ay, by, cy) = ([x.index_select(0, corner) - centre for corner in corners]
                                      for x, centre in zip(points, start.index_select(1, pair)))
        areas = torch.stack([by * cx - bx * cy, cy * ax - cx * ay, ay * bx - ax * by])
        sign = areas.sum(0).sign()
        facing = sign if facing is None else facing
        turned = sign != facing.index_select(0, pair)
        # Each barycentric's zero lies this far along the walk; the first one that falls is where it leaves the face.
        sideways = torch.where(along.index_select(0, pair) == 0, torch.stack([by - cy, cy - ay, ay - by]),
                               torch.stack([cx - bx, ax - cx, bx - ax])) * step.index_select(0, pair)
        length, corner = (areas / sideways).where(sideways * sign > 0, torch.inf).min(0)
        leaving = face * 3 + corner
        across = neighbours.index_select(0, leaving)
        goes = ~turned & (length < 1)
        for ended, edge in ((turned, behind), (goes & (across < 0), leaving)):
            ended = ended.nonzero().squeeze(1)
            found.append(torch.stack([pair.index_select(0, ended), edge.index_select(0, ended)]))
        goes = (goes & (across >= 0)).nonzero().squeeze(1)
        pair, face, behind = (x.index_select(0, goes) for x in (pair, across, leaving))
        if not len(pair):
            break
    pair, edge = torch.cat(found, 1)
    first = edge - edge % 3
    ends = torch.stack([faces.index_select(0, first + (edge + i) % 3) for i in (1, 2)])
    return pair, ends * frames + frame.index_select(0, pair)
