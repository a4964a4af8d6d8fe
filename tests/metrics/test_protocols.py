"""One set of predictions under every protocol, compared with values by hand and with the functions of `metrics`."""

import json
import math
import re

import pytest
import torch

from avlib.metrics import protocols
from avlib.metrics.error_rates import cer, wer
from avlib.metrics.lip_sync import LipSync
from avlib.metrics.lip_warping import lip_dtw, lip_frechet
from avlib.metrics.lips import aperture_correlation, bilabial_closure, mouth_opening_difference
from avlib.metrics.measures import Comparison
from avlib.metrics.protocols import read_protocols, score_value, summary, sums_and_counts
from avlib.metrics.vertices import (
    absolute_fdd,
    fdd,
    jitter,
    lip_distance,
    lip_max,
    lve,
    mean_vertex_error,
    velocity_error,
)
from avlib.speech.segment import Segment

REGIONS = {
    "lip": torch.tensor([1, 2]),
    "upper_face": torch.tensor([0, 3]),
    "upper_lip_middle": torch.tensor([1]),
    "lower_lip_middle": torch.tensor([2]),
}
PHONEMES = [Segment("b", 0.4, 0.6), Segment("a", 0.6, 0.8), Segment("m", 0.8, 1.0)]
READ = {"reader": "you just", "judge": "you must"}
PROTOCOLS = read_protocols()


def random_rows(generator, lengths=(60, 40)):
    """Rows of two utterances with random predictions; and the predictions, truths and templates, a list of each."""
    rows, sequences = [], []
    for i, frames in enumerate(lengths):
        prediction, truth = torch.randn(2, frames, 5, 3, generator=generator).cumsum(1)
        rest = torch.randn(5, 3, generator=generator)
        comparison = Comparison(prediction, truth, rest, REGIONS, 25, PHONEMES, "you must go", READ)
        rows.append(
            {
                "utterance": f"a_{i}",
                "subject": "a",
                "style": "-",
                "frames": frames,
                "loudness": 0.1 * (i + 1),
                "scores": sums_and_counts(comparison),
            }
        )
        sequences.append((prediction, truth, rest))
    return rows, [list(x) for x in zip(*sequences)]


def values_under(rows, protocol):
    """The value of each metric."""
    return {name: m["value"] for name, m in summary(rows, "m", protocol).items()}


def test_the_kits_protocol_equals_the_metrics_functions(generator):
    rows, (prediction, truth, rest) = random_rows(generator)
    values = values_under(rows, "avlib")
    lip, upper = REGIONS["lip"], REGIONS["upper_face"]
    assert values["LVE"] == pytest.approx(lve(prediction, truth, lip), rel=1e-5)
    assert values["lip distance"] == pytest.approx(lip_distance(prediction, truth, lip), rel=1e-5)
    assert values["MVE"] == pytest.approx(mean_vertex_error(prediction, truth), rel=1e-5)
    assert values["FDD"] == pytest.approx(fdd(prediction, truth, rest, upper), rel=1e-4)
    assert values["|FDD|"] == pytest.approx(absolute_fdd(prediction, truth, rest, upper), rel=1e-4)
    assert values["aperture r"] == pytest.approx(aperture_correlation(prediction, truth, 1, 2), rel=1e-5)
    assert values["closure"] == pytest.approx(bilabial_closure(prediction, truth, 1, 2, [PHONEMES] * 2, 25), rel=1e-5)
    assert values["CER"] == pytest.approx(100 * cer("you must go", "you just"))
    assert values["CER_judge"] == pytest.approx(100 * cer("you must go", "you must")) and values["VER_judge"] > 0
    assert values["lip DTW"] == pytest.approx(
        sum(len(t) * lip_dtw(p, t, lip, 25) for p, t in zip(prediction, truth)) / sum(map(len, truth)), rel=1e-5
    )
    assert values["WER_mean"] == pytest.approx(100 * wer("you must go", "you just")) and values["VER"] > 0
    assert values["MTM"] > 0 and values["SLCC"] in (pytest.approx(1), pytest.approx(-1))


def test_the_further_metrics_equal_their_functions(generator):
    rows, (prediction, truth, _) = random_rows(generator)
    values, lip = values_under(rows, "avlib"), REGIONS["lip"]
    differences = [abs(jitter(p[:, lip], 25) - jitter(t[:, lip], 25)) for p, t in zip(prediction, truth)]
    assert values["MOD"] == pytest.approx(mouth_opening_difference(prediction, truth, 1, 2), rel=1e-5)
    assert values["lip max"] == pytest.approx(lip_max(prediction, truth, lip), rel=1e-5)
    assert values["lip velocity"] == pytest.approx(velocity_error(prediction, truth, lip, 25), rel=1e-5)
    assert values["lip Fréchet"] == pytest.approx(lip_frechet(prediction, truth, lip, 25), rel=1e-5)
    assert values["jitter"] == pytest.approx(sum(differences) / 2, rel=1e-3)
    assert 0 <= values["LRP"] < 50 < summary([row | equal_scores(truth[0]) for row in rows], "m")["LRP"]["value"]


def test_lip_sync_scores_are_means_over_the_sequences_that_have_them(generator):
    rows, (predictions, truths, rests) = random_rows(generator)
    found = [LipSync(0.5, 0.75, 0.25, 2), LipSync(0.25, 1.25, 0.75, -3)]
    comparisons = zip(predictions, truths, rests, found)
    scored = [{"scores": sums_and_counts(Comparison(p, t, r, REGIONS, 25, sync=s))} for p, t, r, s in comparisons]
    values = values_under([row | s for row, s in zip(rows, scored)] + rows, "avlib")
    assert values["sync agreement"] == 0.375 and values["sync distance"] == 1 and values["sync confidence"] == 0.5
    assert values["sync offset"] == 100, "ms, of 2 and 3 frames of video, whichever is late"
    assert {values_under(rows, "avlib")[f"sync {name}"] for name in LipSync._fields} == {None}


def equal_scores(motion) -> dict:
    """The scores of a prediction that equals the truth."""
    return {"scores": sums_and_counts(Comparison(motion, motion, motion[0], REGIONS, 25))}


def test_a_few_frames_have_no_velocity_or_jitter(generator):
    motion, rest = torch.randn(2, 3, 5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    scores = sums_and_counts(Comparison(*motion, rest, REGIONS, 25))
    one = sums_and_counts(Comparison(*motion[:, :1], rest, REGIONS, 25))
    assert scores["jitter(lip)"] == [0, 0] == one["velocity(lip)"] and scores["velocity(lip)"][1] == 2


def lip_errors_by_hand(truth, prediction, power=2, every=1, centred=False):
    """The lip error of each frame of one sequence."""
    errors = []
    for p, t in zip(prediction[:, [1, 2]], truth[::every, [1, 2]]):
        p, t = (x - centred * x.mean(0) for x in (p, t))
        errors.append(float((p - t).norm(dim=-1).max()) ** power)
    return errors


@pytest.mark.parametrize(
    "protocol, metric, options, pooled",
    [
        ("paper", "LVE", {}, True),
        ("codetalker", "LVE", {}, True),
        ("torchmetrics", "LVE", {}, True),
        ("released", "LVE", {"every": 2}, True),
        ("meshtalk", "LVE", {"power": 1, "centred": True}, True),
        ("unitalker", "LVE", {}, False),
        ("unitalker", "LVD", {"power": 1}, False),
    ],
)
def test_each_protocols_lve_by_hand(generator, protocol, metric, options, pooled):
    rows, (prediction, truth, _) = random_rows(generator)
    errors = [lip_errors_by_hand(t, p, **options) for p, t in zip(prediction, truth)]
    frames = sum(errors, [])
    expected = sum(frames) / len(frames) if pooled else sum(sum(e) / len(e) for e in errors) / len(errors)
    assert values_under(rows, protocol)[metric] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "protocol, metric, of",
    [
        ("codetalker", "FDD", "squared displacement"),
        ("torchmetrics", "FDD", "steps"),
        ("artalk", "|FDD|", "coordinate sum"),
        ("flame", "FDD", "distance from the mean"),
    ],
)
def test_each_protocols_fdd_equals_the_function_of_metrics(generator, protocol, metric, of):
    rows, (prediction, truth, rest) = random_rows(generator)
    function = absolute_fdd if metric == "|FDD|" else fdd
    assert values_under(rows, protocol)[metric] == pytest.approx(
        function(prediction, truth, rest, REGIONS["upper_face"], of), rel=1e-3
    )


def test_the_papers_error_rates_are_means_over_utterances(generator):
    rows, _ = random_rows(generator)
    rows[0]["scores"]["edits(of=characters)"], rows[1]["scores"]["edits(of=characters)"] = [100, 2], [0, 8]
    assert values_under(rows, "paper")["CER"] == 25 and values_under(rows, "avlib")["CER"] == 10


def test_lengths_that_differ_by_more_than_two_frames_are_an_error(generator):
    motion = torch.randn(9, 5, 3, generator=generator)
    assert sums_and_counts(Comparison(motion, motion[:7], motion[0], REGIONS, 25))["largest(lip)"] == [0, 7]
    with pytest.raises(ValueError, match="9 predicted frames for 6 true ones"):
        Comparison(motion, motion[:6], motion[0], REGIONS, 25)


def test_metrics_without_region_phonemes_or_several_clips_are_none(generator):
    motion = torch.randn(2, 12, 5, 3, generator=generator)
    lips = {k: v for k, v in REGIONS.items() if k != "upper_face"}
    rows = [
        {
            "utterance": "a",
            "style": "-",
            "subject": "a",
            "loudness": 1.0,
            "scores": sums_and_counts(Comparison(*motion, motion[0, 0], lips, 25)),
        }
    ]
    values = values_under(rows, "avlib")
    assert values["FDD"] is None and values["closure"] is None and values["SLCC"] is None and values["LVE"] > 0
    json.dumps(values, allow_nan=False)


def test_lips_that_do_not_move_have_neither_timing_nor_correlation(generator):
    rest, truth = torch.randn(5, 3, generator=generator), torch.randn(40, 5, 3, generator=generator)
    scores = sums_and_counts(Comparison(rest.expand_as(truth), truth, rest, REGIONS, 25))
    assert [scores[k][1] for k in scores if k.startswith(("misalignment", "aperture"))] == [0, 0]


def test_slcc_standardises_within_each_style():
    """A style in which all sentences move more does not lower the correlation."""
    score = PROTOCOLS["perceptual"].scores["SLCC"]
    rows = [
        {
            "utterance": str(i),
            "subject": "a",
            "style": style,
            "loudness": float(i),
            "scores": {score.measure.key: [base + i, 1]},
        }
        for style, base in (("x", 0), ("y", 100))
        for i in range(4)
    ]
    assert score_value(rows, score) == pytest.approx(1)


def test_a_mask_does_not_depend_on_order_or_repetition_of_vertices():
    values = protocols.masks({"lip": torch.tensor([3, 1, 3]), "same": [1, 3], "other": [1, 4]})
    assert values["lip"] == values["same"] != values["other"]
    assert values["lip"]["vertices"] == 2 and re.fullmatch("[0-9a-f]{6}", values["lip"]["hash"])


def test_printed_units():
    squared, distance = (PROTOCOLS["avlib"].scores[k] for k in ("LVE", "lip distance"))
    assert squared.printed("m") == (1e-5, "1e-5 m²") and squared.printed("normalised") == (1e-4, "1e-4 normalised²")
    assert distance.printed("m") == (1e-3, "mm") and distance.printed("normalised") == (1e-3, "1e-3 normalised")
    velocity, jitter_score = (PROTOCOLS["avlib"].scores[k] for k in ("lip velocity", "jitter"))
    assert velocity.printed("m") == (1e-3, "mm/s") and jitter_score.printed("m") == (1, "m/s³")
    assert PROTOCOLS["avlib"].scores["CER"].printed("m") == (1, "%")


def test_no_code_depends_on_a_protocols_name():
    """The fields of a protocol decide what is computed; "avlib" is the default of the tables."""
    rooms = [protocols.PATH.parent, protocols.PATH.parent.parent / "evaluation"]
    sources = [path.read_text() for room in rooms for path in room.glob("*.py")]
    named = {name for name in PROTOCOLS for text in sources if re.search(rf"[=\\[(,:] ?['\"]{name}['\"]", text)}
    assert named <= {"avlib", "codetalker"}  # an animator has that name too
    assert all(p.source and p.about and p.scores for p in PROTOCOLS.values())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "smallest"}, "paper: LVE: kind 'smallest'"),
        ({"average": "median"}, "average 'median'; expected one of pooled, "),
        ({"by": "me"}, "by 'me'; expected one of reader, judge"),
        ({"sqrt": True}, "sqrt"),
    ],
)
def test_an_invalid_protocol_is_an_error_that_names_it(tmp_path, monkeypatch, change, message):
    given = json.loads(protocols.PATH.read_text())
    given["paper"]["scores"]["LVE"] |= change
    (tmp_path / "protocols.json").write_text(json.dumps(given))
    monkeypatch.setattr(protocols, "PATH", tmp_path / "protocols.json")
    with pytest.raises(ValueError, match=message):
        read_protocols.__wrapped__()


def test_nan_in_a_prediction_gives_a_nan_error(generator):
    prediction, truth = torch.randn(2, 12, 5, 3, generator=generator)
    prediction[3, 1] = math.nan
    assert math.isnan(sums_and_counts(Comparison(prediction, truth, truth[0], REGIONS, 25))["largest(lip, power=2)"][0])
