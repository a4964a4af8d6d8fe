"""A face in a notebook that the mouse turns, and whose vertices can be set from Python many times a second.

    face = FaceWidget(corpus.templates["Kim"], corpus.faces, corpus.albedo)
    face                            # as the last line of a cell, shows it
    face.move(vertices)             # (V, 3), from any later cell, callback or thread

The browser draws at most one picture for each screen refresh; vertices that arrive faster replace each other.
"""

import anywidget
import numpy as np
import torch
from traitlets import Bytes, Dict, Int

from .browser_data import mesh_bytes, module


class FaceWidget(anywidget.AnyWidget):
    """template: (V, 3); faces: (F, 3); albedo: (V,), grey levels in [0, 1]; side: width and height, pixels."""

    _esm = module("mesh.js", "mesh_widget.js")
    mesh = Dict().tag(sync=True)
    vertices = Bytes().tag(sync=True)
    side = Int().tag(sync=True)

    def __init__(self, template: torch.Tensor, faces: torch.Tensor, albedo: torch.Tensor, side: int = 400):
        super().__init__(mesh=mesh_bytes(template, faces, albedo), side=side)
        self.shape = tuple(template.shape)

    def move(self, vertices: torch.Tensor | np.ndarray) -> None:
        """Shows vertices (V, 3), in the template's unit. ValueError for another shape, NaN or infinite values."""
        vertices = np.asarray(vertices, "<f4")
        finite = np.isfinite(vertices).all()
        if vertices.shape != self.shape or not finite:
            raise ValueError(
                f"face: expected finite vertices {self.shape}, got {vertices.shape}"
                f"{'' if finite else ' with NaN or infinite values'}"
            )
        self.vertices = vertices.tobytes()
