"""A film drives a face: what is seen becomes an animation, without a trained model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..corpus.arkit_names import NAMES
from ..corpus.captured.driving import DrivenFace, drive, read_film
from ..corpus.captured.face import Face
from ..corpus.utterance import Excluded
from ..corpus.video.face_landmarker import BLENDSHAPES, FaceLandmarker
from .animation import Animation
from .arkit_files import FilmWeights
from .speaker import load_sound
from .subject_mesh import SubjectMesh


def animate_film(
    path: Path, face: Face, create_landmarker: Callable[[], FaceLandmarker], checkout: Path | None = None
) -> Animation:
    """The face of the person in a film, moved as the film shows it, at its frame rate.

    face: ICT-FaceKit's or MediaPipe's. checkout: of ICT-FaceKit, if it is that. Excluded says what is wrong with the
    film.
    """
    try:
        driven = drive(face, read_film(path, create_landmarker))
    except Excluded as error:
        raise Excluded(f"{path}: {error}") from None
    mesh = SubjectMesh(
        face.name,
        path.stem,
        driven.template,
        face.faces,
        driven.albedo,
        face.regions(driven.template.astype(float)),
        checkout=checkout,
    )
    origin: dict = {"film": path.name, "mesh": face.name}
    if driven.late_s:
        origin["begins_s"] = driven.late_s
    sound = load_sound(driven.speech.float() / 32768)
    return Animation(driven.vertices, driven.fps, sound, mesh, origin, film_weights(driven, face.expressions))


def film_weights(driven: DrivenFace, fitted: tuple[str, ...]) -> FilmWeights:
    """The fitted weights, and MediaPipe's scores for the other shapes. fitted: names of the shapes of the mesh."""
    weights = np.zeros((len(driven.scores), len(NAMES))) if driven.weights is None else driven.weights.copy()
    scored = tuple(name for name in NAMES if name in BLENDSHAPES and name not in fitted)
    for name in scored:
        weights[:, NAMES.index(name)] = driven.scores[:, BLENDSHAPES.index(name)]
    # In recordings of Live Link Face, the eyes move against the head where yaw is positive to the person's left and
    # pitch upwards. The sign of the roll, positive to the person's right, is that of programs that send poses to Unreal
    # Engine as the app does.
    return FilmWeights(weights, driven.head * np.array([1, 1, -1]), fitted, scored)
