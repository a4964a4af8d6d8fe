"""The camera: which part of the mesh's space the image shows, and how mesh coordinates become pixels."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

WHOLE_IMAGE = (0, 0)  # stands for all rows or all columns of the image, whatever its size


@dataclass(frozen=True)
class Camera:
    """Camera looking along -z: x to the right of the image, y up, larger z nearer. Orthographic unless `perspective`.

    scale: a mesh unit spans scale / 2 image sides (`image_size * scale / 2` pixels); in perspective, at z = 0.
    image_size: side of the whole square image, pixels.
    rows, columns: the crop that is rendered, half-open pixel ranges of the whole image; may reach beyond it.
    centre: the point (x, y) of the mesh, in its unit, at the middle of the whole image.
    distance: from the camera to the mesh's origin, in half image sides. An orthographic image depends on it only where
        a face's area in the image is close to zero.
    Errors: ValueError if a size is not positive or a range is empty.
    """

    scale: float
    image_size: int = 224
    rows: tuple[int, int] = WHOLE_IMAGE
    columns: tuple[int, int] = WHOLE_IMAGE
    centre: tuple[float, float] = (0.0, 0.0)
    distance: float = 10.0
    perspective: bool = False

    def __post_init__(self):
        if not (math.isfinite(self.scale) and self.scale > 0 and self.image_size > 0 and self.distance > 0):
            raise ValueError(
                "Camera: scale, image_size and distance must be positive, got "
                f"{self.scale}, {self.image_size}, {self.distance}"
            )
        for name in ("rows", "columns"):
            window = getattr(self, name)
            first, last = (0, self.image_size) if tuple(window) == WHOLE_IMAGE else window
            if not first < last:
                raise ValueError(f"Camera: {name} must be (first, last) with first < last, got {(first, last)}")
            object.__setattr__(self, name, (int(first), int(last)))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crop, pixels."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    def finer(self, factor: int) -> "Camera":
        """The same view in `factor` times as many pixels along each side."""
        rows, columns = ((first * factor, last * factor) for first, last in (self.rows, self.columns))
        return replace(self, image_size=self.image_size * factor, rows=rows, columns=columns)

    @property
    def pixels_per_unit(self) -> float:
        return self.scale * self.image_size / 2

    def to_pixels(self, vertices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Column, row and distance from the camera, in pixels, of vertices (3, ...) in pixels from the mesh's origin.

        The vertices' y points up; column 0 and row 0 are the centre of the crop's first pixel. In perspective, column
        and row are NaN for vertices behind the camera.
        """
        x, y, z = vertices
        middle, k = (self.image_size - 1) / 2, self.pixels_per_unit
        if self.perspective:
            distance = self.distance * self.image_size / 2 - z
            magnification = self.distance * self.image_size / 2 / distance.where(distance > 0, 1)
            x, y = (
                (k * centre + (axis - k * centre) * magnification).where(distance > 0, torch.nan)
                for centre, axis in zip(self.centre, (x, y))
            )
        column = x + (middle - self.columns[0] - k * self.centre[0])
        row = (middle - self.rows[0] + k * self.centre[1]) - y
        return column, row, self.distance * self.image_size / 2 - z

    def check_holds(self, vertices: Tensor, name: str) -> None:
        """ValueError if a vertex of (..., V, 3), in the mesh's unit, lies outside the crop. name: for the message."""
        column, row, _ = self.to_pixels(vertices.reshape(-1, 3).T * self.pixels_per_unit)
        for axis, positions, length in (("rows", row, self.size[0]), ("columns", column, self.size[1])):
            low, high = float(positions.min()), float(positions.max())
            if not (low >= 0 and high <= length - 1):
                first = getattr(self, axis)[0]
                raise ValueError(
                    f"{name}: spans {axis} {low + first:.1f} to {high + first:.1f} of the image, outside the "
                    f"crop, whose {axis} are {first} to {first + length - 1}"
                )


def camera_for(vertices: Tensor, size: int = 512, margin: float = 0.1) -> Camera:
    """A front view of size x size pixels that shows all vertices (..., V, 3): of a face, or of the lips alone.

    margin: free space on each side, as a fraction of the vertices' larger extent.
    Errors: ValueError if there are no vertices, if one is not finite, or if all lie in one point of the image.
    """
    points = vertices.detach().reshape(-1, 3)[:, :2]
    if not len(points) or not points.isfinite().all():
        raise ValueError(f"camera_for: vertices must be finite (..., V, 3), got {tuple(vertices.shape)}")
    low, high = points.amin(0), points.amax(0)
    side = float((high - low).max()) * (1 + 2 * margin)
    if not side > 0:
        raise ValueError("camera_for: all vertices lie in one point of the image plane")
    x, y = ((low + high) / 2).tolist()
    return Camera(scale=2 / side, image_size=size, centre=(x, y))


def crop_camera(lip_vertices: Tensor, size: int = 48, margin: float = 0.3) -> Camera:
    """The mouth crop, size x size pixels: the lips (..., V, 3) of all given frames and some skin around them."""
    return camera_for(lip_vertices, size, margin)
