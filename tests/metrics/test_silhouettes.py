"""Silhouettes in redrawn clouds: as with explicit copies of utterances, and with intervals that are wide enough."""

import time

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples, silhouette_score

from avlib.metrics import silhouettes
from avlib.metrics.silhouettes import resampled_silhouettes, utterance_draws

LABELS = ("just", "must")


def words(seed: int, each: int = 6, points: int = 3, apart: float = 1.5) -> tuple[np.ndarray, list[str], list[str]]:
    """Points of utterances that differ among each other: `each` of one word, as many of the other, and two of both."""
    draw = np.random.default_rng(seed)
    of_utterance = [[LABELS[u % 2]] for u in range(2 * each)] + [list(LABELS)] * 2
    labels = [w for own in of_utterance for w in own * points]
    owners = [f"u{u}" for u, own in enumerate(of_utterance) for _ in range(len(own) * points)]
    centre = {name: draw.normal(0, 1, 4) for name in sorted(set(owners))}
    features = np.array([centre[name] for name in owners]) + draw.normal(0, 0.3, (len(owners), 4))
    features[:, 0] += apart * (np.array(labels) == "must")
    return features, labels, owners


def with_explicit_copies(
    features: np.ndarray, labels: list[str], utterances: list[str], times: dict[str, int]
) -> float:
    """The mean silhouette by loops. Each copy of an utterance has its own points."""
    points = [
        (x, label, name, copy) for x, label, name in zip(features, labels, utterances) for copy in range(times[name])
    ]
    values = []
    for i, (x, label, name, copy) in enumerate(points):
        distances = {kind: [] for kind in set(labels)}
        for j, (other, kind, owner, number) in enumerate(points):
            is_other_copy = owner == name and number != copy
            if j != i and not is_other_copy:
                distances[kind].append(np.linalg.norm(x - other))
        own = distances.pop(label)
        nearest = min(np.mean(d) for d in distances.values() if d)
        values.append((nearest - np.mean(own)) / max(nearest, np.mean(own)) if own else 0.0)
    return float(np.mean(values))


@pytest.mark.parametrize("points", [1, 3])
def test_resamples_equal_explicit_copies_of_utterances(points, monkeypatch):
    monkeypatch.setattr(silhouettes, "ROWS", 7)  # several blocks
    monkeypatch.setattr(silhouettes, "BATCH", 2)
    features, labels, owners = words(0, each=3, points=points)
    draws = utterance_draws(labels, owners, 5, seed=1)
    names = sorted(set(owners))
    assert draws.shape == (5, 8) and draws.max() > 1 and draws.min() == 0
    slow = [with_explicit_copies(features, labels, owners, dict(zip(names, times))) for times in draws]
    assert resampled_silhouettes(features, labels, owners, draws) == pytest.approx(slow, rel=1e-9)


def test_three_labels_and_a_point_that_is_alone_are_as_in_explicit_copies():
    features, labels, owners = words(1, each=3, points=1)
    labels = ["dust", *labels[1:]]  # the only point of its label: silhouette 0 by convention
    times = np.array([[2, 1, 0, 1, 1, 3, 1, 1], [1] * 8])
    slow = [with_explicit_copies(features, labels, owners, dict(zip(sorted(set(owners)), t))) for t in times]
    assert resampled_silhouettes(features, labels, owners, times) == pytest.approx(slow, rel=1e-9)
    assert slow[1] == pytest.approx(silhouette_samples(features, labels).mean())


@pytest.mark.parametrize("seed", range(3))
def test_weights_of_one_give_the_silhouette_itself(seed):
    features, labels, owners = words(seed)
    order = np.random.default_rng(seed).permutation(len(labels))  # utterances need not lie together
    features, labels, owners = features[order], [labels[i] for i in order], [owners[i] for i in order]
    ones = np.ones((1, len(set(owners))), int)
    assert resampled_silhouettes(features, labels, owners, ones)[0] == pytest.approx(silhouette_score(features, labels))
    kind, owner = np.array([w == "must" for w in labels]).astype(int), np.arange(len(labels))
    sums, counts = silhouettes.distance_sums(features, kind, owner)
    values = silhouettes.weighted_silhouettes(sums, counts, kind, owner, np.ones((len(labels), 1)))
    assert values[:, 0] == pytest.approx(silhouette_samples(features, labels))


def test_points_that_coincide_have_silhouette_zero():
    ones = np.ones((1, 4), int)
    assert resampled_silhouettes(np.zeros((4, 2)), [*LABELS, *LABELS], list("abcd"), ones)[0] == 0


def test_every_resample_has_both_words_and_as_many_utterances_of_each_kind():
    _, labels, owners = words(0)
    draws = utterance_draws(labels, owners, 200, seed=0)
    names = sorted(set(owners))
    kinds = [frozenset(w for w, own in zip(labels, owners) if own == name) for name in names]
    for kind in set(kinds):
        columns = [n for n, own in enumerate(kinds) if own == kind]
        assert (draws[:, columns].sum(1) == len(columns)).all() and draws[:, columns].std() > 0
    assert np.array_equal(draws, utterance_draws(labels, owners, 200, seed=0))
    assert not np.array_equal(draws, utterance_draws(labels, owners, 200, seed=1))
    few = utterance_draws(["just", "must"], ["a", "b"], 9, seed=0)
    assert (few == 1).all(), "a word in one utterance stays"


def test_the_interval_has_as_much_spread_as_other_sentences_give_and_no_bias():
    """The spread of the silhouette over new sentences is known here, as they can be drawn again.

    With the clouds kept, the spread would be about half; with all copies compared, the mean would be too high.
    """
    fresh = [silhouette_score(*words(seed, each=10, points=6)[:2]) for seed in range(200)]
    spreads, biases = [], []
    for seed in range(12):
        features, labels, owners = words(1000 + seed, each=10, points=6)
        values = resampled_silhouettes(features, labels, owners, utterance_draws(labels, owners, 300, seed))
        spreads.append(values.std())
        biases.append(values.mean() - silhouette_score(features, labels))
    assert np.mean(spreads) == pytest.approx(np.std(fresh), rel=0.2)
    assert abs(np.mean(biases)) < 0.15 * np.std(fresh)


def test_a_thousand_resamples_of_four_hundred_frames_take_seconds():
    draw = np.random.default_rng(0)
    labels, owners = [LABELS[i // 10 % 2] for i in range(400)], [f"u{i // 10}" for i in range(400)]
    draws, began = utterance_draws(labels, owners, 1000, seed=0), time.process_time()
    resampled_silhouettes(draw.normal(0, 1, (400, 128)), labels, owners, draws)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "features, labels, draws, message",
    [
        (np.zeros((3, 2)), LABELS, np.ones((1, 2)), r"features \(3, 2\), 2 labels, 2 utterances"),
        (np.zeros((2, 2)), LABELS, np.ones((1, 3)), r"draws \(1, 3\); expected .* \(R, 2\)"),
        (np.zeros((2, 2)), ("just", "just"), np.ones((1, 2)), "one label, .'just'.; expected two"),
    ],
)
def test_input_that_does_not_match_is_an_error(features, labels, draws, message):
    with pytest.raises(ValueError, match=message):
        resampled_silhouettes(features, labels, ["a", "b"], draws)
