"""ICT-FaceKit's expressions as ARKit's 52 blendshapes, whose names they carry, and their motion."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..arkit_names import NAMES
from .facekit_checkout import Neutral, checkout_files, read_neutral


@dataclass(frozen=True)
class Basis:
    """The shapes of a checkout of ICT-FaceKit.

    names: (K,), in the order of NAMES. displacements: (K, V', 3), metres, of the visible vertices at weight 1.
    missing: those of NAMES that the checkout lacks. neutral: the face at rest.
    """

    names: tuple[str, ...]
    displacements: np.ndarray
    missing: tuple[str, ...]
    neutral: Neutral


def facekit_basis(checkout: Path) -> Basis:
    """The shapes of a checkout. ValueError as of `checkout_files` and `read_neutral`, and for files of other meshes."""
    files, neutral = expression_files(checkout), read_neutral(checkout_files(checkout))
    displacements = np.stack([sum(map(neutral.displacement, paths)) for paths in files.values()])
    return Basis(tuple(files), displacements, tuple(name for name in NAMES if name not in files), neutral)


def motion_of_weights(weights: np.ndarray, basis: Basis) -> np.ndarray:
    """Displacements (T, V', 3), metres, of the visible vertices. weights: (T, 52), in the order of NAMES.

    Shapes that the checkout lacks move nothing.
    """
    return np.tensordot(weights[:, [NAMES.index(name) for name in basis.names]], basis.displacements, 1)


def expression_files(folder: Path) -> dict[str, list[Path]]:
    """Name -> the files of a checkout that sum up to the shape, for those of NAMES that the checkout has.

    A shape is one file, one file for each side, or the sum of both sides. ValueError as of `checkout_files`.
    """
    folder = checkout_files(folder)["vertex_indices"].parent
    files = {}
    for name in NAMES:
        one_side = name[:-4] + "_L" if name.endswith("Left") else name[:-5] + "_R" if name.endswith("Right") else name
        for parts in ([name], [one_side], [f"{name}_L", f"{name}_R"]):
            paths = [folder / f"{part}.obj" for part in parts]
            if all(path.is_file() for path in paths):
                files[name] = paths
                break
    return files
