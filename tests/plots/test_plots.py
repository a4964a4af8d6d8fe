"""Clips have the right length and frames, and figures show the data they receive."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from avlib.evaluation.reader_analysis import VISEME_PHONEMES
from avlib.plots import readers, training
from avlib.render import clips as clips_module


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_a_clip_has_every_frame_and_its_sound(tmp_path, fps):
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


def test_a_clip_written_in_pieces_is_the_same(tmp_path):
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
def test_a_title_is_at_the_upper_edge_and_hides_nothing_below(name, width):
    video = torch.full((3, 64, width), 40, dtype=torch.uint8)
    titled = clips_module.titled(video, name)
    written = (titled != 40).any(0)
    assert titled.shape == video.shape and (titled >= video).all() and (titled == titled[:1]).all()
    assert (video == 40).all(), "the argument stays as it is"
    assert written.any() and not written[40:].any()
    assert not written[:, 0].any() and not written[:, -1].any(), "cut off"


def test_an_animated_picture_keeps_its_length_and_frames(tmp_path):
    video = (torch.arange(25) * 8)[:, None, None].expand(-1, 32, 48).to(torch.uint8)
    shown = []
    with Image.open(clips_module.write_webp(tmp_path / "a.webp", video, 25)) as picture:
        for n in range(picture.n_frames):  # the format joins frames that are nearly alike
            picture.seek(n)
            picture.load()
            shown += [np.array(picture.convert("L")).mean()] * round(picture.info["duration"] / 40)
            assert picture.size == (48, 32)
    assert len(shown) == 25 and np.abs(np.array(shown) - video[:, 0, 0].numpy()).max() < 12


def is_placeholder(figure) -> bool:
    """Whether the figure is a line of text that says why there is no plot."""
    (axis,) = figure.axes
    return axis.texts[0].get_text().startswith("No ") and not axis.axison


def test_curves_leave_out_fields_that_no_history_has():
    figure = training.learning_curves({"a": [{"loss": 2.0}, {"loss": 1.0, "cer": 0.5}]}, ["loss", "cer", "other"])
    assert [axis.get_title() for axis in figure.axes] == ["loss", "cer"]
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[2.0, 0.5]]
    assert is_placeholder(training.learning_curves({}, ["loss"]))


READERS = {"expert": SimpleNamespace(modalities=("audio", "video")), "reader": SimpleNamespace(modalities=("video",))}


def drawn(axis) -> dict[str, list]:
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


def test_error_rates_are_labelled_with_the_streams_of_each_reader():
    expert = [{"cer": 0.9, "cer_audio": 1.0, "cer_video": 0.8}, {"cer": 0.5, "cer_audio": 0.6}]
    (axis,) = readers.error_rate_curves({"expert": expert, "reader": [{"cer": 0.75, "read": "a"}]}, READERS).axes
    assert drawn(axis) == {
        "expert, speech and lips": [[1, 90], [2, 50]],
        "expert, speech alone": [[1, 100], [2, 60]],
        "expert, lips alone": [[1, 80]],
        "reader, lips alone": [[1, 75]],
    }
    assert is_placeholder(
        readers.error_rate_curves({"expert": [], "reader": [{"loss": 1.0}]}, READERS)
    )  # published readers have no history


def test_noise_grows_to_the_right_and_does_not_change_lip_reading():
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


def test_every_row_of_a_confusion_matrix_is_in_per_cent_of_its_sum():
    counts = np.zeros((len(VISEME_PHONEMES) + 1, len(VISEME_PHONEMES) + 1), int)
    counts[0, 0], counts[0, 2], counts[0, -1], counts[-1, 3] = 6, 1, 1, 5  # no other viseme is spoken
    better = np.zeros_like(counts)
    better[0, 0], better[-1, 3] = 8, 10
    left, right = readers.confusion_matrices({"counts": {"reader": counts.tolist(), "expert": better.tolist()}}).axes
    shown = {t.get_position(): t.get_text() for t in left.texts}
    assert shown == {(0, 0): "75", (2, 0): "12", (len(VISEME_PHONEMES), 0): "12", (3, len(VISEME_PHONEMES)): "100"}
    assert (
        left.get_title() == "reader: 75 % of 8 visemes read correctly"
        and right.get_xlabel() == "read; 10 more inserted"
    )
    rows, columns = ([t.get_text() for t in labels] for labels in (left.get_yticklabels(), left.get_xticklabels()))
    assert rows[:2] == ["p b m  (8)", "f v  (0)"] and rows[-1] == "inserted" and columns[-1] == "deleted"
    assert left.images[0].get_array()[0, 0] == 75 and left.images[0].get_array()[1].sum() == 0
