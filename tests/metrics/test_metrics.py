"""Hand-worked values, zeros for equal inputs, and what each metric must not react to."""

import math

import jiwer
import numpy as np
import pytest
import torch
from torchmetrics.functional.multimodal import lip_vertex_error

from avlib.metrics import error_rates, feature_separation, lips
from avlib.metrics import vertices as vertices_module
from avlib.speech.segment import Segment

LIP, UPPER = [1, 2], [0, 3]


def sequences(generator, *lengths, vertices=4):
    return [torch.randn(frames, vertices, 3, generator=generator) for frames in lengths]


def test_equal_sequences_have_no_error(generator):
    motion, template = sequences(generator, 6, 9), torch.zeros(4, 3)
    assert vertices_module.lve(motion, motion, LIP) == vertices_module.lip_distance(motion, motion, LIP) == 0
    assert vertices_module.mean_vertex_error(motion, motion) == 0
    assert (
        vertices_module.fdd(motion, motion, template, UPPER)
        == vertices_module.absolute_fdd(motion, motion, template, UPPER)
        == 0
    )
    assert lips.aperture_correlation(motion, motion, 1, 2) == pytest.approx(1)


def test_lve_by_hand():
    truth = torch.zeros(2, 4, 3)
    prediction = truth.clone()
    prediction[0, 1] = torch.tensor([3.0, 4.0, 0.0])  # 25 in frame 0
    prediction[0, 2, 0] = 1.0  # smaller in the same frame: does not count
    prediction[1, 2, 2] = 3.0  # 9 in frame 1
    prediction[:, 0] = 100.0  # not of the lips
    assert vertices_module.lve_frames(prediction, truth, LIP).tolist() == [25, 9]
    assert vertices_module.lve(prediction, truth, LIP) == 17
    assert vertices_module.lip_distance(prediction, truth, LIP) == 4


def test_lve_is_that_of_torchmetrics(generator):
    prediction, truth = sequences(generator, 9, 7, vertices=20)
    lip = [2, 3, 5, 7, 11]
    assert vertices_module.lve(prediction, truth, lip) == pytest.approx(
        float(lip_vertex_error(prediction, truth, lip)), rel=1e-6
    )


def test_frames_are_pooled_not_sequences():
    still, moved = torch.zeros(1, 4, 3), torch.ones(3, 4, 3)
    truth = [torch.zeros(1, 4, 3), torch.zeros(3, 4, 3)]
    assert vertices_module.lve([still, moved], truth, LIP) == pytest.approx(3 * 3 / 4)
    assert vertices_module.mean_vertex_error([still, moved], truth) == pytest.approx(math.sqrt(3) * 3 / 4)


def test_errors_do_not_depend_on_the_frame_of_reference(generator):
    (prediction, truth), shift = sequences(generator, 5, 5), torch.randn(3, generator=generator)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    moved = [x @ turn + shift for x in (prediction, truth)]
    for metric in (
        lambda p, t: vertices_module.lve(p, t, LIP),
        vertices_module.mean_vertex_error,
        lambda p, t: lips.aperture_correlation(p, t, 1, 2),
    ):
        assert metric(*moved) == pytest.approx(metric(prediction, truth), rel=1e-4)
    millimetres = vertices_module.lve(prediction * 1000, truth * 1000, LIP)
    assert millimetres == pytest.approx(1e6 * vertices_module.lve(prediction, truth, LIP), rel=1e-4)


def test_two_frames_more_are_cut_and_three_are_an_error(generator):
    prediction, truth = sequences(generator, 8, 6)
    assert vertices_module.lve(prediction, truth, LIP) == vertices_module.lve(prediction[:6], truth, LIP)
    with pytest.raises(ValueError, match="sequence 0: 9 predicted frames for 6 true ones"):
        vertices_module.lve(torch.zeros(9, 4, 3), truth, LIP)


def test_sequences_that_do_not_match_are_named():
    with pytest.raises(ValueError, match=r"sequence 1: predicted \(2, 5, 3\), true \(2, 4, 3\)"):
        vertices_module.mean_vertex_error([torch.zeros(2, 4, 3), torch.zeros(2, 5, 3)], [torch.zeros(2, 4, 3)] * 2)
    with pytest.raises(ValueError, match="2 predicted sequences for 1 true ones"):
        vertices_module.lve([torch.zeros(2, 4, 3)] * 2, torch.zeros(2, 4, 3), LIP)


def test_fdd_by_hand_and_by_sign():
    template = torch.ones(4, 3)
    truth = template.expand(2, 4, 3).clone()
    truth[1, 0, 0] += 2.0  # squared displacement of vertex 0: 0, 4; deviation 2; mean over two vertices 1
    still = template.expand(2, 4, 3)
    assert vertices_module.fdd(still, truth, template, UPPER) == 1
    assert vertices_module.fdd(truth, still, template, UPPER) == -1
    pair = ([still, truth], [truth, still], template, UPPER)
    assert vertices_module.fdd(*pair) == 0 and vertices_module.absolute_fdd(*pair) == 1


@pytest.mark.parametrize(
    "of, by_hand",
    [
        ("squared displacement", lambda x, rest: ((x - rest) ** 2).sum(-1)),
        ("steps", lambda x, rest: np.linalg.norm(np.diff(x, axis=0), axis=-1)),
        ("coordinate sum", lambda x, rest: x.sum(-1)),
        ("distance from the mean", lambda x, rest: np.linalg.norm(x - x.mean(0), axis=-1)),
    ],
)
def test_what_is_called_dynamics(generator, of, by_hand):
    prediction, truth = sequences(generator, 8, 8)
    rest = torch.randn(4, 3, generator=generator)
    true, predicted = (
        by_hand(x.double().numpy(), rest.double().numpy())[:, UPPER].std(0).mean() for x in (truth, prediction)
    )
    assert vertices_module.fdd(prediction, truth, rest, UPPER, of) == pytest.approx(true - predicted, rel=1e-4)
    assert vertices_module.absolute_fdd(prediction, truth, rest, UPPER, of) == pytest.approx(
        abs(true - predicted), rel=1e-4
    )


def test_fdd_takes_a_template_for_each_sequence(generator):
    truth, rests = sequences(generator, 5, 7), [torch.randn(4, 3, generator=generator) for _ in range(2)]
    still = [r.expand(len(t), 4, 3) for r, t in zip(rests, truth)]
    each = [vertices_module.fdd(s, t, r, UPPER) for s, t, r in zip(still, truth, rests)]
    assert vertices_module.fdd(still, truth, rests, UPPER) == pytest.approx(sum(each) / 2)
    with pytest.raises(ValueError, match="1 templates for 2 sequences"):
        vertices_module.fdd(still, truth, rests[:1], UPPER)


def mouth(gaps) -> torch.Tensor:
    """Two lip vertices, (T, 2, 3), that far apart."""
    gaps = torch.as_tensor(gaps, dtype=torch.float32)
    return torch.stack([torch.stack([0 * gaps, gaps, 0 * gaps], -1), torch.zeros(len(gaps), 3)], 1)


def test_aperture_and_its_correlation():
    truth = mouth([0, 1, 2, 1, 0])
    assert lips.lip_aperture(truth, 0, 1).tolist() == [0, 1, 2, 1, 0]
    assert lips.lip_aperture(truth[None], [0, 0], [1, 1]).shape == (1, 5)
    assert lips.aperture_correlation(mouth([1, 1.5, 2, 1.5, 1]), truth, 0, 1) == pytest.approx(1)
    assert lips.aperture_correlation(mouth([2, 1, 0, 1, 2]), truth, 0, 1) == pytest.approx(-1)
    assert math.isnan(lips.aperture_correlation(mouth([1] * 5), truth, 0, 1))


def test_bilabial_closure_looks_at_p_b_and_m_alone():
    phonemes = [Segment("ˈɑː", 0.0, 0.08), Segment("m", 0.08, 0.16), Segment("t", 0.16, 0.24), Segment("b", 0.24, 0.28)]
    truth, mumbled = mouth([5, 5, 0, 1, 4, 4, 0]), mouth([0, 0, 2, 3, 0, 0, 1])  # 25 fps
    assert lips.bilabial_gaps(mumbled, 0, 1, phonemes, fps=25).tolist() == [2, 1]
    assert lips.bilabial_closure(mumbled, truth, 0, 1, phonemes, fps=25) == 1.5
    assert lips.bilabial_closure([mumbled, truth], [truth, truth], 0, 1, [phonemes, phonemes], fps=25) == 0.75
    with pytest.raises(ValueError, match="no p, b or m"):
        lips.bilabial_closure(truth, truth, 0, 1, phonemes[:1], fps=25)


def test_rates_by_hand():
    assert error_rates.error_counts("you must", "you just") == (1, 8)
    assert error_rates.cer("abcd", "abXd") == 0.25
    assert error_rates.wer("we must go", "we just go now") == pytest.approx(2 / 3)
    assert error_rates.ver("pat", "bat") == 0 < error_rates.ver("pat", "fat")
    assert error_rates.cer("", "abc") == 3 and error_rates.cer("abc", "") == 1 and error_rates.cer("", "") == 0
    assert error_rates.cer("kitten", "sitting") == 0.5


def test_rates_are_those_of_jiwer():
    said, read = ["you must go now", "it is just me"], ["you just go", "it is a must"]
    assert error_rates.corpus_rate(said, read) == pytest.approx(jiwer.cer(said, read))
    assert error_rates.corpus_rate(said, read, words=True) == pytest.approx(jiwer.wer(said, read))
    assert [error_rates.wer(s, r) for s, r in zip(said, read)] == [jiwer.wer(s, r) for s, r in zip(said, read)]


def test_corpus_rate_weighs_by_length():
    assert error_rates.corpus_rate(["a", "abcdefghi"], ["x", "abcdefghi"]) == pytest.approx(0.1)
    assert error_rates.corpus_rate(["go", "we must go now"], ["no", "we must go now"], words=True) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="2 references, 1 hypotheses"):
        error_rates.corpus_rate(["a", "b"], ["a"])


def clusters(generator, distance, utterances=12, frames=5):
    """Features of two labels, spoken in turn by utterances whose own offset is larger than the noise."""
    who = torch.arange(utterances).repeat_interleave(frames)
    features = (
        0.2 * torch.randn(len(who), 6, generator=generator) + torch.randn(utterances, 6, generator=generator)[who]
    )
    features[:, 0] += distance * (who % 2)
    return features, ["must" if u % 2 else "just" for u in who.tolist()], who.tolist()


def test_separation_tells_words_from_utterances(generator):
    apart, mixed = (feature_separation.separation(*clusters(generator, d)) for d in (10.0, 0.0))
    assert apart["probe"] == 1 and apart["silhouette"] > 0.5
    assert mixed["probe"] < 0.75 and abs(mixed["silhouette"]) < 0.2  # what tells utterances apart gains nothing


def test_separation_does_not_depend_on_order(generator):
    features, labels, who = clusters(generator, 1.0)
    order = torch.randperm(len(who), generator=generator).tolist()
    turned = feature_separation.separation(features[order], [labels[i] for i in order], [who[i] for i in order])
    assert turned["silhouette"] == pytest.approx(
        feature_separation.separation(features, labels, who)["silhouette"], rel=1e-5
    )
    with pytest.raises(ValueError, match="'just': 1"):
        feature_separation.separation(np.zeros((3, 2)), ["just", "must", "must"], [0, 1, 2])
