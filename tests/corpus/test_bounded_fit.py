"""Weights of shapes: recovered where known, optimal at the bounds, smooth over time, from any start."""

import numpy as np
import torch

from avlib.corpus import bounded_fit
from avlib.corpus.bounded_fit import fit_bounded


def problem(frames: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping shapes (6, 40) and weights (frames, 6), some of them at 0 and 1."""
    draw = np.random.default_rng(0)
    moves = draw.standard_normal((6, 40)) + draw.standard_normal(40)
    return moves, (0.5 + np.sin(np.arange(frames)[:, None] * 0.2 + np.arange(6))).clip(0, 1)


def test_known_weights_are_recovered():
    moves, weights = problem()
    np.testing.assert_allclose(fit_bounded(moves, weights @ moves, smoothness=0.0), weights, atol=5e-3)


def test_bounded_weights_are_optimal(monkeypatch):
    """The gradient is 0 for weights between the bounds, and points outwards for weights at a bound."""
    moves, weights = problem()
    monkeypatch.setattr(bounded_fit, "RIDGE", 0.0)
    wanted = (3 * weights - 1) @ moves + 0.3 * np.random.default_rng(1).standard_normal((30, 40))
    x = torch.tensor(fit_bounded(moves, wanted), requires_grad=True)
    size = torch.from_numpy(np.linalg.norm(moves, axis=1))
    (
        ((x @ torch.from_numpy(moves) - torch.from_numpy(wanted)) ** 2).sum()
        + bounded_fit.SMOOTHNESS * (((x[2:] - 2 * x[1:-1] + x[:-2]) * size) ** 2).sum()
    ).backward()
    slope, at = (x.grad / size).numpy(), x.detach().numpy()
    assert at.min() == 0 and at.max() == 1 and ((at > 0) & (at < 1)).sum() > 20
    enough = 1e-3 * np.abs(slope).max()
    assert (
        np.abs(slope[(at > 0) & (at < 1)]).max() < enough
        and slope[at == 0].min() > -enough
        and slope[at == 1].max() < enough
    )


def test_smoothness_reduces_jitter():
    moves, weights = problem()
    shaken = (0.2 + 0.6 * weights + 0.1 * (-1) ** np.arange(30)[:, None]) @ moves
    jitter = [np.abs(np.diff(fit_bounded(moves, shaken, smooth), 2, axis=0)).mean() for smooth in (0.0, 0.01, 1.0)]
    assert jitter[0] > jitter[1] > 2 * jitter[2]
    assert fit_bounded(moves, shaken[:1]).shape == (1, 6)  # a single frame has no second difference


def test_any_start_leads_to_the_same_weights():
    moves, weights = problem()
    wanted = (3 * weights - 1) @ moves
    away = np.random.default_rng(2).uniform(-1, 2, weights.shape)
    np.testing.assert_allclose(fit_bounded(moves, wanted, start=away), fit_bounded(moves, wanted), atol=1e-4)


def test_a_start_at_the_solution_saves_steps(monkeypatch):
    moves, weights = problem()
    solution = fit_bounded(moves, weights @ moves)
    monkeypatch.setattr(bounded_fit, "MAX_STEPS", 3)
    np.testing.assert_allclose(fit_bounded(moves, weights @ moves, start=solution), solution, atol=1e-5)
    assert np.abs(fit_bounded(moves, weights @ moves) - solution).max() > 0.01


def test_a_shape_that_moves_nothing_gets_weight_0():
    moves, weights = problem()
    moves[2] = 0
    fitted = fit_bounded(moves, weights @ moves, smoothness=0.0)
    assert not fitted[:, 2].any()
    np.testing.assert_allclose(np.delete(fitted, 2, 1), np.delete(weights, 2, 1), atol=5e-3)
