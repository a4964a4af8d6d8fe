"""Metrics of the lips' opening."""

from collections.abc import Sequence

import torch

from ..speech.segment import Segment
from .vertices import Indices, Sequences, paired_sequences

BILABIALS = frozenset("pbm")
# Share of the mouth's width by which lips may miss the truth and still be read: 5 mm of 50. SelfTalk (Peng et al.
# 2023), which counts readable frames, does not state its threshold.
READABLE = 0.1


def lip_aperture(vertices: torch.Tensor, upper: Indices, lower: Indices) -> torch.Tensor:
    """Distance between upper and lower lip in each frame, (..., V, 3) -> (...,), in the vertices' unit.

    upper, lower: indices of as many vertices of the two lips; the distance is the mean over these pairs.
    """
    upper, lower = (torch.as_tensor(i, device=vertices.device).reshape(-1) for i in (upper, lower))
    return (vertices[..., upper, :] - vertices[..., lower, :]).norm(dim=-1).mean(-1)


def mouth_opening_difference(prediction: Sequences, truth: Sequences, upper: Indices, lower: Indices) -> float:
    """MOD: how far predicted and true lip aperture differ, mean over all frames, in the vertices' unit.

    prediction, truth: (T, V, 3), or a list of such. upper, lower: see `lip_aperture`.
    Errors: see `vertices.paired_sequences`.
    """
    pairs = paired_sequences(prediction, truth)
    return float(
        torch.cat([(lip_aperture(p, upper, lower) - lip_aperture(t, upper, lower)).abs() for p, t in pairs]).mean()
    )


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's r of two signals (T,); nan if one of them is constant.

    In double precision, since rounding in single precision can give a constant signal a spread.
    """
    return float(torch.corrcoef(torch.stack((a, b)).double())[0, 1])


def aperture_correlation(prediction: Sequences, truth: Sequences, upper: Indices, lower: Indices) -> float:
    """Pearson's r over time of predicted and true lip aperture, mean over sequences; nan if lips do not move.

    prediction, truth: (T, V, 3), or a list of such. upper, lower: see `lip_aperture`.
    Errors: see `vertices.paired_sequences`.
    """
    apertures = [[lip_aperture(x, upper, lower) for x in pair] for pair in paired_sequences(prediction, truth)]
    return sum(correlation(*pair) for pair in apertures) / len(apertures)


def readable_frames(largest: torch.Tensor, lip: torch.Tensor) -> torch.Tensor:
    """In which frames lips are near enough to the truth to be read: (T,), boolean.

    largest: (T,), the largest distance of a lip vertex from the truth; lip: (L, 3), the lip vertices at rest, in the
    same unit. Near enough: within `READABLE` of the width of the mouth at rest.
    """
    width = (lip.amax(0) - lip.amin(0)).max()
    return largest <= READABLE * width


def bilabial_gaps(
    vertices: torch.Tensor, upper: Indices, lower: Indices, phonemes: Sequence[Segment], fps: float
) -> torch.Tensor:
    """The smallest lip aperture during each p, b and m, (bilabials,), in the vertices' unit.

    vertices: (T, V, 3), frame i at i / fps seconds. Bilabials that begin after the last frame are left out.
    """
    aperture = lip_aperture(vertices, upper, lower)
    spans = [
        (round(s.start_s * fps), max(round(s.start_s * fps) + 1, round(s.end_s * fps)))
        for s in phonemes
        if s.label in BILABIALS
    ]
    gaps = [aperture[start:end].min() for start, end in spans if start < len(aperture)]
    return torch.stack(gaps) if gaps else aperture.new_zeros(0)


def bilabial_excess(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    upper: Indices,
    lower: Indices,
    phonemes: Sequence[Segment],
    fps: float,
) -> torch.Tensor:
    """Predicted minus true `bilabial_gaps` of one sequence, (bilabials,). prediction, truth: (T, V, 3), as long."""
    predicted, true = (bilabial_gaps(x, upper, lower, phonemes, fps) for x in (prediction, truth))
    return predicted - true


def bilabial_closure(
    prediction: Sequences, truth: Sequences, upper: Indices, lower: Indices, phonemes: Sequence, fps: float
) -> float:
    """How much wider open than in truth the lips stay during p, b and m: mean `bilabial_excess`, in the vertices' unit.

    prediction, truth: (T, V, 3), or a list of such. phonemes: the segments of the sequence, or a list of them for each.
    Errors: ValueError if there is no bilabial, or not one list of phonemes for each sequence; see
    `vertices.paired_sequences`.
    """
    pairs = paired_sequences(prediction, truth)
    utterances = [phonemes] if torch.is_tensor(truth) else phonemes
    if len(utterances) != len(pairs):
        raise ValueError(f"phonemes of {len(utterances)} utterances for {len(pairs)} sequences")
    excess = torch.cat([bilabial_excess(p, t, upper, lower, s, fps) for (p, t), s in zip(pairs, utterances)])
    if not len(excess):
        raise ValueError(f"no p, b or m in {len(utterances)} utterances")
    return float(excess.mean())
