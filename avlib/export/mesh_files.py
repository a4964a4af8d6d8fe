"""Motion as plain vertices: a NumPy array, or an OBJ file a frame."""

import os
import shutil
from itertools import chain
from pathlib import Path

import numpy as np

from ..core.files import write_atomic
from ..core.scratch import row_blocks
from ..corpus.obj import face_lines, vertex_lines
from .subject_mesh import SubjectMesh


def write_npy(path: Path, motion: np.ndarray) -> None:
    """Writes vertices (T, V, 3), block by block."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(motion))
            for block in row_blocks(motion):
                file.write(block.tobytes())

    write_atomic(path, write)


def write_template(path: Path, mesh: SubjectMesh) -> None:
    """Writes the face at rest as OBJ."""
    text = vertex_lines(mesh.template) + face_lines(mesh.faces)
    write_atomic(path, lambda temporary: temporary.write_text(text))


def write_obj_folder(folder: Path, motion: np.ndarray, faces: np.ndarray) -> None:
    """Writes 0000.obj and so on, one for each frame of vertices (T, V, 3), in place of an earlier folder."""
    faces_text, digits = face_lines(faces), max(4, len(str(len(motion) - 1)))
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        for t, vertices in enumerate(chain.from_iterable(row_blocks(motion))):
            (unfinished / f"{t:0{digits}d}.obj").write_text(vertex_lines(vertices) + faces_text)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
