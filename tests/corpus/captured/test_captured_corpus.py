"""Films become both parts of a corpus: complete, in step, the same after an interruption, and with what is left out."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.captured import builder, captured_corpus, splits, take_files
from avlib.corpus.captured.builder import common_rate, late_people
from avlib.corpus.captured.captured_corpus import check_captured, prepare_captured
from avlib.corpus.captured.clip_shards import EYES, SPAN, film_crops
from avlib.corpus.captured.people import Resting
from avlib.corpus.captured.performances import utterance_of
from avlib.corpus.captured.quality import lip_distance
from avlib.corpus.captured.screening import LAGS
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded import facekit_checkout
from avlib.corpus.prepare import check_corpus
from avlib.corpus.run_corpus import open_corpus
from avlib.corpus.video.mouth_crops import MediaPipe
from avlib.corpus.video.source import Source
from tests.corpus.captured.conftest import mediapipe_replaced
from tests.corpus.captured.films import say, talking, write_film
from tests.corpus.captured.synthetic_face import MODEL, proportions
from tests.corpus.embedded.checkout import write_checkout

SECONDS = 1.2
ANN, BEN, CAT = 0, 1, 2  # their faces
VOICES = {"ann": "m1", "ben": "f2", "cat": "f4"}
FILMS = {  # name: text, split, face, frame rate
    "ann/1": ("big maps", "train", ANN, 25),
    "ann/2 b": ("a boat", "train", ANN, 25),
    "ben/1": ("we bought it", "train", BEN, 25),
    "ben/2": ("my baby", "train", BEN, 30),
    "ann/silent": ("no sound", "train", ANN, 25),
    "ben/3": ("we were away", "validation", BEN, 25),
    "cat/4": ("buy a map", "test", CAT, 25),
}
SMALL = {
    "corpus.name": "captured",
    "corpus.clips_2d": 6,
    "corpus.rendered_share": 0.5,
    "corpus.validation_clips_2d": 2,
    "corpus.sentences_train": 1,
    "corpus.sentences_validation": 1,
    "corpus.sentences_test": 1,
    "corpus.crop": 32,
}


class Place(NamedTuple):
    """Where a test keeps its results and its prepared data. films: the folder of the films."""

    folder: Path
    films: Path

    def prepare(self, run: str = "run", **settings) -> Corpus:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AVLIB_WORKERS", "1")
            patch.setattr(runs, "RESULTS", self.folder / "results")
            patch.setattr(captured_corpus, "DATA", self.folder / "data")
            return prepare_captured(Run(run, load("smoke", **(SMALL | settings))), self.films)

    def content(self) -> dict[str, bytes]:
        """Of all prepared files."""
        files = sorted(p for p in (self.folder / "data").rglob("*") if p.is_file())
        return {p.relative_to(self.folder / "data").as_posix(): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """A folder with the films, their table, and a model of the synthetic face."""
    folder = tmp_path_factory.mktemp("films")
    for name, (text, _, face, fps) in FILMS.items():
        spoken = say(text, SECONDS, VOICES[name[:3]])
        samples = spoken.samples * (name != "ann/silent")
        write_film(folder / f"{name}.mkv", talking(spoken, SECONDS, fps, face), samples, fps)
    rows = [(f"{name}.mkv", text, split, name[:3]) for name, (text, split, *_) in FILMS.items()]
    rows.append(("ben/digits.mkv", "at 7", "train", "ben"))
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text", "split", "subject"), *rows])
    (folder / "face_landmarker.task").write_bytes(MODEL)
    return folder


@pytest.fixture(scope="module")
def place(films, tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp("place"), films)


@pytest.fixture(scope="module")
def corpus(place, fake_mediapipe) -> Corpus:
    return place.prepare()


def test_both_parts_can_be_read(corpus):
    assert (corpus.name, corpus.fps, corpus.unit) == ("captured", 25, "m") and corpus.faces.max() < corpus.vertices
    people = {split: sorted(subjects) for split, subjects in corpus.subjects.items()}
    assert people == {"train": ["ann", "ben"], "validation": ["ben"], "test": ["cat"]}
    assert {u.name for u in corpus.utterances("train")} == {
        "ann-1",
        utterance_of(Source("ann/2 b", "train", Path(), ""), {"words": [], "phonemes": []}).name,
        "ben-1",
        "ben-2",
    }
    assert [u.name for split in ("validation", "test") for u in corpus.utterances(split)] == ["ben-3", "cat-4"]
    assert corpus.templates.keys() == {"ann", "ben", "cat"} and corpus.motion_scale > 1e-4
    assert 0 < corpus.albedo.min() <= corpus.albedo.max() <= 1
    assert set(corpus.regions) == {"lip", "upper_face", "upper_lip_middle", "lower_lip_middle", "mouth"}
    assert torch.isin(corpus.regions["lip"], corpus.regions["mouth"]).all()
    assert "| 3D | test | cat | 1 |" in corpus.describe()


def test_speech_lasts_as_long_as_the_motion(corpus):
    for split in corpus.subjects:
        for u in corpus.utterances(split):
            motion = corpus.motion(u)
            assert motion.shape == (u.frames, corpus.vertices, 3) and u.frames == round(SECONDS * 25)
            assert len(corpus.speech(u)) / 16000 == pytest.approx(u.frames / corpus.fps, abs=1e-9)
            assert [w.label for w in u.words] == u.text.split()
            assert u.phonemes[-1].end_s == pytest.approx(SECONDS) and 0.2 < u.words[0].start_s < 0.4


def gap(corpus: Corpus, vertices: torch.Tensor) -> np.ndarray:
    """(T,), metres: the distance of the lips."""
    return lip_distance(vertices.numpy(), {name: region.numpy() for name, region in corpus.regions.items()})


def test_the_motion_is_that_of_the_film(corpus):
    """The distance of the lips is what the films were made with; at another rate than the film's it is interpolated."""
    for u in (u for split in corpus.subjects for u in corpus.utterances(split)):
        found = gap(corpus, corpus.motion(u)) - gap(corpus, corpus.templates[u.subject][None])
        width, height, _ = proportions(list(VOICES).index(u.subject))
        true = height / width * say(u.text, SECONDS, VOICES[u.subject]).opening(np.arange(u.frames) / 25)
        error = np.abs(found - true)
        assert np.ptp(true) > 0.01 and error.mean() < (6e-4 if u.name == "ben-2" else 1e-4), u.name
        assert error.max() < (5e-3 if u.name == "ben-2" else 4e-4), u.name


def test_clips_are_film_and_renders_of_training_motion(corpus):
    clips = {split: corpus.clips(split) for split in ("train", "validation")}
    names = {split: [u.name for u in part.utterances] for split, part in clips.items()}
    assert names["validation"] == ["film-ben-3"]
    kinds = [name.split("-")[0] for name in names["train"]]
    assert sorted(kinds) == ["film"] * 3 + ["render"] * 3, "another film takes the place of the silent one"
    training = {u.name: u for u in corpus.utterances("train")}
    assert {name.split("-", 1)[1] for name in names["train"]} <= training.keys()
    for part in clips.values():
        for n, u in enumerate(part.utterances):
            video, speech = part.video(n), part.speech(n)
            assert video.shape == (u.frames, 32, 32) and speech.shape == (u.frames * 640,) and u.frames == 30
            assert video.float().std() > 10 and speech.abs().max() > 0.05
            if original := training.get(u.name.split("-", 1)[1]):
                assert (u.text, u.words, u.phonemes) == (original.text, original.words, original.phonemes)
                assert torch.equal(speech, corpus.speech(original)[: len(speech)])


def test_clips_show_the_lips_of_the_motion_at_the_same_time(corpus):
    """An open mouth is dark in the middle of the crop, of film and of renders alike."""
    clips, training = corpus.clips("train"), {u.name: u for u in corpus.utterances("train")}
    for n, u in enumerate(clips.utterances):
        dark = -clips.video(n)[:, 12:21, 12:20].float().mean((1, 2)).numpy()
        original = training[u.name.split("-", 1)[1]]
        assert np.corrcoef(dark, gap(corpus, corpus.motion(original)))[0, 1] > 0.8, u.name


def test_films_that_cannot_be_used_are_listed_with_reasons(corpus, place):
    excluded = corpus.capture["excluded"]
    assert excluded.keys() == {"ann/silent", "ben/digits"}
    assert excluded["ann/silent"].startswith("silent: its level is -100 dB")
    assert excluded["ben/digits"] == "no token for '7' in its transcript"
    assert corpus.capture["layout"] == "table" and corpus.capture["held_out"] == "the splits of the data"
    with pytest.raises(ValueError, match="^(ann/silent: silent|ben/digits: no token)") as error:
        place.prepare("strict", **{"corpus.strict": True})
    assert "\n" not in str(error.value)


def test_the_quality_is_that_of_all_films(corpus):
    quality = corpus.capture["quality"]
    assert quality["films"] == 6 and quality["reprojection_px"] < 0.05
    sounds = sum(p.label in ("p", "b", "m") for s in corpus.subjects for u in corpus.utterances(s) for p in u.phonemes)
    assert quality["closures"]["sounds"] == sounds > 8 and quality["closures"]["closed_share"] > 0.7
    assert quality["pixels_per_mm"] == pytest.approx(0.53, abs=0.02)


def test_a_second_time_nothing_is_made(corpus, place, capsys):
    before = place.content()
    again = place.prepare("another")
    assert again.hash == corpus.hash and place.content() == before
    assert "following" not in capsys.readouterr().out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", place.folder / "results")
        assert open_corpus(Run("another", load("smoke", **SMALL))).hash == corpus.hash


def test_an_interrupted_capture_goes_on_to_the_same_files(corpus, place, films, tmp_path, monkeypatch):
    """It is killed at the fourth film, when motion is written, and when clips are rendered."""
    other, counts = Place(tmp_path, films), {}

    def killed_at(module, name: str, last: int):
        function = getattr(module, name)

        def counted(*arguments):
            counts[name] = counts.get(name, 0) + 1
            if counts[name] == last:
                raise KeyboardInterrupt
            return function(*arguments)

        monkeypatch.setattr(module, name, counted)

    killed_at(take_files, "read_take", 4)
    killed_at(builder, "write_performances", 1)
    killed_at(builder, "write_rendered_shard", 1)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            other.prepare()
        assert not list((tmp_path / "data").glob("captured-*/corpus.json"))
    resumed = other.prepare()
    assert counts["read_take"] == len(FILMS) + 1, "only the film that was cut short is followed twice"
    assert resumed.hash == corpus.hash
    assert {name.partition("/")[2] for name in other.content()} <= {name.partition("/")[2] for name in place.content()}
    (folder,) = {name.partition("/")[0] for name in other.content() if name.startswith("captured")}
    whole, content = ({n: c for n, c in p.content().items() if n.startswith(f"{folder}/")} for p in (place, other))
    assert content == whole


def test_the_same_films_on_icts_face(corpus, place, tmp_path, monkeypatch):
    """On a small checkout: another mesh with weights of its expressions, from the same takes."""
    monkeypatch.setattr(facekit_checkout, "PARTS", write_checkout(tmp_path / "FaceXModel"))
    monkeypatch.setattr(take_files, "read_take", None)  # nothing is followed
    other = place.prepare("facekit", **{"corpus.face": str(tmp_path)})
    assert other.vertices > 2000 and other.hash != corpus.hash and other.capture["face"] == "facekit"
    for u in other.utterances("train"):
        assert other.motion(u).shape == (30, other.vertices, 3)
        lips = np.corrcoef(gap(other, other.motion(u)), gap(corpus, corpus.motion(u)))[0, 1]
        assert lips > 0.9, "they open and close together on both meshes"
    assert len(other.clips("train")) == len(corpus.clips("train"))
    assert other.capture["quality"]["closures"] != corpus.capture["quality"]["closures"]


def test_templates_are_of_the_people_in_the_3d_part(corpus, place, monkeypatch):
    """Others have clips alone, and would otherwise shift the templates of those who come after them."""
    monkeypatch.setattr(splits, "SUBJECTS", {split: range(1) for split in splits.SUBJECTS})
    monkeypatch.setattr(take_files, "read_take", None)  # nothing is followed
    small = place.prepare("small", **{"corpus.clips_2d": 10})
    assert [small.subjects[split] for split in ("train", "validation", "test")] == [["ben"], ["ben"], ["cat"]]
    assert any("ann" in u.name for u in small.clips("train").utterances)
    assert np.load(small.folder / "mesh.npz")["templates"].shape == (len(small.templates), small.vertices, 3)
    for subject, template in small.templates.items():
        torch.testing.assert_close(template, corpus.templates[subject], atol=1e-6, rtol=0)


def test_a_film_that_changes_is_followed_again_alone(films, corpus, place, tmp_path, capsys):
    copied = tmp_path / "films"
    for path in films.rglob("*.*"):
        (copied / path.relative_to(films)).parent.mkdir(parents=True, exist_ok=True)
        (copied / path.relative_to(films)).write_bytes(path.read_bytes())
    table = (copied / "table.csv").read_text()
    three = "".join(line for line in table.splitlines(True) if line[:6] in ("path,t", "ann/1.", "ben/3.", "cat/4."))
    (copied / "table.csv").write_text(three)
    other = Place(tmp_path, copied)
    first = other.prepare()
    capsys.readouterr()
    (copied / "table.csv").write_text(three.replace("big maps", "big map"))
    second = other.prepare("second")
    assert "following the faces in 1 of 3 films" in capsys.readouterr().out
    assert first.hash != second.hash and second.utterances("train")[0].text == "big map"


def test_a_split_without_films_is_an_error_that_says_why(corpus, films, tmp_path):
    copied = tmp_path / "films"
    copied.mkdir()
    (copied / "face_landmarker.task").write_bytes(MODEL)
    rows = "path,text,split\n{0}/ann/silent.mkv,no sound,test\n{0}/ann/1.mkv,big maps,train\n"
    rows += "{0}/ben/3.mkv,we were away,validation\n"
    (copied / "table.csv").write_text(rows.format(films))
    with pytest.raises(ValueError, match="captured: no film is left for split test: silent: its level") as error:
        Place(tmp_path, copied).prepare()
    assert "\n" not in str(error.value) and not list((tmp_path / "data").glob("captured-*"))


def test_wrong_input_is_found_before_a_film_is_followed(films, fake_mediapipe, tmp_path, monkeypatch):
    """By the check that a command makes first, in a line, and without any file."""
    monkeypatch.setattr(captured_corpus, "DATA", tmp_path / "data")
    (tmp_path / "empty").mkdir()
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "none.task").write_bytes(MODEL)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "mediapipe.py").write_text("raise ImportError('no library')")
    config = replace(load("smoke", **SMALL).corpus, data=str(films))
    assert check_corpus(config)["kind"] == "captured"
    check_captured(config, films)
    for changed, message in (
        ({"data": str(tmp_path / "nowhere")}, "corpus.data: expected the folder of captured's data"),
        ({"data": str(tmp_path / "empty")}, "empty: no face_landmarker.task in this folder or beside it"),
        ({"data": str(tmp_path / "without")}, "without: expected a folder of LRS2"),
        ({"landmarks": str(tmp_path / "no.task")}, "no.task: no such file; download"),
        ({"landmarks": str(films / "table.csv")}, "table.csv: not a Face Landmarker"),
        ({"face": str(tmp_path / "empty")}, "empty: no generic_neutral_mesh.obj"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            check_corpus(replace(config, **changed))
        assert "\n" not in str(error.value)
    with mediapipe_replaced(tmp_path / "broken"), pytest.raises(ValueError, match="MediaPipe.* does not load") as error:
        check_corpus(config)
    assert "\n" not in str(error.value) and not (tmp_path / "data").exists()


def test_films_of_people_whose_sound_is_late_are_excluded():
    late, right = ([{"correlations": np.exp(-(((LAGS - lag) / 3.0) ** 2)).tolist()}] * 15 for lag in (6, 0))
    names = {"ann": late, "ben": right, "": late}
    sources = [Source(f"{who}/{n}", "train", Path(), "", subject=who) for who in names for n in range(15)]
    records = {s.name: names[s.subject][0] for s in sources}
    found = late_people(sources, records)
    assert found.keys() == {s.name for s in sources if s.subject != "ben"}
    assert found["ann/3"] == "ann: in all 15 films of this person, the sound comes 0.24 s after the lips"
    assert found["/3"].startswith("speaker: in all 15 films")


def test_the_motion_has_the_most_frequent_frame_rate(capsys):
    assert common_rate([25, 30, 25]) == 25 and common_rate([25, 30]) == 30 and common_rate([60]) == 60
    assert "films of 25, 30 fps; motion has 30" in capsys.readouterr().out


def test_names_of_utterances_are_plain_and_differ():
    names = ["a/b", "a-b/c d", "a-b/c.d", "a-b/c_d", "a/../b", "Ä/é", "a:b", "a?b", "-a-"]
    record = {"words": [("go", 0.1, 0.2)], "phonemes": []}
    found = [utterance_of(Source(name, "train", Path(), "go"), record) for name in names]
    assert len({u.name for u in found}) == len(names) and found[0].name == "a-b" and found[0].subject == "speaker"
    assert all("/" not in u.name and " " not in u.name and not u.name.startswith((".", "-")) for u in found)
    assert found[0].words[0].label == "go"


@pytest.mark.parametrize("eyes_m", [0.055, 0.063, 0.07])
def test_film_crops_show_eight_centimetres(eyes_m):
    """A bar that is two centimetres wide on the face is a quarter of the crop."""
    rest = np.zeros((478, 3))
    rest[list(MediaPipe.GROUPS[1]), 0] = eyes_m
    width = EYES / eyes_m * 0.02  # pixels
    bar = np.abs(np.arange(96) - 47.5) < width / 2
    video = torch.from_numpy(np.where(bar, 200, 0).astype(np.uint8)).expand(3, 96, 96)
    crops = film_crops(video, Resting(rest[:43], rest), 64)
    assert crops.shape == (3, 64, 64) and crops.dtype == torch.uint8 and SPAN == 0.08
    assert crops[0].float().mean() / 200 == pytest.approx(0.25, abs=0.02)
    middle = (crops[0, 0] * torch.arange(64)).sum() / crops[0, 0].sum()
    assert middle == pytest.approx(31.5, abs=0.5), "an odd number of pixels is not in the middle of 96"
    assert torch.equal(crops[0, 0], crops[2, 63])
