"""Metrics: pure functions from vertices, texts or features to numbers.

Vertex metrics take one sequence (T, V, 3) as prediction and one as truth, or a list of each; frames of all sequences
are pooled. Lengths may differ by two frames, from rounding of rates, and are cut to the shorter; more is a ValueError.
What published work calls by the same names, `protocols` knows.
"""

from collections.abc import Sequence

import torch

Sequences = torch.Tensor | Sequence[torch.Tensor]  # one sequence (T, V, 3), or several
Indices = int | Sequence[int] | torch.Tensor

LENGTH_TOLERANCE = 2  # frames


def paired_sequences(prediction: Sequences, truth: Sequences) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Sequences side by side, cut to a common length."""
    predictions, truths = ([x] if torch.is_tensor(x) else list(x) for x in (prediction, truth))
    if len(predictions) != len(truths) or not truths:
        raise ValueError(f"{len(predictions)} predicted sequences for {len(truths)} true ones")
    found = []
    for i, (p, t) in enumerate(zip(predictions, truths)):
        if p.ndim != 3 or p.shape[-1] != 3 or p.shape[1:] != t.shape[1:]:
            raise ValueError(f"sequence {i}: predicted {tuple(p.shape)}, true {tuple(t.shape)}; expected two (T, V, 3)")
        frames = min(len(p), len(t))
        if frames == 0 or abs(len(p) - len(t)) > LENGTH_TOLERANCE:
            raise ValueError(
                f"sequence {i}: {len(p)} predicted frames for {len(t)} true ones; at most {LENGTH_TOLERANCE} may differ"
            )
        found.append((p[:frames], t[:frames]))
    return found


def squared_lengths(vectors: torch.Tensor) -> torch.Tensor:
    """(..., 3) -> (...,): on a CPU several times as fast as a reduction over so short an axis."""
    x, y, z = vectors.unbind(-1)
    return torch.addcmul(torch.addcmul(x * x, y, y), z, z)


def lve_frames(prediction: Sequences, truth: Sequences, lip: Indices) -> torch.Tensor:
    """Largest squared distance over the lip vertices of each frame, (frames,), in the unit of vertices squared."""
    squared = [squared_lengths(p[:, lip] - t[:, lip]).amax(-1) for p, t in paired_sequences(prediction, truth)]
    return torch.cat(squared)


def lve(prediction: Sequences, truth: Sequences, lip: Indices) -> float:
    """Lip vertex error: `lve_frames`, averaged. Unit of vertices squared. Richard et al. 2021 (MeshTalk), as coded in
    Xing et al. 2023 (CodeTalker)."""
    return float(lve_frames(prediction, truth, lip).mean())


def lip_distance(prediction: Sequences, truth: Sequences, lip: Indices) -> float:
    """Largest distance over the lip vertices, averaged over frames: LVE without the square, in the unit of vertices."""
    return float(lve_frames(prediction, truth, lip).sqrt().mean())


def mean_vertex_error(prediction: Sequences, truth: Sequences) -> float:
    """Distance between predicted and true vertices, averaged over vertices and frames, in the unit of vertices."""
    return float(
        torch.cat([squared_lengths(p - t).sqrt().mean(-1) for p, t in paired_sequences(prediction, truth)]).mean()
    )


# What a vertex does over time, (T, V), whose standard deviation FDD compares; from displacements (T, V, 3).
DYNAMICS = {
    "squared displacement": squared_lengths,
    "steps": lambda moved: squared_lengths(moved[1:] - moved[:-1]).sqrt(),
    "coordinate sum": lambda moved: sum(moved.unbind(-1)),
    "distance from the mean": lambda moved: squared_lengths(moved - moved.mean(0)).sqrt(),
}


def dynamics(displacements: torch.Tensor, of: str = "squared displacement") -> torch.Tensor:
    """Standard deviation over time, with the number of frames below, of what each vertex does, one of `DYNAMICS`; mean over the
    vertices. displacements: (T, V, 3), from the template."""
    done = DYNAMICS[of](displacements)
    return (done - done.mean(0)).square().mean(0).sqrt().mean()


def _dynamics_deviations(
    prediction: Sequences, truth: Sequences, template: Sequences, upper: Indices, of: str
) -> torch.Tensor:
    """True less predicted dynamics of the upper face, (sequences,)."""
    both = paired_sequences(prediction, truth)
    templates = [template] * len(both) if torch.is_tensor(template) else template
    if len(templates) != len(both):
        raise ValueError(f"{len(templates)} templates for {len(both)} sequences")
    return torch.stack(
        [
            dynamics(t[:, upper] - rest[upper], of) - dynamics(p[:, upper] - rest[upper], of)
            for (p, t), rest in zip(both, templates)
        ]
    )


def fdd(
    prediction: Sequences, truth: Sequences, template: Sequences, upper: Indices, of: str = "squared displacement"
) -> float:
    """Upper-face dynamics deviation, signed: positive where the prediction moves less. Unit of vertices, squared where the
    displacement is.

    template: (V, 3), or one for each sequence. of: what is called dynamics, the squared displacement from the template in Xing
    et al. 2023 (CodeTalker), whose name this is; four definitions are found under it. Mean over sequences.
    """
    return float(_dynamics_deviations(prediction, truth, template, upper, of).mean())


def absolute_fdd(
    prediction: Sequences, truth: Sequences, template: Sequences, upper: Indices, of: str = "squared displacement"
) -> float:
    """`fdd` with the magnitude of each sequence's deviation, so that opposite ones do not cancel."""
    return float(_dynamics_deviations(prediction, truth, template, upper, of).abs().mean())
