"""Motion as weights of ARKit's 52 blendshapes, by the expressions of ICT-FaceKit, which carry ARKit's names.

Motion of ICT-FaceKit's own mesh is fitted with its expressions directly. On another face the expressions are
transferred first: ICT-FaceKit's mouth is scaled and laid on that of the face, and each vertex moves as the nearest
vertices of ICT-FaceKit on the same side of the mouth.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from ..core.scratch import row_blocks
from ..corpus.arkit_names import NAMES
from ..corpus.bounded_fit import fit_bounded
from ..corpus.embedded.arkit_shapes import Basis
from ..corpus.lip_vertices import Surface
from .morph_targets import MorphTargets
from .subject_mesh import SubjectMesh

REACH = 1.1  # motion is fitted up to this distance from the middle of the lips over the skin, in widths of the mouth
# A shape takes part if its largest displacement near the mouth is more than this share of its largest one anywhere;
# other shapes are those of eyes and brows.
MOUTH_SHARE = 0.5
NEAREST = 4  # vertices of ICT-FaceKit that each vertex of another face follows, weighted by inverse distance
WHOLE_PARTS = ("skin", "tongue", "upper_teeth", "lower_teeth", "eyeball_left", "eyeball_right")  # of ICT-FaceKit
BLOCK = 500  # frames at a time
LIP_WEIGHT = 4.0  # of a lip vertex, relative to a vertex of the skin around the lips


@dataclass(frozen=True)
class Shapes:
    """ARKit's shapes on one face.

    names: (K,), of those that move the mouth, which are fitted; displacements: (K, N, 3) at weight 1, of the N fitted
    vertices; vertices: (N,), their numbers; rest: (N, 3), where they are at rest; lips: (N,), whether a fitted vertex
    belongs to the lips; targets: displacements (V, 3) of the whole face by name, also of shapes that move only eyes or
    brows, unless the shapes are transferred; missing: names that the checkout lacks; is_facekit_mesh: whether the face
    has ICT-FaceKit's mesh.
    """

    names: tuple[str, ...]
    displacements: np.ndarray
    vertices: np.ndarray
    rest: np.ndarray
    lips: np.ndarray
    targets: dict[str, np.ndarray]
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

    def morph_targets(self, weights: np.ndarray) -> MorphTargets:
        """The motion of weights (T, 52) as morph targets of the whole face."""
        of_targets = weights[:, columns(self.targets)].astype(np.float32)
        return MorphTargets(list(self.targets), of_targets, np.stack(list(self.targets.values())))

    @property
    def left_out(self) -> list[str]:
        """The names that `morph_targets` lacks."""
        return [name for name in NAMES if name not in self.targets]

    @property
    def _columns(self) -> list[int]:
        return columns(self.names)


def columns(names: Iterable[str]) -> list[int]:
    """Where shapes are in the order of NAMES."""
    return [NAMES.index(name) for name in names]


def load_shapes(basis: Basis, mesh: SubjectMesh) -> Shapes:
    """ICT-FaceKit's shapes on a subject's face.

    ValueError for a face whose lip vertices are not connected with the middle of the lips.
    """
    displacements = basis.displacements
    template, lip = mesh.template.astype(float), mesh.regions["lip"]
    middles = [int(mesh.regions[f"{side}_lip_middle"][0]) for side in ("upper", "lower")]
    width = np.ptp(template[lip, 0])
    distances = surface_distances(template, mesh.faces, middles)
    vertices = np.flatnonzero((distances <= REACH * width).any(0))
    connected = np.isin(lip, vertices)
    if connected.mean() < 0.5:
        raise ValueError(
            f"arkit: {mesh.name}: expected lip vertices that are connected with their middles {middles}, "
            f"got {connected.sum()} of {len(lip)}"
        )
    largest = np.linalg.norm(displacements, axis=-1).max(1)
    is_facekit_mesh = np.array_equal(mesh.faces, basis.neutral.faces)
    if not is_facekit_mesh:
        displacements, scale = transfer_shapes(basis, mesh, middles, distances, width)
        largest *= scale
    fitted = displacements[:, vertices]
    moves_mouth = np.linalg.norm(fitted, axis=-1).max(1) > MOUTH_SHARE * largest
    whole = dict(zip(basis.names, displacements.astype(np.float32)))
    names = tuple(name for name, moves in zip(basis.names, moves_mouth) if moves)
    return Shapes(
        names,
        fitted[moves_mouth],
        vertices,
        template[vertices],
        np.isin(vertices, lip),
        whole if is_facekit_mesh else {name: whole[name] for name in names},
        basis.missing,
        is_facekit_mesh,
    )


def transfer_shapes(
    basis: Basis, mesh: SubjectMesh, middles: list[int], distances: np.ndarray, width: float
) -> tuple[np.ndarray, float]:
    """ICT-FaceKit's displacements as those (K, V, 3) of another mesh, and their scale.

    middles: vertices in the middle of the mesh's upper and lower lip; distances: (2, V) from them, of
    `surface_distances`; width: of the mesh's lips. Parts that are not connected with the lips, such as teeth, move as a
    whole with the part of ICT-FaceKit that lies nearest.
    """
    neutral, template = basis.neutral, mesh.template.astype(float)
    points = neutral.points[neutral.keep]
    landmarks = (np.cumsum(neutral.keep) - 1)[neutral.landmarks]
    scale = width / np.ptp(points[landmarks[48:68], 0])
    facekit_middles = landmarks[[62, 66]]
    facekit_distances = surface_distances(points, neutral.faces, facekit_middles.tolist())
    points = scale * (points - points[facekit_middles].mean(0)) + template[middles].mean(0)
    displacements = scale * basis.displacements
    transferred = np.zeros((len(displacements), len(template), 3))
    for sources, targets in zip(sides(facekit_distances), sides(distances)):
        apart, nearest = KDTree(points[sources]).query(template[targets], NEAREST)
        share = 1 / (apart + 1e-3 * width)
        share /= share.sum(1, keepdims=True)
        transferred[:, targets] = np.einsum("knmc,nm->knc", displacements[:, sources[nearest]], share)
    named = [np.arange(len(points))[neutral.parts[name]] for name in WHOLE_PARTS]
    trees = [(sources, KDTree(points[sources])) for sources in named if len(sources)]
    for targets in unconnected_parts(mesh.faces, distances):
        found = [(*tree.query(template[targets]), sources) for sources, tree in trees]
        _, nearest, sources = min(found, key=lambda near: near[0].mean())
        transferred[:, targets] = displacements[:, sources[nearest]].mean(1, keepdims=True)
    return transferred, scale


def sides(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertices connected with the lips, those nearer to the middle of the upper lip and the others.

    distances: (2, V).
    """
    is_connected, is_upper = np.isfinite(distances).any(0), distances[0] < distances[1]
    return np.flatnonzero(is_connected & is_upper), np.flatnonzero(is_connected & ~is_upper)


def unconnected_parts(faces: np.ndarray, distances: np.ndarray) -> list[np.ndarray]:
    """The vertices of each part of a mesh that is not connected with the lips. distances: (2, V)."""
    count = distances.shape[1]
    starts, ends = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    _, parts = connected_components(coo_array((np.ones(len(starts)), (starts, ends)), shape=(count, count)), False)
    return [np.flatnonzero(parts == part) for part in np.unique(parts[~np.isfinite(distances).any(0)])]


def surface_distances(points: np.ndarray, faces: np.ndarray, middles: list[int]) -> np.ndarray:
    """(2, V): distance over the surface from the middle of the upper and of the lower lip; infinite without a way."""
    surface = Surface(points, faces)
    return np.stack([surface.distances([middle]) for middle in middles])
