"""Properties of the hierarchical interval: what it resamples, its coverage, exact zeros, percent of the baseline."""

import numpy as np
import pytest

from avlib.evaluation.hierarchical_bootstrap import hierarchical_interval, resample_weights
from avlib.evaluation.statistics import paired_interval


def scores(rng: np.random.Generator, seeds: int, subjects: int, utterances: int, **sd: float) -> np.ndarray:
    """Differences (seeds, subjects * utterances) around 0, with effects of each level and of each single score."""
    values = rng.normal(0, sd.get("score", 0), (seeds, subjects, utterances))
    values += rng.normal(0, sd.get("seed", 0), (seeds, 1, 1)) + rng.normal(0, sd.get("subject", 0), (1, subjects, 1))
    values += rng.normal(0, sd.get("utterance", 0), (1, subjects, utterances))
    return values.reshape(seeds, -1)


def totals(values: np.ndarray) -> np.ndarray:
    return np.stack((values, np.ones_like(values)), -1)


def names(subjects: int, utterances: int) -> list[str]:
    return [f"s{n}" for n in range(subjects) for _ in range(utterances)]


def test_weights_are_draws_of_whole_levels():
    """A drawn subject brings as many utterances as it has, and all seeds are drawn with the same utterances."""
    subjects = ["b", "a", "b", "b", "a", "c"]
    seeds, utterances = resample_weights(np.random.default_rng(0), 4, subjects, 4000)
    assert seeds.shape == (4000, 4) and utterances.shape == (4000, 6) and (seeds.sum(1) == 4).all()
    of_subject = np.stack([utterances[:, [n for n, s in enumerate(subjects) if s == name]].sum(1) for name in "abc"], 1)
    draws = of_subject / [2, 3, 1]
    assert (draws == draws.round()).all() and (draws.sum(1) == 3).all()
    assert np.allclose(seeds.mean(0), 1, atol=0.05) and np.allclose(utterances.mean(0), 1, atol=0.1)
    assert np.allclose(np.cov(seeds[:, 0], utterances[:, 0])[0, 1], 0, atol=0.05), "levels are drawn independently"
    assert np.allclose(draws.var(0), 2 / 3, atol=0.05), "subjects are drawn with replacement"


def test_the_spread_of_the_resamples_is_that_of_every_level():
    """Its variance is the sum of the levels' own, (n - 1) / n of s² / n each, where only one level varies."""
    rng, weights = np.random.default_rng(1), (5, 4, 15)
    for level, count in (("seed", 5), ("subject", 4)):
        values = scores(rng, *weights, **{level: 1.0})
        means = values.reshape(5, 4, 15).mean((1, 2) if level == "seed" else (0, 2))
        interval = hierarchical_interval(
            totals(values), totals(0 * values), names(4, 15), 0, level=0.682, resamples=8000
        )
        assert (interval.high - interval.low) / 2 == pytest.approx(means.std() / count**0.5, rel=0.2)


def test_one_seed_and_one_subject_leave_the_interval_over_utterances():
    a, b = (totals(scores(np.random.default_rng(n), 1, 1, 200, score=1.0)) for n in (2, 3))
    whole, alone = hierarchical_interval(a, b, names(1, 200), 0), paired_interval(a[0], b[0], 0)
    assert whole[:3] == pytest.approx(alone, abs=0.01)


def test_the_mean_is_pooled_and_missing_scores_do_not_count():
    a = np.array([[[30.0, 10], [4, 2]], [[10, 10], [0, 0]]])
    b = np.array([[[10.0, 10], [2, 2]], [[10, 5], [0, 0]]])
    interval = hierarchical_interval(a, b, ["x", "x"], 0)
    assert interval.difference == pytest.approx(44 / 22 - 22 / 17)
    assert interval.percent == pytest.approx(100 * (44 / 22 - 22 / 17) / (22 / 17))
    assert np.isfinite(interval).all(), "resamples of the missing score alone are left out"


def test_equal_methods_differ_by_exactly_zero():
    rng = np.random.default_rng(4)
    counts = rng.integers(3, 70, (3, 11))
    same = np.stack((rng.random((3, 11)) * counts, counts), -1)
    assert hierarchical_interval(same, same, names(1, 11), 0) == (0, 0, 0, 1, 0, 0, 0)
    doubled = same * 2  # the same means from twice the frames: zero but for rounding
    assert hierarchical_interval(doubled, same, names(1, 11), 0) == (0, 0, 0, 1, 0, 0, 0)


def test_numbers_repeat_with_their_seed_and_follow_the_unit():
    rng = np.random.default_rng(5)
    b = totals(5 + scores(rng, 3, 2, 10, score=1.0))
    a = b + [0.1, 0] + 0.1 * totals(scores(rng, 3, 2, 10, score=1.0)) * [1, 0]
    interval = hierarchical_interval(a, b, names(2, 10), 0)
    assert interval == hierarchical_interval(a, b, names(2, 10), 0) != hierarchical_interval(a, b, names(2, 10), 1)
    swapped = hierarchical_interval(b, a, names(2, 10), 0)
    assert (
        swapped[:3] == pytest.approx((-interval.difference, -interval.high, -interval.low)) and swapped.p == interval.p
    )
    larger = hierarchical_interval(a * [1e3, 1], b * [1e3, 1], names(2, 10), 0)
    assert larger[:3] == pytest.approx([1e3 * x for x in interval[:3]]) and larger[3:] == pytest.approx(interval[3:])
    assert interval.percent_low < interval.percent < interval.percent_high


def test_there_is_no_percent_of_a_baseline_that_may_be_zero():
    """Divided by resamples of both signs, percent have no bounds, though the baseline itself is above zero."""
    rng = np.random.default_rng(8)
    b = totals(0.1 + scores(rng, 3, 2, 10, score=1.0))
    assert b[..., 0].mean() > 0
    interval = hierarchical_interval(b + [1, 0], b, names(2, 10), 0)
    assert interval[:3] == pytest.approx((1, 1, 1)) and interval[4:] == (None, None, None)


def test_p_is_below_the_level_where_the_interval_excludes_zero():
    rng = np.random.default_rng(6)
    for shift in np.linspace(0, 1, 12):
        a = totals(shift + scores(rng, 4, 3, 8, seed=0.2, subject=0.2, score=1.0))
        interval = hierarchical_interval(a, totals(np.zeros((4, 24))), names(3, 8), 0)
        assert (interval.p < 0.05) == (not interval.low <= 0 <= interval.high)
        assert interval.percent is interval.percent_low is interval.percent_high is None, "percent of zero"
    far = hierarchical_interval(a + [100, 0], totals(np.zeros((4, 24))), names(3, 8), 0)
    assert far.p == 2 / 5001


def test_the_interval_covers_the_truth_where_one_over_utterances_does_not():
    """Trainings and subjects vary, so that an interval over the test sentences of these models misses the truth."""
    rng, hits = np.random.default_rng(7), np.zeros((120, 2))
    for n in range(len(hits)):
        a = totals(scores(rng, 5, 4, 15, seed=2, subject=1, utterance=6, score=6))
        b = totals(np.zeros((5, 60)))
        whole = hierarchical_interval(a, b, names(4, 15), n, resamples=600)
        alone = hierarchical_interval(a.sum(0)[None], b.sum(0)[None], names(1, 60), n, resamples=600)
        hits[n] = [interval.low <= 0 <= interval.high for interval in (whole, alone)]
    assert hits[:, 0].mean() > 0.9 and hits[:, 1].mean() < 0.8


@pytest.mark.parametrize(
    "a, b, subjects",
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 3, 2)), ["x", "x"]),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), ["x"]),
        (np.zeros((1, 1, 2)), np.zeros((1, 1, 2)), ["x"]),
        (np.zeros((2, 2)), np.zeros((2, 2)), ["x", "x"]),
    ],
)
def test_unpaired_totals_are_an_error(a, b, subjects):
    with pytest.raises(ValueError, match="expected .seeds, utterances, 2. of the same utterances"):
        hierarchical_interval(a, b, subjects, 0)
