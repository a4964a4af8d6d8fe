"""Writes glTF 2.0 as one binary file (.glb): a face whose motion is a sum of morph targets.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import json
import struct
from pathlib import Path

import numpy as np

from ..core.files import write_atomic
from .morph_targets import MorphTargets, unit_normals
from .subject_mesh import SKIN, SubjectMesh

FLOAT, BYTE, INDEX = 5126, 5121, 5125  # component types
VERTICES, INDICES = 34962, 34963  # buffer targets


class _Buffer:
    """The binary chunk of a .glb while it is filled, and the JSON that describes its parts."""

    def __init__(self):
        self.data, self.views, self.accessors = bytearray(), [], []

    def add(self, array: np.ndarray, kind: str, component: int = FLOAT, target: int | None = None, **properties) -> int:
        """Appends an array, (N,) or (N, C), and returns the number of its accessor.

        kind: "SCALAR", "VEC3" or "VEC4"; component: its number type; target: the buffer's use, if it has one. Items
        must be multiples of 4 bytes, so that every array is aligned.
        """
        array = np.ascontiguousarray(array, {FLOAT: "<f4", BYTE: "u1", INDEX: "<u4"}[component])
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view | ({"target": target} if target else {}))
        self.data += array.tobytes()
        if component == FLOAT:
            rows = array.reshape(len(array), -1)
            properties |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        accessor = {"bufferView": len(self.views) - 1, "componentType": component, "count": len(array), "type": kind}
        self.accessors.append(accessor | properties)
        return len(self.accessors) - 1


def write_glb(path: Path, mesh: SubjectMesh, targets: MorphTargets, fps: float) -> None:
    """Writes a face with its grey levels, and its motion, which is linear between frames."""
    buffer = _Buffer()
    primitive = mesh_primitive(buffer, mesh, targets)
    sampler = {
        "input": buffer.add(np.arange(len(targets.weights)) / fps, "SCALAR"),
        "output": buffer.add(targets.weights.reshape(-1), "SCALAR"),
        "interpolation": "LINEAR",
    }
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    roughness = {"baseColorFactor": [*SKIN, 1.0], "metallicFactor": 0, "roughnessFactor": 0.6}
    shape = {"weights": targets.weights[0].tolist(), "extras": {"targetNames": list(targets.names)}}
    content = {
        "asset": {"version": "2.0", "generator": "avlib"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [{"primitives": [primitive], **shape}],
        "materials": [{"pbrMetallicRoughness": roughness, "doubleSided": True}],
        "animations": [{"name": "speech", "samplers": [sampler], "channels": [channel]}],
        "buffers": [{"byteLength": len(buffer.data)}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
    }
    write_chunks(path, content, buffer.data)


def mesh_primitive(buffer: _Buffer, mesh: SubjectMesh, targets: MorphTargets) -> dict:
    """Adds the mesh and its morph targets, with normals, to the buffer; returns the JSON of the primitive."""
    grey = np.repeat((255 * mesh.albedo.clip(0, 1)).round()[:, None], 4, 1)
    grey[:, 3] = 255
    attributes = {
        "POSITION": buffer.add(mesh.template, "VEC3", target=VERTICES),
        "NORMAL": buffer.add(unit_normals(mesh.template, mesh.faces), "VEC3", target=VERTICES),
        "COLOR_0": buffer.add(grey, "VEC4", BYTE, VERTICES, normalized=True),
    }
    indices = buffer.add(mesh.faces.reshape(-1), "SCALAR", INDEX, INDICES)
    morph_targets = []
    for moved, turned in zip(targets.displacements, targets.turned_normals(mesh.template, mesh.faces)):
        position = buffer.add(moved, "VEC3", target=VERTICES)
        morph_targets.append({"POSITION": position, "NORMAL": buffer.add(turned, "VEC3", target=VERTICES)})
    return {"attributes": attributes, "indices": indices, "material": 0, "targets": morph_targets}


def write_chunks(path: Path, content: dict, data: bytearray) -> None:
    """Writes the header, the JSON chunk and the binary chunk."""
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    write_atomic(path, lambda p: p.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks))
