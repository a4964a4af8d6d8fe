"""Mesh files of face corpora: PLY (ASCII or binary), OBJ, and the .vl frames of BIWI."""

from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyParseError

from ..obj import PolygonMesh, read_obj


def read_mesh(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and triangles (F, 3) int64 of a .ply or .obj file; larger polygons are split.

    ValueError names the file and the fault.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix not in (".ply", ".obj"):
        raise ValueError(f"{path}: expected a mesh file, .ply or .obj, got {suffix or 'no suffix'}")
    mesh = read_obj(path) if suffix == ".obj" else read_ply(path)
    return mesh.vertices, mesh.triangles()


def read_ply(path: Path) -> PolygonMesh:
    """The vertices and polygons of a PLY file. ValueError names the file and the fault."""
    try:
        elements = {element.name: element for element in PlyData.read(str(path)).elements}
        vertices = np.stack([np.asarray(elements["vertex"][axis], np.float64) for axis in "xyz"], -1)
        polygons = _polygons(elements["face"]) if "face" in elements else []
    except (PlyParseError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a complete .ply mesh ({reason})") from None
    sizes = np.array([len(polygon) for polygon in polygons], np.int64)
    corners = np.concatenate(polygons).astype(np.int64) if polygons else np.zeros(0, np.int64)
    if sizes.size and sizes.min() < 3:
        raise ValueError(f"{path}: a face has {sizes.min()} vertices, expected at least 3")
    if corners.size and not (0 <= corners.min() and corners.max() < len(vertices)):
        raise ValueError(f"{path}: a face names vertex {max(corners.max(), -corners.min())} of {len(vertices)}")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{path}: contains vertices that are not finite")
    return PolygonMesh(vertices, corners, sizes)


def _polygons(faces) -> list[np.ndarray]:
    """The vertex indices of each face of a PLY file; vertex_indices and vertex_index are both in use as their name."""
    for name in ("vertex_indices", "vertex_index"):
        if name in (item.name for item in faces.properties):
            return list(faces[name])
    raise KeyError("face has no property vertex_indices")


def read_vl(path: Path, vertex_count: int) -> np.ndarray:
    """(V, 3) float32, one frame of BIWI: little-endian coordinates, after a vertex count of 4 or 8 bytes or after none.

    ValueError if the file has another size or count.
    """
    content = path.read_bytes()
    header_bytes = len(content) - 12 * vertex_count
    if header_bytes not in (0, 4, 8) or (
        header_bytes and int.from_bytes(content[:header_bytes], "little") != vertex_count
    ):
        raise ValueError(
            f"{path}: {len(content)} bytes, expected {vertex_count} vertices of 12 bytes, with or without their count"
        )
    return np.frombuffer(content, "<f4", offset=header_bytes).reshape(vertex_count, 3)


def surface_area(vertices: np.ndarray, faces: np.ndarray) -> float:
    """The area of the triangles (F, 3), in the square of the unit of the vertices (V, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
