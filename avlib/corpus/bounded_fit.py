"""Motion as a sum of shapes whose weights lie between 0 and 1 and change smoothly over time."""

from collections.abc import Iterable

import numpy as np

SMOOTHNESS = 0.01  # weight of the squared second difference over time
RIDGE = 1e-3  # weight of the squared size of the weights: similar shapes share a motion
# Steps end when none changes a weight by more than this, in the size of the largest shape. On ICT-FaceKit's mouth the
# weights are then within 2e-4 of the optimum.
PRECISION, MAX_STEPS = 1e-7, 3000


def fit_bounded(
    shapes: np.ndarray,
    target: np.ndarray | Iterable[np.ndarray],
    smoothness: float = SMOOTHNESS,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Weights x (T, K) in [0, 1] that minimise |x @ shapes - target|² + smoothness |second difference of x over time|².

    shapes: (K, M); target: (T, M), or blocks of its rows; start: (T, K), weights near the solution, which save steps.
    The second term, and a small ridge term, measure weights in the size of their shape; a shape of size 0 gets weight
    0. Scale the rows of both, (M,), by the square root of their importance.
    All frames are fitted together, by accelerated projected gradient descent (Beck and Teboulle 2009) with restarts
    where it overshoots (O'Donoghue and Candès 2015).
    """
    size = np.linalg.norm(shapes, axis=1)
    size[size == 0] = 1
    unit = shapes / size[:, None]
    blocks = [target] if isinstance(target, np.ndarray) else target
    gram = unit @ unit.T + RIDGE * np.eye(len(unit))
    projection = np.concatenate([block.astype(float) @ unit.T for block in blocks])
    x = np.zeros_like(projection) if start is None else start.clip(0, 1) * size
    extrapolated, momentum = x, 1.0
    step = 1 / (np.linalg.eigvalsh(gram)[-1] + 16 * smoothness)
    tolerance = PRECISION * size.max()
    for _ in range(MAX_STEPS):
        gradient = extrapolated @ gram - projection
        second_difference = np.diff(extrapolated, 2, axis=0)
        for k, share in enumerate((smoothness, -2 * smoothness, smoothness)):
            gradient[k : len(gradient) - 2 + k] += share * second_difference
        new = np.clip(extrapolated - step * gradient, 0, size)
        if np.abs(new - extrapolated).max() < tolerance:
            break
        overshoots = ((extrapolated - new) * (new - x)).sum() > 0
        new_momentum = 1.0 if overshoots else (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        extrapolated = new if overshoots else new + (momentum - 1) / new_momentum * (new - x)
        x, momentum = new, new_momentum
    return new / size
