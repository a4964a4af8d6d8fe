"""Landmarks freed from the pose and the size of the head, in metres.

Each frame is aligned to the person's mean face by a robust similarity over landmarks that speech does not move
(Umeyama 1991, iteratively reweighted). The mean face of all clips of a person comes from generalised Procrustes
analysis (Gower 1975). Landmarks have no scale: the irises are taken to be 63 mm apart, the mean of adults (Dodgson
2004).

Coordinates are those of the embedded face: metres, x to the viewer's right, y up, z towards the viewer, with the middle
of the closed lips at (0, MOUTH_Y, 0).
"""

from typing import NamedTuple

import numpy as np

from ..embedded.face import MOUTH_Y
from .landmarks import LEFT_IRIS, LOWER_MIDDLE, MIRRORED, RIGHT_IRIS, STABLE, UPPER_MIDDLE, face_at_rest

IRIS_DISTANCE = 0.063
ROUNDS = 4  # of generalised Procrustes analysis, and of reweighting
OUTLIER = 2.5  # median residuals at which a landmark has half the weight
STABLE_INDEX = np.array(STABLE)


class Similarity(NamedTuple):
    """For each of T frames: x -> scale * x @ rotation + shift. scale: (T,); rotation: (T, 3, 3); shift: (T, 3)."""

    scale: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """points: (T, N, 3)."""
        return self.scale[:, None, None] * points @ self.rotation + self.shift[:, None]

    def inverse(self) -> "Similarity":
        rotation = self.rotation.transpose(0, 2, 1)
        shift = -np.einsum("ti,tij->tj", self.shift, rotation) / self.scale[:, None]
        return Similarity(1 / self.scale, rotation, shift)


def align(points: np.ndarray, reference: np.ndarray) -> Similarity:
    """The robust similarity that brings points (T, N, 3) to the reference (N, 3)."""
    weights = np.ones(points.shape[:2])
    for _ in range(ROUNDS):
        similarity = weighted_alignment(points, reference, weights)
        residual = np.linalg.norm(similarity(points) - reference, axis=-1)
        spread = np.median(residual, axis=1, keepdims=True).clip(1e-12)
        weights = 1 / (1 + (residual / (OUTLIER * spread)) ** 2) ** 2
    return similarity


def weighted_alignment(points: np.ndarray, reference: np.ndarray, weights: np.ndarray) -> Similarity:
    """The similarity with the least weighted squared error. weights: (T, N)."""
    weights = weights / weights.sum(1, keepdims=True)
    centre, target = np.einsum("tn,tnc->tc", weights, points), weights @ reference
    centred, rest = points - centre[:, None], reference - target[:, None]
    left, size, right = np.linalg.svd(np.einsum("tn,tni,tnj->tij", weights, centred, rest))
    sign = np.ones_like(size)
    sign[:, 2] = np.linalg.det(left @ right)
    rotation = (left * sign[:, None]) @ right
    scale = (size * sign).sum(1) / np.einsum("tn,tni->t", weights, centred**2)
    return Similarity(scale, rotation, target - scale[:, None] * np.einsum("ti,tij->tj", centre, rotation))


def upright(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks in pixels of a picture, y down and z away from the viewer, with y up and z towards the viewer."""
    return landmarks * np.array([1.0, -1.0, -1.0])


def person_reference(frames: np.ndarray) -> np.ndarray:
    """The stable landmarks (N, 3) of a person's mean face, in the coordinates of this module.

    frames: (T, 478, 3), `upright` landmarks of frames of all clips. Yaw and roll are such that mirrored landmarks
    mirror each other; the pitch is the mean pitch in front of the camera.
    """
    stable = frames[:, STABLE_INDEX]
    reference = stable[0] - stable[0].mean(0)
    for _ in range(ROUNDS):
        similarity = align(stable, reference)
        reference = similarity(stable).mean(0)
    mean_pose = _nearest_rotation(similarity.rotation.mean(0))
    freed = similarity(frames)
    face = freed.mean(0)
    right, left = np.array(MIRRORED).T
    x = (face[left] - face[right]).sum(0)
    x /= np.linalg.norm(x)
    y = np.array([0.0, 1.0, 0.0]) @ mean_pose  # up in front of the camera, in the frame of the reference
    y -= x * (x @ y)
    y /= np.linalg.norm(y)
    axes = np.stack((x, y, np.cross(x, y)))
    scale = IRIS_DISTANCE / np.linalg.norm(face[LEFT_IRIS] - face[RIGHT_IRIS])
    mouth = scale * face_at_rest(freed)[[UPPER_MIDDLE, LOWER_MIDDLE]].mean(0) @ axes.T
    middle = scale * face[np.array(MIRRORED)].mean((0, 1)) @ axes.T
    origin = np.array([middle[0], mouth[1] - MOUTH_Y, mouth[2]])
    return scale * reference @ axes.T - origin


def free(frames: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, Similarity]:
    """Landmarks (T, 478, 3) in metres without the pose of the head, and the similarity that freed them.

    frames: `upright` landmarks, pixels. reference: of `person_reference`.
    """
    similarity = align(frames[:, STABLE_INDEX], reference)
    return similarity(frames), similarity


def angles(similarity: Similarity) -> np.ndarray:
    """(T, 3): yaw, pitch and roll of the head, rad: positive to the viewer's right, upwards and clockwise."""
    head = similarity.rotation.transpose(0, 2, 1)  # its rows are the axes of the head, seen from the camera
    forward, right = head[:, 2], head[:, 0]
    yaw = np.arctan2(forward[:, 0], forward[:, 2])
    pitch = np.arcsin(forward[:, 1].clip(-1, 1))
    roll = -np.arctan2(right[:, 1], right[:, 0])
    return np.stack((yaw, pitch, roll), -1)


def _nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd(matrix)
    return left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
