"""Wavefront OBJ, read and written: positions and polygons."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Statements that say nothing of where the polygons are.
_IGNORED = frozenset(
    "vt vn vp p l s o g usemtl mtllib mg bevel c_interp d_interp lod maplib usemap shadow_obj trace_obj".split()
)
_CORNER = re.compile(r"(-?[1-9]\d*)(?:/-?[1-9]\d*|/(?:-?[1-9]\d*)?/-?[1-9]\d*)?")


@dataclass(frozen=True)
class Obj:
    """A mesh as its file has it. vertices: (V, 3) float64, in the file's unit. corners: (C,) vertex indices from 0, polygon
    after polygon, of sizes (F,)."""

    vertices: np.ndarray
    corners: np.ndarray
    sizes: np.ndarray

    def triangles(self) -> np.ndarray:
        """(T, 3): every polygon as a fan around its first corner."""
        each = self.sizes - 2
        first = np.repeat(np.cumsum(self.sizes) - self.sizes, each)
        step = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        return self.corners[np.stack([first, first + step + 1, first + step + 2], -1)]

    def edges(self) -> np.ndarray:
        """(E, 2): the sides of the polygons, each once, lower index first."""
        after = np.arange(1, len(self.corners) + 1)
        last = np.cumsum(self.sizes) - 1
        after[last] = last + 1 - self.sizes
        return np.unique(np.sort(np.stack([self.corners, self.corners[after]], -1), 1), axis=0)


def read_obj(path: Path, polygons: bool = True) -> Obj:
    """polygons=False leaves them out, which is quicker. ValueError names file and line of what is no OBJ."""
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as an OBJ file ({error})") from None
    keys = [line.split(None, 1)[0] if line else "#" for line in lines]

    def wrong(row: int, expected: str) -> ValueError:
        return ValueError(f"{path}, line {row + 1}: expected {expected}, got {lines[row][:60]!r}")

    at = np.array([row for row, key in enumerate(keys) if key == "v"], int)
    if not len(at):
        raise ValueError(f"{path}: expected lines 'v x y z', got none")
    vertices = _positions([lines[row] for row in at])
    for row, position in zip(at, vertices) if not np.isfinite(vertices).all() else ():
        if not np.isfinite(position).all():
            raise wrong(row, "a vertex of three finite numbers")
    corners, sizes, before = [], [], 0
    for row, (key, line) in enumerate(zip(keys, lines) if polygons else ()):
        if key == "v":
            before += 1
        elif key == "f":
            words = [_CORNER.fullmatch(word) for word in line.split()[1:]]
            polygon = [0 if word is None else int(word[1]) for word in words]
            polygon = [i - 1 if i > 0 else before + i if i else -1 for i in polygon]  # -1 in a file: the latest vertex
            if len(polygon) < 3 or min(polygon) < 0 or max(polygon) >= len(at):
                raise wrong(row, f"a face of three or more of the {len(at)} vertices, each as 1, 1/1, 1//1 or 1/1/1")
            corners += polygon
            sizes.append(len(polygon))
        elif key not in _IGNORED and key[0] != "#":
            raise wrong(row, "a statement of Wavefront OBJ")
    return Obj(vertices, np.array(corners, int), np.array(sizes, int))


def face_lines(faces: np.ndarray) -> str:
    """The lines of a file that say which of its vertices make up each triangle, (F, 3) from 0."""
    return ("f %d %d %d\n" * len(faces)) % tuple((faces + 1).ravel().tolist())


def vertex_lines(vertices: np.ndarray) -> str:
    """(V, 3), with seven significant digits: what a 32-bit float holds."""
    return ("v %.7g %.7g %.7g\n" * len(vertices)) % tuple(vertices.ravel().tolist())


def _positions(lines: list[str]) -> np.ndarray:
    """(V, 3); NaN in the place of a line that is no vertex. What follows the third number is a weight or a colour."""
    try:
        return np.loadtxt(lines, usecols=(1, 2, 3), ndmin=2)
    except ValueError:
        out = np.full((len(lines), 3), np.nan)
        for row, line in enumerate(lines):
            try:
                x, y, z = line.split()[1:4]
                out[row] = float(x), float(y), float(z)
            except ValueError:
                return out
        return out
