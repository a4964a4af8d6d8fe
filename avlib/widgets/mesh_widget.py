"""A face in a notebook that can be turned by mouse, and whose vertices can be set from Python many times a second.

    face = FaceWidget(corpus.templates["Kim"], corpus.faces, corpus.albedo)
    face                            # as the last line of a cell, shows it
    face.move(vertices)             # (V, 3), from any later cell, callback or thread, as often as wanted

Pictures are drawn by the browser, at most one for each that its screen shows; vertices that come faster replace each other.
"""

from pathlib import Path

import anywidget
import numpy as np
import torch
from traitlets import Bytes, Dict, Int


def module(*names: str) -> str:
    """The text of a widget's ES module: what all share, and these files from beside this one; mesh.js, where it shows faces, first."""
    return "\n".join((Path(__file__).parent / name).read_text() for name in ("parts.js", *names))


def mesh_bytes(template: torch.Tensor, faces: torch.Tensor, albedo: torch.Tensor) -> dict[str, bytes]:
    """What mesh.js is given of a face: template (V, 3), faces (F, 3), grey levels (V,) in [0, 1]."""
    grey = (255 * albedo.clamp(0, 1)).round()
    return {"template": as_bytes(template, "<f4"), "faces": as_bytes(faces, "<u4"), "albedo": as_bytes(grey, "u1")}


def as_bytes(array: torch.Tensor | np.ndarray, kind: str) -> bytes:
    return np.ascontiguousarray(array, kind).tobytes()


class FaceWidget(anywidget.AnyWidget):
    """See above. template: (V, 3), faces: (F, 3), albedo: (V,) in [0, 1]; side: pixels."""

    _esm = module("mesh.js", "mesh_widget.js")
    mesh = Dict().tag(sync=True)
    vertices = Bytes().tag(sync=True)
    side = Int().tag(sync=True)

    def __init__(self, template: torch.Tensor, faces: torch.Tensor, albedo: torch.Tensor, side: int = 400):
        super().__init__(mesh=mesh_bytes(template, faces, albedo), side=side)
        self.shape = tuple(template.shape)

    def move(self, vertices: torch.Tensor | np.ndarray) -> None:
        """Shows these vertices (V, 3), in the template's unit. ValueError for another shape, or NaN."""
        vertices = np.asarray(vertices, "<f4")
        if vertices.shape != self.shape or not np.isfinite(vertices).all():
            raise ValueError(
                f"face: expected finite vertices {self.shape}, got {vertices.shape}"
                f"{'' if np.isfinite(vertices).all() else ' with NaN or infinite values'}"
            )
        self.vertices = vertices.tobytes()
