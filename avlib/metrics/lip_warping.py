"""How far predicted lips are from true ones once small delays are forgiven: lip DTW, discrete Fréchet distance."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .vertices import Indices, Sequences, paired_sequences, squared_lengths

WINDOW_S = 0.2  # largest delay or advance that is forgiven: about the duration of a syllable


def warped_error(prediction: Tensor, truth: Tensor, fps: float) -> float:
    """Dynamic time warping of two motions (T, V, 3): the distance of matched frames, in the vertices' unit.

    The distance of two frames is the mean over their vertices. Sakoe and Chiba 1978, symmetric form without slope
    constraint, within a band of `WINDOW_S`: a step in both motions counts twice, and the least sum is divided by the
    number of frames of both. Without warping, the result is the mean distance of frames of the same time, which it
    therefore never exceeds.
    """
    window = round(WINDOW_S * fps)
    return warped_sum(frame_distances(prediction, truth, window), window) / (2 * len(prediction))


def frame_distances(prediction: Tensor, truth: Tensor, window: int) -> list[list[float]]:
    """(T, 2 window + 1): the distance of predicted frame i from true frame i + k - window; infinite beyond the ends."""
    frames = len(prediction)
    distances = torch.full((frames, 2 * window + 1), torch.inf, dtype=prediction.dtype)
    for k, shift in enumerate(range(-window, window + 1)):
        first, last = max(0, -shift), min(frames, frames - shift)
        if first < last:
            squared = squared_lengths(prediction[first:last] - truth[first + shift : last + shift])
            distances[first:last, k] = squared.sqrt().mean(-1)
    return distances.tolist()


def warped_sum(distances: Sequence[Sequence[float]], window: int) -> float:
    """The least sum over all paths from the first pair of frames to the last; a diagonal step counts twice.

    distances: as of `frame_distances`.
    """
    infinite = float("inf")
    sums: list[float] = []
    for i, row in enumerate(distances):
        earlier, sums = sums, []
        left = infinite
        for k, distance in enumerate(row):  # the cell (i, k) lies below (i - 1, k + 1) and diagonally after (i - 1, k)
            if i == 0:
                best = 2 * distance if k == window else left + distance
            else:
                above = earlier[k + 1] if k < 2 * window else infinite
                best = min(left + distance, above + distance, earlier[k] + 2 * distance)
            left = best
            sums.append(best)
    return sums[window]


def least_maximum(distances: Sequence[Sequence[float]], window: int) -> float:
    """The smallest that the largest distance along a path can be, over all paths from the first pair of frames to the
    last. distances: as of `frame_distances`."""
    infinite = float("inf")
    reached: list[float] = []
    for i, row in enumerate(distances):
        earlier, reached = reached, []
        left = infinite
        for k, distance in enumerate(row):  # the same cells as in `warped_sum`
            if i == 0:
                before = distance if k == window else left
            else:
                above = earlier[k + 1] if k < 2 * window else infinite
                before = min(left, above, earlier[k])
            left = max(before, distance)
            reached.append(left)
    return reached[window]


def lip_frechet(prediction: Sequences, truth: Sequences, lip: Indices, fps: float) -> float:
    """The discrete Fréchet distance of the lip vertices (Eiter and Mannila 1994), mean over sequences, in the vertices'
    unit: how far apart the lips are at worst, along the warping within `WINDOW_S` that makes this least.

    The distance of two frames is the mean over the lip vertices. prediction, truth: (T, V, 3), or a list of such.
    Errors: see `vertices.paired_sequences`.
    """
    window, pairs = round(WINDOW_S * fps), paired_sequences(prediction, truth)
    return sum(least_maximum(frame_distances(p[:, lip], t[:, lip], window), window) for p, t in pairs) / len(pairs)


def lip_dtw(prediction: Sequences, truth: Sequences, lip: Indices, fps: float) -> float:
    """Lip DTW: `warped_error` of the lip vertices, mean over sequences, in the vertices' unit. 0 for equal motions.

    prediction, truth: (T, V, 3), or a list of such. lip: indices of the lip vertices.
    Errors: see `vertices.paired_sequences`.
    """
    errors = [warped_error(p[:, lip], t[:, lip], fps) for p, t in paired_sequences(prediction, truth)]
    return sum(errors) / len(errors)
