"""Writing glTF 2.0 as one binary file (.glb): a mesh whose motion is a sum of morph targets.

https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

import json
import struct
from pathlib import Path

import numpy as np
import torch

from ..core.files import write_atomic
from ..render.shading import vertex_normals

BOUND = 2e-5  # of the mesh's unit, root mean square over vertices and frames: 0.02 mm of a mesh in metres
MOST = 64  # targets
LEARNED_FROM = 1000  # frames at most, evenly chosen: what a longer motion's components are found from
SKIN = (0.95, 0.8, 0.72, 1.0)
FLOAT, BYTE, INDEX = 5126, 5121, 5125  # component types
VERTICES, INDICES = 34962, 34963  # buffer targets


def components(moved: np.ndarray, bound: float = BOUND, most: int = MOST) -> tuple[np.ndarray, np.ndarray]:
    """Weights (T, K), within -1 and 1, each 1 in some frame, and targets (K, V, 3) whose sum is the displacement (T, V, 3), root
    mean square error at most `bound`; the principal components, as few as that takes, from 1 up to `most`."""
    flat = np.ascontiguousarray(moved.reshape(len(moved), -1), np.float32)
    some = flat[:: -(-len(flat) // LEARNED_FROM)]
    power, ways = np.linalg.eigh(some @ some.T)
    power, ways = power[::-1][:most], ways[:, ::-1][:, :most]
    ways = ways[:, power > 1e-9 * power[0]] if power[0] > 0 else ways[:, :1]
    targets, _ = np.linalg.qr(some.T @ ways)  # (3V, K), orthonormal, in the same order
    weights = flat @ targets
    left = np.square(flat, dtype=np.float64).sum() - np.square(weights, dtype=np.float64).sum(0).cumsum()
    enough = left <= bound**2 * flat.size / 3
    count = int(enough.argmax()) + 1 if enough.any() else len(enough)
    largest = weights[np.abs(weights[:, :count]).argmax(0), np.arange(count)]
    largest[largest == 0] = 1
    return weights[:, :count] / largest, (targets[:, :count] * largest).T.reshape(count, -1, 3)


def normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals of meshes (N, V, 3); where there is none, (0, 0, 1)."""
    sized = torch.from_numpy(vertices / np.ptp(vertices[0], axis=0).max()).double()  # so that small faces count
    found = vertex_normals(sized.permute(2, 1, 0).contiguous(), torch.from_numpy(faces), 1e-12).permute(2, 1, 0).numpy()
    long = np.linalg.norm(found, axis=-1, keepdims=True)
    return np.where(long > 0.5, found / np.maximum(long, 0.5), [0.0, 0.0, 1.0])


class _Buffer:
    """The binary chunk, as it grows, and what the JSON says of it."""

    def __init__(self):
        self.data, self.views, self.accessors = bytearray(), [], []

    def add(self, array: np.ndarray, kind: str, component: int = FLOAT, target: int | None = None, **said) -> int:
        """Number of a new accessor. array: (N,) or (N, C); its items are whole words, so all begin at one."""
        array = np.ascontiguousarray(array, {FLOAT: "<f4", BYTE: "u1", INDEX: "<u4"}[component])
        self.views.append(
            {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
            | ({"target": target} if target else {})
        )
        self.data += array.tobytes()
        if component == FLOAT:
            rows = array.reshape(len(array), -1)
            said |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.accessors.append(
            {"bufferView": len(self.views) - 1, "componentType": component, "count": len(array), "type": kind} | said
        )
        return len(self.accessors) - 1


def write_glb(
    path: Path,
    template: np.ndarray,
    faces: np.ndarray,
    motion: np.ndarray,
    fps: float,
    albedo: np.ndarray,
    bound: float = BOUND,
    most: int = MOST,
) -> dict:
    """Face (V, 3) with faces (F, 3) and grey levels (V,), which moves as motion (T, V, 3) does, linearly between its frames.

    Returns the number of "targets", and the error, root mean square ("rms") and "largest", in the mesh's unit.
    """
    weights, targets = (a.astype(np.float32) for a in components(motion - template, bound, most))
    out, rest = _Buffer(), normals(template[None], faces)[0]
    grey = np.repeat((255 * albedo.clip(0, 1)).round()[:, None], 4, 1)
    grey[:, 3] = 255
    primitive = {
        "attributes": {
            "POSITION": out.add(template, "VEC3", target=VERTICES),
            "NORMAL": out.add(rest, "VEC3", target=VERTICES),
            "COLOR_0": out.add(grey, "VEC4", BYTE, VERTICES, normalized=True),
        },
        "indices": out.add(faces.reshape(-1), "SCALAR", INDEX, INDICES),
        "material": 0,
        "targets": [
            {
                "POSITION": out.add(move, "VEC3", target=VERTICES),
                "NORMAL": out.add(normals((template + move)[None], faces)[0] - rest, "VEC3", target=VERTICES),
            }
            for move in targets
        ],
    }
    names = [f"motion{k:02d}" for k in range(len(targets))]
    sampler = {
        "input": out.add(np.arange(len(motion)) / fps, "SCALAR"),
        "output": out.add(weights.reshape(-1), "SCALAR"),
        "interpolation": "LINEAR",
    }
    about = {
        "asset": {"version": "2.0", "generator": "avlib"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [{"primitives": [primitive], "weights": weights[0].tolist(), "extras": {"targetNames": names}}],
        "materials": [
            {
                "pbrMetallicRoughness": {"baseColorFactor": SKIN, "metallicFactor": 0, "roughnessFactor": 0.6},
                "doubleSided": True,
            }
        ],
        "animations": [
            {
                "name": "speech",
                "samplers": [sampler],
                "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}],
            }
        ],
        "buffers": [{"byteLength": len(out.data)}],
        "bufferViews": out.views,
        "accessors": out.accessors,
    }
    text = json.dumps(about).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(out.data), b"BIN\0") + out.data
    write_atomic(path, lambda p: p.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks))
    square = [np.square(template + np.tensordot(w, targets, 1) - m).sum(-1) for w, m in zip(weights, motion)]
    return {"targets": len(targets), "rms": float(np.sqrt(np.mean(square))), "largest": float(np.sqrt(np.max(square)))}
