"""Separation measures how far apart labels lie, not utterances."""

import numpy as np
import pytest
import torch

from avlib.metrics.feature_separation import separation


def clusters(generator, distance, utterances=12, frames=5):
    """Features of two labels, each utterance of one label; utterances differ by an offset larger than the noise.

    Returns features (N, 6), labels and utterances.
    """
    who = torch.arange(utterances).repeat_interleave(frames)
    features = (
        0.2 * torch.randn(len(who), 6, generator=generator) + torch.randn(utterances, 6, generator=generator)[who]
    )
    features[:, 0] += distance * (who % 2)
    return features, ["must" if u % 2 else "just" for u in who.tolist()], who.tolist()


def test_separation_is_of_labels_not_of_utterances(generator):
    apart, mixed = (separation(*clusters(generator, d)) for d in (10.0, 0.0))
    assert apart["probe"] == 1 and apart["silhouette"] > 0.5
    assert mixed["probe"] < 0.75 and abs(mixed["silhouette"]) < 0.2  # offsets of utterances do not separate labels


def test_separation_does_not_depend_on_order(generator):
    features, labels, who = clusters(generator, 1.0)
    order = torch.randperm(len(who), generator=generator).tolist()
    turned = separation(features[order], [labels[i] for i in order], [who[i] for i in order])
    assert turned["silhouette"] == pytest.approx(separation(features, labels, who)["silhouette"], rel=1e-5)
    with pytest.raises(ValueError, match="'just': 1"):
        separation(np.zeros((3, 2)), ["just", "must", "must"], [0, 1, 2])


@pytest.mark.parametrize("seed", range(4))
def test_few_utterances_that_share_labels_are_held_out_one_by_one(seed):
    # the utterance with both labels may not take the only other example of one with it
    labels, who = ["just", "must", "just", "must"] * 3, [0, 0, 1, 2] * 3
    features = np.random.default_rng(seed).normal(0, 0.1, (12, 3)) + np.array([[label == "just"] for label in labels])
    order = np.random.default_rng(seed).permutation(3)
    assert separation(features, labels, order[who])["probe"] == 1
