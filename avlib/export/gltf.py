"""Writes glTF 2.0 as one binary file (.glb): a mesh whose motion is a sum of morph targets.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import json
import struct
from pathlib import Path

import numpy as np
import torch

from ..core.files import write_atomic
from ..core.scratch import row_blocks
from ..render.shading import vertex_normals

MAX_RMS = 2e-5  # in the mesh's unit, over vertices and frames: 0.02 mm for a mesh in metres
MAX_TARGETS = 64
BLOCK = 100  # frames compared at once
MAX_FIT_FRAMES = 1000  # components of a longer motion are computed from so many frames, evenly spaced
SKIN = (0.95, 0.8, 0.72, 1.0)
FLOAT, BYTE, INDEX = 5126, 5121, 5125  # component types
VERTICES, INDICES = 34962, 34963  # buffer targets


def components(
    motion: np.ndarray,
    rest: np.ndarray | float = 0.0,
    max_rms: float = MAX_RMS,
    max_targets: int = MAX_TARGETS,
) -> tuple[np.ndarray, np.ndarray]:
    """Motion (T, V, 3) -> weights (T, K) and targets (K, V, 3), whose weighted sum approximates its displacement from
    the face at rest (V, 3).

    These are the principal components, the fewest whose root mean square error is at most `max_rms`, but at least one
    and at most `max_targets`. Weights are in [-1, 1]; each component has the weight 1 in some frame.
    """

    def displacement(frames: np.ndarray) -> np.ndarray:
        return (frames - rest).astype(np.float32).reshape(len(frames), -1)

    sample = displacement(motion[:: -(-len(motion) // MAX_FIT_FRAMES)])
    variances, directions = np.linalg.eigh(sample @ sample.T)
    variances, directions = variances[::-1][:max_targets], directions[:, ::-1][:, :max_targets]
    directions = directions[:, variances > 1e-9 * variances[0]] if variances[0] > 0 else directions[:, :1]
    targets, _ = np.linalg.qr(sample.T @ directions)  # (3V, K), orthonormal, in the same order
    weights, squares = [], 0.0
    for block in map(displacement, row_blocks(motion, BLOCK)):
        weights.append(block @ targets)
        squares += np.square(block, dtype=np.float64).sum()
    weights = np.concatenate(weights)
    residual = squares - np.square(weights, dtype=np.float64).sum(0).cumsum()
    enough = residual <= max_rms**2 * motion.size / 3
    count = int(enough.argmax()) + 1 if enough.any() else len(enough)
    largest = weights[np.abs(weights[:, :count]).argmax(0), np.arange(count)]
    largest[largest == 0] = 1
    return weights[:, :count] / largest, (targets[:, :count] * largest).T.reshape(count, -1, 3)


def one_sided(weights: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Weights (T, K) and targets (K, V, 3) as weights in [0, 1] of up to twice as many targets with the same sum, and
    the targets' names: a motion that goes both ways becomes two, "motion00+" and "motion00-".

    Blender and others clamp weights to that range.
    """
    sides = [(k, sign) for k in range(len(targets)) for sign in (1, -1)]
    peaks = [float((sign * weights[:, k]).max()) for k, sign in sides]
    used = [(k, sign * peak) for (k, sign), peak in zip(sides, peaks) if peak > 0] or [(0, 1.0)]
    one_way = [(weights[:, k] / peak).clip(0, 1) for k, peak in used]
    names = [f"motion{k:02d}{'+' if peak > 0 else '-'}" for k, peak in used]
    return np.stack(one_way, 1), np.stack([peak * targets[k] for k, peak in used]), names


def unit_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (N, V, 3) of meshes (N, V, 3); (0, 0, 1) for a vertex in no face."""
    scaled = torch.from_numpy(vertices / np.ptp(vertices[0], axis=0).max()).double()  # so that small faces count
    normals = vertex_normals(scaled.permute(2, 1, 0).contiguous(), torch.from_numpy(faces), 1e-12)
    normals = normals.permute(2, 1, 0).numpy()
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(length > 0.5, normals / np.maximum(length, 0.5), [0.0, 0.0, 1.0])


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


def write_glb(
    path: Path,
    template: np.ndarray,
    faces: np.ndarray,
    motion: np.ndarray,
    fps: float,
    albedo: np.ndarray,
    max_rms: float = MAX_RMS,
    max_targets: int = MAX_TARGETS,
) -> dict:
    """Writes a face (V, 3) with faces (F, 3), grey levels (V,) in [0, 1] and motion (T, V, 3), linear between frames.

    Returns the number of "targets" and the error, root mean square ("rms") and "largest", in the mesh's unit.
    max_targets: of motions, which may be two targets each; see `one_sided`.
    """
    weights, targets, names = one_sided(*components(motion, template, max_rms, max_targets))
    weights, targets = weights.astype(np.float32), targets.astype(np.float32)
    buffer = _Buffer()
    primitive = mesh_primitive(buffer, template, faces, albedo, targets)
    sampler = {
        "input": buffer.add(np.arange(len(motion)) / fps, "SCALAR"),
        "output": buffer.add(weights.reshape(-1), "SCALAR"),
        "interpolation": "LINEAR",
    }
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    roughness = {"baseColorFactor": SKIN, "metallicFactor": 0, "roughnessFactor": 0.6}
    content = {
        "asset": {"version": "2.0", "generator": "avlib"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [{"primitives": [primitive], "weights": weights[0].tolist(), "extras": {"targetNames": names}}],
        "materials": [{"pbrMetallicRoughness": roughness, "doubleSided": True}],
        "animations": [{"name": "speech", "samplers": [sampler], "channels": [channel]}],
        "buffers": [{"byteLength": len(buffer.data)}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
    }
    write_chunks(path, content, buffer.data)
    rms, largest = errors(template, weights, targets, motion)
    return {"targets": len(targets), "rms": rms, "largest": largest}


def errors(template: np.ndarray, weights: np.ndarray, targets: np.ndarray, motion: np.ndarray) -> tuple[float, float]:
    """How far weights (T, K) of targets (K, V, 3) miss the motion: root mean square, and at most."""
    total, largest = 0.0, 0.0
    for n, block in enumerate(row_blocks(motion, BLOCK)):
        moved = np.tensordot(weights[n * BLOCK : (n + 1) * BLOCK], targets, 1)
        square = np.square(template + moved - block).sum(-1)
        total, largest = total + float(square.sum()), max(largest, float(square.max()))
    return float(np.sqrt(total / (len(motion) * len(template)))), float(np.sqrt(largest))


def mesh_primitive(
    buffer: _Buffer, template: np.ndarray, faces: np.ndarray, albedo: np.ndarray, targets: np.ndarray
) -> dict:
    """Adds the mesh and its morph targets (K, V, 3), with normals, to the buffer; returns the JSON of the primitive."""
    normals = unit_normals(template[None], faces)[0]
    grey = np.repeat((255 * albedo.clip(0, 1)).round()[:, None], 4, 1)
    grey[:, 3] = 255
    attributes = {
        "POSITION": buffer.add(template, "VEC3", target=VERTICES),
        "NORMAL": buffer.add(normals, "VEC3", target=VERTICES),
        "COLOR_0": buffer.add(grey, "VEC4", BYTE, VERTICES, normalized=True),
    }
    indices = buffer.add(faces.reshape(-1), "SCALAR", INDEX, INDICES)
    morph_targets = []
    for target in targets:
        turned = unit_normals((template + target)[None], faces)[0] - normals
        position = buffer.add(target, "VEC3", target=VERTICES)
        morph_targets.append({"POSITION": position, "NORMAL": buffer.add(turned, "VEC3", target=VERTICES)})
    return {"attributes": attributes, "indices": indices, "material": 0, "targets": morph_targets}


def write_chunks(path: Path, content: dict, data: bytearray) -> None:
    """Writes the header, the JSON chunk and the binary chunk."""
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    write_atomic(path, lambda p: p.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks))
