"""Clips play as long as they should, and figures show what they are given."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from avlib.core import run as runs
from avlib.core.config import ReaderConfig
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.utterance import Utterance
from avlib.evaluation import tsne
from avlib.evaluation.reader_analysis import VISEME_PHONEMES
from avlib.metrics.feature_separation import separation
from avlib.plots import readers, results, training
from avlib.render import clips as clips_module
from avlib.speech.segment import Segment
from avlib.training.readers import build_reader


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_a_clip_has_every_frame_and_all_sound(tmp_path, fps):
    frames = int(2 * fps)
    video = (torch.arange(frames) * 4)[:, None, None].expand(-1, 32, 48).to(torch.uint8)
    path = clips_module.write_clip(tmp_path / "clip.mp4", video, fps, 0.5 * torch.sin(torch.arange(32000) * 0.1))
    with av.open(str(path)) as clip:
        pictures = [f.to_ndarray(format="gray") for f in clip.decode(video=0)]
    with av.open(str(path)) as clip:
        sound = np.concatenate([f.to_ndarray() for f in clip.decode(audio=0)], 1)
        assert clip.streams.video[0].average_rate == fps
    assert len(pictures) == frames and pictures[0].shape == (32, 48)
    assert np.abs(np.stack(pictures).mean((1, 2)) - video[:, 0, 0].numpy()).max() < 12
    assert abs(sound.shape[1] - 32000) <= 2048 and 0.3 < np.abs(sound).max() < 0.7
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_clip_in_pieces_is_the_clip(tmp_path):
    video = (torch.arange(150)[:, None, None].expand(-1, 32, 48) % 250).to(torch.uint8)
    speech = 0.5 * torch.sin(torch.arange(80000) * 0.1)
    whole = clips_module.write_clip(tmp_path / "a.mp4", video, 30.0, speech)
    pieces = clips_module.write_clip(tmp_path / "b.mp4", (piece for piece in video.split(37)), 30.0, speech)

    def streams(path):
        with av.open(str(path)) as clip:
            frames = [f.to_ndarray(format="gray") for f in clip.decode(video=0)]
        with av.open(str(path)) as clip:
            return np.stack(frames), np.concatenate([f.to_ndarray() for f in clip.decode(audio=0)], 1)

    (a, b), (c, d) = streams(whole), streams(pieces)
    assert np.array_equal(a, c) and np.array_equal(b, d) and abs(b.shape[1] - 80000) <= 2048


@pytest.mark.parametrize("width", [96, 256])
@pytest.mark.parametrize("name", ["scan", "codetalker-unguided-s0 of a run with a long name"])
def test_a_name_stands_at_the_upper_edge_and_hides_nothing_below(name, width):
    video = torch.full((3, 64, width), 40, dtype=torch.uint8)
    titled = clips_module.titled(video, name)
    written = (titled != 40).any(0)
    assert (
        titled.shape == video.shape and (titled >= video).all() and (titled == titled[:1]).all() and (video == 40).all()
    )
    assert written.any() and not written[40:].any()
    assert not written[:, 0].any() and not written[:, -1].any(), "cut off"


def test_a_moving_picture_lasts_as_long_and_shows_the_same(tmp_path):
    video = (torch.arange(25) * 8)[:, None, None].expand(-1, 32, 48).to(torch.uint8)
    shown = []
    with Image.open(clips_module.write_webp(tmp_path / "a.webp", video, 25)) as picture:
        for n in range(picture.n_frames):  # the format joins frames that are nearly alike
            picture.seek(n)
            picture.load()
            shown += [np.array(picture.convert("L")).mean()] * round(picture.info["duration"] / 40)
            assert picture.size == (48, 32)
    assert len(shown) == 25 and np.abs(np.array(shown) - video[:, 0, 0].numpy()).max() < 12


def says_nothing(figure) -> bool:
    """In words: an empty picture would be shown as none."""
    (axis,) = figure.axes
    return axis.texts[0].get_text().startswith("No ") and not axis.axison


def test_curves_leave_out_what_no_history_has():
    figure = training.learning_curves({"a": [{"loss": 2.0}, {"loss": 1.0, "cer": 0.5}]}, ["loss", "cer", "other"])
    assert [axis.get_title() for axis in figure.axes] == ["loss", "cer"]
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[2.0, 0.5]]
    assert says_nothing(training.learning_curves({}, ["loss"]))


READERS = {"expert": SimpleNamespace(modalities=("audio", "video")), "reader": SimpleNamespace(modalities=("video",))}


def drawn(axis) -> dict[str, list]:
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


def test_rates_say_what_each_reader_was_given():
    expert = [{"cer": 0.9, "cer_audio": 1.0, "cer_video": 0.8}, {"cer": 0.5, "cer_audio": 0.6}]
    (axis,) = readers.error_rate_curves({"expert": expert, "reader": [{"cer": 0.75, "read": "a"}]}, READERS).axes
    assert drawn(axis) == {
        "expert, speech and lips": [[1, 90], [2, 50]],
        "expert, speech alone": [[1, 100], [2, 60]],
        "expert, lips alone": [[1, 80]],
        "reader, lips alone": [[1, 75]],
    }
    assert says_nothing(
        readers.error_rate_curves({"expert": [], "reader": [{"loss": 1.0}]}, READERS)
    )  # published readers have no history


def test_noise_grows_to_the_right_and_lips_do_not_hear_it():
    record = {
        "levels_db": [None, 20, -5],
        "accuracy": {
            "reader": {"video": [40.0]},
            "expert": {"video": [30.0], "audio": [90.0, 80.0, -2.0], "audio and video": [95.0, 90.0, 35.0]},
        },
    }
    (axis,) = readers.noise_curves(record).axes
    assert drawn(axis) == {
        "reader, lips alone": [[30, 40], [20, 40], [-5, 40]],
        "expert, lips alone": [[30, 30], [20, 30], [-5, 30]],
        "expert, speech alone": [[30, 90], [20, 80], [-5, -2]],
        "expert, speech and lips": [[30, 95], [20, 90], [-5, 35]],
    }
    assert [t.get_text() for t in axis.get_xticklabels()] == ["no babble", "20", "-5"]
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    assert left > 30 > -5 > right and low < -2 < high == 100


def test_every_row_of_a_confusion_is_the_share_of_what_was_said():
    counts = np.zeros((len(VISEME_PHONEMES) + 1, len(VISEME_PHONEMES) + 1), int)
    counts[0, 0], counts[0, 2], counts[0, -1], counts[-1, 3] = 6, 1, 1, 5  # and no other viseme was said
    better = np.zeros_like(counts)
    better[0, 0], better[-1, 3] = 8, 10
    left, right = readers.confusion_matrices({"counts": {"reader": counts.tolist(), "expert": better.tolist()}}).axes
    shown = {t.get_position(): t.get_text() for t in left.texts}
    assert shown == {(0, 0): "75", (2, 0): "12", (len(VISEME_PHONEMES), 0): "12", (3, len(VISEME_PHONEMES)): "100"}
    assert left.get_title() == "reader: 75 % of 8 visemes read right" and right.get_xlabel() == "read; 10 more inserted"
    rows, columns = ([t.get_text() for t in labels] for labels in (left.get_yticklabels(), left.get_xticklabels()))
    assert rows[:2] == ["p b m  (8)", "f v  (0)"] and rows[-1] == "inserted" and columns[-1] == "deleted"
    assert left.images[0].get_array()[0, 0] == 75 and left.images[0].get_array()[1].sum() == 0


def test_maps_show_every_frame_once_and_say_where_it_is_from(tmp_path, monkeypatch, generator):
    draw = np.random.default_rng(0)
    features = np.concatenate([draw.normal(0, 0.1, (12, 5)), draw.normal(3, 0.1, (9, 5))]).astype(np.float32)
    words = ["just"] * 12 + ["must"] * 9
    frames = tsne.WordFeatures(
        features,
        words,
        [i // 3 for i in range(21)],
        [i % 3 for i in range(21)],
        [f"clip{i // 3}" for i in range(21)],
        [(0, 2)] * 21,
    )
    points = tsne.tsne_map(frames, perplexity=6.0)
    assert points.shape == (21, 2) and np.isfinite(points).all()
    assert np.array_equal(points, tsne.tsne_map(frames, perplexity=6.0)) and not np.allclose(
        points, tsne.tsne_map(frames, 6.0, seed=1)
    )
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("r", load("smoke"))
    for stage in ("expert", "reader"):
        run.finish(stage, "k")
    clips = SimpleNamespace(
        video=lambda i: torch.rand(3, 4, 4, generator=generator),
        speech=lambda i: torch.randn(1920, generator=generator),
    )
    corpus = SimpleNamespace(hash="h")
    record = tsne.tsne_record(run, corpus, {"reader": frames, **tsne.input_features(clips, frames)})
    assert record["points"]["pixels"][13] == ["must", "clip4", 1]
    assert record["metrics"]["reader"]["silhouette"] > 0.9 > 0.3 > abs(record["metrics"]["spectrum"]["silhouette"])
    assert (
        all(m["silhouette"] > 0.3 for m in record["maps"]["reader"])
        and tsne.tsne_record(run, corpus, dict.fromkeys(record["maps"])) == record
    )
    for points in (9, 21, 300):
        assert (
            len(set(tsne.map_settings(20, points))) == 4
            and max(p for p, _ in tsne.map_settings(20, points)) <= (points - 1) / 3
        )
    assert len(results.tsne_maps(record, "els").axes) == 4 and says_nothing(results.tsne_maps(record, "none"))
    figure = results.tsne_maps(record)
    assert sorted(len(c.get_offsets()) for c in figure.axes[0].collections) == [9, 12] and len(figure.axes) == 12
    assert tsne.separation_table(record).count("|\n") == 5


def test_a_whole_word_is_the_mean_of_its_frames():
    """Also where a clip says it twice, or the next clip begins with it at the next frame."""
    spots = [
        (0, "must", 3),
        (0, "must", 4),
        (0, "just", 7),
        (0, "must", 9),
        (1, "must", 10),
        (1, "must", 11),
        (1, "must", 12),
    ]
    spans = [(3, 4), (3, 4), (7, 7), (9, 9), (10, 12), (10, 12), (10, 12)]
    frames = tsne.WordFeatures(
        np.arange(14.0).reshape(7, 2),
        [w for _, w, _ in spots],
        [c for c, *_ in spots],
        [t for *_, t in spots],
        [f"u{c}" for c, *_ in spots],
        spans,
    )
    words = tsne.word_means(frames)
    assert words.features.tolist() == [[1, 2], [4, 5], [6, 7], [10, 11]] and words.words == [
        "must",
        "just",
        "must",
        "must",
    ]
    assert (words.clips, words.frames, words.utterances) == ([0, 0, 0, 1], [4, 7, 9, 11], ["u0", "u0", "u0", "u1"])
    both = tsne.words_and_frames({"reader": frames})
    assert [len(space.words) for space in both.values()] == [4, 7] and list(both) == [
        "reader, whole words",
        "reader, frames",
    ]
    assert tsne.word_means(words).features.tolist() == words.features.tolist()


def test_words_on_a_models_lips_are_read_with_speech_and_without(monkeypatch, generator):
    said = [
        Utterance(f"u{i}", "test", "Kim", text, 30, (Segment(text.split()[0], 0.2, 0.6),))
        for i, text in enumerate(["just go", "must go", "go now", "just so", "must we"])
    ]
    lips = lambda motions, frames: (
        motions[..., 0, 0][..., None, None].expand(-1, -1, 24, 24)[:, :25],
        (frames * 25) // 30,
    )
    items = lambda corpus, utterances, encoder: [
        SimpleNamespace(utterance=u, speech=torch.randn(16000, generator=generator)) for u in utterances
    ]
    moved = lambda run, corpus, model, items: [
        (style, items, [torch.full((30, 2, 3), shade) for _ in items]) for style, shade in (("Ada", 0.2), ("Ben", 1.0))
    ]
    for name, stub in (
        ("lip_video", lambda corpus: lips),
        ("make_examples", items),
        ("predictions", moved),
        ("load_speech", lambda run: None),
    ):
        monkeypatch.setattr(tsne, name, stub)
    corpus = SimpleNamespace(utterances=lambda split: said)
    clips = tsne.lip_clips(None, corpus, "a")
    assert [u.name for u in clips.utterances] == ["u0", "u1", "u3", "u4"] * 2 and clips.frames.tolist() == [25] * 8
    assert (
        clips.video(0).unique().tolist() == [51]
        and clips.video(7).unique().tolist() == [255]
        and len(clips.speech(3)) == 16000
    )
    sizes = dict(
        width=16,
        heads=2,
        feedforward=16,
        layers=1,
        decoder_layers=1,
        fusion=16,
        frontend_width=2,
        audio_frontend_width=2,
    )
    expert, reader = (
        build_reader(ReaderConfig(modalities=m, **sizes)).eval() for m in (("audio", "video"), ("video",))
    )
    spaces, lips = tsne.word_features_on_lips(None, corpus, ["a", "b"], expert, reader)
    assert list(spaces) == ["audio-visual, a", "visual-only, a", "audio-visual, b", "visual-only, b"]
    assert spaces["visual-only, a"].utterances == ["u0", "u1", "u3", "u4"] * 2  # styles of a sentence are one utterance
    assert (
        len(lips.utterances) == 16
        and lips.utterances[8].subject == "Kim, b"
        and spaces["visual-only, b"].clips == list(range(8, 16))
    )
    assert (
        spaces["visual-only, b"].frames == [10] * 8
        and spaces["visual-only, b"].spans == [(5, 14)] * 8
        and len(lips.videos[15]) == 25
    )
    del said[3]
    assert tsne.word_features_on_lips(None, corpus, ["a"], expert, reader)[0] == {}
    nothing = {"metrics": {}, "maps": {}, "points": {}}
    assert "Too few" in tsne.separation_table(nothing) and says_nothing(results.tsne_maps(nothing))


def test_words_without_times_are_aligned_once_for_all_readers(generator):
    """The corpus's times stay as they are; both readers are asked about the same frames; what cannot be found is left out."""
    known = (Segment("just", 0.2, 0.41), Segment("go", 0.5, 0.6))
    said = [("just go", 20, known), ("we must go", 30, ()), ("go now", 20, ()), ("just in the very same place", 8, ())]
    draws = [torch.rand(frames, 24, 24, generator=generator) * 255 for _, frames, _ in said]
    clips = SimpleNamespace(
        utterances=[Utterance(f"c{i}", "v", "", *said[i]) for i in range(4)],
        video=lambda i: draws[i].byte(),
        frames=torch.tensor([frames for _, frames, _ in said]),
        speech=lambda i: torch.sin(torch.arange(said[i][1] * 640) * (0.1 + i)),
    )
    sizes = dict(
        width=16,
        heads=2,
        feedforward=16,
        layers=1,
        decoder_layers=1,
        fusion=16,
        frontend_width=2,
        audio_frontend_width=2,
    )
    expert, reader = (
        build_reader(ReaderConfig(modalities=m, **sizes)).eval() for m in (("audio", "video"), ("video",))
    )
    times = tsne.word_times(expert, clips)
    assert times.keys() == {0, 1} and times[0] == [known[0]]
    (must,) = times[1]
    assert must.label == "must" and 0 < must.start_s < must.end_s <= 30 / 25
    assert tsne.describe_word_times(expert, clips, times).startswith(
        "Words of 2 held-out clips: in 1 the corpus tells when they are said, in 1 "
    )
    heard, seen = (tsne.word_features(r, clips, times) for r in (expert, reader))
    assert (heard.words, heard.clips, heard.frames) == (seen.words, seen.clips, seen.frames)
    assert [t for t, i in zip(seen.frames, seen.clips) if i == 0] == [5, 6, 7, 8, 9]
    assert [t for t, i in zip(seen.frames, seen.clips) if i == 1] == list(
        range(round(must.start_s * 25), round(must.end_s * 25))
    )
    with pytest.raises(ValueError, match="no clip says must"):
        tsne.word_features(reader, clips, {0: times[0]})


def test_words_that_open_a_sentence_are_left_out_where_both_are_said_elsewhere():
    """*Just* opens sentences, *must* does not: silence before it tells place, not word."""
    texts = ["just go", "we just go", "we must just go", "you must go", "just so", "now go"]
    spoken = [tuple(Segment(word, n / 5, (n + 1) / 5) for n, word in enumerate(t.split())) for t in texts]
    clips = SimpleNamespace(
        utterances=[Utterance(f"c{i}", "v", "", t, 30, words) for i, (t, words) in enumerate(zip(texts, spoken))]
    )
    times = tsne.word_times(None, clips)
    assert times == {1: [spoken[1][1]], 2: [spoken[2][1], spoken[2][2]], 3: [spoken[3][1]]}
    few = SimpleNamespace(
        utterances=clips.utterances[:3] + clips.utterances[2:3]
    )  # must in one sentence alone, in two styles
    assert tsne.word_times(None, few) == {
        0: [spoken[0][0]],
        1: [spoken[1][1]],
        2: [spoken[2][1], spoken[2][2]],
        3: [spoken[2][1], spoken[2][2]],
    }


def test_who_hears_is_ahead_by_the_difference_of_the_silhouettes(generator):
    draw = np.random.default_rng(0)
    words, said_in = ["just"] * 20 + ["must"] * 20, [f"u{i // 2}" for i in range(40)]
    space = lambda apart: tsne.WordFeatures(
        draw.normal(0, 1, (40, 3)) + apart * np.repeat([[0], [1]], 20, 0),
        words,
        [0] * 40,
        [0] * 40,
        said_in,
        [(0, 0)] * 40,
    )
    far, near = space(6), space(2)
    more = tsne.audio_visual_gain(
        {"audio-visual, x": far, "visual-only, x": near, "audio-visual, y": near, "visual-only, y": near, "pixels": far}
    )
    assert more.keys() == {"audio-visual, x", "audio-visual, y"} and more["audio-visual, y"] == dict.fromkeys(
        ("difference", "low", "high"), 0.0
    )
    silhouette = lambda f: separation(f.features, f.words, f.utterances)["silhouette"]
    assert more["audio-visual, x"]["difference"] == pytest.approx(silhouette(far) - silhouette(near))
    assert 0 < more["audio-visual, x"]["low"] < more["audio-visual, x"]["difference"] < more["audio-visual, x"]["high"]
