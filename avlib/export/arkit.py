"""Motion as weights of ARKit's 52 blendshapes, by the expressions of ICT-FaceKit, which carry ARKit's names.

Motion of ICT-FaceKit's own mesh is fitted with its expressions directly. On another face the expressions are
transferred first: ICT-FaceKit's mouth is scaled and laid on that of the face, and each vertex near the lips moves as
the nearest vertices of ICT-FaceKit on the same side of the mouth.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..core.scratch import row_blocks
from ..corpus.arkit_names import NAMES
from ..corpus.bounded_fit import fit_bounded
from ..corpus.embedded.arkit_shapes import Basis
from ..corpus.embedded.facekit_checkout import Neutral
from ..corpus.lip_vertices import Surface
from .subject_mesh import SubjectMesh

REACH = 1.1  # motion is fitted up to this distance from the middle of the lips over the skin, in widths of the mouth
# A shape takes part if its largest displacement near the mouth is more than this share of its largest one anywhere;
# other shapes are those of eyes and brows.
MOUTH_SHARE = 0.5
NEAREST = 4  # vertices of ICT-FaceKit that each vertex of another face follows, weighted by inverse distance
BLOCK = 500  # frames at a time
LIP_WEIGHT = 4.0  # of a lip vertex, relative to a vertex of the skin around the lips


@dataclass(frozen=True)
class Shapes:
    """The shapes that move the mouth of one face.

    names: (K,); displacements: (K, N, 3) at weight 1, of the N fitted vertices; vertices: (N,), their numbers; rest:
    (N, 3), where they are at rest; lips: (N,), whether a fitted vertex belongs to the lips; missing: names that the
    checkout lacks; is_facekit_mesh: whether the face has ICT-FaceKit's mesh.
    """

    names: tuple[str, ...]
    displacements: np.ndarray
    vertices: np.ndarray
    rest: np.ndarray
    lips: np.ndarray
    missing: tuple[str, ...]
    is_facekit_mesh: bool

    def fit(self, vertices: np.ndarray) -> np.ndarray:
        """Weights (T, 52), in the order of NAMES, that move the face as the vertices (T, V, 3) do."""
        importance = np.sqrt(np.where(self.lips, LIP_WEIGHT, 1))[:, None]
        targets = ((block - self.rest) * importance for block in self._fitted(vertices))
        weights = np.zeros((len(vertices), len(NAMES)))
        weights[:, self._columns] = fit_bounded(
            (self.displacements * importance).reshape(len(self.displacements), -1),
            (target.reshape(len(target), -1) for target in targets),
        )
        return weights

    def _fitted(self, vertices: np.ndarray) -> Iterator[np.ndarray]:
        """The fitted ones of vertices (T, V, 3), block by block."""
        return (block[:, self.vertices] for block in row_blocks(vertices, BLOCK))

    def errors(self, weights: np.ndarray, vertices: np.ndarray) -> dict[str, dict[str, float]]:
        """How far the motion of weights (T, 52) lies from that of the vertices (T, V, 3).

        "lips" and "mouth" (all fitted vertices) -> "rms", in the mesh's unit, and "explained", the explained share of
        the squared motion.
        """
        residual, motion = np.zeros(len(self.vertices)), np.zeros(len(self.vertices))
        for n, block in enumerate(self._fitted(vertices)):
            moved = np.tensordot(weights[n * BLOCK : (n + 1) * BLOCK, self._columns], self.displacements, 1)
            residual += np.square(moved - (block - self.rest)).sum((0, 2))
            motion += np.square(block - self.rest).sum((0, 2))
        return {
            part: {
                "rms": float(np.sqrt(residual[mask].mean() / len(vertices))),
                "explained": float(1 - residual[mask].sum() / max(motion[mask].sum(), 1e-30)),
            }
            for part, mask in (("lips", self.lips), ("mouth", slice(None)))
        }

    @property
    def _columns(self) -> list[int]:
        return [NAMES.index(name) for name in self.names]


def load_shapes(basis: Basis, mesh: SubjectMesh) -> Shapes:
    """ICT-FaceKit's shapes on a subject's face.

    ValueError for a face whose lip vertices are not connected with the middle of the lips.
    """
    displacements, neutral = basis.displacements, basis.neutral
    template, lip = mesh.template.astype(float), mesh.regions["lip"]
    middles = [int(mesh.regions[f"{side}_lip_middle"][0]) for side in ("upper", "lower")]
    width = np.ptp(template[lip, 0])
    distances = surface_distances(template, mesh.faces, middles, REACH * width)
    vertices = np.flatnonzero(np.isfinite(distances).any(0))
    connected = np.isin(lip, vertices)
    if connected.mean() < 0.5:
        raise ValueError(
            f"arkit: {mesh.name}: expected lip vertices that are connected with their middles {middles}, "
            f"got {connected.sum()} of {len(lip)}"
        )
    largest = np.linalg.norm(displacements, axis=-1).max(1)
    is_facekit_mesh = np.array_equal(mesh.faces, neutral.faces)
    if not is_facekit_mesh:
        displacements, scale = transfer_shapes(displacements, neutral, template, middles, distances, width)
        largest *= scale
    displacements = displacements[:, vertices]
    moves_mouth = np.linalg.norm(displacements, axis=-1).max(1) > MOUTH_SHARE * largest
    return Shapes(
        tuple(name for name, moves in zip(basis.names, moves_mouth) if moves),
        displacements[moves_mouth],
        vertices,
        template[vertices],
        np.isin(vertices, lip),
        basis.missing,
        is_facekit_mesh,
    )


def transfer_shapes(
    displacements: np.ndarray,
    neutral: Neutral,
    template: np.ndarray,
    middles: list[int],
    distances: np.ndarray,
    width: float,
) -> tuple[np.ndarray, float]:
    """ICT-FaceKit's displacements (K, V', 3) -> displacements (K, V, 3) of a template (V, 3), and their scale.

    middles: vertices in the middle of the template's upper and lower lip; distances: (2, V) from them, of
    `surface_distances`: where infinite, vertices do not move; width: of the template's lips.
    """
    points = neutral.points[neutral.keep]
    landmarks = (np.cumsum(neutral.keep) - 1)[neutral.landmarks]
    scale = width / np.ptp(points[landmarks[48:68], 0])
    facekit_middles = landmarks[[62, 66]]
    reach = 1.5 * REACH * width / scale
    facekit_distances = surface_distances(points, neutral.faces, facekit_middles.tolist(), reach)
    points = scale * (points - points[facekit_middles].mean(0)) + template[middles].mean(0)
    transferred = np.zeros((len(displacements), len(template), 3))
    for upper in (True, False):
        sources, targets = nearer_to(facekit_distances, upper), nearer_to(distances, upper)
        apart = np.linalg.norm(template[targets, None] - points[sources], axis=-1)
        nearest = np.argpartition(apart, NEAREST, 1)[:, :NEAREST]
        share = 1 / (np.take_along_axis(apart, nearest, 1) + 1e-3 * width)
        share /= share.sum(1, keepdims=True)
        transferred[:, targets] = scale * np.einsum("knmc,nm->knc", displacements[:, sources[nearest]], share)
    return transferred, scale


def nearer_to(distances: np.ndarray, upper: bool) -> np.ndarray:
    """The vertices within reach that are nearer to the middle of the upper lip, or not. distances: (2, V)."""
    return np.flatnonzero(np.isfinite(distances).any(0) & ((distances[0] < distances[1]) == upper))


def surface_distances(points: np.ndarray, faces: np.ndarray, middles: list[int], limit: float) -> np.ndarray:
    """(2, V): distance over the surface from the middle of the upper and of the lower lip; infinite beyond `limit`."""
    near = np.linalg.norm(points - points[middles].mean(0), axis=1) < 1.2 * limit
    surface = Surface(points, faces[near[faces].all(1)])
    return np.stack([surface.distances([middle], limit) for middle in middles])
