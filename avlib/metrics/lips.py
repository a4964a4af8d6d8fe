"""Metrics of the lips' opening."""

from collections.abc import Sequence

import torch

from ..speech.segment import Segment
from .vertices import Indices, Sequences, paired_sequences

BILABIALS = frozenset("pbm")


def lip_aperture(vertices: torch.Tensor, upper: Indices, lower: Indices) -> torch.Tensor:
    """Distance between upper and lower lip in each frame, mean over the pairs of vertices. (..., V, 3) -> (...,)."""
    upper, lower = (torch.as_tensor(i, device=vertices.device).reshape(-1) for i in (upper, lower))
    return (vertices[..., upper, :] - vertices[..., lower, :]).norm(dim=-1).mean(-1)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's r of two signals (T,); nan if either stands still, which only sums without rounding can tell."""
    return float(torch.corrcoef(torch.stack((a, b)).double())[0, 1])


def aperture_correlation(prediction: Sequences, truth: Sequences, upper: Indices, lower: Indices) -> float:
    """`correlation` over time of predicted and true lip aperture, mean over sequences; nan if lips stand still."""
    apertures = [[lip_aperture(x, upper, lower) for x in pair] for pair in paired_sequences(prediction, truth)]
    return sum(correlation(*a) for a in apertures) / len(apertures)


def bilabial_gaps(
    vertices: torch.Tensor, upper: Indices, lower: Indices, phonemes: Sequence[Segment], fps: float
) -> torch.Tensor:
    """Smallest lip aperture in each p, b and m, (bilabials,), in the unit of vertices. vertices: (T, V, 3), frame i at
    i / fps seconds; bilabials that begin after the last frame are left out."""
    aperture = lip_aperture(vertices, upper, lower)
    spans = [
        (round(s.start_s * fps), max(round(s.start_s * fps) + 1, round(s.end_s * fps)))
        for s in phonemes
        if s.label in BILABIALS
    ]
    gaps = [aperture[start:end].min() for start, end in spans if start < len(aperture)]
    return torch.stack(gaps) if gaps else aperture.new_zeros(0)


def bilabial_closure(
    prediction: Sequences, truth: Sequences, upper: Indices, lower: Indices, phonemes: Sequence, fps: float
) -> float:
    """How much wider than in truth the lips stay in p, b and m: mean over them of predicted less true `bilabial_gaps`.

    phonemes: those of the sequence, or a list with those of each. Errors: ValueError without any bilabial.
    """
    spoken = [phonemes] if torch.is_tensor(truth) else phonemes
    both = paired_sequences(prediction, truth)
    if len(spoken) != len(both):
        raise ValueError(f"phonemes of {len(spoken)} utterances for {len(both)} sequences")
    excess = torch.cat(
        [
            bilabial_gaps(p, upper, lower, s, fps) - bilabial_gaps(t, upper, lower, s, fps)
            for (p, t), s in zip(both, spoken)
        ]
    )
    if not len(excess):
        raise ValueError(f"no p, b or m in {len(spoken)} utterances")
    return float(excess.mean())
