"""ICT-FaceKit's expressions as ARKit's 52 blendshapes, whose names they carry."""

from pathlib import Path

from ..arkit_names import NAMES
from .facekit_checkout import checkout_files


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
