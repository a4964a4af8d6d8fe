"""How long a joint training lasts: until its held-out LVE has stopped falling; and how far from that one has ended."""

import math
from statistics import mean

from ..core.config import JointConfig

GAIN = 0.01  # share by which the held-out LVE has to fall to count as falling
USUAL_PATIENCE = 4  # epochs; by which trainings of a set length are judged


def steady_share(config: JointConfig) -> float:
    """The share of a training that is its steady part: the first, in which neither learning rates nor loss change.

    It ends where the learning rates begin to fall or the expert begins to guide. Until then a guided training is the
    same as one without guidance, and stops falling in the same epoch. 0 if the rates fall from the first step on.
    """
    rates_fall_at, guidance_starts_at = 1 - config.lr_decay_fraction, config.guidance_start
    return min(rates_fall_at, guidance_starts_at) if guidance_starts_at > 0 else rates_fall_at


def check_patience(config: JointConfig) -> None:
    """ValueError, in one line, for a patience that no training can have."""
    if config.patience < 0:
        raise ValueError(f"joint.patience: expected a number of epochs, or 0, got {config.patience}")
    if config.patience and steady_share(config) <= 0:
        raise ValueError(
            f"joint.patience: needs constant learning rates at first, got joint.lr_decay_fraction "
            f"{config.lr_decay_fraction:g}; choose a smaller one, or patience 0"
        )


def plateau(curve: list[float], patience: int) -> int | None:
    """The first epoch, counted from 1, at which a curve has stopped falling, or None.

    curve: a value for each epoch. It has stopped where the mean of the last `patience` epochs is less than `GAIN` below
    the mean of as many before. Means, because held-out errors are noisy: the lowest value so far may be a lucky one.
    """
    for epoch in range(2 * patience, len(curve) + 1):
        if mean(curve[epoch - patience : epoch]) > (1 - GAIN) * mean(curve[epoch - 2 * patience : epoch - patience]):
            return epoch
    return None


def joint_epochs(history: list[dict], config: JointConfig) -> int:
    """Epochs of the whole training, as far as its finished epochs tell: joint.epochs, or fewer after a plateau.

    The plateau becomes the end of the steady part, and the rest of the training keeps its proportion to that. A later
    plateau changes nothing, so that the length stays what it was when the first was reached.
    """
    reached = plateau(_held_out_curve(history), config.patience) if config.patience else None
    if reached is None:
        return config.epochs
    return min(config.epochs, math.ceil(reached / steady_share(config) - 1e-9))  # 6 / (1 - 0.9) is a little over 60


def convergence(history: list[dict], config: JointConfig) -> dict:
    """How far a finished training is from a plateau.

    "plateau": the epoch of the steady part in which one was reached, or None; a training without patience is judged by
    `USUAL_PATIENCE`. "steady_epochs": of the steady part. "change_steady", "change": of the held-out LVE at the end of
    the steady part and of the whole training, see `last_change`.
    """
    curve = _held_out_curve(history)
    steady = curve[: math.floor(steady_share(config) * len(curve) + 1e-9)]
    return {
        "plateau": plateau(steady, config.patience or USUAL_PATIENCE),
        "steady_epochs": len(steady),
        "change_steady": last_change(steady),
        "change": last_change(curve),
    }


def last_change(curve: list[float]) -> float | None:
    """By how many percent the mean of a curve's last fifth is above (+) or below (-) the mean of the fifth before.

    None for a curve of fewer than two values.
    """
    fifth = max(1, round(len(curve) / 5))
    if len(curve) < 2:
        return None
    return 100 * (mean(curve[-fifth:]) / mean(curve[-2 * fifth : -fifth]) - 1)


def _held_out_curve(history: list[dict]) -> list[float]:
    return [row["held_out_lve"] for row in history]
