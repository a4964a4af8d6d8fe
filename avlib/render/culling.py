"""Culling: only the part of the mesh that the crop can show is rendered. Without gradient."""

from typing import NamedTuple

import torch
from torch import Tensor

from .camera import Camera


class NearMesh(NamedTuple):
    """The part of the mesh that the crop of some frame can show.

    reaching: (S,) faces of the whole mesh that reach the crop.
    vertices: (V',) vertices of the whole mesh: those of all faces that share a vertex with a reaching face, since these
        faces take part in the normals.
    faces: (F', 3) these faces as indices into `vertices`; the first S are the reaching ones.
    finite: whether all vertices of the meshes are.
    """

    reaching: Tensor
    vertices: Tensor
    faces: Tensor
    finite: bool


def near_mesh(meshes: Tensor, faces: Tensor, camera: Camera) -> NearMesh:
    """The part of meshes (N, V, 3), mesh unit, with faces (F, 3) that the camera's crop can show in some frame."""
    outside = _outside(meshes, camera)
    a, b, c = (outside.index_select(0, corner) for corner in faces.T)
    is_reaching = (a & b & c) == 0  # not all three corners are beyond the same side of the crop
    is_kept = _corners_of(is_reaching, faces, meshes.shape[1])[faces].any(1)
    is_near = _corners_of(is_kept, faces, meshes.shape[1])
    counts = torch.stack([is_reaching.sum(), is_kept.sum(), is_near.sum(), meshes.sum().isfinite()])
    reaching_count, kept_count, near_count, finite = counts.tolist()  # the one time that the host waits for a device
    reaching, touching, near = (
        mask.nonzero_static(size=count).squeeze(1)
        for mask, count in (
            (is_reaching, reaching_count),
            (is_kept & ~is_reaching, kept_count - reaching_count),
            (is_near, near_count),
        )
    )
    index_in_near = torch.cumsum(is_near, 0) - 1
    return NearMesh(reaching, near, index_in_near[faces[torch.cat([reaching, touching])]], bool(finite))


def _corners_of(chosen: Tensor, faces: Tensor, vertices: int) -> Tensor:
    """Which vertices are corners of the chosen faces (F,): (vertices,), boolean."""
    times = torch.zeros(vertices, dtype=torch.int32, device=faces.device)
    return times.index_add_(0, faces.flatten(), chosen.int()[:, None].expand(-1, 3).flatten()) > 0


def _outside(meshes: Tensor, camera: Camera) -> Tensor:
    """Which sides of the crop each vertex of meshes (N, V, 3) is beyond in all frames: (V,) uint8, one bit a side."""
    height, width = camera.size
    low, high = (edge.view(-1, 3) for edge in (meshes.flatten(1).amin(0), meshes.flatten(1).amax(0)))
    # Over all frames a vertex stays within a box, whose image has its extremes at the images of the box's corners.
    corners = torch.stack(
        [
            torch.cat([torch.stack([low, high])[:, :, :2], z[None, :, 2:].expand(2, -1, -1)], 2)
            for z in ((low, high) if camera.perspective else (low,))
        ]
    )
    column, row, _ = camera.to_pixels(corners.flatten(0, 1).permute(2, 0, 1) * camera.pixels_per_unit)
    left, right = column.amax(0) < 0, column.amin(0) > width - 1  # false for a NaN
    above, below = row.amax(0) < 0, row.amin(0) > height - 1
    return left.byte() | right.byte() << 1 | above.byte() << 2 | below.byte() << 3
