"""Intervals cover, tests hold their level, and utterances, not rows, are what is drawn."""

import pytest
import torch
from scipy import stats

from avlib.evaluation import statistics


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_paired_interval_covers_and_repeats():
    generator = torch.Generator().manual_seed(1)
    b = torch.randn(200, generator=generator) * 5
    a = b + 1 + 0.1 * torch.randn(200, generator=generator)  # pairs take out the spread that both share
    mean, low, high = statistics.paired_interval(a, b, torch.Generator().manual_seed(0))
    assert low < mean < high and low > 0.95 and high < 1.05
    assert (high - low) / 2 == pytest.approx(1.96 * float((a - b).std()) / 200**0.5, rel=0.1)
    assert statistics.paired_interval(a, b, torch.Generator().manual_seed(0)) == (mean, low, high)
    assert statistics.paired_interval(a, a, torch.Generator().manual_seed(0)) == (0, 0, 0)
    wide = statistics.paired_interval(a, b, torch.Generator().manual_seed(0), level=0.99)
    assert wide[1] < low and wide[2] > high
    with pytest.raises(ValueError, match=r"a \(2,\), b \(3,\)"):
        statistics.paired_interval([1, 2], [1, 2, 3], generator)


def test_totals_weigh_utterances_by_length(generator):
    """Quotients of sums: an utterance of many characters counts for more, and resampling knows."""
    counts = torch.randint(1, 50, (40,), generator=generator).double()
    a, b = (torch.stack((counts * torch.rand(40, generator=generator), counts), -1) for _ in range(2))
    difference, low, high = statistics.paired_interval(a, b, seeded())
    assert difference == pytest.approx(float((a[:, 0].sum() - b[:, 0].sum()) / counts.sum()))
    same = stats.bootstrap(
        (a[:, 0].numpy(), b[:, 0].numpy(), counts.numpy()),
        lambda x, y, n, axis: (x - y).sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        rng=0,
    ).confidence_interval
    assert (low, high) == pytest.approx((same.low, same.high), abs=0.02)
    plain = statistics.paired_interval(a[:, 0] / counts, b[:, 0] / counts, seeded())
    assert abs(plain[0] - difference) > 1e-3


def test_swaps_give_the_p_of_scipy(generator):
    for shift in (0.0, 0.4, 1.0):
        a = torch.randn(30, generator=generator)
        b = a + shift + 0.8 * torch.randn(30, generator=generator)
        found = stats.permutation_test(
            (a.numpy(), b.numpy()),
            lambda x, y, axis: (x - y).mean(axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=9999,
            rng=0,
        ).pvalue
        assert statistics.permutation_test(a, b, seeded()) == pytest.approx(found, abs=0.02)
    assert statistics.permutation_test(a, b, seeded()) < 0.001 and statistics.permutation_test(a, a, seeded()) == 1
    assert statistics.permutation_test(a, b, seeded()) == statistics.permutation_test(a, b, seeded())
    counts = torch.full((30,), 3.0)
    assert statistics.permutation_test(
        torch.stack((3 * a, counts), -1), torch.stack((3 * b, counts), -1), seeded()
    ) == statistics.permutation_test(a, b, seeded())


def test_without_a_difference_p_is_evenly_spread():
    """About one in five below 0.2, or the test does not hold its level."""
    generator = seeded(3)
    ps = torch.tensor(
        [
            statistics.permutation_test(*torch.randn(2, 12, generator=generator), generator, swaps=199)
            for _ in range(400)
        ]
    )
    assert 0.14 < float((ps < 0.2).double().mean()) < 0.26 and 0.4 < float(ps.mean()) < 0.6


@pytest.mark.parametrize(
    "a, b", [([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), (torch.zeros(2, 2, 2), torch.zeros(2, 2, 2))]
)
def test_what_cannot_be_paired_is_named(a, b):
    with pytest.raises(ValueError, match="expected the same utterances, two at least"):
        statistics.permutation_test(a, b, seeded())
