"""Takes on disk: complete or not there, made anew where the film has changed, and named where they are damaged."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from avlib.corpus.captured import take_files
from avlib.corpus.captured.take_files import load_take, record_take, recorded, take_path
from avlib.corpus.captured.takes import read_take
from avlib.corpus.video.source import Source
from avlib.corpus.video.video_corpus import source_state
from avlib.speech.segment import Segment
from tests.corpus.captured.films import PictureLandmarker, say, talking, write_film, write_talk

TEXT = "we bought a big map"


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Source:
    path = write_talk(tmp_path_factory.mktemp("film") / "film.mkv", TEXT)
    return Source("a/film", "train", path, TEXT)


@pytest.fixture(scope="module")
def written(film, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("takes")
    assert record_take(film, folder, "state", PictureLandmarker) == ("a/film", "")
    return folder


@pytest.fixture
def takes(film, written, tmp_path) -> Path:
    """A folder of its own with the take."""
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_take_is_read_as_it_was_written(film, takes):
    first, second = read_take(film, PictureLandmarker), load_take(film, takes)
    for name, value in vars(first).items():
        found = getattr(second, name)
        assert torch.equal(value, found) if torch.is_tensor(value) else np.array_equal(value, found), name
        assert type(found) is type(value)
    assert {p.suffix for p in takes.iterdir()} == {".safetensors", ".json"} and len(list(takes.iterdir())) == 2


def test_the_record_has_words_and_phonemes_in_order(film, takes):
    record = recorded(film, takes, "state")
    assert record is not None and record["name"] == "a/film" and (record["fps"], record["frames"]) == (25, 40)
    assert len(record["correlations"]) == 31 and "excluded" not in record
    words, phonemes = ([Segment(*s) for s in record[kind]] for kind in ("words", "phonemes"))
    assert [w.label for w in words] == TEXT.split()
    for segments in (words, phonemes):
        assert all(0 <= a.start_s <= a.end_s <= b.start_s + 1e-9 for a, b in zip(segments, segments[1:]))
    assert phonemes[-1].end_s == pytest.approx(1.6) and 0.15 < words[0].start_s < 0.45


def test_a_take_is_of_one_state_of_the_film(film, takes):
    assert recorded(film, takes, "state") and recorded(film, takes, "another") is None
    assert recorded(Source("b", "train", film.path, TEXT), takes, "state") is None
    state = source_state(film, film.path.parent)
    os.utime(film.path, ns=(1, 1))
    assert source_state(film, film.path.parent) != state
    assert source_state(Source("a/film", "train", film.path, "another text"), film.path.parent) != state
    record_take(film, takes, "another", PictureLandmarker)
    assert recorded(film, takes, "another") and recorded(film, takes, "state") is None


def test_a_record_without_its_take_is_none(film, takes):
    take_path(takes, film).unlink()
    assert recorded(film, takes, "state") is None


def test_a_kill_leaves_no_record(film, tmp_path, monkeypatch):
    """While the take is written, and between take and record."""

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    for function in ("save_file", "write_json"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(take_files, function, killed)
            record_take(film, tmp_path, "state", PictureLandmarker)
        assert recorded(film, tmp_path, "state") is None and not [p for p in tmp_path.iterdir() if p.suffix == ".json"]
    record_take(film, tmp_path, "state", PictureLandmarker)
    assert recorded(film, tmp_path, "state") and len(load_take(film, tmp_path).times) == 40


def test_a_film_that_is_excluded_has_a_record_alone(tmp_path):
    states = talking(say(TEXT), 1.6)
    for samples, reason in ((None, "no audio stream"), (0 * say(TEXT).samples, "silent: its level is -100 dB")):
        source = Source("film", "train", write_film(tmp_path / "film.mkv", states, samples), TEXT)
        name, found = record_take(source, tmp_path / "takes", reason, PictureLandmarker)
        record = recorded(source, tmp_path / "takes", reason)
        assert name == "film" and found.startswith(reason) and record is not None
        assert record == {"name": "film", "state": reason, "excluded": found}
        assert not take_path(tmp_path / "takes", source).exists()


def test_a_film_that_becomes_unusable_has_no_take_any_more(film, takes):
    silent = Source("a/film", "train", film.path.with_name("nothing.mkv"), TEXT)
    assert record_take(silent, takes, "gone", PictureLandmarker) == ("a/film", "no such file")
    record = recorded(silent, takes, "gone")
    assert record is not None and record["excluded"] == "no such file" and not take_path(takes, film).exists()


def test_damaged_files_are_named(film, takes):
    path = take_path(takes, film)
    whole = path.read_bytes()
    for content in (whole[:-100], b"", b"not a take"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name}: not a complete take .*delete it and run again") as error:
            load_take(film, takes)
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(ValueError, match=f"{path.name}: not a complete take"):
        load_take(film, takes)
    record = path.with_suffix(".json")
    record.write_text(json.dumps({"state": "state"})[:-4])
    with pytest.raises(ValueError, match=f"{record.name}: not a complete JSON file"):
        recorded(film, takes, "state")
