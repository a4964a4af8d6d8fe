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
    """

    reaching: Tensor
    vertices: Tensor
    faces: Tensor


def near_mesh(meshes: Tensor, faces: Tensor, camera: Camera) -> NearMesh:
    """The part of meshes (N, V, 3), mesh unit, with faces (F, 3) that the camera's crop can show in some frame."""
    outside = _outside(meshes, camera)
    a, b, c = (outside.index_select(0, corner) for corner in faces.T)
    reaching = ((a & b & c) == 0).nonzero().squeeze(1)  # not all three corners are beyond the same side of the crop
    near = torch.zeros(meshes.shape[1], dtype=torch.bool, device=meshes.device)
    near[faces[reaching].flatten()] = True
    touching = near[faces].any(1)
    touching[reaching] = False
    near_faces = faces[torch.cat([reaching, touching.nonzero().squeeze(1)])]
    near[near_faces.flatten()] = True
    index_in_near = torch.cumsum(near, 0) - 1
    return NearMesh(reaching, near.nonzero().squeeze(1), index_in_near[near_faces])


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
