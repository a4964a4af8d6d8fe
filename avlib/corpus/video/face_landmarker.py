"""Landmarks, blendshape scores and poses of faces in pictures, from MediaPipe's Face Landmarker."""

import ctypes
import importlib
import os
import re
import tempfile
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

ADDRESS = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/latest/"
    "face_landmarker.task"
)
NEUTRAL = "_neutral"  # MediaPipe's first score, which is always near 0
# of MediaPipe, in its order: ARKit's names but for tongueOut, which it does not know
BLENDSHAPES = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight"),
    *("eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight"),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight"),
    *("mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight"),
    *("mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight"),
)
# With one face, MediaPipe smooths the landmarks over time, which delays them by half a frame at 25 fps and takes 6 %
# off the widest opening of the mouth; with two it does not, and a second person can be seen.
FACES = 2
# lines that MediaPipe and TensorFlow Lite write on their own: warnings and information, but no errors
CHATTER = re.compile(rb"[IW]\d{4} |WARNING: Logging before|WARNING: All log messages before|INFO: ")
_redirection = threading.Lock()  # there is only one file descriptor 2


class Face(NamedTuple):
    """A face in a picture.

    landmarks: (478, 3) float32, pixels: x to the right, y down, z away from the camera, from the middle of the head.
    scores: (51,) float32 in [0, 1], in the order of `BLENDSHAPES`. pose: (4, 4) float32, of MediaPipe's canonical face
    in front of a camera at the origin that looks along -z, centimetres.
    """

    landmarks: np.ndarray
    scores: np.ndarray
    pose: np.ndarray


class FaceLandmarker:
    """The faces in successive pictures of one video.

    model: the file face_landmarker.task. ValueError says what is missing.
    """

    def __init__(self, model: str | Path):
        mediapipe = _import_mediapipe()
        if not Path(model).is_file():
            raise ValueError(f"{model}: no such file; download it from {ADDRESS}")
        vision = mediapipe.tasks.vision
        options = vision.FaceLandmarkerOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(model)),
            running_mode=vision.RunningMode.VIDEO,
            num_faces=FACES,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            with _without_chatter():
                landmarker = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:  # depends on what is wrong with the file
            reason = " ".join(str(error).split())
            raise ValueError(f"{model}: not a Face Landmarker ({reason}); download it from {ADDRESS}") from None
        weakref.finalize(self, _close, landmarker)  # otherwise its threads and its memory outlive it
        self._mediapipe, self._landmarker = mediapipe, landmarker
        self._last_ms = -1

    def __call__(self, rgb: np.ndarray, time_s: float) -> list[Face]:
        """The faces in a picture, (H, W, 3) uint8, at a time that is later than that of the last; largest first."""
        pixels = np.ascontiguousarray(rgb)  # MediaPipe reads rows with padding between them as if there were none
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=pixels)
        first, self._last_ms = self._last_ms < 0, max(round(1000 * time_s), self._last_ms + 1)
        if first:  # the models are set up now
            with _without_chatter():
                result = self._landmarker.detect_for_video(image, self._last_ms)
        else:
            result = self._landmarker.detect_for_video(image, self._last_ms)
        height, width = rgb.shape[:2]
        faces = []
        for marks, scores, pose in zip(
            result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes, strict=True
        ):
            places = np.array([(mark.x, mark.y, mark.z) for mark in marks], np.float32)
            score = {category.category_name: category.score for category in scores}
            faces.append(
                Face(
                    places * np.array([width, height, width], np.float32),
                    np.array([score[name] for name in BLENDSHAPES], np.float32),
                    np.array(pose, np.float32),
                )
            )
        return sorted(faces, key=_area, reverse=True)


def find_model(setting: str, folder: Path) -> Path:
    """The file of the Face Landmarker: the one that the setting corpus.landmarks names, else a *.task of the corpus.

    folder: of the corpus, in which or beside which the file is. ValueError, with the address, if there is none.
    """
    if setting:
        if not Path(setting).is_file():
            raise ValueError(f"{setting}: no such file; download face_landmarker.task from {ADDRESS}")
        return Path(setting)
    for place in (Path(folder), Path(folder).resolve().parent):
        if models := sorted(place.glob("[!.]*.task")):
            return min(models, key=lambda p: not p.name.startswith("face_landmarker"))
    raise ValueError(
        f"{folder}: no face_landmarker.task in this folder or beside it, and corpus.landmarks (--landmarks) names "
        f"none; download it from {ADDRESS}"
    )


def nearest_face(faces: list[Face], last: Face | None) -> Face:
    """The face of the person in whom one is interested: the nearest to the last one seen, if it touches that.

    Otherwise, and at the beginning, the largest. faces: as `FaceLandmarker` returns them, at least one.
    """
    if last is None:
        return faces[0]
    middles = np.stack([face.landmarks[:, :2].mean(0) for face in (last, *faces)])
    distances = np.linalg.norm(middles[1:] - middles[0], axis=-1)
    nearest = int(distances.argmin())
    return faces[nearest] if distances[nearest] < np.sqrt(_area(last)) else faces[0]


def _import_mediapipe():
    try:
        # in a thread: the package keeps a traceback of its import, and with it the variables of all who called for it
        with _without_chatter(), ThreadPoolExecutor(1) as thread:
            mediapipe = thread.submit(importlib.import_module, "mediapipe").result()
    except ImportError as error:
        raise ValueError(
            f"MediaPipe, which finds faces, does not load ({error}): ./run_all.sh installs it, or pip install "
            "'avlib[video]'"
        ) from None
    if not hasattr(mediapipe, "tasks"):
        raise ValueError(f"MediaPipe {mediapipe.__version__} has no Face Landmarker: pip install 'avlib[video]'")
    return mediapipe


def _close(landmarker) -> None:
    try:
        landmarker.close()
    except RuntimeError:  # at the end of Python, which has ended the thread that would close it
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(landmarker))  # so that it is not closed again when it is deleted


def _area(face: Face) -> float:
    return float(np.prod(np.ptp(face.landmarks[:, :2], axis=0)))


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keeps what MediaPipe's libraries write from file descriptor 2, which no setting of theirs does.

    All else that is written there meanwhile follows at the end, in order.
    """
    with _redirection, tempfile.TemporaryFile() as written:
        try:
            original = os.dup(2)
        except OSError:  # closed: nothing is shown anyway
            yield
            return
        try:
            os.dup2(written.fileno(), 2)
            yield
        finally:
            os.dup2(original, 2)
            written.seek(0)
            kept = b"".join(line for line in written if not CHATTER.match(line))
            if kept:
                os.write(original, kept)
            os.close(original)
