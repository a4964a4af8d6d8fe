"""Lip aperture, its correlation, and closure in bilabials: values worked out by hand."""

import math

import pytest
import torch

from avlib.metrics.lips import (
    READABLE,
    aperture_correlation,
    bilabial_closure,
    bilabial_gaps,
    lip_aperture,
    mouth_opening_difference,
    readable_frames,
)
from avlib.speech.segment import Segment


def mouth(gaps) -> torch.Tensor:
    """Two lip vertices, (T, 2, 3), with these distances (T,)."""
    gaps = torch.as_tensor(gaps, dtype=torch.float32)
    return torch.stack([torch.stack([0 * gaps, gaps, 0 * gaps], -1), torch.zeros(len(gaps), 3)], 1)


def test_aperture_and_its_correlation():
    truth = mouth([0, 1, 2, 1, 0])
    assert lip_aperture(truth, 0, 1).tolist() == [0, 1, 2, 1, 0]
    assert lip_aperture(truth[None], [0, 0], [1, 1]).shape == (1, 5)
    assert aperture_correlation(mouth([1, 1.5, 2, 1.5, 1]), truth, 0, 1) == pytest.approx(1)
    assert aperture_correlation(mouth([2, 1, 0, 1, 2]), truth, 0, 1) == pytest.approx(-1)
    assert math.isnan(aperture_correlation(mouth([1] * 5), truth, 0, 1))


def test_the_mouth_opening_difference_counts_too_wide_and_too_narrow():
    truth = mouth([0, 1, 2, 1, 0])
    assert mouth_opening_difference(truth, truth, 0, 1) == 0
    assert mouth_opening_difference(mouth([1, 0, 2, 1, 0]), truth, 0, 1) == pytest.approx(2 / 5)
    both = mouth_opening_difference([mouth([1]), truth], [mouth([0]), truth], 0, 1)
    assert both == pytest.approx(1 / 6), "the mean is over frames"


def test_lips_can_be_read_within_a_share_of_the_mouths_width():
    rest = torch.tensor([[-2.0, 0, 0], [3.0, 0, 0], [0, 1.0, 0]])
    limit = READABLE * 5
    assert readable_frames(torch.tensor([0.0, limit, 1.01 * limit]), rest).tolist() == [True, True, False]
    assert readable_frames(torch.tensor([20 * limit]), 20 * rest).tolist() == [True], "in any unit"


def test_aperture_correlation_does_not_depend_on_the_coordinate_system(generator):
    prediction, truth = torch.randn(2, 5, 4, 3, generator=generator)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    moved = [x @ rotation + torch.tensor([0.3, -1.0, 2.0]) for x in (prediction, truth)]
    assert aperture_correlation(truth, truth, 1, 2) == pytest.approx(1)
    assert aperture_correlation(*moved, 1, 2) == pytest.approx(aperture_correlation(prediction, truth, 1, 2), rel=1e-4)


def test_bilabial_closure_depends_on_p_b_and_m_alone():
    phonemes = [Segment("ˈɑː", 0.0, 0.08), Segment("m", 0.08, 0.16), Segment("t", 0.16, 0.24), Segment("b", 0.24, 0.28)]
    truth, mumbled = mouth([5, 5, 0, 1, 4, 4, 0]), mouth([0, 0, 2, 3, 0, 0, 1])  # 25 fps
    assert bilabial_gaps(mumbled, 0, 1, phonemes, fps=25).tolist() == [2, 1]
    assert bilabial_closure(mumbled, truth, 0, 1, phonemes, fps=25) == 1.5
    assert bilabial_closure([mumbled, truth], [truth, truth], 0, 1, [phonemes, phonemes], fps=25) == 0.75
    with pytest.raises(ValueError, match="no p, b or m"):
        bilabial_closure(truth, truth, 0, 1, phonemes[:1], fps=25)
