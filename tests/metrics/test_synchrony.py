"""Delays are found where there are any, and loudness goes with motion where it does."""

import math

import numpy as np
import pytest
import torch

from avlib.metrics import synchrony


def talking(frames=150, late=0):
    """A lip aperture that opens and closes, and stays as it is at both ends; `late` frames behind."""
    t = np.arange(-late, frames - late).clip(20, frames - 25)
    return torch.from_numpy(1 + np.sin(t / 5) + 0.5 * np.sin(t / 11 + 1))


@pytest.mark.parametrize("sizes", [(30, 33), (1, 6), (6, 1), (25, 25)])
def test_the_path_is_the_cheapest(sizes):
    generator = np.random.default_rng(0)
    x, y = (generator.normal(size=n) for n in sizes)
    path = synchrony.warping_path(x, y)
    assert path[0] == (0, 0) and path[-1] == (len(x) - 1, len(y) - 1)
    assert {(b[0] - a[0], b[1] - a[1]) for a, b in zip(path, path[1:])} <= {(0, 1), (1, 0), (1, 1)}
    total = np.full((len(x) + 1, len(y) + 1), np.inf)  # cell by cell
    total[0, 0] = 0
    for i in range(len(x)):
        for j in range(len(y)):
            total[i + 1, j + 1] = abs(x[i] - y[j]) + min(total[i, j + 1], total[i + 1, j], total[i, j])
    assert sum(abs(x[i] - y[j]) for i, j in path) == pytest.approx(total[-1, -1])


def test_equal_signals_go_side_by_side():
    x = np.array([0.0, 1, 1, 1, 0, 2])
    assert synchrony.warping_path(x, x) == [(i, i) for i in range(6)]


def test_extrema_by_hand():
    assert synchrony.extrema(np.array([0.0, 2, 1, 1, 1, 3, 0])) == {1: 1, 3: -1, 5: 1}
    assert synchrony.extrema(np.zeros(9)) == {}


@pytest.mark.parametrize("late", [0, 1, 3])
def test_mtm_is_how_late_lips_are(late):
    found = synchrony.delays(talking(late=late).numpy(), talking().numpy())
    assert len(found) >= 6 and set(found) == {late}
    assert synchrony.misalignment(talking(late=late), talking(), fps=25) == pytest.approx(40 * late)
    assert synchrony.misalignment(3 + 0.8 * talking(late=late), talking(), fps=50) == pytest.approx(20 * late)


def test_lips_that_stand_still_are_neither_early_nor_late():
    assert math.isnan(synchrony.misalignment(torch.ones(150), talking(), fps=25))


def test_a_match_is_not_looked_for_beyond_the_next_extremum():
    """Where the prediction is nothing like an opening till late, the path lays that on an earlier one of its size; this is no delay of
    a second. Sizes differ, for where they are alike rounding decides which is taken."""
    t = np.arange(120.0)
    opening = lambda **sizes: sum(size * np.exp(-(((t - int(at[1:])) / 4) ** 2)) for at, size in sizes.items())
    truth = opening(_30=1.0, _60=0.5, _90=1.0)
    assert set(synchrony.delays(opening(_62=1.0, _92=1.0), truth)) == {2}
    assert synchrony.delays(opening(_92=1.0), opening(_30=1.0, _60=0.5, _90=0.5)) == []


def test_an_opening_is_no_match_of_a_closure():
    """The path of these two also lays a maximum on a minimum, a frame away; the three matches of one kind are what counts."""
    truth, prediction = np.random.default_rng(1).integers(0, 4, size=(2, 24)).astype(float)
    assert synchrony.delays(prediction, truth) == [1, 0, 2]


def test_intensities_by_hand():
    vertices = torch.zeros(3, 4, 3)
    vertices[1:, 1, 0], vertices[2:, 2, 1] = 3.0, 1.0  # steps: 3 and 0, then 0 and 1; means 1.5 and 0.5
    vertices[1, 0] = 100.0  # not of the lips
    assert synchrony.lip_intensity(vertices, torch.tensor([1, 2])) == pytest.approx(math.sqrt((1.5**2 + 0.5**2) / 2))
    assert synchrony.speech_intensity(torch.tensor([3.0, -4.0])) == pytest.approx(math.sqrt(12.5))


def test_slcc_does_not_see_how_loud_a_speaker_is_in_all():
    speech, lips, who = [1.0, 2, 3, 10, 20, 30], [5.0, 6, 7, 1, 2, 3], list("aaabbb")
    assert synchrony.intensity_correlation(speech, lips, who) == pytest.approx(1)
    assert np.corrcoef(speech, lips)[0, 1] < 0  # across speakers the quiet one moves more
    assert synchrony.intensity_correlation(speech, [7.0, 6, 5, 3, 2, 1], who) == pytest.approx(-1)
    uneven = synchrony.intensity_correlation([1.0, 2, 1, 2, 3], [1.0, 2, 1, 3, 2], list("aabbb"))
    a, b, c = (
        np.sqrt([0.5, 0.5]) * [-1, 1],
        np.array([-1.0, 0, 1]),
        np.array([-1.0, 1, 0]),
    )  # spread as of samples: n - 1
    assert uneven == pytest.approx((a @ a + b @ c) / (a @ a + b @ b))
    one_still = synchrony.intensity_correlation(speech, [5.0, 6, 7, 0, 0, 0], who)
    assert one_still == pytest.approx(1)
    assert math.isnan(synchrony.intensity_correlation([1.0, 2], [1.0, 2], ["a", "b"]))
