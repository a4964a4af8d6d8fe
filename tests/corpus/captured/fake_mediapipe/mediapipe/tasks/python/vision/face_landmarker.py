from pathlib import Path
from typing import Any, NamedTuple

from avlib.corpus.video.face_landmarker import BLENDSHAPES, NEUTRAL
from tests.corpus.captured import synthetic_face


class FaceLandmarkerOptions(NamedTuple):
    base_options: Any
    running_mode: Any
    num_faces: int
    output_face_blendshapes: bool
    output_facial_transformation_matrixes: bool


class Landmark(NamedTuple):
    x: float
    y: float
    z: float


class Category(NamedTuple):
    category_name: str
    score: float


class Result(NamedTuple):
    face_landmarks: list
    face_blendshapes: list
    facial_transformation_matrixes: list


class FaceLandmarker:
    def __init__(self):
        self.last_ms = -1

    @classmethod
    def create_from_options(cls, options: FaceLandmarkerOptions) -> "FaceLandmarker":
        if Path(options.base_options.model_asset_path).read_bytes() != synthetic_face.MODEL:
            raise RuntimeError("no model of the synthetic face")
        return cls()

    def detect_for_video(self, image: Any, time_ms: int) -> Result:
        if time_ms <= self.last_ms:
            raise ValueError("Input timestamp must be monotonically increasing.")
        self.last_ms = time_ms
        height, width = image.data.shape[:2]
        faces = synthetic_face.seen(image.data)
        return Result(
            [[Landmark(*mark) for mark in (face.landmarks / (width, height, width)).tolist()] for face in faces],
            [[Category(NEUTRAL, 0.0), *map(Category, BLENDSHAPES, face.scores.tolist())] for face in faces],
            [face.pose for face in faces],
        )

    def close(self) -> None:
        pass


class Connection(NamedTuple):
    start: int
    end: int


class FaceLandmarksConnections:
    FACE_LANDMARKS_TESSELATION = [
        Connection(corners[n], corners[(n + 1) % 3])
        for corners in synthetic_face.triangles().tolist()
        for n in range(3)
    ]
