"""Where a face is seen from, and what part of the picture is made."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """Camera looking along -z: x to the right of the image, y up, larger z nearer. Orthographic, unless `perspective`.

    scale: a mesh unit spans scale / 2 image sides (`image_size * scale / 2` pixels); in perspective, at z = 0.
    image_size: side of the whole square image, pixels.
    rows, columns: the crop that is rendered, half-open pixel ranges of the whole image; None: all.
    centre: the point (x, y) of the mesh, in its unit, at the middle of the whole image.
    """

    scale: float
    image_size: int = 224
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    centre: tuple[float, float] = (0.0, 0.0)
    distance: float = 10.0  # to the mesh's origin, half image sides; where there is no perspective only slivers feel it
    perspective: bool = False

    def __post_init__(self):
        if not (math.isfinite(self.scale) and self.scale > 0 and self.image_size > 0 and self.distance > 0):
            raise ValueError(
                "Camera: scale, image_size and distance must be positive, got "
                f"{self.scale}, {self.image_size}, {self.distance}"
            )
        for name in ("rows", "columns"):
            first, last = window = getattr(self, name) or (0, self.image_size)
            if not first < last:
                raise ValueError(f"Camera: {name} must be (first, last) with first < last, got {(first, last)}")
            object.__setattr__(self, name, tuple(int(edge) for edge in window))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crop, pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def finer(self, times: int) -> "Camera":
        """The same view in `times` as many pixels along each side."""
        rows, columns = (tuple(edge * times for edge in window) for window in (self.rows, self.columns))
        return replace(self, image_size=self.image_size * times, rows=rows, columns=columns)

    @property
    def pixels_per_unit(self) -> float:
        return self.scale * self.image_size / 2

    def to_pixels(self, vertices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vertices (3, ...) in pixels from the mesh's origin, y up -> column, row, distance from the camera; column
        and row 0 are the centre of the crop's first pixel. NaN behind a camera that sees in perspective."""
        x, y, z = vertices
        middle, k = (self.image_size - 1) / 2, self.pixels_per_unit
        if self.perspective:
            away = self.distance * self.image_size / 2 - z
            larger = self.distance * self.image_size / 2 / away.where(away > 0, 1)
            x, y = (
                (k * c + (axis - k * c) * larger).where(away > 0, torch.nan) for c, axis in zip(self.centre, (x, y))
            )
        column = x + (middle - self.columns[0] - k * self.centre[0])
        row = (middle - self.rows[0] + k * self.centre[1]) - y
        return column, row, self.distance * self.image_size / 2 - z

    def check_holds(self, vertices: Tensor, name: str):
        """ValueError where a vertex of (..., V, 3), mesh unit, lies outside the crop."""
        column, row, _ = self.to_pixels(vertices.reshape(-1, 3).T * self.pixels_per_unit)
        for axis, places, edge in (("rows", row, self.size[0]), ("columns", column, self.size[1])):
            low, high = float(places.min()), float(places.max())
            if not (low >= 0 and high <= edge - 1):
                first = getattr(self, axis)[0]
                raise ValueError(
                    f"{name}: spans {axis} {low + first:.1f} to {high + first:.1f} of the image, outside the "
                    f"crop, whose {axis} are {first} to {first + edge - 1}"
                )


def camera_for(vertices: Tensor, size: int = 512, margin: float = 0.1) -> "Camera":
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


def crop_camera(lip_vertices: Tensor, size: int = 48, margin: float = 0.3) -> "Camera":
    """The mouth crop: holds the lips (..., V, 3) of all given frames and some skin around them."""
    return camera_for(lip_vertices, size, margin)
