"""How sure a difference between two models is: paired over utterances, which are drawn anew, or whose sides are swapped.

A model's totals are (N, 2): of each utterance the sum of what was measured and how much of it there was, frames or characters,
so that the mean over all is the quotient of two sums. Rows of one utterance (styles, seeds) belong together and are added
up first. Plain values (N,) stand for utterances that count alike.
"""

from collections.abc import Sequence

import torch

Totals = Sequence[float] | torch.Tensor


def _both(a: Totals, b: Totals) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    if a.shape != b.shape or a.ndim not in (1, 2) or len(a) < 2:
        raise ValueError(f"a {tuple(a.shape)}, b {tuple(b.shape)}; expected the same utterances, two at least")
    return tuple(x if x.ndim == 2 else torch.stack((x, torch.ones_like(x)), -1) for x in (a, b))


def _mean(totals: torch.Tensor) -> torch.Tensor:
    return totals[..., 0] / totals[..., 1]


def paired_interval(
    a: Totals, b: Totals, generator: torch.Generator, level: float = 0.95, resamples: int = 5000
) -> tuple[float, float, float]:
    """Mean of a less mean of b with its bootstrap interval at `level`: (difference, low, high). Percentiles over resamples of
    the utterances, which must be independent of each other: not frames, not styles. Efron 1979."""
    a, b = _both(a, b)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected between 0 and 1")
    picks = torch.randint(len(a), (resamples, len(a)), generator=generator)
    times = torch.zeros(resamples, len(a), dtype=a.dtype).scatter_add_(1, picks, torch.ones(picks.shape, dtype=a.dtype))
    low, high = (_mean(times @ a) - _mean(times @ b)).quantile(
        torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=a.dtype)
    )
    return float(_mean(a.sum(0)) - _mean(b.sum(0))), float(low), float(high)


def permutation_test(a: Totals, b: Totals, generator: torch.Generator, swaps: int = 9999) -> float:
    """Two-sided p of the difference of the means if it did not matter which of the two models an utterance is from: the share of
    random swaps, utterance by utterance, that set the means as far apart, the observed one counted in. Fisher 1935."""
    a, b = _both(a, b)
    kept = torch.randint(2, (swaps, len(a)), generator=generator).to(a.dtype)
    apart = (_mean(kept @ a + (1 - kept) @ b) - _mean(kept @ b + (1 - kept) @ a)).abs()
    mean_a, mean_b = _mean(a.sum(0)), _mean(b.sum(0))
    rounding = 1e-12 * (mean_a.abs() + mean_b.abs())
    return float((1 + (apart >= (mean_a - mean_b).abs() - rounding).sum()) / (1 + swaps))
