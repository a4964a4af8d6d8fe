"""Antialiasing across silhouettes, which gives the mouth's opening a gradient.

After Laine et al. 2020 (nvdiffrast), section 3.6. Here the silhouette may lie several faces away from the pixel's own
face, since faces may be smaller than pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# A silhouette may pass between two neighbouring pixels if the farther one lies more than DEPTH_JUMP pixels deeper than
# the slope of the nearer one's surface predicts. That slope is cut off at STEEPEST pixels a pixel, because every smooth
# surface is steep at its silhouette.
DEPTH_JUMP, STEEPEST = 1.0, 2.0
WALK = 8  # faces crossed at most between two neighbouring pixels


def face_neighbours(faces: Tensor) -> Tensor:
    """(F, 3) vertices -> (F, 3) the face across the edge opposite each corner, -1 at the border of the mesh."""
    edges = torch.stack([faces.roll(-1, 1), faces.roll(-2, 1)]).flatten(1).sort(0).values
    key, order = (edges[0] * (edges[1].max() + 1) + edges[1]).sort(stable=True)
    shared = key[1:] == key[:-1]
    first, second = order[:-1][shared], order[1:][shared]
    across = torch.full_like(key, -1)
    across[first], across[second] = second // 3, first // 3
    return across.view(-1, 3)


def antialias(
    image: Tensor, face: Tensor, distance: Tensor, slope: Tensor, points: Tensor, faces: Tensor, neighbours: Tensor
) -> Tensor:
    """Blends neighbouring pixels where a silhouette passes between their centres, in proportion to what it covers.

    Coverage thereby becomes a continuous function of the silhouette's vertices and has a gradient.

    image, face, distance: (N, h, w); distance in pixels, infinite where there is no face.
    slope: (2, N, h, w), how much the surface recedes from one pixel to the next, along columns and along rows.
    points: (2, V' * N), column and row of the vertices. faces: (F, 3) into V'. neighbours: see `face_neighbours`.
    Returns the blended image, (N, h, w).
    """
    near, step = _depth_jumps(distance, slope)
    frames, width, pixels = len(image), image.shape[2], image[0].numel()
    pixel = near % pixels
    walks = _Walks(
        start=torch.stack([pixel % width, pixel // width]).to(points.dtype),
        axis=(step.abs() == width).long() if width > 1 else torch.ones_like(step),
        direction=step.sign(),
        face=face.flatten().index_select(0, near),
        frame=near // pixels,
    )
    walk, ends = _find_silhouettes(walks, points.detach(), faces, neighbours, frames)
    near, step, axis, start = (x.index_select(-1, walk) for x in (near, step, walks.axis, walks.start))

    # The silhouette's ends as seen from the near pixel, (2 coordinates, 2 ends, M): along the walk and across it.
    ends = points.index_select(1, ends.flatten()).view(2, 2, -1) - start[:, None]
    (along0, along1), (across0, across1) = (ends.gather(0, i.expand(1, 2, -1))[0] for i in (axis, 1 - axis))
    # A silhouette that runs along the walk would get hardly any weight below: it gets none.
    crossing = (across1 - across0).abs() > 1e-3 * (along1 - along0).abs()
    tilt = (along1 - along0).where(crossing, 0) / (across1 - across0).where(crossing, 1)
    crossed_at = along0 - across0 * tilt  # pixels along the axis
    covered = (crossed_at * step.sign()).clamp(0, 1)  # as a fraction of the way to the far pixel
    return _blend(image, near, near + step, covered, tilt, crossing)


def _depth_jumps(distance: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of neighbouring pixels between whose centres a silhouette may pass. distance, slope: see `antialias`.

    Returns the pixel with the nearer surface as an index into the flattened (N, h, w), (K,), and the step from there to
    the other: 1 or -1 along columns, w or -w along rows, (K,).
    """
    width = distance.shape[2]
    jumps = []
    for axis, recession in zip((2, 1), slope.clamp(-STEEPEST, STEEPEST)):
        last = distance.shape[axis] - 1
        jump = distance.narrow(axis, 1, last) - distance.narrow(axis, 0, last)  # NaN between two infinities
        expected = torch.where(jump > 0, recession.narrow(axis, 0, last), -recession.narrow(axis, 1, last)).clamp_min(0)
        jump = jump.where(jump.abs() > DEPTH_JUMP + expected, 0)
        jumps.append(torch.nn.functional.pad(jump, (0, 1) if axis == 2 else (0, 0, 0, 1)).flatten())
    jump = torch.cat(jumps)
    pair = jump.nonzero().squeeze(1)
    recedes, pixels = jump.index_select(0, pair) > 0, distance.numel()
    first, stride = pair % pixels, torch.where(pair < pixels, 1, width)
    return torch.where(recedes, first, first + stride), torch.where(recedes, stride, -stride)


class _Walks(NamedTuple):
    """K walks over the surface in the image, each from a pixel's centre towards a neighbouring pixel's.

    start: (2, K) column and row. axis: (K,) 0 along columns, 1 along rows. direction: (K,) 1 or -1.
    face: (K,) the face at the start. frame: (K,).
    """

    start: Tensor
    axis: Tensor
    direction: Tensor
    face: Tensor
    frame: Tensor


def _find_silhouettes(
    walks: _Walks, points: Tensor, faces: Tensor, neighbours: Tensor, frames: int
) -> tuple[Tensor, Tensor]:
    """Walks from face to face, at most one pixel far, until the surface ends or turns away from the viewer.

    points, faces, neighbours: see `antialias`. Returns which walks reached a silhouette, (M,), and the two ends of the
    silhouette's edge as indices into `points`, (2, M).
    """
    # An edge is named 3 * face + the corner that it lies opposite.
    faces, neighbours = faces.flatten(), neighbours.flatten()
    walk, face, entered = torch.arange(len(walks.face), device=faces.device), walks.face, torch.zeros_like(walks.face)
    facing, found, walking = None, torch.full_like(walk, -1), torch.ones_like(walk, dtype=torch.bool)
    for _ in range(WALK):
        frame, start = walks.frame.index_select(0, walk), walks.start.index_select(1, walk)
        corners = [faces.index_select(0, face * 3 + i) * frames + frame for i in range(3)]
        columns, rows = (
            [axis.index_select(0, corner) - centre for corner in corners] for axis, centre in zip(points, start)
        )
        axis, direction = walks.axis.index_select(0, walk), walks.direction.index_select(0, walk)
        orientation, length, corner = _leave_face(columns, rows, axis, direction)
        facing = orientation if facing is None else facing  # of the face at the start
        turned = walking & (orientation != facing.index_select(0, walk))
        leaving = face * 3 + corner
        across = neighbours.index_select(0, leaving)
        inside = walking & ~turned & (length < 1)
        edge = entered.where(turned, leaving)
        found[walk] = edge.where(turned | inside & (across < 0), found.index_select(0, walk))
        walking = inside & (across >= 0)
        face, entered = across.where(walking, face), leaving.where(walking, entered)
        if walking.device.type == "cpu":  # on an accelerator, the host would have to wait for the number of walks left
            left = walking.nonzero().squeeze(1)
            walk, face, entered, walking = (x.index_select(0, left) for x in (walk, face, entered, walking))
            if not len(walk):
                break
    walk = (found >= 0).nonzero().squeeze(1)
    edge = found.index_select(0, walk)
    first_corner = edge - edge % 3
    ends = torch.stack([faces.index_select(0, first_corner + (edge + i) % 3) for i in (1, 2)])
    return walk, ends * frames + walks.frame.index_select(0, walk)


def _leave_face(
    columns: list[Tensor], rows: list[Tensor], axis: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each of K walks leaves its face. columns, rows: of the face's corners, from the start of the walk.

    Returns, (K,) each, the sign of the face's area, the length of the walk up to there in pixels, and the corner
    opposite the edge through which it leaves.
    """
    (ax, bx, cx), (ay, by, cy) = columns, rows
    areas = torch.stack([by * cx - bx * cy, cy * ax - cx * ay, ay * bx - ax * by])  # doubled, opposite each corner
    orientation = areas.sum(0).sign()
    # Each barycentric falls to zero at this length; the walk leaves through the edge of the first one that does.
    along_columns = torch.stack([by - cy, cy - ay, ay - by])
    along_rows = torch.stack([cx - bx, ax - cx, bx - ax])
    fall = torch.where(axis == 0, along_columns, along_rows) * direction
    length, corner = (areas / fall).where(fall * orientation > 0, torch.inf).min(0)
    return orientation, length, corner


def _blend(image: Tensor, near: Tensor, far: Tensor, covered: Tensor, tilt: Tensor, crossing: Tensor) -> Tensor:
    """Mixes the colours of M pairs of neighbouring pixels. near, far: (M,) indices into the flattened image.

    covered: (M,) the near surface's share of the way between the two centres; beyond a half it spills into the far
    pixel, below it the far surface spills into the near one. tilt: (M,) by how many pixels the silhouette moves along
    this way per pixel across it. crossing: (M,) False for pairs that are not mixed.
    """
    spills = covered.detach() > 0.5
    target, source = torch.where(spills, far, near), torch.where(spills, near, far)
    colours = image.flatten()
    # Pairs along columns and pairs along rows both count the whole silhouette, so they share it according to its
    # direction, in weights that add up to one.
    weight = (covered - 0.5).abs() * crossing / (1 + tilt.square().square())
    change = weight * (colours.index_select(0, source) - colours.index_select(0, target))
    return colours.index_add(0, target, change).view_as(image).clamp(0, 1)
