"""Lip DTW: zero for equal lips, forgiving of small delays alone, and the least of all warpings."""

import math
from functools import cache

import pytest
import torch

from avlib.metrics.lip_warping import WINDOW_S, least_maximum, lip_dtw, lip_frechet, warped_sum

FPS, LIP = 30, [1, 2]


def motion(seconds: float = 2.0, delay_s: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    """(T, 4, 3): vertices that open and close the mouth three times a second; only 1 and 2 are lips."""
    time = torch.arange(round(seconds * FPS)) / FPS - delay_s
    opening = scale * 0.01 * (1 - (2 * math.pi * 3 * time).cos()) * (time > 0)
    vertices = torch.zeros(len(time), 4, 3, dtype=torch.float64)
    vertices[:, 1, 1], vertices[:, 2, 1], vertices[:, 0, 0] = opening, -opening, 5 * opening
    return vertices


def plain_error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a[:, LIP] - b[:, LIP]).norm(dim=-1).mean())


def test_equal_lips_have_no_error_whatever_the_rest_of_the_face_does():
    other = motion()
    other[:, [0, 3]] += 1
    assert lip_dtw(motion(), motion(), LIP, FPS) == lip_dtw(other, motion(), LIP, FPS) == 0


def test_a_delay_costs_less_than_without_warping_and_a_wrong_amplitude_costs_more_than_a_delay():
    true, late = motion(), motion(delay_s=0.1)
    assert lip_dtw(late, true, LIP, FPS) < 0.25 * plain_error(late, true)
    weak = motion(scale=0.5)
    assert plain_error(weak, true) < plain_error(late, true), "the plain error prefers lips that mumble"
    assert lip_dtw(weak, true, LIP, FPS) > 2 * lip_dtw(late, true, LIP, FPS)


def test_delays_beyond_the_window_are_not_forgiven():
    """Of lips that open once."""

    def opened(frame: int) -> torch.Tensor:
        vertices = torch.zeros(60, 3, 3)
        vertices[frame : frame + 3, LIP, 1] = 0.01
        return vertices

    window = round(WINDOW_S * FPS)
    assert lip_dtw(opened(20 + window), opened(20), LIP, FPS) == 0
    beyond = lip_dtw(opened(20 + 3 * window), opened(20), LIP, FPS)
    assert beyond == pytest.approx(plain_error(opened(20 + 3 * window), opened(20)) / 2), "time stands still meanwhile"


def test_it_is_symmetric_in_the_unit_of_the_vertices_and_at_most_the_plain_error():
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(25, 4, 3, generator=draw).double(), torch.randn(25, 4, 3, generator=draw).double()
    error = lip_dtw(a, b, LIP, FPS)
    assert error == pytest.approx(lip_dtw(b, a, LIP, FPS)) and 0 < error <= plain_error(a, b)
    assert lip_dtw(1000 * a, 1000 * b, LIP, FPS) == pytest.approx(1000 * error)
    assert lip_dtw([a, b], [a, a], LIP, FPS) == pytest.approx(error / 2), "the mean over sequences"
    still = a[:1].expand(25, -1, -1)
    assert lip_dtw(still + 0.5, still, LIP, FPS) == pytest.approx(0.5 * 3**0.5)


def test_the_sum_is_the_least_of_all_paths():
    draw, frames, window = torch.Generator().manual_seed(1), 7, 2
    distances = torch.rand(frames, frames, generator=draw)
    band = [
        [float(distances[i, j]) if 0 <= j < frames else math.inf for j in range(i - window, i + window + 1)]
        for i in range(frames)
    ]

    @cache
    def least(i: int, j: int) -> float:
        if not (0 <= i < frames and 0 <= j < frames and abs(i - j) <= window):
            return math.inf
        distance = float(distances[i, j])
        if i == j == 0:
            return 2 * distance
        return min(least(i - 1, j) + distance, least(i, j - 1) + distance, least(i - 1, j - 1) + 2 * distance)

    assert warped_sum(band, window) == pytest.approx(least(frames - 1, frames - 1))


def test_a_sequence_shorter_than_the_window_is_warped_too():
    short = motion(seconds=0.1)
    assert len(short) == 3 and lip_dtw(short, short, LIP, FPS) == 0
    with pytest.raises(ValueError, match="predicted frames for"):
        lip_dtw(short, motion(), LIP, FPS)


def largest_on_the_best_path(distances) -> float:
    """By definition, over all paths from the first pair of frames to the last."""
    steps = ((1, 0), (0, 1), (1, 1))

    @cache
    def best(i: int, j: int) -> float:
        here = float(distances[i][j])
        if (i, j) == (len(distances) - 1, len(distances[0]) - 1):
            return here
        onwards = [best(i + a, j + b) for a, b in steps if i + a < len(distances) and j + b < len(distances[0])]
        return max(here, min(onwards))

    return best(0, 0)


def test_the_frechet_distance_is_the_least_maximum_of_all_paths():
    draw = torch.Generator().manual_seed(3)
    frames = 6
    full = torch.rand(frames, frames, generator=draw)
    band = torch.full((frames, 2 * frames + 1), torch.inf)
    for i in range(frames):
        band[i, frames - i : 2 * frames - i] = full[i]
    assert least_maximum(band.tolist(), frames) == pytest.approx(largest_on_the_best_path(full.tolist()))


def test_the_frechet_distance_forgives_delays_and_is_at_most_the_largest_plain_error():
    """Of lips that rest before and after: the first and the last frames of two motions always meet."""

    def spoken(delay: int, scale: float = 1.0) -> torch.Tensor:
        rest = torch.zeros(9, 4, 3, dtype=torch.float64)
        return torch.cat((rest[: 3 + delay], motion(1.0, scale=scale), rest[: 6 - delay]))

    true, late, weak = spoken(0), spoken(3), spoken(0, 0.5)
    largest = [float((x[:, LIP] - true[:, LIP]).norm(dim=-1).mean(1).max()) for x in (late, weak)]
    assert lip_frechet(true, true, LIP, FPS) == 0
    assert lip_frechet(late, true, LIP, FPS) < 1e-9 < largest[0]
    assert lip_frechet(weak, true, LIP, FPS) == pytest.approx(largest[1]), "no warping makes up for an amplitude"
    assert lip_frechet([weak, true], [true, true], LIP, FPS) == lip_frechet(weak, true, LIP, FPS) / 2
