"""Lips beside speech: when they move (MTM), and how much (SLCC).

Chae-Yeon et al. 2025, "Perceptually Accurate 3D Talking Head Generation". Where the paper leaves something open, what its
authors' evaluation does is done here, and said.
"""

from collections.abc import Sequence

import numpy as np
import torch

from .vertices import squared_lengths

SIGMA_FRAMES = 2.0  # of the smoothing, whatever the rate of the motion


def warping_path(x: np.ndarray, y: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of frames (of x, of y) along which dynamic time warping takes (N,) to (M,) at the least sum of |x_i - y_j|.

    Steps go on in one or in both; of equal ones, both. The matrix is filled one anti-diagonal after the other.
    """
    n, m = len(x), len(y)
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0], total[1:, 1:] = 0, np.abs(x[:, None] - y)
    flat, left, above = total.reshape(-1), 1, m + 1  # how far back the cells beside one lie
    for k in range(2, n + m + 1):
        begin, end = k + max(1, k - m) * m, k + min(n, k - 1) * m + 1  # of the cells (i, k - i)
        before = [flat[begin - back : end - back : m] for back in (left, above, left + above)]
        flat[begin:end:m] += np.minimum(np.minimum(before[0], before[1]), before[2])
    path, i, j = [], n, m
    while i and j:
        path.append((i - 1, j - 1))
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda before: total[before])
    return path[::-1]


def extrema(x: np.ndarray) -> dict[int, int]:
    """Frames at which a signal (T,) turns, in order: 1 at maxima, -1 at minima; the middle one where it stays for a while."""
    from scipy.signal import find_peaks  # here, for it takes a second, and few need it

    found = {int(i): 1 for i in find_peaks(x)[0]} | {int(i): -1 for i in find_peaks(-x)[0]}
    return dict(sorted(found.items()))


def delays(prediction: np.ndarray, truth: np.ndarray) -> list[int]:
    """Frames by which the extrema of a predicted lip aperture (T,) miss those of the true one, without sign.

    Both are smoothed and differenced, and warped onto each other by derivative; two extrema of one kind match if the path
    pairs them. Left open by the paper: the Gaussian's width (2 frames), the first difference of the first frame (0), and that
    a match lies between the truth's extrema before and after (or its ends).
    """
    from scipy.ndimage import gaussian_filter1d

    predicted, true = (gaussian_filter1d(np.asarray(x, np.float64), SIGMA_FRAMES) for x in (prediction, truth))
    path = warping_path(np.diff(true, prepend=true[0]), np.diff(predicted, prepend=predicted[0]))
    turns, others = extrema(true), extrema(predicted)
    bounds = [0, *turns, len(true) - 1]
    between = {i: (bounds[k], bounds[k + 2]) for k, i in enumerate(turns)}
    return [
        abs(i - j) for i, j in path if i in turns and others.get(j) == turns[i] and between[i][0] <= j <= between[i][1]
    ]


def misalignment(prediction: torch.Tensor, truth: torch.Tensor, fps: float) -> float:
    """Mean temporal misalignment (MTM) of a clip, in milliseconds: mean of the `delays` of its lip aperture (T,); nan where
    no extremum finds its match. Of several clips, their mean."""
    found = delays(prediction.numpy(), truth.numpy())
    return 1000 / fps * float(np.mean(found)) if found else float("nan")


def lip_intensity(vertices: torch.Tensor, lip: torch.Tensor) -> float:
    """How much the lips move in a clip (T, V, 3), in its unit a frame: the distance that lip vertices go from one frame to the
    next, averaged over them; its root mean square over frames."""
    lips = vertices[:, lip]
    steps = squared_lengths(lips[1:] - lips[:-1]).sqrt().mean(-1)
    return float(steps.square().mean().sqrt())


def speech_intensity(speech: torch.Tensor) -> float:
    """Root mean square of a clip's samples (S,)."""
    return float(speech.square().mean().sqrt())


def intensity_correlation(speech: Sequence[float], lips: Sequence[float], speakers: Sequence[str]) -> float:
    """Speech-lip intensity correlation coefficient (SLCC): Pearson's r over clips between `speech_intensity` and
    `lip_intensity`, each first standardised over the clips of one speaker.

    Speakers with a single clip, or without spread, say nothing and are left out; nan where none remains. A model does well
    that comes near the SLCC of the scans, not near 1.
    """
    speakers, standard = np.asarray(speakers), []
    for who in np.unique(speakers):
        both = np.array([speech, lips], np.float64)[:, speakers == who]
        spread = both.std(1, ddof=1, keepdims=True) if both.shape[1] > 1 else np.zeros((2, 1))
        if (spread > 0).all():
            standard.append((both - both.mean(1, keepdims=True)) / spread)
    return float(np.corrcoef(np.concatenate(standard, 1))[0, 1]) if standard else float("nan")
