"""What widgets send to the browser: the text of their ES modules, and arrays and meshes as bytes."""

from pathlib import Path

import numpy as np
import torch


def module(*names: str) -> str:
    """The text of a widget's ES module: parts.js, then these files of this folder; mesh.js before what shows faces."""
    return "\n".join((Path(__file__).parent / name).read_text() for name in ("parts.js", *names))


def as_bytes(array: torch.Tensor | np.ndarray, dtype: str) -> bytes:
    """In C order. dtype: of NumPy with the byte order, such as "<f4"."""
    return np.ascontiguousarray(array, dtype).tobytes()


def mesh_bytes(template: torch.Tensor, faces: torch.Tensor, albedo: torch.Tensor) -> dict[str, bytes]:
    """A face for mesh.js. template: (V, 3); faces: (F, 3); albedo: (V,), grey levels in [0, 1]."""
    grey = (255 * albedo.clamp(0, 1)).round()
    return {"template": as_bytes(template, "<f4"), "faces": as_bytes(faces, "<u4"), "albedo": as_bytes(grey, "u1")}
