"""Normals, interpolation over faces and Lambertian shading, with gradients written by hand.

The autograd functions recompute in `backward` what a pixel's colour is made of: kept, it would take most of the
renderer's memory. For the same reason they keep corner indices as 32-bit integers, and widen them to 64 bits for
indexing, which takes half as long.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def vertex_normals(vertices: Tensor, faces: Tensor, floor: float = 1e-6, finite: bool | None = None) -> Tensor:
    """Area-weighted unit normals, (3, V, N) -> (3, V, N): each face's normal counts by its area at its three corners.

    floor: sums of doubled areas below it, in the vertices' squared unit, are not scaled to unit length: where a mesh
    folds onto itself the normals cancel, and the direction of what is left means nothing. Faces with a vertex that is
    not finite do not count. finite: whether all vertices are; looked up if None.
    """
    finite = bool(vertices.detach().sum().isfinite()) if finite is None else finite
    is_finite = None if finite else vertices.detach().isfinite().all(0)
    if is_finite is not None:
        vertices = vertices.where(is_finite, 0)
    a, b, c = (vertices.index_select(1, corner) for corner in faces.T)
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    face_normals = torch.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx])
    if is_finite is not None:
        face_normals = face_normals * is_finite[faces].all(1)
    normals = torch.zeros_like(vertices)
    for corner in faces.T:
        normals = normals.index_add(1, corner, face_normals)
    return normals * normals.square().sum(0).clamp_min(floor**2).rsqrt()


class _Areas(NamedTuple):
    """The faces of P pixels, from these pixels.

    columns, rows: (3, P) of the corners, from the pixel. areas: (3, P) doubled area opposite each corner, in
    perspective divided by the corner's distance. distances: (3, P) of the corners; None without perspective.
    """

    columns: Tensor
    rows: Tensor
    areas: Tensor
    distances: Tensor | None


def _areas(column: Tensor, row: Tensor, distance: Tensor | None, index: Tensor, x: Tensor, y: Tensor) -> _Areas:
    """index: (3 P,) of the corners in the flattened column, row and distance. x, y: (P,), of the pixels."""

    def at_corners(axis: Tensor) -> Tensor:
        return axis.flatten().index_select(0, index).view(3, -1)

    columns, rows = at_corners(column) - x, at_corners(row) - y
    (ax, bx, cx), (ay, by, cy) = columns, rows
    areas = torch.stack([by * cx - bx * cy, cy * ax - cx * ay, ay * bx - ax * by])
    distances = None if distance is None else at_corners(distance)
    return _Areas(columns, rows, areas if distances is None else areas / distances, distances)


class Barycentrics(torch.autograd.Function):
    """Barycentrics (3, P) of P pixels in their faces.

    column, row: (V', N) of the vertices. distance: (V', N) of the vertices in perspective, else None.
    corners: (3, P) int32, corners of each pixel's face as indices into a flattened (V', N).
    x, y: (P,) column and row of the pixels. epsilon: see `renderer.AREA_EPSILON`, pixels².
    """

    @staticmethod
    def forward(ctx, column, row, distance, corners, x, y, epsilon):
        areas = _areas(column, row, distance, corners.flatten().long(), x, y).areas
        barycentrics = areas / (areas.sum(0) + epsilon)
        ctx.save_for_backward(column, row, distance, corners, x, y, barycentrics)
        ctx.epsilon = epsilon
        return barycentrics

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        column, row, distance, corners, x, y, barycentrics = ctx.saved_tensors
        index = corners.flatten().long()
        columns, rows, areas, distances = _areas(column, row, distance, index, x, y)
        grad_areas = (grad_output - (grad_output * barycentrics).sum(0)) / (areas.sum(0) + ctx.epsilon)
        grad_distance = None
        if distances is not None:  # the areas were divided by the distances
            grad_areas = grad_areas / distances
            grad_distance = _scatter(-grad_areas * areas, index, distance)
        ga, gb, gc = grad_areas
        (ax, bx, cx), (ay, by, cy) = columns, rows
        grad_columns = torch.cat((gb * cy - gc * by, gc * ay - ga * cy, ga * by - gb * ay))
        grad_column = _scatter(grad_columns, index, column)
        grad_rows = torch.cat((gc * bx - gb * cx, ga * cx - gc * ax, gb * ax - ga * bx))
        grad_row = _scatter(grad_rows, index, row)
        return grad_column, grad_row, grad_distance, None, None, None, None


def _scatter(values: Tensor, index: Tensor, like: Tensor) -> Tensor:
    """Sums values (3 P,) or (3, P) at their index (3 P,) into zeros of the shape of `like`."""
    return torch.zeros_like(like).flatten().index_add_(0, index, values.flatten()).view_as(like)


class Interpolate(torch.autograd.Function):
    """Values over faces: values (C, M), corners of each pixel's face (3, P) and their weights (3, P) -> (C, P)."""

    @staticmethod
    def forward(ctx, values, corners, weights):
        ctx.save_for_backward(values, corners, weights)
        corners = corners.long()
        interpolated = values.index_select(1, corners[0]) * weights[0]
        for corner, weight in zip(corners[1:], weights[1:]):
            interpolated.addcmul_(values.index_select(1, corner), weight)
        return interpolated

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        values, corners, weights = ctx.saved_tensors
        corners, grad_values, grad_weights = corners.long(), None, None
        if ctx.needs_input_grad[0]:  # a fixed albedo needs none
            grad_values = torch.zeros_like(values)
            for corner, weight in zip(corners, weights):
                grad_values.index_add_(1, corner, grad_output * weight)
        if ctx.needs_input_grad[2]:
            grad_weights = torch.stack([(grad_output * values.index_select(1, corner)).sum(0) for corner in corners])
        return grad_values, None, grad_weights


class Lambert(torch.autograd.Function):
    """Lambertian shade (P,) of P pixels, the mean over L lights of the cosine to the light, zero on the far side.

    normal: (3, P), not normalised. lights: (3, L, 1) or (3, L, P) unit directions, the same or one set for each pixel.
    """

    @staticmethod
    def forward(ctx, normal, lights):
        ctx.save_for_backward(normal, lights)
        return _cosines(normal, lights).relu_().mean(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        normal, lights = ctx.saved_tensors
        grad_cosines = (_cosines(normal, lights) > 0) * (grad_output / lights.shape[1])  # (L, P)
        if lights.shape[2] == 1:
            grad_normal = lights[..., 0] @ grad_cosines
        else:
            grad_normal = torch.stack([(grad_cosines * axis).sum(0) for axis in lights])
        grad_lights = None
        if ctx.needs_input_grad[1]:
            grad_lights = (grad_cosines * normal[:, None]).sum_to_size(lights.shape)
        return grad_normal, grad_lights


def _cosines(normal: Tensor, lights: Tensor) -> Tensor:
    """Dot products (L, P) of the normals and the lights, as in `Lambert`."""
    if lights.shape[2] == 1:
        return lights[..., 0].T @ normal
    (x, y, z), (light_x, light_y, light_z) = normal, lights
    return light_x * x + light_y * y + light_z * z
