"""Blending across silhouettes, which gives the mouth's opening a gradient."""

import torch
from torch import Tensor

# Between two pixels there may be a silhouette where the farther one lies so many pixels deeper than the slope of the nearer
# one's surface leads to; steeper slopes than this explain nothing, for at a silhouette every smooth surface is steep.
DEPTH_JUMP, STEEPEST = 1.0, 2.0
WALK = 8  # faces crossed at most between two neighbouring pixels


def face_neighbours(faces: Tensor) -> Tensor:
    """(F, 3) vertices -> (F, 3) the face across the edge opposite each corner, -1 where the mesh ends."""
    edges = torch.stack([faces.roll(-1, 1), faces.roll(-2, 1)]).flatten(1).sort(0).values
    key, order = (edges[0] * (edges[1].max() + 1) + edges[1]).sort(stable=True)
    first, second = order[:-1][key[1:] == key[:-1]], order[1:][key[1:] == key[:-1]]
    across = torch.full_like(key, -1)
    across[first], across[second] = second // 3, first // 3
    return across.view(-1, 3)


def antialias(
    image: Tensor, face: Tensor, distance: Tensor, slope: Tensor, points: Tensor, faces: Tensor, neighbours: Tensor
) -> Tensor:
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
        jump = end(distance) - start(distance)  # NaN between two infinities
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
    pair, ends = _silhouettes(
        start,
        along,
        step.sign(),
        face.flatten().index_select(0, near),
        near // image[0].numel(),
        len(image),
        points.detach(),
        faces,
        neighbours,
    )
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


def _silhouettes(
    start: Tensor,
    along: Tensor,
    step: Tensor,
    face: Tensor,
    frame: Tensor,
    frames: int,
    points: Tensor,
    faces: Tensor,
    neighbours: Tensor,
) -> tuple[Tensor, Tensor]:
    """Walks from face to face, one pixel along an axis from each `start`, (2, K), until the surface ends or turns away.

    Returns which walks came there, (M,), and the two ends of the silhouette edge as indices into `points`, (2, M).
    """
    faces, neighbours = faces.flatten(), neighbours.flatten()
    pair, behind, facing, found = torch.arange(len(face), device=face.device), torch.zeros_like(face), None, []
    for _ in range(WALK):
        corners = [faces.index_select(0, face * 3 + i) * frames + frame.index_select(0, pair) for i in range(3)]
        (ax, bx, cx), (ay, by, cy) = (
            [x.index_select(0, corner) - centre for corner in corners]
            for x, centre in zip(points, start.index_select(1, pair))
        )
        areas = torch.stack([by * cx - bx * cy, cy * ax - cx * ay, ay * bx - ax * by])
        sign = areas.sum(0).sign()
        facing = sign if facing is None else facing
        turned = sign != facing.index_select(0, pair)
        # Each barycentric's zero lies this far along the walk; the first one that falls is where it leaves the face.
        sideways = torch.where(
            along.index_select(0, pair) == 0,
            torch.stack([by - cy, cy - ay, ay - by]),
            torch.stack([cx - bx, ax - cx, bx - ax]),
        ) * step.index_select(0, pair)
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
