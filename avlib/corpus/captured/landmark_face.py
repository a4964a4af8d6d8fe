"""People on MediaPipe's own mesh: its 468 landmarks are the vertices, and teeth and a dark mouth lie behind the lips.

The mesh is coarse and open at the eyes and the mouth, but it needs no other data. The upper teeth stay with the skull,
the lower ones and the back of the mouth follow the chin.
"""

import numpy as np

from ..lip_vertices import find_lips
from .face import CapturedMotion
from .landmarks import (
    CHIN,
    IBUG_INNER,
    INNER_LOWER,
    INNER_UPPER,
    LOWER_LIDS,
    LOWER_MIDDLE,
    MESH_COUNT,
    UPPER_MIDDLE,
    mesh_triangles,
)

JAW = (CHIN, 148, 377, 176, 400)  # landmarks of the chin: the mean of their displacements is that of the jaw
COLUMNS = np.linspace(-1, 1, 11)  # across a row of teeth, from the viewer's left
ARCH = 0.75  # half-width of the rows of teeth, in half-widths of the mouth
BEHIND, BACK = 0.006, 0.016  # metres behind the lips: the incisors, and the back of the mouth
UPPER_TEETH = (0.008, -0.0015)  # metres above the line where the lips meet at rest: top and edge of the upper teeth
LOWER_TEETH = (-0.002, -0.009)
THROAT = (0.014, -0.014)
THROAT_ALBEDO = 0.04


class LandmarkFace:
    """MediaPipe's mesh: see `Face`. ValueError if MediaPipe is missing, which knows its triangles."""

    name = "landmarks"
    expressions: tuple[str, ...] = ()

    def __init__(self):
        strip = strip_triangles(len(COLUMNS))
        size = 2 * len(COLUMNS)
        inside = [MESH_COUNT + k * size + strip for k in range(3)]
        self.faces = np.concatenate((mesh_triangles(), *inside))
        count = MESH_COUNT + 3 * size
        self.skin = np.arange(count) < MESH_COUNT
        self.lip_outline = np.array(IBUG_INNER[31:])
        self.teeth = slice(MESH_COUNT, MESH_COUNT + 2 * size)
        self.throat = slice(MESH_COUNT + 2 * size, count)

    def person(self, rest: np.ndarray) -> "LandmarkPerson":
        """See `Face`."""
        return LandmarkPerson(rest)

    def regions(self, template: np.ndarray) -> dict[str, np.ndarray]:
        """See `Face`."""
        skin = self.faces[(self.faces < MESH_COUNT).all(1)]
        lips = find_lips(template[:MESH_COUNT], skin)
        lips |= {"upper_lip_middle": np.array([UPPER_MIDDLE]), "lower_lip_middle": np.array([LOWER_MIDDLE])}
        below_eyes = template[list(LOWER_LIDS), 1].min()
        return lips | {"upper_face": np.flatnonzero(self.skin & (template[:, 1] > below_eyes))}

    def dress(self, albedo: np.ndarray, mouth: float) -> np.ndarray:
        """See `Face`."""
        dressed = albedo.copy()
        dressed[self.teeth], dressed[self.throat] = mouth, THROAT_ALBEDO
        return dressed


class LandmarkPerson:
    """A person on MediaPipe's mesh: see `Person`."""

    scale = 1.0

    def __init__(self, rest: np.ndarray):
        self.rest = rest
        upper, lower = rest[list(INNER_UPPER)], rest[list(INNER_LOWER)]
        self._middle = (upper[5] + lower[5]) / 2
        half_width = ARCH * np.ptp(upper[:, 0]) / 2
        self._teeth = [self._row(half_width, BEHIND, rows) for rows in (UPPER_TEETH, LOWER_TEETH)]
        self._throat = self._row(half_width / ARCH * 1.2, BACK, THROAT)
        self.template = np.concatenate((rest[:MESH_COUNT], *self._teeth, self._throat))

    def _row(self, half_width: float, behind: float, heights: tuple[float, float]) -> np.ndarray:
        """(2 * columns, 3): a strip with the arch of a row of teeth, its upper line first."""
        x = half_width * COLUMNS
        z = -behind - 0.35 * half_width * COLUMNS**2
        lines = [np.stack((x, np.full_like(x, y), z), -1) for y in heights]
        return self._middle + np.concatenate(lines)

    def motion(self, freed: np.ndarray, fps: float) -> CapturedMotion:
        """See `Person`."""
        jaw = (freed[:, JAW] - self.rest[list(JAW)]).mean(1)[:, None]
        still = np.zeros_like(jaw)
        inside = [part + move for part, move in zip((*self._teeth, self._throat), (still, jaw, 0.5 * jaw))]
        vertices = np.concatenate((freed[:, :MESH_COUNT], *inside), 1)
        return CapturedMotion(vertices.astype(np.float32), freed[:, :MESH_COUNT], np.arange(MESH_COUNT), None)

    def to_landmarks(self, points: np.ndarray) -> np.ndarray:
        """See `Person`."""
        return points


def strip_triangles(columns: int) -> np.ndarray:
    """(2 * (columns - 1), 3): triangles of a strip of two lines of vertices, the upper one first, facing the viewer."""
    upper, lower = np.arange(columns), columns + np.arange(columns)
    left = np.stack((upper[:-1], lower[:-1], upper[1:]), -1)
    return np.concatenate((left, np.stack((upper[1:], lower[:-1], lower[1:]), -1)))
