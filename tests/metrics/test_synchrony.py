"""MTM measures delays of lip extrema, SLCC how far loudness and lip motion vary together."""

import math

import numpy as np
import pytest
import torch

from avlib.metrics import synchrony


def talking(frames=150, late=0):
    """A lip aperture that opens and closes, constant at both ends, delayed by `late` frames."""
    t = np.arange(-late, frames - late).clip(20, frames - 25)
    return torch.from_numpy(1 + np.sin(t / 5) + 0.5 * np.sin(t / 11 + 1))


@pytest.mark.parametrize("sizes", [(30, 33), (1, 6), (6, 1), (25, 25)])
def test_warping_path_has_the_least_cost(sizes):
    generator = np.random.default_rng(0)
    x, y = (generator.normal(size=n) for n in sizes)
    path = synchrony.warping_path(x, y)
    assert path[0] == (0, 0) and path[-1] == (len(x) - 1, len(y) - 1)
    assert {(b[0] - a[0], b[1] - a[1]) for a, b in zip(path, path[1:])} <= {(0, 1), (1, 0), (1, 1)}
    total = np.full((len(x) + 1, len(y) + 1), np.inf)  # reference, cell by cell
    total[0, 0] = 0
    for i in range(len(x)):
        for j in range(len(y)):
            total[i + 1, j + 1] = abs(x[i] - y[j]) + min(total[i, j + 1], total[i + 1, j], total[i, j])
    assert sum(abs(x[i] - y[j]) for i, j in path) == pytest.approx(total[-1, -1])


def test_warping_path_of_equal_signals_is_the_diagonal():
    x = np.array([0.0, 1, 1, 1, 0, 2])
    assert synchrony.warping_path(x, x) == [(i, i) for i in range(6)]


def test_extrema_by_hand():
    assert synchrony.extrema(np.array([0.0, 2, 1, 1, 1, 3, 0])) == {1: 1, 3: -1, 5: 1}
    assert synchrony.extrema(np.zeros(9)) == {}


@pytest.mark.parametrize("late", [0, 1, 3])
def test_mtm_is_the_delay_of_the_lips(late):
    frames = synchrony.delays(talking(late=late).numpy(), talking().numpy())
    assert len(frames) >= 6 and set(frames) == {late}
    assert synchrony.misalignment(talking(late=late), talking(), fps=25) == pytest.approx(40 * late)
    assert synchrony.misalignment(3 + 0.8 * talking(late=late), talking(), fps=50) == pytest.approx(20 * late)


def test_mtm_of_lips_that_do_not_move_is_nan():
    assert math.isnan(synchrony.misalignment(torch.ones(150), talking(), fps=25))


def test_matches_lie_between_the_neighbouring_extrema():
    """The path pairs a late opening of the prediction with an earlier one of its size; this is not a delay of a second.

    The sizes differ, since rounding would decide between openings of the same size.
    """
    t = np.arange(120.0)

    def openings(sizes):
        return sum(size * np.exp(-(((t - frame) / 4) ** 2)) for frame, size in sizes.items())

    truth = openings({30: 1.0, 60: 0.5, 90: 1.0})
    assert set(synchrony.delays(openings({62: 1.0, 92: 1.0}), truth)) == {2}
    assert synchrony.delays(openings({92: 1.0}), openings({30: 1.0, 60: 0.5, 90: 0.5})) == []


def test_a_maximum_does_not_match_a_minimum():
    """The path of these two also pairs a maximum with a minimum a frame away; only the three other matches count."""
    truth, prediction = np.random.default_rng(1).integers(0, 4, size=(2, 24)).astype(float)
    assert synchrony.delays(prediction, truth) == [1, 0, 2]


def test_intensities_by_hand():
    vertices = torch.zeros(3, 4, 3)
    vertices[1:, 1, 0], vertices[2:, 2, 1] = 3.0, 1.0  # steps: 3 and 0, then 0 and 1; means 1.5 and 0.5
    vertices[1, 0] = 100.0  # not a lip vertex
    assert synchrony.lip_intensity(vertices, torch.tensor([1, 2])) == pytest.approx(math.sqrt((1.5**2 + 0.5**2) / 2))
    assert synchrony.speech_intensity(torch.tensor([3.0, -4.0])) == pytest.approx(math.sqrt(12.5))


def test_slcc_does_not_depend_on_the_loudness_of_a_speaker():
    speech, lips, who = [1.0, 2, 3, 10, 20, 30], [5.0, 6, 7, 1, 2, 3], list("aaabbb")
    assert synchrony.intensity_correlation(speech, lips, who) == pytest.approx(1)
    assert np.corrcoef(speech, lips)[0, 1] < 0  # across speakers, the quiet one moves more
    assert synchrony.intensity_correlation(speech, [7.0, 6, 5, 3, 2, 1], who) == pytest.approx(-1)
    uneven = synchrony.intensity_correlation([1.0, 2, 1, 2, 3], [1.0, 2, 1, 3, 2], list("aabbb"))
    a = np.sqrt([0.5, 0.5]) * [-1, 1]  # standardised by the sample's standard deviation, which divides by n - 1
    b_speech, b_lips = np.array([-1.0, 0, 1]), np.array([-1.0, 1, 0])
    assert uneven == pytest.approx((a @ a + b_speech @ b_lips) / (a @ a + b_speech @ b_speech))
    one_still = synchrony.intensity_correlation(speech, [5.0, 6, 7, 0, 0, 0], who)
    assert one_still == pytest.approx(1)
    assert math.isnan(synchrony.intensity_correlation([1.0, 2], [1.0, 2], ["a", "b"]))
