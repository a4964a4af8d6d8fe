"""Every dot has its frame's lips and its word's sound; groups are compared in feature space, not on the map."""

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
WORDS_OF_CLIP = {
    0: [("just", range(5, 8)), ("must", range(12, 15))],
    2: [("must", range(3, 6))],
    3: [("just", range(0, 3))],
    5: [("must", range(4, 8))],
}
SPOTS = [(i, t, word) for i, words in WORDS_OF_CLIP.items() for word, frames in words for t in frames]


def space(order=1, distance: float = 5.0) -> WordFeatures:
    features = np.random.default_rng(0).normal(0, 1, (len(SPOTS), 4)) + distance * np.array(
        [[word == "must"] for *_, word in SPOTS]
    )
    spots = SPOTS[::order]
    return WordFeatures(
        features[::order],
        [w for *_, w in spots],
        [i for i, *_ in spots],
        [t for _, t, _ in spots],
        [f"clip{i}" for i, *_ in spots],
        [next((f[0], f[-1]) for w, f in WORDS_OF_CLIP[i] if t in f) for i, t, _ in spots],
        [i == 0 and word == "just" for i, _, word in spots],
    )


@pytest.fixture
def clips() -> SimpleNamespace:
    """Frame t of clip i is grey 10 i + 5 t on its left half, and sounds (100 i + t) / 1000."""

    def video(i: int) -> torch.Tensor:
        grey = (10 * i + 5 * torch.arange(20, dtype=torch.uint8))[:, None, None].expand(20, 96, 96)
        return grey * (torch.arange(96) < 48)

    def speech(i: int) -> torch.Tensor:
        return ((100 * i + torch.arange(20)) / 1000).repeat_interleave(640)

    return SimpleNamespace(
        video=video,
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


def test_frames_and_sound_of_the_words(frames):
    assert frames.runs == [(0, 2), (3, 5), (6, 8), (9, 11), (12, 15)] and frames.words[3] == "must"
    sound, starts = frames.sound()
    assert starts == [0, 0.12, 0.24, 0.36, 0.48, 0.64] and len(sound) == 16 * 640
    for n, (i, t, _) in enumerate(SPOTS):
        assert sound[640 * n : 640 * n + 640].tolist() == pytest.approx([(100 * i + t) / 1000] * 640)
    assert frames.of_dots["features"] == list(range(16)) and frames.of_dots["mixed"] == list(range(15, -1, -1))


def test_crops_of_each_frame(frames):
    data, columns = frames.sprite_sheet()
    sheet = matplotlib.image.imread(io.BytesIO(data), "jpg")[..., 0]
    assert frames.crops.shape == (16, 48, 48) and columns == 4 and sheet.shape == (192, 192)
    for n, (i, t, _) in enumerate(SPOTS):
        crop = sheet[48 * (n // 4) : 48 * (n // 4 + 1), 48 * (n % 4) : 48 * (n % 4 + 1)]
        assert abs(crop[:, 8:16].mean() - (10 * i + 5 * t)) < 3 and crop[:, 30:40].mean() < 3


def test_groups_are_compared_in_feature_space(clips):
    widget = Explorer(RECORD, Frames({"features": space(), "mixed": space(-1, 0.0)}, clips))
    assert widget.groups == {"A": [0, 1, 2, 9, 10, 11], "B": [3, 4, 5, 6, 7, 8, 12, 13, 14, 15]}
    assert (
        widget.comparison["A"]["summary"] == "6 dots, 6 just"
        and "accuracy of a linear probe 100 %" in widget.comparison["separation"]
    )
    mean = matplotlib.image.imread(io.BytesIO(widget.comparison["A"]["lips"]), "jpg")[:, 8:16, 0].mean()
    assert abs(mean - np.mean([10 * i + 5 * t for i, t, word in SPOTS if word == "just"])) < 3
    before = float(widget.comparison["separation"].split("silhouette ")[1].split()[0])
    widget.space = "mixed"
    assert (
        widget.comparison["separation"].startswith("mixed: ")
        and float(widget.comparison["separation"].split("silhouette ")[1].split()[0]) < 0.2 < before
    )
    backwards = Frames({"backwards": space(-1)}, clips)  # the order of the dots does not matter
    assert (
        float(backwards.compare("backwards", widget.groups)["separation"].split("silhouette ")[1].split()[0]) == before
    )
    widget.groups = {"A": [0, 3], "B": []}
    assert widget.comparison["A"]["summary"] == "2 dots, 1 just, 1 must" and widget.comparison["B"] == {
        "summary": "0 dots",
        "lips": b"",
    }
    assert widget.comparison["separation"].startswith("too few")


def test_a_dot_of_a_whole_word_counts_once(clips):
    both = Frames({"frames": space(), "whole words": word_means(space())}, clips)
    about = both.compare("whole words", both.by_word())
    assert about["A"]["summary"] == "2 dots, 2 just" and about["B"]["summary"] == "3 dots, 3 must"
    assert both.compare("frames", both.by_word())["B"]["summary"] == "10 dots, 10 must"
    alone = Frames({"whole words": word_means(space())}, clips)
    assert (
        alone.runs == both.runs and alone.spots == both.spots and len(alone.of_dots["whole words"]) == 5
    )  # the sound is that of the whole word
    shown = matplotlib.image.imread(io.BytesIO(about["A"]["lips"]), "jpg")[:, 8:16, 0].mean()
    middles = [
        10 * both.spots[n][0] + 5 * both.spots[n][1] for n in both.of_dots["whole words"] if both.words[n] == "just"
    ]
    assert abs(shown - np.mean(middles)) < 3


def test_a_space_may_have_some_of_the_words_and_some_of_their_frames(clips):
    """As without words that open a sentence, and on maps with a part of the points."""
    some = space().rows([*range(0, 16, 3)])
    frames = Frames({"all": space(), "later": space().without_opening(), "some": some}, clips)
    assert len(frames.of_dots["all"]) == 16 and frames.of_dots["later"] == list(range(3, 16))
    assert frames.of_dots["some"] == [0, 3, 6, 9, 12, 15]
    assert frames.compare("later", frames.by_word())["A"]["summary"] == "3 dots, 3 just"
    alone = Frames({"some": some}, clips)
    assert alone.runs == frames.runs and alone.of_dots == {"some": [0, 3, 6, 9, 12, 15]}, "whole words sound"


def test_without_spaces_there_is_a_message(clips):
    (message,) = tsne_explorer.explore_tsne({"maps": {}}, {}, clips).axes[0].texts
    assert message.get_text().startswith("No maps")


def test_the_content_for_the_browser_is_small(frames):
    widget = Explorer(RECORD, frames)
    about = widget.content
    assert len(about["sheet"]) < 16 * 2000 and np.frombuffer(
        about["maps"]["mixed"][0]["points"], "<f4"
    ).tolist() == list(range(32))
    assert about["texts"][3] == "we said 0" and about["speakers"][0] == "Kim" and about["frames"][3] == 12
    assert np.frombuffer(about["sound"], "<i2")[640 * 9] == round(0.3 * 32767)


def test_a_lasso_selects_the_points_inside():
    line = [[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]]  # concave: open between its two arms
    points = {(1, 1): True, (2, 0.5): True, (2, 3): False, (3.5, 2.5): True, (5, 1): False, (-1, 0): False}
    got = in_node(
        "tsne_explorer.js",
        script="console.log(JSON.stringify(given.points.map(p => inside(p, given.line))))",
        line=line,
        points=list(points),
    )
    assert got == list(points.values())


def test_executed_notebooks_get_a_figure(clips, monkeypatch, tmp_path):
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
