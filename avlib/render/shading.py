"""Normals, interpolation over faces and Lambertian shading, with gradients by hand."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def vertex_normals(vertices: Tensor, faces: Tensor, floor: float = 1e-6) -> Tensor:
    """Area-weighted unit normals, (3, V, N) -> (3, V, N): each face's normal counts by its area at its three corners.

    floor: a sum of doubled areas below it, in the vertices' squared unit, is not stretched to unit length: where a
    mesh folds onto itself the normals cancel, and what is left points nowhere. Faces with a NaN do not count."""
    whole = None if vertices.detach().sum().isfinite() else vertices.detach().isfinite().all(0)
    if whole is not None:
        vertices = vertices.where(whole, 0)
    a, b, c = (vertices.index_select(1, corner) for corner in faces.T)
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    face_normals = torch.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx])
    if whole is not None:
        face_normals = face_normals * whole[faces].all(1)
    normals = torch.zeros_like(vertices)
    for corner in faces.T:
        normals = normals.index_add(1, corner, face_normals)
    return normals * normals.square().sum(0).clamp_min(floor**2).rsqrt()


# What a pixel's colour is made of is made again in backward: kept, it would take most of the renderer's memory. For the same
# reason corners are 32-bit, though indices are 64-bit where they are used, which takes half as long.


class Barycentrics(torch.autograd.Function):
    """Of pixels x, y (P,) in the faces with corners (3, P) among vertices at column and row (V', N). distance: of these in
    perspective, else None. epsilon: see AREA_EPSILON, pixels²."""

    @staticmethod
    def forward(ctx, column, row, distance, corners, x, y, epsilon):
        areas = _areas(column, row, distance, corners.flatten().long(), x, y)[2]
        barycentrics = areas / (areas.sum(0) + epsilon)
        ctx.save_for_backward(column, row, distance, corners, x, y, barycentrics)
        ctx.epsilon = epsilon
        return barycentrics

    @staticmethod
    @once_differentiable
    def backward(ctx, push):
        column, row, distance, corners, x, y, barycentrics = ctx.saved_tensors
        index = corners.flatten().long()
        (ax, bx, cx), (ay, by, cy), areas, away = _areas(column, row, distance, index, x, y)
        push = (push - (push * barycentrics).sum(0)) / (areas.sum(0) + ctx.epsilon)
        gather = lambda parts, like: (
            torch.zeros_like(like).flatten().index_add_(0, index, torch.cat(parts)).view_as(like)
        )
        to_distance = None
        if distance is not None:
            push = push / away
            to_distance = gather(tuple(-push * areas), distance)
        pa, pb, pc = push
        to_column = gather((pb * cy - pc * by, pc * ay - pa * cy, pa * by - pb * ay), column)
        to_row = gather((pc * bx - pb * cx, pa * cx - pc * ax, pb * ax - pa * bx), row)
        return to_column, to_row, to_distance, None, None, None, None


def _areas(column: Tensor, row: Tensor, distance: Tensor | None, index: Tensor, x: Tensor, y: Tensor) -> tuple:
    """Columns and rows of the corners, index (3 P,), from the pixel; the doubled areas opposite them, in perspective over
    their distance; and that distance."""
    at = lambda axis: axis.flatten().index_select(0, index).view(3, -1)
    (ax, bx, cx), (ay, by, cy) = columns, rows = at(column) - x, at(row) - y
    areas = torch.stack([by * cx - bx * cy, cy * ax - cx * ay, ay * bx - ax * by])
    away = None if distance is None else at(distance)
    return columns, rows, areas if away is None else areas / away, away


class Interpolate(torch.autograd.Function):
    """Values at the corners (C, M), the corners of each pixel (3, P) and their weights (3, P) -> (C, P)."""

    @staticmethod
    def forward(ctx, values, corners, weights):
        ctx.save_for_backward(values, corners, weights)
        corners = corners.long()
        met = values.index_select(1, corners[0]) * weights[0]
        for corner, weight in zip(corners[1:], weights[1:]):
            met.addcmul_(values.index_select(1, corner), weight)
        return met

    @staticmethod
    @once_differentiable
    def backward(ctx, push):
        values, corners, weights = ctx.saved_tensors
        corners, to_values, to_weights = corners.long(), None, None
        if ctx.needs_input_grad[0]:  # not of an albedo that is given
            to_values = torch.zeros_like(values)
            for corner, weight in zip(corners, weights):
                to_values.index_add_(1, corner, push * weight)
        if ctx.needs_input_grad[2]:
            to_weights = torch.stack([(push * values.index_select(1, corner)).sum(0) for corner in corners])
        return to_values, None, to_weights


class Lambert(torch.autograd.Function):
    """Normals (3, P), as they come, and unit lights (3, L, 1 or P) -> what falls on each pixel, averaged over lights, (P,)."""

    @staticmethod
    def forward(ctx, normal, lights):
        ctx.save_for_backward(normal, lights)
        return _cosines(normal, lights).relu_().mean(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, push):
        normal, lights = ctx.saved_tensors
        push = (_cosines(normal, lights) > 0) * (push / lights.shape[1])  # (L, P)
        shared = lights.shape[2] == 1
        to_normal = lights[..., 0] @ push if shared else torch.stack([(push * light).sum(0) for light in lights])
        to_lights = None
        if ctx.needs_input_grad[1]:
            to_lights = (push * normal[:, None]).sum_to_size(lights.shape)
        return to_normal, to_lights


def _cosines(normal: Tensor, lights: Tensor) -> Tensor:
    """(L, P)"""
    return lights[..., 0].T @ normal if lights.shape[2] == 1 else sum(light * n for light, n in zip(lights, normal))
