"""Vertex metrics: values worked out by hand, zero for equal inputs, and what a metric must not depend on."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.multimodal import lip_vertex_error

from avlib.metrics.vertices import (
    absolute_fdd,
    fdd,
    jitter,
    lip_distance,
    lip_max,
    lve,
    lve_frames,
    mean_vertex_error,
    velocity_error,
)

LIP, UPPER = [1, 2], [0, 3]


def sequences(generator, *lengths, vertices=4):
    return [torch.randn(frames, vertices, 3, generator=generator) for frames in lengths]


def test_equal_sequences_have_no_error(generator):
    motion, template = sequences(generator, 6, 9), torch.zeros(4, 3)
    assert lve(motion, motion, LIP) == lip_distance(motion, motion, LIP) == 0
    assert (
        mean_vertex_error(motion, motion)
        == lip_max(motion, motion, LIP)
        == velocity_error(motion, motion, LIP, 30)
        == 0
    )
    assert fdd(motion, motion, template, UPPER) == absolute_fdd(motion, motion, template, UPPER) == 0


def test_lve_by_hand():
    truth = torch.zeros(2, 4, 3)
    prediction = truth.clone()
    prediction[0, 1] = torch.tensor([3.0, 4.0, 0.0])  # 25 in frame 0
    prediction[0, 2, 0] = 1.0  # smaller than the other in this frame: does not count
    prediction[1, 2, 2] = 3.0  # 9 in frame 1
    prediction[:, 0] = 100.0  # not a lip vertex
    assert lve_frames(prediction, truth, LIP).tolist() == [25, 9]
    assert lve(prediction, truth, LIP) == 17
    assert lip_distance(prediction, truth, LIP) == 4


def test_lve_equals_that_of_torchmetrics(generator):
    prediction, truth = sequences(generator, 9, 7, vertices=20)
    lip = [2, 3, 5, 7, 11]
    assert lve(prediction, truth, lip) == pytest.approx(float(lip_vertex_error(prediction, truth, lip)), rel=1e-6)


def test_the_mean_is_over_frames_not_sequences():
    still, moved = torch.zeros(1, 4, 3), torch.ones(3, 4, 3)
    truth = [torch.zeros(1, 4, 3), torch.zeros(3, 4, 3)]
    assert lve([still, moved], truth, LIP) == pytest.approx(3 * 3 / 4)
    assert mean_vertex_error([still, moved], truth) == pytest.approx(math.sqrt(3) * 3 / 4)


def test_errors_do_not_depend_on_the_coordinate_system(generator):
    (prediction, truth), shift = sequences(generator, 5, 5), torch.randn(3, generator=generator)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    moved = [x @ rotation + shift for x in (prediction, truth)]
    assert lve(*moved, LIP) == pytest.approx(lve(prediction, truth, LIP), rel=1e-4)
    assert mean_vertex_error(*moved) == pytest.approx(mean_vertex_error(prediction, truth), rel=1e-4)
    millimetres = lve(prediction * 1000, truth * 1000, LIP)
    assert millimetres == pytest.approx(1e6 * lve(prediction, truth, LIP), rel=1e-4)


def test_lengths_may_differ_by_two_frames_but_not_by_three(generator):
    prediction, truth = sequences(generator, 8, 6)
    assert lve(prediction, truth, LIP) == lve(prediction[:6], truth, LIP)
    with pytest.raises(ValueError, match="sequence 0: 9 predicted frames for 6 true ones"):
        lve(torch.zeros(9, 4, 3), truth, LIP)


def test_sequences_that_do_not_match_are_named():
    with pytest.raises(ValueError, match=r"sequence 1: predicted \(2, 5, 3\), true \(2, 4, 3\)"):
        mean_vertex_error([torch.zeros(2, 4, 3), torch.zeros(2, 5, 3)], [torch.zeros(2, 4, 3)] * 2)
    with pytest.raises(ValueError, match="2 predicted sequences for 1 true ones"):
        lve([torch.zeros(2, 4, 3)] * 2, torch.zeros(2, 4, 3), LIP)


def test_fdd_and_its_sign_by_hand():
    template = torch.ones(4, 3)
    truth = template.expand(2, 4, 3).clone()
    truth[1, 0, 0] += 2.0  # squared displacement of vertex 0: 0, 4; deviation 2; mean over two vertices 1
    still = template.expand(2, 4, 3)
    assert fdd(still, truth, template, UPPER) == 1
    assert fdd(truth, still, template, UPPER) == -1
    pair = ([still, truth], [truth, still], template, UPPER)
    assert fdd(*pair) == 0 and absolute_fdd(*pair) == 1


@pytest.mark.parametrize(
    "of, by_hand",
    [
        ("squared displacement", lambda x, rest: ((x - rest) ** 2).sum(-1)),
        ("steps", lambda x, rest: np.linalg.norm(np.diff(x, axis=0), axis=-1)),
        ("coordinate sum", lambda x, rest: x.sum(-1)),
        ("distance from the mean", lambda x, rest: np.linalg.norm(x - x.mean(0), axis=-1)),
    ],
)
def test_each_kind_of_dynamics_by_hand(generator, of, by_hand):
    prediction, truth = sequences(generator, 8, 8)
    rest = torch.randn(4, 3, generator=generator)
    true, predicted = (
        by_hand(x.double().numpy(), rest.double().numpy())[:, UPPER].std(0).mean() for x in (truth, prediction)
    )
    assert fdd(prediction, truth, rest, UPPER, of) == pytest.approx(true - predicted, rel=1e-4)
    assert absolute_fdd(prediction, truth, rest, UPPER, of) == pytest.approx(abs(true - predicted), rel=1e-4)


def test_fdd_takes_a_template_for_each_sequence(generator):
    truth, rests = sequences(generator, 5, 7), [torch.randn(4, 3, generator=generator) for _ in range(2)]
    still = [r.expand(len(t), 4, 3) for r, t in zip(rests, truth)]
    each = [fdd(s, t, r, UPPER) for s, t, r in zip(still, truth, rests)]
    assert fdd(still, truth, rests, UPPER) == pytest.approx(sum(each) / 2)
    with pytest.raises(ValueError, match="1 templates for 2 sequences"):
        fdd(still, truth, rests[:1], UPPER)


def test_lip_max_is_that_of_the_worst_frame():
    truth = torch.zeros(5, 4, 3)
    prediction = truth.clone()
    prediction[3, 2] = torch.tensor([3.0, 4.0, 0.0])
    prediction[:, 0] = 100.0  # not a lip vertex
    assert lip_max(prediction, truth, LIP) == 5 and lip_max([prediction, truth], [truth, truth], LIP) == 2.5


@pytest.mark.parametrize("fps", [25, 60])
def test_derivatives_are_in_seconds(fps):
    """Whatever the rate: of a steady motion, which has no jitter, and of one whose third derivative is 6."""
    time = (torch.arange(3 * fps, dtype=torch.float64) / fps)[:, None, None]
    away = torch.tensor([0.0, 0.6, 0.8]).double()
    still, steady, cubic = (0 * time * away).expand(-1, 4, -1), (2 * time * away).expand(-1, 4, -1), time**3 * away
    assert velocity_error(steady, still, LIP, fps) == pytest.approx(2)
    assert jitter(steady, fps) == pytest.approx(0, abs=1e-6) and jitter(cubic, fps) == pytest.approx(6)
    assert jitter(cubic.expand(-1, 4, -1) + steady, fps) == pytest.approx(6)
