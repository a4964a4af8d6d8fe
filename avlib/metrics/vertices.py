"""Vertex metrics: how far predicted vertices lie from the true ones, and how much the upper face moves.

Each function takes one predicted and one true sequence (T, V, 3), or a list of each, in the same unit. The lengths of a
pair may differ by two frames, from rounding of rates, and are cut to the shorter one; more is a ValueError. What other
publications call by the same names is in `protocols`.
"""

from collections.abc import Sequence

import torch

Sequences = torch.Tensor | Sequence[torch.Tensor]  # one sequence (T, V, 3), or several
Indices = int | Sequence[int] | torch.Tensor

LENGTH_TOLERANCE = 2  # frames


def paired_sequences(prediction: Sequences, truth: Sequences) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each predicted sequence with its true one, cut to a common length.

    Errors: ValueError if there are not as many of both, none at all, or if a pair's shapes do not match.
    """
    predictions, truths = ([x] if torch.is_tensor(x) else list(x) for x in (prediction, truth))
    if len(predictions) != len(truths) or not truths:
        raise ValueError(f"{len(predictions)} predicted sequences for {len(truths)} true ones")
    pairs = []
    for i, (p, t) in enumerate(zip(predictions, truths)):
        if p.ndim != 3 or p.shape[-1] != 3 or p.shape[1:] != t.shape[1:]:
            raise ValueError(f"sequence {i}: predicted {tuple(p.shape)}, true {tuple(t.shape)}; expected two (T, V, 3)")
        frames = min(len(p), len(t))
        if frames == 0 or abs(len(p) - len(t)) > LENGTH_TOLERANCE:
            raise ValueError(
                f"sequence {i}: {len(p)} predicted frames for {len(t)} true ones; at most {LENGTH_TOLERANCE} may differ"
            )
        pairs.append((p[:frames], t[:frames]))
    return pairs


def squared_lengths(vectors: torch.Tensor) -> torch.Tensor:
    """(..., 3) -> (...,): on a CPU several times as fast as a reduction over so short an axis."""
    x, y, z = vectors.unbind(-1)
    return torch.addcmul(torch.addcmul(x * x, y, y), z, z)


def largest_errors(squared_distances: torch.Tensor, power: int = 2) -> torch.Tensor:
    """The largest distance of each frame, to a power of 1 or 2. squared_distances: (T, V) -> (T,)."""
    return squared_distances.amax(-1) ** (power / 2)


def mean_errors(squared_distances: torch.Tensor, power: int = 1) -> torch.Tensor:
    """The mean over vertices of the distance to a power of 1 or 2. squared_distances: (T, V) -> (T,)."""
    return (squared_distances ** (power / 2)).mean(-1)


def lve_frames(prediction: Sequences, truth: Sequences, lip: Indices) -> torch.Tensor:
    """The largest squared distance over the lip vertices in each frame, in the vertices' squared unit.

    lip: indices of the lip vertices. Returns (frames of all sequences,). Errors: see `paired_sequences`.
    """
    pairs = paired_sequences(prediction, truth)
    return torch.cat([largest_errors(squared_lengths(p[:, lip] - t[:, lip])) for p, t in pairs])


def lve(prediction: Sequences, truth: Sequences, lip: Indices) -> float:
    """Lip vertex error: the mean of `lve_frames` over all frames, in the vertices' squared unit.

    Richard et al. 2021 (MeshTalk), as coded in Xing et al. 2023 (CodeTalker). Errors: see `paired_sequences`.
    """
    return float(lve_frames(prediction, truth, lip).mean())


def lip_distance(prediction: Sequences, truth: Sequences, lip: Indices) -> float:
    """The largest distance over the lip vertices, mean over all frames: LVE without the square, in the vertices' unit.

    Errors: see `paired_sequences`.
    """
    return float(lve_frames(prediction, truth, lip).sqrt().mean())


def mean_vertex_error(prediction: Sequences, truth: Sequences) -> float:
    """The distance between predicted and true vertices, mean over all vertices and frames, in the vertices' unit.

    Errors: see `paired_sequences`.
    """
    pairs = paired_sequences(prediction, truth)
    return float(torch.cat([mean_errors(squared_lengths(p - t)) for p, t in pairs]).mean())


def lip_max(prediction: Sequences, truth: Sequences, lip: Indices) -> float:
    """The largest distance of any lip vertex in any frame, mean over sequences, in the vertices' unit.

    Errors: see `paired_sequences`.
    """
    largest = [squared_lengths(p[:, lip] - t[:, lip]).max().sqrt() for p, t in paired_sequences(prediction, truth)]
    return float(torch.stack(largest).mean())


def velocity_errors(prediction: torch.Tensor, truth: torch.Tensor, fps: float) -> torch.Tensor:
    """The length of the difference of predicted and true velocity, mean over the vertices, in the vertices' unit a
    second. Both (T, V, 3), T >= 2 -> (T - 1,)."""
    return fps * step_lengths(prediction - truth).mean(-1)


def velocity_error(prediction: Sequences, truth: Sequences, region: Indices, fps: float) -> float:
    """`velocity_errors` of a region, mean over the steps of all sequences. Errors: see `paired_sequences`."""
    pairs = paired_sequences(prediction, truth)
    return float(torch.cat([velocity_errors(p[:, region], t[:, region], fps) for p, t in pairs]).mean())


def jitter(motion: torch.Tensor, fps: float) -> float:
    """The mean length of the third derivative, over vertices and time, in the vertices' unit over s³: how much a motion
    trembles. motion: (T, V, 3), T >= 4.

    Flash and Hogan 1985 measure smoothness by it; motion capture reports it under this name.
    """
    return float(fps**3 * squared_lengths(motion.diff(n=3, dim=0)).sqrt().mean())


def step_lengths(motion: torch.Tensor) -> torch.Tensor:
    """How far each vertex moves from one frame to the next, in the vertices' unit. (T, V, 3) -> (T - 1, V)."""
    return squared_lengths(motion[1:] - motion[:-1]).sqrt()


def _coordinate_sums(displacements: torch.Tensor) -> torch.Tensor:
    x, y, z = displacements.unbind(-1)
    return x + y + z


def _distances_from_mean(displacements: torch.Tensor) -> torch.Tensor:
    return squared_lengths(displacements - displacements.mean(0)).sqrt()


# What a vertex does over time, (T, V), from its displacements (T, V, 3). FDD compares the standard deviation of it.
DYNAMICS = {
    "squared displacement": squared_lengths,
    "steps": step_lengths,
    "coordinate sum": _coordinate_sums,
    "distance from the mean": _distances_from_mean,
}


def dynamics(displacements: torch.Tensor, of: str = "squared displacement") -> torch.Tensor:
    """How much vertices move: the standard deviation over time of one of `DYNAMICS`, mean over the vertices. A scalar.

    displacements: (T, V, 3), from the template. The standard deviation divides by the number of frames.
    """
    signal = DYNAMICS[of](displacements)
    return (signal - signal.mean(0)).square().mean(0).sqrt().mean()


def dynamics_deviation(prediction: torch.Tensor, truth: torch.Tensor, of: str = "squared displacement") -> torch.Tensor:
    """The `dynamics` of true displacements (T, V, 3) minus that of predicted ones. A scalar."""
    return dynamics(truth, of) - dynamics(prediction, of)


def _dynamics_deviations(
    prediction: Sequences, truth: Sequences, template: Sequences, upper: Indices, of: str
) -> torch.Tensor:
    """The deviation of each sequence's upper-face dynamics, (sequences,)."""
    pairs = paired_sequences(prediction, truth)
    templates = [template] * len(pairs) if torch.is_tensor(template) else template
    if len(templates) != len(pairs):
        raise ValueError(f"{len(templates)} templates for {len(pairs)} sequences")
    return torch.stack(
        [
            dynamics_deviation(p[:, upper] - rest[upper], t[:, upper] - rest[upper], of)
            for (p, t), rest in zip(pairs, templates)
        ]
    )


def fdd(
    prediction: Sequences, truth: Sequences, template: Sequences, upper: Indices, of: str = "squared displacement"
) -> float:
    """Upper-face dynamics deviation, mean over sequences: positive if the prediction moves less than the truth.

    template: (V, 3), or one for each sequence. upper: indices of the upper face's vertices.
    of: what counts as dynamics, one of `DYNAMICS`. The default is that of Xing et al. 2023 (CodeTalker), who introduced
        the metric; other publications use its name for the other definitions.
    Returns the deviation in the vertices' unit; squared for the squared displacement.
    Errors: ValueError if the number of templates is wrong; see `paired_sequences`.
    """
    return float(_dynamics_deviations(prediction, truth, template, upper, of).mean())


def absolute_fdd(
    prediction: Sequences, truth: Sequences, template: Sequences, upper: Indices, of: str = "squared displacement"
) -> float:
    """`fdd` with the magnitude of each sequence's deviation, so that deviations of opposite sign do not cancel."""
    return float(_dynamics_deviations(prediction, truth, template, upper, of).abs().mean())
