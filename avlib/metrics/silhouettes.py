"""Silhouettes of labelled points in resamples of their utterances, for confidence intervals.

A bootstrap that keeps the clouds and resamples the points' silhouettes leaves out that other sentences would have given
other clouds. Here each resample redraws the utterances, and the silhouettes are computed within the redrawn clouds.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

ROWS = 512  # points whose distances are computed at once, which bounds memory
BATCH = 256  # resamples computed at once, likewise


def utterance_draws(labels: Sequence, utterances: Sequence, resamples: int, seed: int) -> np.ndarray:
    """How often each resample contains each utterance, (resamples, U) integers; utterances in sorted order.

    labels, utterances: of each point, (N,). Utterances are drawn with replacement among those with the same labels
    (only the first, only the second, both), so that every resample has points of every label.
    """
    names, owner = np.unique(np.asarray(utterances), return_inverse=True)
    labels_of = [frozenset(np.asarray(labels)[owner == u].tolist()) for u in range(len(names))]
    generator, draws = np.random.default_rng(seed), np.zeros((resamples, len(names)), int)
    for stratum in dict.fromkeys(labels_of):
        members = [u for u, own in enumerate(labels_of) if own == stratum]
        draws[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return draws


def resampled_silhouettes(
    features: np.ndarray, labels: Sequence, utterances: Sequence, draws: np.ndarray
) -> np.ndarray:
    """Mean silhouette (Rousseeuw 1987) of all points in each resample, (R,).

    features: (N, D); labels, utterances: of each point, (N,); draws: (R, U), of `utterance_draws`, or ones for the
    silhouette of the points themselves.

    An utterance that is drawn several times has several copies, and each copy's points are compared with the other
    points of the same copy and with all other utterances, but not with the other copies of their own. A copy of a
    point would be at distance 0 from it, and a copy of its utterance nearer than any other sentence is: with them,
    clouds would look denser in every resample than they are. So the points of one utterance count as often beside
    those of others as in the data.
    Errors: ValueError for shapes that do not match, or fewer than two labels.
    """
    x, y = np.asarray(features, np.float64), np.asarray(labels)
    names, owner = np.unique(np.asarray(utterances), return_inverse=True)
    if x.ndim != 2 or not len(x) == len(y) == len(owner) or draws.shape[1:] != (len(names),):
        raise ValueError(
            f"features {x.shape}, {len(y)} labels, {len(owner)} utterances, draws {draws.shape}; expected (N, D), N, N "
            f"and (R, {len(names)})"
        )
    kinds, kind = np.unique(y, return_inverse=True)
    if len(kinds) < 2:
        raise ValueError(f"one label, {kinds.tolist()}; expected two or more")
    sums, counts = distance_sums(x, kind, owner)
    means = []
    for first in range(0, len(draws), BATCH):
        times = draws[first : first + BATCH].T.astype(np.float64)  # (U, R)
        weights = times[owner]
        values = weighted_silhouettes(sums, counts, kind, owner, times)
        means.append((weights * values).sum(0) / weights.sum(0))
    return np.concatenate(means)


def distance_sums(x: np.ndarray, kind: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each label and utterance, the sum of the distances from each point to its points, and their number.

    x: (N, D); kind, owner: number of each point's label and utterance. Returns (C, N, U) and (C, U).
    """
    shape = (kind.max() + 1, owner.max() + 1)
    group = kind * shape[1] + owner
    members = csr_array((np.ones(len(x)), (np.arange(len(x)), group)), shape=(len(x), shape[0] * shape[1]))
    sums = np.concatenate([cdist(x[first : first + ROWS], x) @ members for first in range(0, len(x), ROWS)])
    counts = np.bincount(group, minlength=shape[0] * shape[1]).reshape(shape)
    return sums.reshape(len(x), *shape).swapaxes(0, 1), counts.astype(np.float64)


def weighted_silhouettes(
    sums: np.ndarray, counts: np.ndarray, kind: np.ndarray, owner: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Silhouette of each point in each resample, (N, R). sums, counts: of `distance_sums`; times: (U, R)."""
    rows = np.arange(len(kind))
    other_copies = times[owner] - 1
    totals = sums @ times - sums[:, rows, owner, None] * other_copies
    numbers = (counts @ times)[:, None] - counts[:, owner, None] * other_copies
    numbers[kind, rows] -= 1  # the point itself
    means = np.divide(totals, numbers, out=np.full_like(totals, np.inf), where=numbers > 0)
    own = means[kind, rows]
    means[kind, rows] = np.inf
    nearest = means.min(0)
    larger = np.maximum(own, nearest)
    # By convention, 0 for a point without another of its label; and where all points coincide.
    defined = np.isfinite(larger) & (larger > 0)
    return np.divide(nearest - own, larger, out=np.zeros_like(own), where=defined)
