"""Whether lips and speech belong together, by vectors of both that an encoder was trained to bring together.

After two families of published scores, which have encoders of their own: the cosine similarity of speech and lips
(PLRS; Chae-Yeon et al. 2025), and SyncNet's distance, confidence and offset (LSE-D, LSE-C; Chung and Zisserman 2016,
Prajwal et al. 2020). Values by another encoder do not compare with published ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor

REACH = 15  # frames by which lips may be early or late, as SyncNet's evaluation has it
FEWEST_PAIRS = 5  # of frames at the largest offset


class LipSync(NamedTuple):
    """Scores of one sequence.

    agreement: -1 to 1, mean cosine similarity at the same time. distance: 0 to 2, mean Euclidean distance at the best
    offset. confidence: how much the median over all offsets is above that. offset: of the best, in frames, positive if
    the lips are late.
    """

    agreement: float
    distance: float
    confidence: float
    offset: int


def lip_sync(lips: Tensor, speech: Tensor) -> LipSync | None:
    """The scores of vectors (T, D) of length one at the same T frames; None if there are too few for all offsets."""
    if len(lips) < REACH + FEWEST_PAIRS:
        return None
    similarity = lips @ speech.T
    distances = offset_distances(similarity)
    best = int(distances.argmin())
    return LipSync(
        agreement=float(similarity.diagonal().mean()),
        distance=float(distances[best]),
        confidence=float(distances.median() - distances[best]),
        offset=best - REACH,
    )


def offset_distances(similarity: Tensor) -> Tensor:
    """Mean distance of lips from speech at the offsets -15 to 15 frames, (31,). similarity: cosine, (T, T), of lips and
    speech. Only pairs of frames count where there are both, unlike in SyncNet's evaluation, which adds zeros."""
    distances = (2 - 2 * similarity).clamp_min(0).sqrt()
    return torch.stack([distances.diagonal(-offset).mean() for offset in range(-REACH, REACH + 1)])
