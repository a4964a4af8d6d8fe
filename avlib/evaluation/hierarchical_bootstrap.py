"""Confidence interval of the difference between two methods over trainings, subjects and utterances.

Scores of one training depend on each other, and so do those of one subject. An interval over utterances alone takes
them as independent and is too narrow for what a reader wants to know: whether the difference holds for another
training and for other people. This bootstrap resamples every level:

1. trainings (seeds), with replacement; a training of both methods under one seed is one draw;
2. subjects, with replacement, and for each drawn subject as many of its utterances as it has, with replacement. An
   utterance under all styles is one draw.

Subjects and utterances are nested (Davison & Hinkley 1997, section 3.8); trainings are crossed with them: all drawn
trainings are scored on the same drawn utterances, the two draws are independent, and a training's score of an utterance
counts as often as the product of both (the pigeonhole bootstrap, Owen 2007; products of weights, Owen & Eckles 2012).

What it is worth. A level with n members has (n - 1) / n of its variance in the resamples, which makes intervals too
narrow at 2 to 5 members; no bootstrap of crossed levels is exact (McCullagh 2000). The variance of the levels below is
counted up to three times, which makes up for it or more where utterances vary most. benchmarks/coverage.py measures
both. Replacement at the lowest level is what keeps an interval where a level has one member: with one seed it holds the
training fixed, with one subject the subject. Styles are always held fixed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BATCH = 1000  # resamples computed at once, which bounds memory
ROUNDING = 1e-12  # differences below this part of the methods' values count as zero


class HierarchicalInterval(NamedTuple):
    """A difference of means with its interval, and its p value.

    difference, low, high: in the unit of the totals. percent, percent_low, percent_high: the difference as percent of
    the second method's mean, with an interval from the same resamples; None where that mean is not above zero in all
    resamples. p: two-sided, of the same resamples.
    """

    difference: float
    low: float
    high: float
    p: float
    percent: float | None
    percent_low: float | None
    percent_high: float | None


def hierarchical_interval(
    a: np.ndarray, b: np.ndarray, subjects: Sequence[str], seed: int, level: float = 0.95, resamples: int = 5000
) -> HierarchicalInterval:
    """Mean of `a` minus mean of `b`, with the percentiles of resamples of seeds, subjects and utterances.

    a, b: (S, U, 2), sum and count of each of S seeds and U utterances, zeros where a seed lacks an utterance. The mean
    is the quotient of the two sums over seeds and utterances. subjects: (U,), whose utterance each is.
    p is twice the share of resamples on the other side of zero, the observed data counting as one of them, so that it
    is never 0: the level at which the percentile interval begins to contain zero. The same seed gives the same numbers.
    Errors: ValueError for unpaired totals, fewer than two utterances, or a level outside (0, 1).
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 3 or a.shape[1:] != (len(subjects), 2) or len(subjects) < 2 or not len(a):
        raise ValueError(
            f"a {a.shape}, b {b.shape}, {len(subjects)} subjects; expected (seeds, utterances, 2) of the same "
            "utterances, two at least, with the subject of each"
        )
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected between 0 and 1")
    observed, baseline = _differences(np.ones((1, len(a))), np.ones((1, len(subjects))), a, b)
    rng, parts = np.random.default_rng(seed), []
    for start in range(0, resamples, BATCH):
        weights = resample_weights(rng, len(a), subjects, min(BATCH, resamples - start))
        parts.append(_differences(*weights, a, b))
    differences, baselines = (np.concatenate(part) for part in zip(*parts))
    tails = np.array([0.5 - level / 2, 0.5 + level / 2])
    low, high = np.quantile(differences, tails)
    beyond = min((differences <= 0).sum(), (differences >= 0).sum())
    p = min(1.0, 2 * (1 + beyond) / (1 + len(differences)))
    percents: list[float] | list[None] = [None] * 3
    if min(baseline[0], baselines.min()) > 0:
        bounds = np.quantile(100 * differences / baselines, tails)
        percents = [float(100 * observed[0] / baseline[0]), *map(float, bounds)]
    return HierarchicalInterval(float(observed[0]), float(low), float(high), float(p), *percents)


def resample_weights(
    rng: np.random.Generator, seeds: int, subjects: Sequence[str], resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """How often each resample draws each seed, (resamples, seeds), and each utterance, (resamples, utterances).

    A subject of K utterances that is drawn m times has m K draws, since each time its utterances are drawn anew.
    """
    seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    names, subject_of = np.unique(np.asarray(subjects), return_inverse=True)
    subject_draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    utterance_weights = np.zeros((resamples, len(subject_of)))
    for n in range(len(names)):
        utterances = np.flatnonzero(subject_of == n)
        share = np.full(len(utterances), 1 / len(utterances))
        utterance_weights[:, utterances] = rng.multinomial(subject_draws[:, n] * len(utterances), share)
    return seed_weights.astype(float), utterance_weights


def _differences(
    seed_weights: np.ndarray, utterance_weights: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of a minus mean of b, and mean of b, of each resample; those of resamples without any count are left out.

    Computed from sums of a - b, which are exactly 0 for equal methods; sums of a less sums of b need not be.
    """
    columns = np.concatenate((a - b, b), -1)  # (S, U, 4)
    by_seed = utterance_weights @ columns.transpose(1, 0, 2).reshape(len(utterance_weights[0]), -1)
    by_seed = by_seed.reshape(len(utterance_weights), len(a), 4)
    more, more_counts, sums, counts = np.einsum("rs,rsc->cr", seed_weights, by_seed)
    counted = (counts > 0) & (counts + more_counts > 0)
    more, more_counts, sums, counts = (x[counted] for x in (more, more_counts, sums, counts))
    baselines = sums / counts
    differences = (more - baselines * more_counts) / (counts + more_counts)
    is_rounding = np.abs(differences) <= ROUNDING * (np.abs(baselines) + np.abs(baselines + differences))
    return np.where(is_rounding, 0.0, differences), baselines
