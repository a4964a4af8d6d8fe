"""Motion as weights of ARKit's 52 blendshapes, by the expressions of ICT-FaceKit, which carry ARKit's names.

Motion of ICT-FaceKit's own mesh is fitted with its expressions directly. On another face the expressions are
transferred first: ICT-FaceKit's mouth is scaled and laid on that of the face, and each vertex near the lips moves as
the nearest vertices of ICT-FaceKit on the same side of the mouth.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..corpus.arkit_names import NAMES
from ..corpus.bounded_fit import fit_bounded
from ..corpus.corpus import Corpus
from ..corpus.embedded.arkit_shapes import facekit_basis
from ..corpus.embedded.facekit_checkout import Neutral
from ..corpus.lip_vertices import Surface

REACH = 1.1  # motion is fitted up to this distance from the middle of the lips over the skin, in widths of the mouth
# A shape takes part if its largest displacement near the mouth is more than this share of its largest one anywhere;
# other shapes are those of eyes and brows.
MOUTH_SHARE = 0.5
NEAREST = 4  # vertices of ICT-FaceKit that each vertex of another face follows, weighted by inverse distance
LIP_WEIGHT = 4.0  # of a lip vertex, relative to a vertex of the skin around the lips


@dataclass(frozen=True)
class Shapes:
    """The shapes that move the mouth of one face.

    names: (K,); displacements: (K, N, 3) at weight 1, of the N fitted vertices; vertices: (N,), their numbers;
    lips: (N,), whether a fitted vertex belongs to the lips; missing: names that the checkout lacks;
    is_facekit_mesh: whether the face has ICT-FaceKit's mesh.
    """

    names: tuple[str, ...]
    displacements: np.ndarray
    vertices: np.ndarray
    lips: np.ndarray
    missing: tuple[str, ...]
    is_facekit_mesh: bool

    def fit(self, displacement: np.ndarray) -> tuple[np.ndarray, dict]:
        """Displacements (T, V, 3) of the whole face -> weights (T, 52), in the order of NAMES, and errors of the fit.

        errors: "lips" and "mouth" (all fitted vertices) -> "rms", in the mesh's unit, and "explained", the explained
        share of the squared motion.
        """
        target = displacement[:, self.vertices]
        importance = np.sqrt(np.where(self.lips, LIP_WEIGHT, 1))[:, None]
        fitted = fit_bounded(
            (self.displacements * importance).reshape(len(self.displacements), -1),
            (target * importance).reshape(len(displacement), -1),
        )
        weights = np.zeros((len(displacement), len(NAMES)))
        weights[:, [NAMES.index(name) for name in self.names]] = fitted
        residual = np.square(np.tensordot(fitted, self.displacements, 1) - target).sum(-1)
        motion = np.square(target).sum(-1)
        return weights, {
            part: {
                "rms": float(np.sqrt(residual[:, mask].mean())),
                "explained": float(1 - residual[:, mask].sum() / max(motion[:, mask].sum(), 1e-30)),
            }
            for part, mask in (("lips", self.lips), ("mouth", slice(None)))
        }


def load_shapes(folder: Path, corpus: Corpus, subject: str) -> Shapes:
    """The shapes of a checkout of ICT-FaceKit on a subject's face.

    ValueError for a checkout without the files, and for a face whose lip vertices are not connected with the middle of
    the lips.
    """
    basis = facekit_basis(folder)
    displacements, neutral = basis.displacements, basis.neutral
    template, lip = corpus.templates[subject].double().numpy(), corpus.regions["lip"].numpy()
    middles = [int(corpus.regions[f"{side}_lip_middle"][0]) for side in ("upper", "lower")]
    width = np.ptp(template[lip, 0])
    distances = surface_distances(template, corpus.faces.numpy(), middles, REACH * width)
    vertices = np.flatnonzero(np.isfinite(distances).any(0))
    connected = np.isin(lip, vertices)
    if connected.mean() < 0.5:
        raise ValueError(
            f"arkit: {corpus.name}: expected lip vertices that are connected with their middles {middles}, "
            f"got {connected.sum()} of {len(lip)}"
        )
    largest = np.linalg.norm(displacements, axis=-1).max(1)
    is_facekit_mesh = np.array_equal(corpus.faces.numpy(), neutral.faces)
    if not is_facekit_mesh:
        displacements, scale = transfer_shapes(displacements, neutral, template, middles, distances, width)
        largest *= scale
    displacements = displacements[:, vertices]
    moves_mouth = np.linalg.norm(displacements, axis=-1).max(1) > MOUTH_SHARE * largest
    return Shapes(
        tuple(name for name, moves in zip(basis.names, moves_mouth) if moves),
        displacements[moves_mouth],
        vertices,
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
