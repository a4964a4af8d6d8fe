"""Wavefront OBJ files, read and written: vertex positions and polygons."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Statements that do not affect where the polygons are.
_IGNORED = frozenset(
    "vt vn vp p l s o g usemtl mtllib mg bevel c_interp d_interp lod maplib usemap shadow_obj trace_obj".split()
)
_CORNER = re.compile(r"(-?[1-9]\d*)(?:/-?[1-9]\d*|/(?:-?[1-9]\d*)?/-?[1-9]\d*)?")


@dataclass(frozen=True)
class PolygonMesh:
    """A mesh of polygons in the vertex order of its file.

    vertices: (V, 3) float64, in the file's unit. corners: (C,) vertex indices from 0, polygon after polygon. sizes:
    (F,) corners of each polygon.
    """

    vertices: np.ndarray
    corners: np.ndarray
    sizes: np.ndarray

    def triangles(self) -> np.ndarray:
        """(T, 3): every polygon as a fan around its first corner."""
        counts = self.sizes - 2
        first = np.repeat(np.cumsum(self.sizes) - self.sizes, counts)
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.corners[np.stack([first, first + step + 1, first + step + 2], -1)]

    def edges(self) -> np.ndarray:
        """(E, 2): the sides of the polygons, each once, lower index first."""
        next_corner = np.arange(1, len(self.corners) + 1)
        last = np.cumsum(self.sizes) - 1
        next_corner[last] = last + 1 - self.sizes
        return np.unique(np.sort(np.stack([self.corners, self.corners[next_corner]], -1), 1), axis=0)


def read_obj(path: Path, polygons: bool = True) -> PolygonMesh:
    """polygons=False skips the polygons, which is faster. ValueError names the file and the line that is not OBJ."""
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as an OBJ file ({error})") from None
    keys = [line.split(None, 1)[0] if line else "#" for line in lines]

    def wrong(row: int, expected: str) -> ValueError:
        return ValueError(f"{path}, line {row + 1}: expected {expected}, got {lines[row][:60]!r}")

    vertex_rows = np.array([row for row, key in enumerate(keys) if key == "v"], int)
    if not len(vertex_rows):
        raise ValueError(f"{path}: expected lines 'v x y z', got none")
    vertices = _positions([lines[row] for row in vertex_rows])
    if not_finite := np.flatnonzero(~np.isfinite(vertices).all(1)).tolist():
        raise wrong(vertex_rows[not_finite[0]], "a vertex of three finite numbers")
    corners: list[int] = []
    sizes: list[int] = []
    vertices_before = 0
    for row, (key, line) in enumerate(zip(keys, lines) if polygons else ()):
        if key == "v":
            vertices_before += 1
        elif key == "f":
            polygon = [_vertex_index(word, vertices_before) for word in line.split()[1:]]
            if len(polygon) < 3 or min(polygon) < 0 or max(polygon) >= len(vertices):
                raise wrong(
                    row, f"a face of three or more of the {len(vertices)} vertices, each as 1, 1/1, 1//1 or 1/1/1"
                )
            corners += polygon
            sizes.append(len(polygon))
        elif key not in _IGNORED and key[0] != "#":
            raise wrong(row, "a statement of Wavefront OBJ")
    return PolygonMesh(vertices, np.array(corners, int), np.array(sizes, int))


def face_lines(faces: np.ndarray) -> str:
    """The "f" lines of an OBJ file for triangles (F, 3) of vertex indices from 0."""
    return ("f %d %d %d\n" * len(faces)) % tuple((faces + 1).ravel().tolist())


def vertex_lines(vertices: np.ndarray) -> str:
    """The "v" lines of an OBJ file for vertices (V, 3), with the seven significant digits of a 32-bit float."""
    return ("v %.7g %.7g %.7g\n" * len(vertices)) % tuple(vertices.ravel().tolist())


def _vertex_index(word: str, vertices_before: int) -> int:
    """The vertex index, from 0, of one corner of a face; -1 if the word is not a corner."""
    corner = _CORNER.fullmatch(word)
    if corner is None:
        return -1
    number = int(corner[1])
    return number - 1 if number > 0 else vertices_before + number  # -1 in a file: the latest vertex


def _positions(lines: list[str]) -> np.ndarray:
    """(V, 3); NaN from the first line that is not a vertex on. Any fourth number is a weight or a colour."""
    try:
        return np.loadtxt(lines, usecols=(1, 2, 3), ndmin=2)
    except ValueError:
        positions = np.full((len(lines), 3), np.nan)
        for row, line in enumerate(lines):
            try:
                x, y, z = line.split()[1:4]
                positions[row] = float(x), float(y), float(z)
            except ValueError:
                return positions
        return positions
