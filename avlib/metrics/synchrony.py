"""Lips and speech: when the lips move (MTM), and how much (SLCC).

Chae-Yeon et al. 2025, "Perceptually Accurate 3D Talking Head Generation". Where the paper leaves a detail open, the
functions follow the authors' released evaluation and say so.
"""

from collections.abc import Sequence

import numpy as np
import torch

from .vertices import step_lengths

SIGMA_FRAMES = 2.0  # of the Gaussian that smooths apertures, whatever the rate of the motion


def warping_path(x: np.ndarray, y: np.ndarray) -> list[tuple[int, int]]:
    """Dynamic time warping of x (N,) and y (M,): the pairs of frames with the least sum of |x_i - y_j|, in order.

    Each step advances in x, in y or in both; among steps of equal cost, in both.
    """
    n, m = len(x), len(y)
    total = np.full((n + 1, m + 1), np.inf)  # least sum up to a cell
    total[0, 0], total[1:, 1:] = 0, np.abs(x[:, None] - y)
    # The cells of one anti-diagonal depend on earlier ones alone, so each is filled at once.
    flat, left, above = total.reshape(-1), 1, m + 1  # distance in memory to a cell's neighbours
    for k in range(2, n + m + 1):
        begin, end = k + max(1, k - m) * m, k + min(n, k - 1) * m + 1  # of the cells (i, k - i)
        from_left, from_above, from_both = (flat[begin - back : end - back : m] for back in (left, above, left + above))
        flat[begin:end:m] += np.minimum(np.minimum(from_left, from_above), from_both)
    path, i, j = [], n, m
    while i and j:
        path.append((i - 1, j - 1))
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda cell: total[cell])
    return path[::-1]


def extrema(x: np.ndarray) -> dict[int, int]:
    """Frames of a signal's (T,) extrema, in order: 1 at maxima, -1 at minima. Of a plateau, its middle frame."""
    from scipy.signal import find_peaks  # imported here: it takes a second, and few runs need it

    signs = {int(i): 1 for i in find_peaks(x)[0]} | {int(i): -1 for i in find_peaks(-x)[0]}
    return dict(sorted(signs.items()))


def delays(prediction: np.ndarray, truth: np.ndarray) -> list[int]:
    """Frames between each matched extremum of a predicted lip aperture (T,) and that of the true one, without sign.

    Both signals are smoothed, and warped onto each other by their first differences. A maximum matches a maximum, and
    a minimum a minimum, if the path pairs them. The paper leaves open, and the released evaluation decides: the
    Gaussian's width (2 frames), the difference at the first frame (0), and that a match lies between the true
    extrema before and after (or the signal's ends).
    """
    from scipy.ndimage import gaussian_filter1d

    predicted, true = (gaussian_filter1d(np.asarray(x, np.float64), SIGMA_FRAMES) for x in (prediction, truth))
    path = warping_path(np.diff(true, prepend=true[0]), np.diff(predicted, prepend=predicted[0]))
    true_extrema, predicted_extrema = extrema(true), extrema(predicted)
    bounds = [0, *true_extrema, len(true) - 1]
    between = {i: (bounds[k], bounds[k + 2]) for k, i in enumerate(true_extrema)}
    return [
        abs(i - j)
        for i, j in path
        if i in true_extrema and predicted_extrema.get(j) == true_extrema[i] and between[i][0] <= j <= between[i][1]
    ]


def misalignment(prediction: torch.Tensor, truth: torch.Tensor, fps: float) -> float:
    """Mean temporal misalignment (MTM) of one sequence, in milliseconds: the mean of its `delays`.

    prediction, truth: (T,) lip apertures at `fps`. nan if no extremum has a match. Several sequences: take the mean.
    """
    frames = delays(prediction.numpy(), truth.numpy())
    return 1000 / fps * float(np.mean(frames)) if frames else float("nan")


def lip_intensity(vertices: torch.Tensor, lip: torch.Tensor) -> float:
    """How much the lips move in one sequence (T, V, 3), in the vertices' unit a frame.

    The distance that the lip vertices move from one frame to the next, mean over them; root mean square over frames.
    """
    steps = step_lengths(vertices[:, lip]).mean(-1)
    return float(steps.square().mean().sqrt())


def speech_intensity(speech: torch.Tensor) -> float:
    """Root mean square of a recording's samples (S,)."""
    return float(speech.square().mean().sqrt())


def intensity_correlation(speech: Sequence[float], lips: Sequence[float], speakers: Sequence[str]) -> float:
    """Speech-lip intensity correlation coefficient (SLCC): Pearson's r of `speech_intensity` and `lip_intensity`.

    speech, lips, speakers: one value for each sequence. Intensities are standardised over the sequences of a speaker.
    Speakers with a single sequence, or whose intensity does not vary, are left out; nan if no speaker remains.
    A model is good if its SLCC is near that of the scans, not if it is near 1.
    """
    names, standardised = np.asarray(speakers), []
    for name in np.unique(names):
        intensities = np.array([speech, lips], np.float64)[:, names == name]
        several = intensities.shape[1] > 1
        spread = intensities.std(1, ddof=1, keepdims=True) if several else np.zeros((2, 1))
        if (spread > 0).all():
            standardised.append((intensities - intensities.mean(1, keepdims=True)) / spread)
    return float(np.corrcoef(np.concatenate(standardised, 1))[0, 1]) if standardised else float("nan")
