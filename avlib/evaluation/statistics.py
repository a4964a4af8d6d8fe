"""Confidence interval and significance of the difference between two models, paired over utterances.

A model's totals have shape (N, 2): for each of N utterances, the sum of what was measured and its count (frames or
characters). The mean over all utterances is the quotient of the two column sums. Rows of the same utterance (styles,
seeds) depend on each other: add them up first. Values of shape (N,) stand for utterances of equal weight.

Both hold the trained models fixed. See `hierarchical_bootstrap` for intervals that cover other trainings and subjects.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats

Totals = Sequence[float] | np.ndarray | torch.Tensor
BATCH = 1000  # resamples computed at once, which bounds memory


class Interval(NamedTuple):
    """A difference of means and the bounds of its confidence interval, in the unit of the totals."""

    difference: float
    low: float
    high: float


def paired_interval(a: Totals, b: Totals, seed: int, level: float = 0.95, resamples: int = 5000) -> Interval:
    """Mean of `a` minus mean of `b`, with the percentile bootstrap interval over utterances (Efron 1979).

    The same seed gives the same interval. Utterances must be independent of each other; frames and styles are not.
    Errors: ValueError for unpaired totals, fewer than two utterances, or a level outside (0, 1).
    """
    a, b = _paired(a, b)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected between 0 and 1")
    bounds = stats.bootstrap(
        (*a.T.numpy(), *b.T.numpy()),
        _difference_of_ratios,
        paired=True,
        vectorized=True,
        method="percentile",
        confidence_level=level,
        n_resamples=resamples,
        batch=BATCH,
        rng=seed,
    ).confidence_interval
    return Interval(float(_mean(a) - _mean(b)), float(bounds.low), float(bounds.high))


def permutation_test(a: Totals, b: Totals, seed: int, permutations: int = 9999) -> float:
    """Two-sided p value of the difference between the means of `a` and `b` (Fisher 1935).

    Under the null hypothesis the two models of an utterance (of a seed, if the totals are of seeds) are exchangeable.
    p is the share of random exchanges whose absolute difference is at least the observed one, which counts as one of
    them, so that p is never 0. Where there are at most `permutations` different exchanges, each is counted once: of n
    pairs, p is at least 2 / 2^n. The same seed gives the same p.
    Errors: ValueError for unpaired totals or fewer than two utterances.
    """
    a, b = _paired(a, b)
    totals, count = torch.cat((a, b)).numpy(), len(a)
    rounding = 1e-12 * float(_mean(a).abs() + _mean(b).abs()) or 1.0  # differences below it count as equal

    def statistic(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        """|difference| in whole units of `rounding`; first, second: places in `totals`."""
        first, second = totals[first.astype(int)], totals[second.astype(int)]
        difference = _difference_of_ratios(first[..., 0], first[..., 1], second[..., 0], second[..., 1], axis)
        return np.round(np.abs(difference) / rounding)

    return float(
        stats.permutation_test(
            (np.arange(count), np.arange(count, 2 * count)),
            statistic,
            permutation_type="samples",
            vectorized=True,
            n_resamples=permutations,
            batch=BATCH,
            alternative="greater",
            rng=seed,
        ).pvalue
    )


def _paired(a: Totals, b: Totals) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as totals (N, 2), float64. ValueError unless they hold the same number of utterances, at least two."""
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    if a.shape != b.shape or a.ndim not in (1, 2) or len(a) < 2:
        raise ValueError(f"a {tuple(a.shape)}, b {tuple(b.shape)}; expected the same utterances, two at least")
    return _with_counts(a), _with_counts(b)


def _with_counts(values: torch.Tensor) -> torch.Tensor:
    return values if values.ndim == 2 else torch.stack((values, torch.ones_like(values)), -1)


def _mean(totals: torch.Tensor) -> torch.Tensor:
    total, count = totals.sum(0)
    return total / count


def _difference_of_ratios(
    sums_a: np.ndarray, counts_a: np.ndarray, sums_b: np.ndarray, counts_b: np.ndarray, axis: int
) -> np.ndarray:
    return sums_a.sum(axis) / counts_a.sum(axis) - sums_b.sum(axis) / counts_b.sum(axis)
