"""Lip-sync scores: agreement of what belongs together, distances at every offset, and the sign of the offset."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from avlib.metrics.lip_sync import REACH, lip_sync, offset_distances


@pytest.fixture
def vectors(generator) -> Tensor:
    return normalize(torch.randn(60, 8, generator=generator), dim=1)


def test_lips_that_say_what_is_heard_agree_wholly(vectors):
    scores = lip_sync(vectors, vectors)
    assert scores is not None and scores.agreement == pytest.approx(1) and scores.distance < 1e-3
    assert scores.offset == 0 and scores.confidence == pytest.approx(2**0.5, abs=0.1)


@pytest.mark.parametrize("late", [-REACH, -1, 4, REACH])
def test_late_lips_have_a_positive_offset(vectors, late):
    lips = vectors.roll(late, 0)
    scores = lip_sync(lips, vectors)
    assert scores is not None and scores.offset == late and scores.distance < 1e-3 and abs(scores.agreement) < 0.2


def test_vectors_without_relation_have_no_agreement_and_no_confidence(vectors, generator):
    scores = lip_sync(vectors, normalize(torch.randn(60, 8, generator=generator), dim=1))
    assert scores is not None and abs(scores.agreement) < 0.2 and scores.confidence < 0.2 and scores.distance > 1.2


def test_distances_are_means_over_frames_that_have_both(vectors, generator):
    speech = normalize(torch.randn(60, 8, generator=generator), dim=1)
    for n, offset in enumerate(range(-REACH, REACH + 1)):
        pairs = [(t, t - offset) for t in range(60) if 0 <= t - offset < 60]
        expected = sum(float((vectors[t] - speech[s]).norm()) for t, s in pairs) / len(pairs)
        assert float(offset_distances(vectors @ speech.T)[n]) == pytest.approx(expected, rel=1e-5)


def test_too_few_frames_have_no_scores(vectors):
    assert lip_sync(vectors[:19], vectors[:19]) is None and lip_sync(vectors[:20], vectors[:20]) is not None
