"""Mesh files as the owners of face corpora distribute them: PLY, ASCII or binary, OBJ, and the .vl frames of BIWI."""

from pathlib import Path

import numpy as np

from ..obj import read_obj

TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}


def read_mesh(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and triangles (F, 3) int64; larger faces are cut into fans. ValueError names the file and what is
    wrong with it."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix.lower() == ".obj":
        mesh = read_obj(path)
        return mesh.vertices, mesh.triangles()
    if path.suffix.lower() != ".ply":
        raise ValueError(f"{path}: no whole .ply or .obj mesh, by its name")
    try:
        vertices, faces = _ply(path.read_bytes())
    except (KeyError, ValueError, IndexError, StopIteration) as error:
        raise ValueError(f"{path}: no whole .ply or .obj mesh ({error or type(error).__name__})") from None
    if len(faces) and not (0 <= faces.min() and faces.max() < len(vertices)):
        raise ValueError(f"{path}: a face names vertex {max(faces.max(), -faces.min())} of {len(vertices)}")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{path}: holds vertices that are not finite")
    return vertices, faces


def _fans(polygons: list) -> np.ndarray:
    """Triangles of polygons, each a list of whole numbers or of their digits."""
    sizes = {}
    for polygon in polygons:
        sizes.setdefault(len(polygon), []).append(polygon)
    fans = [np.array(p).astype(np.int64)[:, [0, k, k + 1]] for size, p in sizes.items() for k in range(1, size - 1)]
    return np.concatenate(fans) if fans else np.zeros((0, 3), np.int64)


def _ply(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    end = data.index(b"end_header")
    first = data.index(b"\n", end) + 1
    head = [line.split() for line in data[:end].decode("ascii", "replace").splitlines()]
    if head[0] != ["ply"]:
        raise ValueError("does not begin with ply")
    form, elements = next(line[1] for line in head if line and line[0] == "format"), []
    for line in head:
        if line and line[0] == "element":
            elements.append((line[1], int(line[2]), []))
        elif line and line[0] == "property":
            elements[-1][2].append(line[1:])
    for name, _, properties in elements:
        if len(properties) > 1 and any(p[0] == "list" for p in properties):
            raise ValueError(f"{name} has a list beside other properties")
    found = dict(
        _words(data[first:].split(), elements)
        if form == "ascii"
        else _bytes(data, first, {"binary_little_endian": "<", "binary_big_endian": ">"}[form], elements)
    )
    return found["vertex"], found.get("face", np.zeros((0, 3), np.int64))


def _words(words: list[bytes], elements: list):
    """(element, its columns x, y, z or its triangles) of an ASCII file's numbers."""
    at = 0
    for name, count, properties in elements:
        if properties[0][0] == "list":
            polygons = []
            for _ in range(count):
                last = at + 1 + int(words[at])
                polygons.append([int(w) for w in words[at + 1 : last]])
                at = last
            yield name, _fans(polygons)
            continue
        table = np.array(words[at : at + count * len(properties)], dtype=np.float64).reshape(count, len(properties))
        at += table.size
        if name == "vertex":
            yield name, table[:, [[p[-1] for p in properties].index(axis) for axis in "xyz"]]


def _bytes(data: bytes, at: int, order: str, elements: list):
    """The same of a binary file."""
    for name, count, properties in elements:
        if properties[0][0] != "list":
            kind = np.dtype([(p[-1], order + TYPES[p[0]]) for p in properties])
            table = np.frombuffer(data, kind, count, at)
            at += table.nbytes
            if name == "vertex":
                yield name, np.stack([table[axis].astype(np.float64) for axis in "xyz"], -1)
            continue
        size, item = (np.dtype(order + TYPES[t]) for t in properties[0][1:3])
        triangle = np.dtype([("size", size), ("items", item, 3)])
        if (
            at + count * triangle.itemsize <= len(data)
            and ((triangles := np.frombuffer(data, triangle, count, at))["size"] == 3).all()
        ):
            at += triangles.nbytes
            yield name, triangles["items"].astype(np.int64)
            continue
        polygons = []
        for _ in range(count):
            many = int(np.frombuffer(data, size, 1, at)[0])
            polygons.append(np.frombuffer(data, item, many, at + size.itemsize).tolist())
            at += size.itemsize + many * item.itemsize
        yield name, _fans(polygons)


def read_vl(path: Path, vertices: int) -> np.ndarray:
    """(vertices, 3) float32 of a frame of BIWI: little-endian coordinates behind their count of 4 or 8 bytes, or behind none."""
    data = path.read_bytes()
    head = len(data) - 12 * vertices
    if head not in (0, 4, 8) or head and int.from_bytes(data[:head], "little") != vertices:
        raise ValueError(f"{path}: {len(data)} bytes, expected {vertices} vertices of 12, behind their count")
    return np.frombuffer(data, "<f4", offset=head).reshape(vertices, 3)


def area(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
