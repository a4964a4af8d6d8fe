"""People on ICT-FaceKit's face: an identity and a pose fitted once to the landmarks at rest, then ARKit's expressions.

The expressions of each frame minimise the squared distances between the displacements of the landmarks and of the
places on the mesh where they lie, weighted most on the lips, and between the openings of the mouth, so that lips that
touch on film touch on the mesh. Weights lie between 0 and 1 and change smoothly (`bounded_fit`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from ..arkit_names import NAMES
from ..bounded_fit import SMOOTHNESS, fit_bounded
from ..embedded.arkit_shapes import facekit_basis
from ..embedded.facekit import FaceKit
from .face import CapturedMotion
from .head_pose import weighted_alignment
from .landmarks import IBUG_INNER, INNER_LOWER, INNER_UPPER, MESH_COUNT, OUTER_LOWER, OUTER_UPPER

BLOCK = 250  # frames moved at once by weights, which bounds memory
ROUNDS = 5  # of fitting pose and identity in turn
SURFACE_ROUNDS = 3  # of finding the places of the landmarks on the surface
IDENTITY_RIDGE = 1e-6  # metres² a landmark: keeps identities likely
FAR = 0.008  # metres: a landmark farther from the fitted face has no place on it
LIP_WEIGHT = 4.0  # of a landmark of the lips, relative to one of the skin
GAP_WEIGHT = 40.0  # of the distance between the lips at one pair of landmarks
NEARLY_CLOSED = 0.003  # metres between the lips on film, below which the mesh follows it, the more the nearer they are
REFERENCE_FPS = 25  # at which SMOOTHNESS holds; second differences shrink with the square of the frame rate
LIP_LINES = (OUTER_UPPER, OUTER_LOWER, INNER_UPPER, INNER_LOWER)
LIPS = np.concatenate(LIP_LINES)
# Places of the points between the corners of the inner lines in LIPS
UPPER = np.arange(23, 32)
LOWER = np.arange(34, 43)


@dataclass(frozen=True)
class Places:
    """N places on the mesh, each between two vertices. vertices: (N, 2); share: (N,), of the second one."""

    vertices: np.ndarray
    share: np.ndarray

    def of(self, field: np.ndarray) -> np.ndarray:
        """A field (..., V, 3) at the places, (..., N, 3)."""
        share = self.share[:, None]
        return (1 - share) * field[..., self.vertices[:, 0], :] + share * field[..., self.vertices[:, 1], :]

    def __add__(self, other: "Places") -> "Places":
        return Places(np.concatenate((self.vertices, other.vertices)), np.concatenate((self.share, other.share)))


def at_vertices(vertices: np.ndarray) -> Places:
    return Places(np.stack((vertices, vertices), -1), np.zeros(len(vertices)))


class FaceKitFace:
    """ICT-FaceKit's mesh. checkout: its folder; ValueError names what is missing in it."""

    name = "facekit"

    def __init__(self, checkout: Path):
        self.kit = FaceKit(checkout)
        basis = facekit_basis(checkout)
        # a copy, because sending the tensor to another process moves its memory
        self.faces = self.kit.faces.numpy().copy()
        self.skin = np.zeros(len(self.kit.mean), bool)
        self.skin[self.kit.parts["skin"]] = True
        self.lip_outline = self.kit.landmarks[48:68]
        self.expressions, self.displacements = basis.names, basis.displacements  # (K,), (K, V, 3)

    def person(self, rest: np.ndarray) -> "FaceKitPerson":
        """See `Face`."""
        return FaceKitPerson(self, rest)

    def weighted(self, template: np.ndarray, weights: np.ndarray) -> CapturedMotion:
        """The motion of a template (V, 3), metres, by weights (T, 52) of ARKit's blendshapes, in the order of NAMES.

        Shapes that the checkout lacks move nothing. No landmark has a place on it.
        """
        fitted = weights[:, [NAMES.index(name) for name in self.expressions]]
        vertices = np.empty((len(weights), *template.shape), np.float32)
        for first in range(0, len(weights), BLOCK):
            moved = np.tensordot(fitted[first : first + BLOCK], self.displacements, 1)
            vertices[first : first + BLOCK] = template + moved
        return CapturedMotion(vertices, np.zeros((len(weights), 0, 3)), np.zeros(0, int), weights)

    def regions(self, template: np.ndarray) -> dict[str, np.ndarray]:
        """See `Face`."""
        return {name: index.numpy() for name, index in self.kit.regions.items() if name != "mouth"}

    def dress(self, albedo: np.ndarray, mouth: float) -> np.ndarray:
        """See `Face`."""
        own = self.kit.identity(0).albedo.double().numpy()
        teeth = own[self.kit.parts["upper_teeth"]].max()
        return np.where(self.skin, albedo, own * mouth / teeth).clip(0, 1)

    def lip_places(self, rest: np.ndarray) -> Places:
        """The places of LIPS: each line of landmarks divides its line on the mesh in the same proportions."""
        vertices, share = [], []
        for landmarks, line in zip(LIP_LINES, self.kit.lip_lines()):
            wanted, existing = (relative_length(points) for points in (rest[list(landmarks)], self.kit.mean[line]))
            before = (np.searchsorted(existing, wanted) - 1).clip(0, len(line) - 2)
            span = existing[before + 1] - existing[before]
            vertices.append(np.stack((line[before], line[before + 1]), -1))
            share.append(((wanted - existing[before]) / span).clip(0, 1))
        return Places(np.concatenate(vertices), np.concatenate(share))


class FaceKitPerson:
    """A person on ICT-FaceKit's mesh: see `Person`.

    identity: (M,), weights of the identities. landmarks: (N,), those with a place on the mesh, the lips last.
    """

    def __init__(self, face: FaceKitFace, rest: np.ndarray):
        self.face, self.rest = face, rest
        lips, kit = face.lip_places(rest), face.kit
        self.identity = np.zeros(len(kit.traits))
        # first by brows, nose and eyes of the iBUG annotation, then by the nearest points of the skin
        self._fit_identity(np.array(IBUG_INNER[:31]), at_vertices(kit.landmarks[17:48]), lips)
        skin = np.flatnonzero(face.skin)
        others = np.setdiff1d(np.arange(MESH_COUNT), LIPS)
        for _ in range(SURFACE_ROUNDS):
            distance, nearest = KDTree(self._unclosed()[skin]).query(self.from_landmarks(rest[others]))
            near = np.flatnonzero(np.asarray(distance) < FAR)
            self._fit_identity(others[near], at_vertices(skin[np.asarray(nearest)[near]]), lips)
        self.template, self.scale = kit.close_lips(self._unclosed()), float(self.pose.scale[0])
        self._shapes = self.places.of(face.displacements)
        self._rows = self._weighted(self._shapes)

    def _unclosed(self) -> np.ndarray:
        return self.face.kit.mean + np.tensordot(self.identity, self.face.kit.traits, 1)

    def _fit_identity(self, others: np.ndarray, other_places: Places, lips: Places) -> None:
        """Fits pose and identity in turn to landmarks `others` and to the lips."""
        kit = self.face.kit
        self.landmarks, self.places = np.concatenate((others, LIPS)), other_places + lips
        mean, target = self.places.of(kit.mean), self.rest[self.landmarks]
        traits = self.places.of(kit.traits).reshape(len(kit.traits), -1)
        gram = traits @ traits.T + IDENTITY_RIDGE * len(target) * np.eye(len(traits))
        for _ in range(ROUNDS):
            face = mean + (self.identity @ traits).reshape(-1, 3)
            self.pose = weighted_alignment(target[None], face, np.ones((1, len(target))))
            self.identity = np.linalg.solve(gram, traits @ (self.from_landmarks(target) - mean).ravel())

    def from_landmarks(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) of the coordinates of `head_pose` in those of the mesh."""
        return self.pose(points[None])[0]

    def to_landmarks(self, points: np.ndarray) -> np.ndarray:
        """See `Person`."""
        back = self.pose.inverse()
        return back.scale[0] * points @ back.rotation[0] + back.shift[0]

    def _weighted(self, field: np.ndarray) -> np.ndarray:
        """A field (T, N, 3) at the landmarks as rows (T, M) of the fit."""
        lips = field[:, -len(LIPS) :]
        gaps = lips[:, UPPER] - lips[:, LOWER]
        parts = (field[:, : -len(LIPS)], LIP_WEIGHT**0.5 * lips, GAP_WEIGHT**0.5 * gaps)
        return np.concatenate([part.reshape(len(field), -1) for part in parts], 1)

    def motion(self, freed: np.ndarray, fps: float) -> CapturedMotion:
        """See `Person`."""
        moved = self.pose.scale[0] * (freed[:, self.landmarks] - self.rest[self.landmarks]) @ self.pose.rotation[0]
        smoothness = SMOOTHNESS * (fps / REFERENCE_FPS) ** 4
        fitted = fit_bounded(self._rows, self._weighted(moved), smoothness)
        at_places = self.places.of(self.template) + np.tensordot(fitted, self._shapes, 1)
        vertices = self.template + np.tensordot(fitted, self.face.displacements, 1)
        vertices = self._closed(vertices, opening(at_places[:, -len(LIPS) :]), self._film_opening(freed))
        weights = np.zeros((len(freed), len(NAMES)))
        weights[:, [NAMES.index(name) for name in self.face.expressions]] = fitted
        return CapturedMotion(vertices.astype(np.float32), self.to_landmarks(at_places), self.landmarks, weights)

    def _film_opening(self, freed: np.ndarray) -> np.ndarray:
        """(T,), metres of the mesh: how far the film shows the lips apart, beyond what landmarks of closed lips are."""
        return self.scale * (opening(freed[:, LIPS]) - opening(self.rest[None, LIPS])).clip(0)

    def _closed(self, vertices: np.ndarray, fitted: np.ndarray, film: np.ndarray) -> np.ndarray:
        """Vertices (T, V, 3) with lips that are nearly closed brought as near to each other as on film.

        fitted, film: (T,), metres, their distances. Expressions close lips to within a millimetre, not to contact.
        """
        near = 1 - (film / NEARLY_CLOSED).clip(0, 1)
        share = near * (1 - film / fitted.clip(1e-6)).clip(0, 1)
        return vertices + share[:, None, None] * (self.face.kit.close_lips(vertices) - vertices)


def opening(lips: np.ndarray) -> np.ndarray:
    """(T,): mean distance between the lips in the middle of the mouth. lips: (T, 44, 3), in the order of LIPS."""
    return np.linalg.norm(lips[:, UPPER[2:7]] - lips[:, LOWER[2:7]], axis=-1).mean(1)


def relative_length(points: np.ndarray) -> np.ndarray:
    """(N,): position of each point along the line through the points (N, 3), from 0 to 1."""
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()
    return np.r_[0, length / length[-1]]
