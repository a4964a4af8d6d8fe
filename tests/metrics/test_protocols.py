"""One set of predictions under every protocol: by hand, against the plain metrics, and without the protocols' names."""

import json
import math
import re

import pytest
import torch

from avlib.metrics import error_rates, protocols, vertices
from avlib.metrics import lips as lips_module
from avlib.metrics.measures import Comparison, Measure
from avlib.metrics.protocols import Score
from avlib.speech.segment import Segment

REGIONS = {
    "lip": torch.tensor([1, 2]),
    "upper_face": torch.tensor([0, 3]),
    "upper_lip_middle": torch.tensor([1]),
    "lower_lip_middle": torch.tensor([2]),
}
SPOKEN = [Segment("b", 0.4, 0.6), Segment("a", 0.6, 0.8), Segment("m", 0.8, 1.0)]
KNOWN = protocols.read_protocols()


def rows_of(generator, lengths=(60, 40), **more):
    """Rows of two utterances with a prediction each, and the vertices they were made from."""
    made, rows = [], []
    for i, frames in enumerate(lengths):
        prediction, truth = torch.randn(2, frames, 5, 3, generator=generator).cumsum(1)
        rest = torch.randn(5, 3, generator=generator)
        compared = Comparison(prediction, truth, rest, REGIONS, 25, SPOKEN, "you must go", "you just")
        rows.append(
            {
                "utterance": f"a_{i}",
                "subject": "a",
                "style": "-",
                "frames": frames,
                "loudness": 0.1 * (i + 1),
                "scores": protocols.sums_and_counts(compared),
                **more,
            }
        )
        made.append((prediction, truth, rest))
    return rows, [list(x) for x in zip(*made)]


def under(rows, protocol):
    return {name: m["value"] for name, m in protocols.summary(rows, "m", protocol).items()}


def test_the_kits_numbers_are_those_of_the_plain_metrics(generator):
    rows, (prediction, truth, rest) = rows_of(generator)
    got = under(rows, "avlib")
    lip, upper = REGIONS["lip"], REGIONS["upper_face"]
    assert got["LVE"] == pytest.approx(vertices.lve(prediction, truth, lip), rel=1e-5)
    assert got["lip distance"] == pytest.approx(vertices.lip_distance(prediction, truth, lip), rel=1e-5)
    assert got["MVE"] == pytest.approx(vertices.mean_vertex_error(prediction, truth), rel=1e-5)
    assert got["FDD"] == pytest.approx(vertices.fdd(prediction, truth, rest, upper), rel=1e-4)
    assert got["|FDD|"] == pytest.approx(vertices.absolute_fdd(prediction, truth, rest, upper), rel=1e-4)
    assert got["aperture r"] == pytest.approx(lips_module.aperture_correlation(prediction, truth, 1, 2), rel=1e-5)
    assert got["closure"] == pytest.approx(
        lips_module.bilabial_closure(prediction, truth, 1, 2, [SPOKEN] * 2, 25), rel=1e-5
    )
    assert got["CER"] == pytest.approx(100 * error_rates.cer("you must go", "you just"))
    assert got["WER_mean"] == pytest.approx(100 * error_rates.wer("you must go", "you just")) and got["VER"] > 0
    assert got["MTM"] > 0 and got["SLCC"] in (pytest.approx(1), pytest.approx(-1))


def by_hand(truth, prediction, power=2, every=1, centred=False):
    """Lip errors of one sequence's frames, one after the other."""
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
    rows, (prediction, truth, _) = rows_of(generator)
    errors = [by_hand(t, p, **options) for p, t in zip(prediction, truth)]
    want = sum(sum(errors, [])) / len(sum(errors, [])) if pooled else sum(sum(e) / len(e) for e in errors) / 2
    assert under(rows, protocol)[metric] == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize(
    "protocol, metric, of",
    [
        ("codetalker", "FDD", "squared displacement"),
        ("torchmetrics", "FDD", "steps"),
        ("artalk", "|FDD|", "coordinate sum"),
        ("flame", "FDD", "distance from the mean"),
    ],
)
def test_each_protocols_fdd(generator, protocol, metric, of):
    rows, (prediction, truth, rest) = rows_of(generator)
    plain = vertices.absolute_fdd if metric == "|FDD|" else vertices.fdd
    assert under(rows, protocol)[metric] == pytest.approx(
        plain(prediction, truth, rest, REGIONS["upper_face"], of), rel=1e-3
    )


def test_rates_of_the_paper_are_means_of_rates(generator):
    rows, _ = rows_of(generator)
    rows[0]["scores"]["edits(of=characters)"], rows[1]["scores"]["edits(of=characters)"] = [100, 2], [0, 8]
    assert under(rows, "paper")["CER"] == 25 and under(rows, "avlib")["CER"] == 10


def test_lengths_that_differ_by_more_than_two_frames_are_an_error(generator):
    motion = torch.randn(9, 5, 3, generator=generator)
    assert protocols.sums_and_counts(Comparison(motion, motion[:7], motion[0], REGIONS, 25))["largest(lip)"] == [0, 7]
    with pytest.raises(ValueError, match="9 predicted frames for 6 true ones"):
        Comparison(motion, motion[:6], motion[0], REGIONS, 25)


def test_what_the_corpus_does_not_know_is_left_out(generator):
    motion = torch.randn(2, 12, 5, 3, generator=generator)
    lips = {k: v for k, v in REGIONS.items() if k != "upper_face"}
    rows = [
        {
            "utterance": "a",
            "style": "-",
            "subject": "a",
            "loudness": 1.0,
            "scores": protocols.sums_and_counts(Comparison(*motion, motion[0, 0], lips, 25)),
        }
    ]
    got = under(rows, "avlib")
    assert (
        got["FDD"] is None and got["closure"] is None and got["SLCC"] is None and got["LVE"] > 0
    )  # no phonemes, one clip
    json.dumps(got, allow_nan=False)


def test_lips_that_stand_still_have_no_timing(generator):
    rest, truth = torch.randn(5, 3, generator=generator), torch.randn(40, 5, 3, generator=generator)
    scores = protocols.sums_and_counts(Comparison(rest.expand_as(truth), truth, rest, REGIONS, 25))
    assert [scores[k][1] for k in scores if k.startswith(("misalignment", "aperture"))] == [0, 0]


def test_slcc_is_taken_style_by_style():
    """A style that moves more in all is no expressiveness."""
    score = KNOWN["perceptual"].scores["SLCC"]
    rows = [
        {
            "utterance": str(i),
            "subject": "a",
            "style": style,
            "loudness": float(i),
            "scores": {score.measure.key: [base + way * i, 1]},
        }
        for style, base, way in (("x", 0, 1), ("y", 100, 1))
        for i in range(4)
    ]
    assert protocols.score_value(rows, score) == pytest.approx(1)


def test_paired_totals_add_up_styles_and_seeds_and_leave_out_what_one_lacks():
    score = Score(Measure("largest", ("lip",)), "pooled", "m")
    row = lambda utterance, style, total, count=2: {
        "utterance": utterance,
        "style": style,
        "scores": {score.measure.key: [total, count]},
    }
    ones = [[row("a", "x", 1.0), row("a", "y", 2.0), row("b", "x", 4.0), row("b", "y", 9.0)], [row("a", "x", 8.0)]]
    others = [
        [row("b", "x", 0.5), row("a", "y", 0.25), row("a", "x", 0.0), row("b", "y", 0.0, 0)],
        [row("a", "x", 1.0)],
    ]
    a, b = protocols.paired_totals(ones, others, score)
    assert a.tolist() == [[11, 6], [4, 2]] and b.tolist() == [[1.25, 6], [0.5, 2]]
    sequences = Score(score.measure, "sequences", "m")
    assert protocols.paired_totals(ones, others, sequences)[0].tolist() == [[5.5, 3], [2, 1]]


def test_a_mask_is_its_vertices_in_any_order_and_once():
    got = protocols.masks({"lip": torch.tensor([3, 1, 3]), "same": [1, 3], "other": [1, 4]})
    assert (
        got["lip"] == got["same"] != got["other"]
        and got["lip"]["vertices"] == 2
        and re.fullmatch("[0-9a-f]{6}", got["lip"]["hash"])
    )


def test_units_as_they_are_printed():
    lve, distance = (KNOWN["avlib"].scores[k] for k in ("LVE", "lip distance"))
    assert lve.printed("m") == (1e-5, "1e-5 m²") and lve.printed("normalised") == (1e-4, "1e-4 normalised²")
    assert distance.printed("m") == (1e-3, "mm") and distance.printed("normalised") == (1e-3, "1e-3 normalised")
    assert KNOWN["avlib"].scores["CER"].printed("m") == (1, "%")


def test_no_protocol_is_named_in_the_code():
    """Fields decide what is computed; the kit's own is the one that tables take unless told otherwise."""
    sources = [p.read_text() for p in (protocols.PATH.parent.parent).glob("*.py")]
    named = {name for name in KNOWN for text in sources if re.search(rf"[=\\[(,:] ?['\"]{name}['\"]", text)}
    assert named <= {"avlib", "codetalker"}  # an animator has that name too
    assert all(p.source and p.about and p.scores for p in KNOWN.values())


@pytest.mark.parametrize(
    "change, told",
    [
        ({"kind": "smallest"}, "paper: LVE: kind 'smallest'"),
        ({"average": "median"}, "average 'median'"),
        ({"sqrt": True}, "sqrt"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_named(tmp_path, monkeypatch, change, told):
    given = json.loads(protocols.PATH.read_text())
    given["paper"]["scores"]["LVE"] |= change
    (tmp_path / "protocols.json").write_text(json.dumps(given))
    monkeypatch.setattr(protocols, "PATH", tmp_path / "protocols.json")
    with pytest.raises(ValueError, match=told):
        protocols.read_protocols.__wrapped__()


def test_nan_is_not_hidden(generator):
    """A model that predicts nonsense has a nonsensical error, not a small one."""
    prediction, truth = torch.randn(2, 12, 5, 3, generator=generator)
    prediction[3, 1] = math.nan
    assert math.isnan(protocols.sums_and_counts(Comparison(prediction, truth, truth[0], REGIONS, 25))["largest(lip, power=2)"][0])
