"""What a captured face is: a mesh, a person's template on it, and motion from landmarks."""

from typing import NamedTuple, Protocol

import numpy as np


class CapturedMotion(NamedTuple):
    """The motion of a person's face in one film.

    vertices: (T, V, 3) float32, metres. places: (T, N, 3), metres, where the mesh has N of the landmarks, in the
    coordinates of `head_pose`. landmarks: (N,), their numbers. weights: (T, 52), of ARKit's blendshapes in the order of
    `arkit_names`; None for a face without such shapes.
    """

    vertices: np.ndarray
    places: np.ndarray
    landmarks: np.ndarray
    weights: np.ndarray | None


class Person(Protocol):
    """One person's face.

    template: (V, 3), metres, the face at rest with closed lips. scale: metres of the mesh for a metre of the landmarks.
    """

    @property
    def template(self) -> np.ndarray: ...

    @property
    def scale(self) -> float: ...

    def motion(self, freed: np.ndarray, fps: float) -> CapturedMotion:
        """The motion that landmarks without head pose show. freed: (T, 478, 3), metres, of `head_pose.free`."""
        ...

    def to_landmarks(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the mesh, metres, in the coordinates of `head_pose`."""
        ...


class Face(Protocol):
    """A mesh on which people are captured.

    name: facekit or landmarks. faces: (F, 3), int64, normals towards the viewer. skin: (V,), which vertices are skin
    or lips, and not inside of the mouth or the eyes. lip_outline: (20,), vertices of the iBUG annotation's points on
    the lips, whose mean is in the middle of mouth crops. expressions: names of ARKit's blendshapes that move it.
    """

    name: str
    faces: np.ndarray
    skin: np.ndarray
    lip_outline: np.ndarray
    expressions: tuple[str, ...]

    def person(self, rest: np.ndarray) -> Person:
        """rest: (478, 3), metres, a person's landmarks at rest, in the coordinates of `head_pose`."""
        ...

    def regions(self, template: np.ndarray) -> dict[str, np.ndarray]:
        """Vertex indices of "lip", "upper_face", "upper_lip_middle" and "lower_lip_middle"."""
        ...

    def dress(self, albedo: np.ndarray, mouth: float) -> np.ndarray:
        """(V,): the albedo of a person's skin, with that of mouth and eyes. mouth: brightness of his teeth in film."""
        ...
