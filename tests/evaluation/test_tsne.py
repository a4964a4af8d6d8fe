"""Maps are reproducible and hold every point with its origin; the record has all rows, and reasons without rows."""

from types import SimpleNamespace

import numpy as np
import pytest

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import tsne
from avlib.evaluation.separation_conditions import CLIPS, FRAMES, LEFT_OUT, WORDS
from avlib.evaluation.spoken_words import word_means
from avlib.evaluation.word_choice import WordChoice
from avlib.plots.results import tsne_maps
from tests.evaluation.separations import PAIR, READERS, frames, spaces

CHOICE = WordChoice(("just", "must"), "The two of them.")
CORPUS = SimpleNamespace(hash="h")


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("r", load("smoke"))
    for stage in ("expert", "reader", *PAIR):
        run.finish(stage, "k")
    return run


@pytest.fixture
def single_map(monkeypatch):
    """Maps in no time: the first two features."""
    monkeypatch.setattr(tsne, "tsne_map", lambda space, perplexity, seed=0: space.features[:, :2] + seed)


def test_maps_hold_every_point_once_with_its_origin(run):
    features = {CLIPS: spaces(each=4, opening=0)[CLIPS]}
    record = tsne.tsne_record(run, CORPUS, [CHOICE, WordChoice((), "No words.")], features)
    assert record["words"] == ["just", "must"] and len(record["rows"]) == 2
    name = record["rows"][1]["spaces"]["audio-visual"]
    source = features[CLIPS]["audio-visual"]
    assert record["rows"][1]["points"] == FRAMES and len(record["maps"][name]) == 4
    expected = [list(point) for point in zip(source.words, source.utterances, source.frames)]
    assert record["points"][name] == expected and len(record["maps"][name][2]["points"]) == 24
    assert record["rows"][1]["maps"]["audio-visual"] == [m["silhouette"] for m in record["maps"][name]]
    assert min(record["rows"][0]["maps"]["audio-visual"]) > 0.3
    assert tsne.tsne_record(run, CORPUS, [CHOICE, WordChoice((), "No words.")], {CLIPS: {}}) == record, "computed once"


def test_a_map_depends_on_its_seed_alone():
    space = frames(0, apart=3.0)
    points = tsne.tsne_map(space, perplexity=6.0)
    assert points.shape == (36, 2) and np.isfinite(points).all()
    assert np.array_equal(points, tsne.tsne_map(space, perplexity=6.0))
    assert not np.allclose(points, tsne.tsne_map(space, 6.0, seed=1))


def test_all_lips_stand_in_one_record(run, single_map):
    features = spaces()
    record = tsne.tsne_record(run, CORPUS, [CHOICE, CHOICE], features, [PAIR])
    assert len(record["rows"]) == 4 * 2 * 2 and len(record["maps"]) == 2 * 16 and len(record["guidance"]) == 8
    assert {row["lips"] for row in record["rows"]} == {CLIPS, "truth", *PAIR}
    chosen = tsne.mapped_spaces(record, features, ["truth", PAIR[1]], [WORDS])
    assert list(chosen) == [
        f"{kind}, {lips}, whole words, opening words {opening}"
        for lips in ("truth", PAIR[1])
        for opening in ("left out", "included")
        for kind in READERS
    ]
    for name, space in chosen.items():
        assert [list(p) for p in zip(space.words, space.utterances, space.frames)] == record["points"][name]
    figure = tsne_maps(record, WORDS, [CLIPS])
    assert len(figure.axes) == 4 * 4, "both readers, with and without words that open a sentence"
    assert sorted(len(c.get_offsets()) for c in figure.axes[0].collections) == [4, 6]
    once = tsne_maps(record, WORDS, ["truth", *PAIR], both=False)
    assert len(once.axes) == 3 * 2 * 4 and "left out" in once.axes[0].get_ylabel()


def test_a_record_without_rows_has_the_reasons(run):
    none = WordChoice((), "No words.")
    record = tsne.tsne_record(run, CORPUS, [none, none], {})
    assert record["rows"] == [] and record["words"] == [] and record["choices"][0]["reason"] == "No words."
    (message,) = tsne_maps(record, WORDS, [CLIPS]).axes[0].texts
    assert message.get_text().startswith("No maps") and tsne.mapped_spaces(record, {}, [CLIPS]) == {}


def test_rows_without_numbers_have_no_maps(run, single_map):
    """*Just* opens all its sentences: nothing is left without them, and the figure shows the others."""
    features = {CLIPS: spaces(opening=6)[CLIPS]}
    record = tsne.tsne_record(run, CORPUS, [CHOICE, CHOICE], features)
    assert [bool(row["maps"]) for row in record["rows"]] == [False, True, False, True]
    assert record["rows"][0]["opening"] == LEFT_OUT and record["rows"][0]["reason"]
    assert "included" in tsne_maps(record, FRAMES, [CLIPS], both=False).axes[0].get_ylabel()


def test_maps_of_many_points_show_some_of_each_word_from_all_utterances():
    space = frames(0, apart=1.0, each=40, styles=3)
    shown = tsne.dots(space)
    assert len(space.words) == 720 and {w: shown.words.count(w) for w in ("just", "must")} == {
        "just": tsne.MAX_DOTS,
        "must": tsne.MAX_DOTS,
    }
    assert set(shown.utterances) == set(space.utterances) and shown.clips == sorted(shown.clips)
    few = word_means(frames(0, apart=1.0))
    assert tsne.dots(few).words == few.words and np.array_equal(tsne.dots(few).features, few.features)


@pytest.mark.parametrize("points", [9, 21, 300])
def test_four_maps_differ_and_fit_the_number_of_points(points):
    settings = tsne.map_settings(20, points)
    assert len(set(settings)) == 4 and max(perplexity for perplexity, _ in settings) <= (points - 1) / 3
