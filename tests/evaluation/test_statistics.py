"""Properties of the paired interval and test: coverage, level, determinism, and weights of utterances."""

import numpy as np
import pytest
import torch
from scipy import stats

from avlib.evaluation.statistics import paired_interval, permutation_test


def test_interval_covers_the_true_difference_and_repeats_with_its_seed():
    generator = torch.Generator().manual_seed(1)
    b = torch.randn(200, generator=generator) * 5
    a = b + 1 + 0.1 * torch.randn(200, generator=generator)  # the variance that both share cancels within pairs
    mean, low, high = paired_interval(a, b, seed=0)
    assert low < mean < high and low > 0.95 and high < 1.05
    assert (high - low) / 2 == pytest.approx(1.96 * float((a - b).std()) / 200**0.5, rel=0.1)
    assert paired_interval(a, b, seed=0) == (mean, low, high) != paired_interval(a, b, seed=1)
    assert paired_interval(a, a, seed=0) == (0, 0, 0)
    wide = paired_interval(a, b, seed=0, level=0.99)
    assert wide.low < low and wide.high > high
    with pytest.raises(ValueError, match=r"a \(2,\), b \(3,\)"):
        paired_interval([1, 2], [1, 2, 3], seed=0)
    with pytest.raises(ValueError, match="level is 1, expected between 0 and 1"):
        paired_interval(a, b, seed=0, level=1)


def test_totals_weigh_utterances_by_length(generator):
    """Means are quotients of sums: an utterance of many characters weighs more, in the resamples too."""
    counts = torch.randint(1, 50, (40,), generator=generator).double()
    a, b = (torch.stack((counts * torch.rand(40, generator=generator), counts), -1) for _ in range(2))
    difference, low, high = paired_interval(a, b, seed=0)
    assert difference == pytest.approx(float((a[:, 0].sum() - b[:, 0].sum()) / counts.sum()))
    draws = torch.randint(40, (5000, 40), generator=generator)
    resampled = (a[draws, 0] - b[draws, 0]).sum(1) / counts[draws].sum(1)
    expected = resampled.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    assert (low, high) == pytest.approx(expected, abs=0.02)
    unweighted = paired_interval(a[:, 0] / counts, b[:, 0] / counts, seed=0)
    assert abs(unweighted.difference - difference) > 1e-3


def test_p_agrees_with_a_two_sided_test_of_plain_means(generator):
    a = b = torch.zeros(0)
    for shift in (0.0, 0.4, 1.0):
        a = torch.randn(30, generator=generator)
        b = a + shift + 0.8 * torch.randn(30, generator=generator)
        expected = stats.permutation_test(
            (a.numpy(), b.numpy()),
            lambda x, y, axis: (x - y).mean(axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=9999,
            rng=np.random.default_rng(1),
        ).pvalue
        assert permutation_test(a, b, seed=0) == pytest.approx(expected, abs=0.02)
    assert 0 < permutation_test(a, b, seed=0) < 0.001 and permutation_test(a, a, seed=0) == 1
    assert permutation_test(a, b, seed=0) == permutation_test(a, b, seed=0)
    counts = torch.full((30,), 3.0)
    a_totals, b_totals = torch.stack((3 * a, counts), -1), torch.stack((3 * b, counts), -1)
    assert permutation_test(a_totals, b_totals, seed=0) == permutation_test(a, b, seed=0)


def test_few_utterances_have_the_exact_p():
    """Of the four exchanges of two utterances, two are as extreme as the observed difference."""
    assert permutation_test([1.0, 2.0], [0.0, 0.0], seed=0) == 0.5
    assert permutation_test([0.1 + 0.2, 0.1], [0.3, 0.1], seed=0) == 1, "rounding errors are no difference"


def test_without_a_difference_p_is_uniform():
    """About one p in five is below 0.2; otherwise the test does not hold its level."""
    generator = torch.Generator().manual_seed(3)
    pairs = [torch.randn(2, 12, generator=generator) for _ in range(400)]
    p = torch.tensor([permutation_test(*pair, seed=i, permutations=199) for i, pair in enumerate(pairs)])
    assert 0.14 < float((p < 0.2).double().mean()) < 0.26 and 0.4 < float(p.mean()) < 0.6


@pytest.mark.parametrize(
    "a, b", [([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), (torch.zeros(2, 2, 2), torch.zeros(2, 2, 2))]
)
def test_unpaired_totals_are_an_error(a, b):
    with pytest.raises(ValueError, match="expected the same utterances, two at least"):
        permutation_test(a, b, seed=0)
