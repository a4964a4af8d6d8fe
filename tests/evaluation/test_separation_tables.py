"""Tables have all rows and say what they lack; conclusions follow from the intervals and say no more."""

import json
from types import SimpleNamespace

import pytest

from avlib.evaluation.separation_conclusions import conclusions, side
from avlib.evaluation.separation_conditions import CLIPS, FRAMES, INCLUDED, LEFT_OUT, NONE, READERS, WORDS
from avlib.evaluation.separation_tables import word_separation_tables

CHOICES = [{"words": ["just", "must"], "reason": "The two of them."}, {"words": [], "reason": "No others."}]


def difference(low: float | None, high: float | None = None) -> dict:
    """Around zero from -0.1 to 0.1, for example; without an interval 0.3."""
    middle = 0.3 if low is None else (low + high) / 2
    return {"difference": middle, "low": low, "high": high}


def row(lips: str, points: str, opening: str, interval: dict | None, maps=(0.5, 0.4), **more) -> dict:
    """A row whose four maps have these silhouettes for the two readers."""
    values = {"silhouette": dict(zip(READERS, (0.4, -0.025))), "probe": dict(zip(READERS, (0.95, 0.5)))}
    values |= {"spaces": dict(zip(READERS, "ab")), "maps": {r: [s] * 4 for r, s in zip(READERS, maps)}, "reason": ""}
    if interval is None:
        values = {"silhouette": {}, "probe": {}, "spaces": {}, "maps": {}, "reason": "“just” in 1, 2 are needed"}
    head = {"lips": lips, "points": points, "opening": opening, "words": ["just", "must"], "count": 30}
    return head | {"utterances": {"just": 7, "must": 9}, "difference": interval} | values | more


def record(*rows: dict, guidance=()) -> dict:
    return {"rows": list(rows), "guidance": list(guidance), "choices": CHOICES}


ABOVE, BELOW, AROUND, NO_INTERVAL = (
    difference(0.1, 0.3),
    difference(-0.3, -0.1),
    difference(-0.1, 0.1),
    difference(None),
)


def test_an_interval_is_on_a_side_only_if_it_excludes_zero():
    assert [side(d) for d in (ABOVE, BELOW, AROUND, NO_INTERVAL)] == [
        "above zero",
        "below zero",
        "around zero",
        "without interval",
    ]
    assert side(difference(0.0, 0.3)) == side(difference(-0.3, 0.0)) == side(difference(0.0, 0.0)) == "around zero"


def test_lips_are_named_on_the_side_of_zero_of_their_interval():
    lines = conclusions(
        record(
            row(CLIPS, WORDS, NONE, ABOVE),
            row("truth", WORDS, NONE, AROUND),
            row("faceformer-baseline-s0", WORDS, NONE, BELOW),
            row("faceformer-guided-s0", WORDS, NONE, NO_INTERVAL),
        )
    )
    assert lines[0] == (
        "**Whole words, no word opens a sentence.** Audio-visual minus visual-only silhouette: above zero on held-out "
        "2D clips; below zero on FaceFormer baseline; around zero on true renders of test scans; without interval on "
        "FaceFormer guided."
    )
    assert len(lines) == 2, "and the maps: no row has words that open a sentence, none is compared with another"


@pytest.mark.parametrize(
    "included, without, expected",
    [
        (AROUND, ABOVE, "in 1 of 1 comparisons: whole words on held-out 2D clips (around zero with them, above zero w"),
        (ABOVE, ABOVE, "in 0 of 1 comparisons."),
        (ABOVE, NO_INTERVAL, None),
        (ABOVE, None, None),
    ],
)
def test_the_effect_of_words_that_open_a_sentence_is_counted(included, without, expected):
    """Only where both rows have an interval."""
    rows = [row(CLIPS, WORDS, LEFT_OUT, without), row(CLIPS, WORDS, INCLUDED, included)]
    lines = [line for line in conclusions(record(*rows)) if line.startswith("**Words that open a sentence.**")]
    assert [expected in line for line in lines] == ([True] if expected else [])


def test_maps_count_only_if_all_four_agree():
    mixed = row(CLIPS, FRAMES, NONE, ABOVE)
    mixed["maps"]["audio-visual"] = [0.5, 0.5, 0.5, 0.3]
    rows = [row(CLIPS, WORDS, NONE, ABOVE), mixed, row("truth", WORDS, NONE, AROUND, maps=(0.2, 0.6))]
    line = conclusions(record(*rows))[-1]
    assert "on all four maps in 1 of 3 rows and the lower one in 1; in 1 the maps disagree" in line
    assert "Of 2 rows whose interval excludes zero" in line
    assert line.endswith("in 1: single frames, no word opens a sentence, on held-out 2D clips.")


def test_guided_lips_are_named_for_each_reader():
    conditions = {"lips": "mine-guided-s0", "minus": "mine-baseline-s0", "points": WORDS, "opening": NONE}
    guidance = [conditions | {"reader": r} | d for r, d in zip(READERS, (AROUND, ABOVE))]
    lines = conclusions(record(row(CLIPS, WORDS, NONE, ABOVE), guidance=guidance))[-2:]
    assert lines[0].endswith("whole words, no word opens a sentence, around zero on mine guided.")
    assert "visual-only" in lines[1] and lines[1].endswith("above zero on mine guided.")


def test_tables_have_every_row_and_the_reason_where_there_are_no_numbers(tmp_path):
    rows = [
        row(CLIPS, WORDS, LEFT_OUT, None),
        row(CLIPS, WORDS, INCLUDED, ABOVE),
        row("truth", WORDS, NONE, NO_INTERVAL),
    ]
    rows[1]["silhouette"] |= {"pixels": 0.1, "spectrum": 0.2}
    rows[1]["probe"] |= {"pixels": 0.6, "spectrum": 0.7}
    guidance = [
        {"lips": "mine-guided-s0", "minus": "m", "points": WORDS, "opening": NONE, "reader": r} | AROUND
        for r in READERS
    ]
    text = word_separation_tables(SimpleNamespace(folder=tmp_path), record(*rows, guidance=guidance), "a corpus")
    assert "| held-out 2D clips | whole words | left out | 30 | 7, 9 | – | – | – | – | – | – | – |" in text
    assert (
        "| held-out 2D clips | whole words | included | 30 | 7, 9 | 0.400 | −0.025 | +0.200 [+0.100, +0.300] | 95 | 50 "
        "| 0.50, 0.50, 0.50, 0.50 | 0.40, 0.40, 0.40, 0.40 |" in text
    )
    assert "| true renders of test scans | whole words | none occur | 30 | 7, 9 | 0.400 | −0.025 | +0.300 | 95" in text
    assert "No numbers with words that open a sentence left out on held-out 2D clips: “just” in 1, 2 are need" in text
    assert "corpus a corpus; words just and must" in text and "Decided after looking" in text
    assert "| mine, guided | whole words | none occur | +0.000 [−0.100, +0.100] | +0.000 [−0.100, +0.100] |" in text
    assert "| held-out 2D clips | whole words | included | 0.100 | 60 | 0.200 | 70 |" in text
    for name in ("table_tsne", "table_tsne_guidance", "table_tsne_inputs"):
        assert {path.suffix for path in tmp_path.glob(f"tables/{name}.*")} == {".md", ".csv", ".tex", ".json"}
    stored = json.loads((tmp_path / "tables" / "table_tsne.json").read_text())
    assert stored["rows"] == rows and stored["conclusions"] == conclusions(record(*rows, guidance=guidance))
    assert all(f"* {line}" in text for line in stored["conclusions"])


def test_words_of_clips_and_test_sentences_are_told_apart(tmp_path):
    rows = [row(CLIPS, WORDS, NONE, ABOVE, words=["at", "eight"]), row("truth", WORDS, NONE, ABOVE)]
    text = word_separation_tables(SimpleNamespace(folder=tmp_path), record(*rows), "a corpus")
    assert "words at and eight (clips), just and must (test sentences)" in text
    assert not list(tmp_path.glob("tables/table_tsne_*"))


def test_without_rows_there_are_reasons_and_no_file(tmp_path):
    assert word_separation_tables(SimpleNamespace(folder=tmp_path), record(), "c") == "The two of them.\n\nNo others.\n"
    assert not list(tmp_path.iterdir())


def test_rows_without_numbers_alone_allow_no_conclusion(tmp_path):
    text = word_separation_tables(SimpleNamespace(folder=tmp_path), record(row(CLIPS, WORDS, LEFT_OUT, None)), "c")
    assert "* No row has enough utterances of both words: nothing follows." in text
