"""Weights of ARKit's 52 blendshapes over time, and the files of other programs that hold them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.files import write_atomic
from ..corpus.arkit_names import NAMES
from ..corpus.live_link import write_live_link
from .arkit import Shapes
from .subject_mesh import thousandth_unit

DECIMALS = 4


@dataclass(frozen=True)
class FilmWeights:
    """Weights of ARKit's shapes that came with the motion of a film.

    weights: (T, 52), in the order of NAMES. head: (T, 3), yaw, pitch and roll, rad, with the signs of Live Link Face.
    fitted: names of the shapes that are fitted to the film. scored: of those whose weight is MediaPipe's score.
    """

    weights: np.ndarray
    head: np.ndarray
    fitted: tuple[str, ...]
    scored: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the shapes that nothing measures, whose weight is 0."""
        return tuple(name for name in NAMES if name not in self.fitted + self.scored)


@dataclass(frozen=True)
class ArkitMotion:
    """Motion as ARKit's shapes.

    weights: (T, 52), in the order of NAMES. head: (T, 3), its angles, rad, if a film gives them. about: which shapes
    are measured, and how, for the record.
    """

    weights: np.ndarray
    head: np.ndarray | None
    about: dict


def arkit_motion(motion: np.ndarray, film: FilmWeights | None, shapes: Shapes | None, unit: str) -> ArkitMotion:
    """The weights of a film, or else those of the shapes that move a face as its vertices (T, V, 3) do.

    shapes: with a film, they only measure the error. unit: of the vertices.
    """
    if film:
        weights, head = film.weights.round(DECIMALS), film.head
        about: dict = {"fitted": list(film.fitted), "scored": list(film.scored), "missing": list(film.missing)}
    else:
        assert shapes is not None  # `models_for` sees to it
        weights, head = shapes.fit(motion).round(DECIMALS), None
        about = {"transferred": not shapes.is_facekit_mesh, "fitted": list(shapes.names)}
        about |= {"missing": list(shapes.missing)}
    if shapes:
        errors = shapes.errors(weights, motion)
        about["unit"] = thousandth_unit(unit)
        about["error"] = {p: {"rms": 1000 * e["rms"], "explained": e["explained"]} for p, e in errors.items()}
    return ArkitMotion(weights, head, about)


def write_arkit(stem: Path, arkit: ArkitMotion, fps: float, sound: str) -> dict[str, str]:
    """Writes <stem>-arkit.csv, -arkit.json and -a2f.json; returns their names. sound: the name of its file, if any."""
    endings = ("-arkit.csv", "-arkit.json", "-a2f.json")
    table, frames, audio2face = (stem.with_name(stem.name + ending) for ending in endings)
    write_live_link(table, arkit.weights, fps, arkit.head)
    head = {} if arkit.head is None else {"head": arkit.head.tolist()}
    write_rows(frames, {"fps": fps, "names": NAMES, **arkit.about, **head}, "frames", arkit.weights)
    count, shapes = arkit.weights.shape
    content = {"exportFps": fps, "trackPath": sound, "numPoses": shapes, "numFrames": count, "facsNames": NAMES}
    write_rows(audio2face, content, "weightMat", arkit.weights)
    return {"file": table.name, "frames": frames.name, "audio2face": audio2face.name}


def write_rows(path: Path, content: dict, name: str, rows: np.ndarray) -> None:
    """Writes a JSON object whose last item is an array (T, K), row by row: an hour of them is large."""

    def write(temporary: Path) -> None:
        with open(temporary, "w") as file:
            file.write(json.dumps(content)[:-1] + f', "{name}": [')
            file.writelines(f"{', ' if t else ''}{json.dumps(row.tolist())}" for t, row in enumerate(rows))
            file.write("]}\n")

    write_atomic(path, write)
