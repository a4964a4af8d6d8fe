"""Every combination of conditions has a row; differences have intervals, and rows without numbers a reason."""

from dataclasses import replace

import pytest
from sklearn.metrics import silhouette_score

from avlib.evaluation.separation_conditions import CLIPS, FRAMES, INCLUDED, LEFT_OUT, NONE, WORDS, Combination
from avlib.evaluation.word_separation import combinations, guidance_differences, measure, silhouette_difference
from tests.evaluation.separations import PAIR, READERS, frames, spaces

JUST_MUST = ("just", "must")


def test_every_combination_has_a_row_with_its_own_points():
    by_row = dict(combinations(spaces()))
    assert list(by_row) == [
        Combination(lips, points, opening)
        for lips in (CLIPS, "truth", *PAIR)
        for points in (WORDS, FRAMES)
        for opening in (LEFT_OUT, INCLUDED)
    ]
    counts = {row: {len(f.words) for f in kinds.values()} for row, kinds in by_row.items()}
    assert counts[Combination(CLIPS, WORDS, INCLUDED)] == {12} and counts[Combination(CLIPS, WORDS, LEFT_OUT)] == {10}
    assert counts[Combination(CLIPS, FRAMES, INCLUDED)] == {36} and counts[Combination(CLIPS, FRAMES, LEFT_OUT)] == {30}
    assert counts[Combination(PAIR[0], FRAMES, LEFT_OUT)] == {60}, "two styles"
    assert not any(by_row[Combination(CLIPS, FRAMES, LEFT_OUT)]["visual-only"].opening)


def test_without_words_that_open_a_sentence_there_is_one_row_in_place_of_two():
    rows = [row for row, _ in combinations(spaces(opening=0))]
    assert len(rows) == 8 and {row.opening for row in rows} == {NONE}


def test_a_row_has_the_measures_of_its_points():
    by_row = dict(combinations(spaces()))
    rows = {row: measure(row, kinds, JUST_MUST) for row, kinds in by_row.items()}
    row, features = rows[Combination(CLIPS, WORDS, LEFT_OUT)], by_row[Combination(CLIPS, WORDS, LEFT_OUT)]
    assert row["utterances"] == {"just": 4, "must": 6} and row["count"] == 10 and row["reason"] == ""
    for kind in READERS:
        assert row["silhouette"][kind] == pytest.approx(silhouette_score(features[kind].features, features[kind].words))
    assert row["difference"]["difference"] == pytest.approx(
        row["silhouette"]["audio-visual"] - row["silhouette"]["visual-only"]
    )
    assert row["probe"]["audio-visual"] == 1 and set(row["spaces"]) == set(READERS)
    included = rows[Combination(CLIPS, WORDS, INCLUDED)]
    assert included["silhouette"]["audio-visual"] < 0.5 < row["silhouette"]["audio-visual"], "just lies in two places"


def test_a_row_with_too_few_utterances_has_a_reason():
    """*Just* always opens its sentence, so that without such words none is left; or one is left."""
    for opening, left in ((6, 0), (5, 1)):
        rows = {row: measure(row, kinds, JUST_MUST) for row, kinds in combinations(spaces(opening=opening))}
        assert rows[Combination(CLIPS, WORDS, INCLUDED)]["silhouette"]
        row = rows[Combination(CLIPS, FRAMES, LEFT_OUT)]
        assert row["reason"] == f"“just” in {left} and “must” in 6 utterances, 2 of each are needed"
        assert row["silhouette"] == row["probe"] == row["spaces"] == {} and row["difference"] is None


def test_a_difference_has_an_interval_with_enough_utterances():
    far, near = frames(0, apart=4.0, opening=0), frames(1, apart=0.5, opening=0)
    result = silhouette_difference(far, near)
    assert 0 < result["low"] < result["difference"] < result["high"]
    reverse = silhouette_difference(near, far)
    assert (reverse["low"], reverse["high"]) == pytest.approx((-result["high"], -result["low"]))
    assert silhouette_difference(far, far) == {"difference": 0, "low": 0, "high": 0}
    few = silhouette_difference(frames(0, 4.0, each=4, opening=0), frames(1, 0.5, each=4, opening=0))
    assert few["difference"] > 0 and few["low"] is None and few["high"] is None
    with pytest.raises(ValueError, match="different words or utterances"):
        silhouette_difference(far, replace(far, utterances=["other", *far.utterances[1:]]))


def test_guided_lips_are_compared_with_those_of_the_same_animator():
    rows = guidance_differences(dict(combinations(spaces())), [PAIR])
    assert len(rows) == 2 * 2 * 2 and {(row["lips"], row["minus"]) for row in rows} == {PAIR[::-1]}
    for row in rows:
        if row["reader"] == "visual-only" and row["opening"] == LEFT_OUT:
            assert row["difference"] > 0.3
    assert guidance_differences(dict(combinations(spaces(each=2, opening=2))), [PAIR])[0]["opening"] == INCLUDED
    assert guidance_differences({}, [PAIR]) == []
