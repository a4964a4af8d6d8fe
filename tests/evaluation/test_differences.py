"""Differences between methods from their records: what is paired, what order does not change, verdicts, and notes."""

import random

import pytest

from avlib.evaluation.differences import bootstrap_note, difference, paired_totals, verdict
from avlib.metrics.measures import Measure
from avlib.metrics.protocols import Score, read_protocols

SCORES = read_protocols()["avlib"].scores


def row(utterance: str, style: str, total: float, count: int = 2, subject: str = "p") -> dict:
    scores = {SCORES["CER"].measure.key: [total, count], SCORES["FDD"].measure.key: [total, 1]}
    return {"utterance": utterance, "subject": subject, "style": style, "scores": scores}


def record(seed: int, gain: float = 0.0, subjects: int = 3) -> dict:
    """Six utterances of each subject in three styles; the error falls by about `gain` percent."""
    rng = random.Random(seed)
    rows = [
        row(f"{subject}{n}", style, 100 * 20 * (0.5 * rng.uniform(0.9, 1.1) - gain / 100), 20, subject=subject)
        for subject in "pqrstuvwxyz"[:subjects]
        for n in range(6)
        for style in "xyz"
    ]
    return {"rows": rows}


def test_styles_are_added_up_and_rows_that_one_method_lacks_are_left_out():
    ones = [
        [row("a", "x", 1.0), row("a", "y", 2.0), row("b", "x", 4.0), row("b", "y", 9.0), row("c", "x", 5, subject="o")],
        [row("a", "x", 8.0)],
    ]
    others = [
        [row("b", "x", 0.5), row("a", "y", 0.25), row("a", "x", 0.0), row("b", "y", 0.0, 0), row("c", "x", 6.0)],
        [row("a", "x", 1.0)],
    ]
    totals = paired_totals(ones, others, SCORES["CER"])
    assert totals.subjects == ["o", "p", "p"], "in the order of subjects and utterances"
    assert totals.a.tolist() == [[[5, 2], [3, 4], [4, 2]], [[0, 0], [8, 2], [0, 0]]]
    assert totals.b.tolist() == [[[6, 2], [0.25, 4], [0.5, 2]], [[0, 0], [1, 2], [0, 0]]]
    sequences = Score(Measure("edits", of="characters"), "sequences", "%")
    assert paired_totals(ones, others, sequences).a[0].tolist() == [[2.5, 1], [1.5, 2], [2, 1]]
    with pytest.raises(ValueError, match="rows of 2 seeds beside rows of 1"):
        paired_totals(ones, others[:1], SCORES["CER"])


def test_the_order_of_rows_does_not_matter():
    ones, others = [record(n, gain=2) for n in range(3)], [record(n + 9) for n in range(3)]
    shuffled = [{"rows": random.Random(n).sample(r["rows"], len(r["rows"]))} for n, r in enumerate(ones)]
    assert difference(shuffled, others, SCORES["CER"]) == difference(ones, others, SCORES["CER"])


def test_equal_methods_have_no_difference():
    same = [record(n) for n in range(3)]
    found = difference(same, same, SCORES["CER"])
    assert found and found == found | dict.fromkeys(("difference", "low", "high"), 0.0) | dict.fromkeys(
        ("percent", "percent_low", "percent_high"), 0.0
    ) | dict.fromkeys(("p", "p_utterances", "p_seeds"), 1.0)
    assert found["verdict"] == "undecided" and (found["seeds"], found["subjects"], found["utterances"]) == (3, 3, 18)


def test_no_exchange_of_few_seeds_has_a_small_p():
    """Of the 2^n exchanges of seeds, the observed one and its opposite are the most extreme."""
    for seeds in (2, 3, 5):
        pair = [record(n, gain=5) for n in range(seeds)], [record(n + 9) for n in range(seeds)]
        found = difference(*pair, SCORES["CER"])
        assert found and found["p_seeds"] == 2 / 2**seeds
        assert found["p_utterances"] < 0.001 and found["p"] < 0.001 and found["verdict"] == "better"
        assert found["percent"] == pytest.approx(-10, abs=2) and found["percent_high"] < 0
    alone = difference([record(0)], [record(9)], SCORES["CER"])
    assert alone and alone["p_seeds"] is None


def test_trainings_that_disagree_leave_the_difference_undecided():
    """The same sentences, read better after one training and worse after the next: no test of sentences sees that."""
    ones, others = [record(n, gain=(-1) ** n * 8 + 3) for n in range(4)], [record(n + 9) for n in range(4)]
    found = difference(ones, others, SCORES["CER"])
    assert found and found["p_utterances"] < 0.001, "these models differ"
    assert found["verdict"] == "undecided" and found["p"] > 0.1 and found["p_seeds"] > 0.1, "the methods may not"
    lucky = difference(ones[::2], others[::2], SCORES["CER"])
    assert lucky and lucky["verdict"] == "better"


@pytest.mark.parametrize(
    "name, low, high, expected",
    [
        ("CER", -2.0, -1.0, "better"),
        ("CER", 1.0, 2.0, "worse"),
        ("CER", -1.0, 2.0, "undecided"),
        ("CER", 0.0, 0.0, "undecided"),
        ("CER", -1.0, 0.0, "undecided"),
        ("aperture r", 0.1, 0.2, "better"),
        ("aperture r", -0.2, -0.1, "worse"),
        ("|FDD|", -2.0, -1.0, "better"),
        ("FDD", -2.0, -1.0, None),
    ],
)
def test_a_verdict_needs_an_interval_without_zero(name, low, high, expected):
    assert verdict(low, high, SCORES[name]) == expected


def test_the_note_says_what_is_held_fixed():
    def note(seeds: int, subjects: int) -> str:
        pair = [[record(n + m, subjects=subjects) for n in range(seeds)] for m in (0, 9)]
        return bootstrap_note([difference(*pair, SCORES["CER"]), None])

    assert "resamples 2 seeds, 3 subjects and 18 utterances, each with all its styles" in note(2, 3)
    assert "fixed" not in note(2, 3)
    assert ". It holds the training fixed: one seed." in note(1, 3)
    assert ". It holds the subject fixed: one subject." in note(2, 1)
    assert note(1, 1).endswith(". It holds the training fixed: one seed and the subject fixed: one subject")
    assert note(5, 3).endswith("make the interval too narrow if they differ more than utterances do")
    assert note(10, 10).endswith("each with all its styles")
    assert bootstrap_note([None]).endswith("resamples seeds, subjects and their utterances")
