"""Behind every dot are the frame's own lips and the sound of its word; two groups are compared where features are, not on the map."""

import io
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from avlib.corpus.utterance import Utterance
from avlib.evaluation.spoken_words import WordFeatures, word_means
from avlib.widgets import tsne_explorer
from avlib.widgets.tsne_explorer import Explorer, Frames
from tests.widgets.test_mesh_widget import in_node

# clip -> (word, its frames): two words in the first
SAID = {
    0: [("just", range(5, 8)), ("must", range(12, 15))],
    2: [("must", range(3, 6))],
    3: [("just", range(0, 3))],
    5: [("must", range(4, 8))],
}
SPOTS = [(i, t, word) for i, words in SAID.items() for word, frames in words for t in frames]


def space(order=1, apart: float = 5.0) -> WordFeatures:
    features = np.random.default_rng(0).normal(0, 1, (len(SPOTS), 4)) + apart * np.array(
        [[word == "must"] for *_, word in SPOTS]
    )
    spots = SPOTS[::order]
    return WordFeatures(
        features[::order],
        [w for *_, w in spots],
        [i for i, *_ in spots],
        [t for _, t, _ in spots],
        [f"clip{i}" for i, *_ in spots],
        [next((f[0], f[-1]) for w, f in SAID[i] if t in f) for i, t, _ in spots],
    )


@pytest.fixture
def clips() -> SimpleNamespace:
    """Frame t of clip i is grey 10 i + 5 t on its left half, and sounds (100 i + t) / 1000."""
    grey = lambda i: (
        (10 * i + 5 * torch.arange(20, dtype=torch.uint8))[:, None, None].expand(20, 96, 96) * (torch.arange(96) < 48)
    )
    speech = lambda i: ((100 * i + torch.arange(20)) / 1000).repeat_interleave(640)
    return SimpleNamespace(
        video=grey,
        speech=speech,
        utterances=[Utterance(f"clip{i}", "validation", "Kim", f"we said {i}", 20) for i in range(6)],
    )


@pytest.fixture
def frames(clips) -> Frames:
    return Frames({"features": space(), "mixed": space(-1, 0.0)}, clips)


RECORD = {
    "maps": {
        name: [{"perplexity": 5, "seed": 0, "silhouette": 0.5, "points": np.arange(32).reshape(16, 2).tolist()}]
        for name in ("features", "mixed")
    }
}


def test_words_are_cut_out_with_their_frames(frames):
    assert frames.runs == [(0, 2), (3, 5), (6, 8), (9, 11), (12, 15)] and frames.words[3] == "must"
    sound, begins = frames.sound()
    assert begins == [0, 0.12, 0.24, 0.36, 0.48, 0.64] and len(sound) == 16 * 640
    for n, (i, t, _) in enumerate(SPOTS):
        assert sound[640 * n : 640 * n + 640].tolist() == pytest.approx([(100 * i + t) / 1000] * 640)
    assert frames.behind["features"] == list(range(16)) and frames.behind["mixed"] == list(range(15, -1, -1))


def test_lips_behind_each_frame(frames):
    data, columns = frames.picture()
    sheet = matplotlib.image.imread(io.BytesIO(data), "jpg")[..., 0]
    assert frames.crops.shape == (16, 48, 48) and columns == 4 and sheet.shape == (192, 192)
    for n, (i, t, _) in enumerate(SPOTS):
        crop = sheet[48 * (n // 4) : 48 * (n // 4 + 1), 48 * (n % 4) : 48 * (n % 4 + 1)]
        assert abs(crop[:, 8:16].mean() - (10 * i + 5 * t)) < 3 and crop[:, 30:40].mean() < 3


def test_groups_are_compared_where_their_features_are(clips):
    widget = Explorer(RECORD, Frames({"features": space(), "mixed": space(-1, 0.0)}, clips))
    assert widget.groups == {"A": [0, 1, 2, 9, 10, 11], "B": [3, 4, 5, 6, 7, 8, 12, 13, 14, 15]}
    assert widget.told["A"]["told"] == "6 dots, 6 just" and "probe tells 100 % apart" in widget.told["apart"]
    mean = matplotlib.image.imread(io.BytesIO(widget.told["A"]["lips"]), "jpg")[:, 8:16, 0].mean()
    assert abs(mean - np.mean([10 * i + 5 * t for i, t, word in SPOTS if word == "just"])) < 3
    before = float(widget.told["apart"].split("silhouette ")[1].split()[0])
    widget.space = "mixed"
    assert (
        widget.told["apart"].startswith("mixed: ")
        and float(widget.told["apart"].split("silhouette ")[1].split()[0]) < 0.2 < before
    )
    backwards = Frames({"backwards": space(-1)}, clips)  # whatever the order of a space's dots
    assert float(backwards.compared("backwards", widget.groups)["apart"].split("silhouette ")[1].split()[0]) == before
    widget.groups = {"A": [0, 3], "B": []}
    assert widget.told["A"]["told"] == "2 dots, 1 just, 1 must" and widget.told["B"] == {"told": "0 dots", "lips": b""}
    assert widget.told["apart"].startswith("too few")


def test_of_whole_words_a_dot_counts_and_not_its_frames(clips):
    both = Frames({"frames": space(), "whole words": word_means(space())}, clips)
    about = both.compared("whole words", both.by_word())
    assert about["A"]["told"] == "2 dots, 2 just" and about["B"]["told"] == "3 dots, 3 must"
    assert both.compared("frames", both.by_word())["B"]["told"] == "10 dots, 10 must"
    alone = Frames({"whole words": word_means(space())}, clips)
    assert (
        alone.runs == both.runs and alone.spots == both.spots and len(alone.behind["whole words"]) == 5
    )  # a word is heard whole
    shown = matplotlib.image.imread(io.BytesIO(about["A"]["lips"]), "jpg")[:, 8:16, 0].mean()
    middles = [
        10 * both.spots[n][0] + 5 * both.spots[n][1] for n in both.behind["whole words"] if both.words[n] == "just"
    ]
    assert abs(shown - np.mean(middles)) < 3


def test_what_reaches_the_browser_is_small(frames):
    widget = Explorer(RECORD, frames)
    about = widget.content
    assert len(about["sheet"]) < 16 * 2000 and np.frombuffer(
        about["maps"]["mixed"][0]["points"], "<f4"
    ).tolist() == list(range(32))
    assert about["texts"][3] == "we said 0" and about["speakers"][0] == "Kim" and about["frames"][3] == 12
    assert np.frombuffer(about["sound"], "<i2")[640 * 9] == round(0.3 * 32767)


def test_a_lasso_holds_what_it_goes_round():
    line = [[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]]  # open towards the top between its arms
    asked = {(1, 1): True, (2, 0.5): True, (2, 3): False, (3.5, 2.5): True, (5, 1): False, (-1, 0): False}
    got = in_node(
        "tsne_explorer.js",
        script="console.log(JSON.stringify(given.asked.map(p => inside(p, given.line))))",
        line=line,
        asked=list(asked),
    )
    assert got == list(asked.values())


def test_where_nobody_watches_it_is_a_picture(clips, monkeypatch, tmp_path):
    monkeypatch.setattr(tsne_explorer, "HEADLESS", True)
    figure = tsne_explorer.explore_tsne(RECORD, {"features": space()}, clips)
    figure.savefig(tmp_path / "still.png")
    map_, *means = figure.axes
    assert (
        isinstance(figure, Figure)
        and [len(c.get_offsets()) for c in map_.collections] == [6, 10]
        and "probe" in map_.get_xlabel()
    )
    assert [axis.get_title() for axis in means] == ["mean of 6 dots, 6 just", "mean of 10 dots, 10 must"]
