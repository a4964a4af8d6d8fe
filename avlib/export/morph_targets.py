"""Motion as a weighted sum of morph targets, which glTF and USD files hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..core.scratch import row_blocks, spaced_rows
from ..render.shading import vertex_normals

MAX_RMS = 2e-5  # in the mesh's unit, over vertices and frames: 0.02 mm for a mesh in metres
MAX_TARGETS = 64
BLOCK = 100  # frames compared at once
MAX_FIT_FRAMES = 1000  # components of a longer motion are computed from so many frames, evenly spaced


@dataclass(frozen=True)
class MorphTargets:
    """Displacements from the face at rest, and how much of each is in every frame.

    names: (K,). weights: (T, K), from 0 to 1. displacements: (K, V, 3) at weight 1, in the mesh's unit. Both arrays are
    float32.
    """

    names: Sequence[str]
    weights: np.ndarray
    displacements: np.ndarray

    def errors(self, template: np.ndarray, motion: np.ndarray) -> tuple[float, float]:
        """How far they miss the motion (T, V, 3) of a template (V, 3): root mean square, and at most."""
        total, largest = 0.0, 0.0
        for moved, block in zip(self._displaced(), row_blocks(motion, BLOCK)):
            square = np.square(template + moved - block).sum(-1)
            total, largest = total + float(square.sum()), max(largest, float(square.max()))
        return float(np.sqrt(total / (len(motion) * len(template)))), float(np.sqrt(largest))

    def extent(self, template: np.ndarray) -> np.ndarray:
        """(2, 3): the lowest and highest coordinates of a template (V, 3) in any frame."""
        corners = [corner for moved in self._displaced() for corner in bounds((template + moved).reshape(-1, 3))]
        return bounds(np.stack(corners))

    def turned_normals(self, template: np.ndarray, faces: np.ndarray) -> Iterator[np.ndarray]:
        """How the unit normals (V, 3) of a template change with each displacement at weight 1."""
        normals = unit_normals(template, faces)
        return (unit_normals(template + moved, faces) - normals for moved in self.displacements)

    def _displaced(self) -> Iterator[np.ndarray]:
        """The displacements (T, V, 3) of all frames, block by block."""
        return (np.tensordot(weights, self.displacements, 1) for weights in row_blocks(self.weights, BLOCK))


def principal_motions(
    motion: np.ndarray, template: np.ndarray, max_rms: float = MAX_RMS, max_targets: int = MAX_TARGETS
) -> MorphTargets:
    """The motion (T, V, 3) of a template (V, 3) as principal components. max_rms, max_targets: see `components`.

    A component that goes both ways becomes two targets, "motion00+" and "motion00-", as Blender and others clamp
    weights to [0, 1].
    """
    return one_sided(*components(motion, template, max_rms, max_targets))


def components(
    motion: np.ndarray,
    rest: np.ndarray | float = 0.0,
    max_rms: float = MAX_RMS,
    max_targets: int = MAX_TARGETS,
) -> tuple[np.ndarray, np.ndarray]:
    """Motion (T, V, 3) -> weights (T, K) and targets (K, V, 3), whose weighted sum approximates its displacement from
    the face at rest (V, 3).

    These are the principal components, the fewest whose root mean square error is at most `max_rms`, but at least one
    and at most `max_targets`. Weights are in [-1, 1]; each component has the weight 1 in some frame.
    """

    def displacement(frames: np.ndarray) -> np.ndarray:
        return (frames - rest).astype(np.float32).reshape(len(frames), -1)

    sample = displacement(spaced_rows(motion, -(-len(motion) // MAX_FIT_FRAMES)))
    variances, directions = np.linalg.eigh(sample @ sample.T)
    variances, directions = variances[::-1][:max_targets], directions[:, ::-1][:, :max_targets]
    directions = directions[:, variances > 1e-9 * variances[0]] if variances[0] > 0 else directions[:, :1]
    targets, _ = np.linalg.qr(sample.T @ directions)  # (3V, K), orthonormal, in the same order
    weights, squares = [], 0.0
    for block in map(displacement, row_blocks(motion, BLOCK)):
        weights.append(block @ targets)
        squares += np.square(block, dtype=np.float64).sum()
    weights = np.concatenate(weights)
    residual = squares - np.square(weights, dtype=np.float64).sum(0).cumsum()
    enough = residual <= max_rms**2 * motion.size / 3
    count = int(enough.argmax()) + 1 if enough.any() else len(enough)
    largest = weights[np.abs(weights[:, :count]).argmax(0), np.arange(count)]
    largest[largest == 0] = 1
    return weights[:, :count] / largest, (targets[:, :count] * largest).T.reshape(count, -1, 3)


def one_sided(weights: np.ndarray, displacements: np.ndarray) -> MorphTargets:
    """Weights (T, K) in [-1, 1] and displacements (K, V, 3) as up to twice as many targets with the same sum."""
    sides = [(k, sign) for k in range(len(displacements)) for sign in (1, -1)]
    peaks = [float((sign * weights[:, k]).max()) for k, sign in sides]
    used = [(k, sign * peak) for (k, sign), peak in zip(sides, peaks) if peak > 0] or [(0, 1.0)]
    one_way = np.stack([(weights[:, k] / peak).clip(0, 1) for k, peak in used], 1)
    scaled = np.stack([peak * displacements[k] for k, peak in used])
    names = [f"motion{k:02d}{'+' if peak > 0 else '-'}" for k, peak in used]
    return MorphTargets(names, one_way.astype(np.float32), scaled.astype(np.float32))


def bounds(points: np.ndarray) -> np.ndarray:
    """(2, 3): the lowest and highest coordinates of points (N, 3)."""
    return np.stack([points.min(0), points.max(0)])


def unit_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) of a mesh; (0, 0, 1) for a vertex in no face."""
    scaled = torch.from_numpy(vertices / np.ptp(vertices, axis=0).max()).double()  # so that small faces count
    normals = vertex_normals(scaled.T[..., None].contiguous(), torch.from_numpy(faces), 1e-12)[..., 0].T.numpy()
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(length > 0.5, normals / np.maximum(length, 0.5), [0.0, 0.0, 1.0])
