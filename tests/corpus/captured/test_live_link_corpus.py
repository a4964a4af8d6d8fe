"""Recordings of Live Link Face become a corpus: their weights its motion, renders of that its 2D part."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.arkit_names import NAMES
from avlib.corpus.captured import captured_corpus
from avlib.corpus.captured.captured_corpus import check_captured, prepare_captured
from avlib.corpus.captured.facekit_face import FaceKitFace
from avlib.corpus.captured.weights_take import WeightsTake, read_weights_take
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.arkit_shapes import facekit_basis, motion_of_weights
from avlib.corpus.live_link import read_live_link, write_live_link
from avlib.corpus.utterance import Excluded
from avlib.corpus.video.sources import list_sources
from avlib.export.animation import FORMATS, Animation, save
from avlib.export.models import models_for
from avlib.export.speaker import load_sound
from avlib.export.subject_mesh import corpus_mesh
from tests.corpus.captured.films import Spoken, say, write_talk
from tests.corpus.captured.synthetic_face import MODEL
from tests.corpus.video.videos import SOUND_HZ

FPS, SECONDS = 60, 1.6
JAW, SMILE = NAMES.index("jawOpen"), NAMES.index("mouthSmileLeft")
TEXTS = ("my mother may buy a map", "we bought a big boat", "papa may be by the farm", "may bob be home")
SMALL = {
    "corpus.name": "captured",
    "corpus.clips_2d": 6,
    "corpus.validation_clips_2d": 2,
    "corpus.sentences_train": 1,
    "corpus.sentences_validation": 1,
    "corpus.sentences_test": 1,
    "corpus.crop": 32,
}


def weights_of(spoken: Spoken, seconds: float = SECONDS, fps: float = FPS) -> np.ndarray:
    """(T, 52): a jaw that opens with the speech, and a smile."""
    times = np.arange(round(seconds * fps)) / fps
    weights = np.zeros((len(times), len(NAMES)))
    weights[:, JAW] = (spoken.opening(times) / 0.03).clip(0, 1)
    weights[:, SMILE] = 0.2 + 0.1 * np.sin(times)
    return weights


def write_take(folder: Path, name: str, text: str, **changes) -> np.ndarray:
    """A take in which somebody says a text; returns its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    spoken = say(text, SECONDS)
    weights = weights_of(spoken) if "weights" not in changes else changes["weights"]
    write_live_link(folder / f"{name}.csv", weights, changes.get("fps", FPS), start=40000.5)
    soundfile.write(folder / f"{name}.wav", spoken.samples, SOUND_HZ)
    (folder / f"{name}.txt").write_text(text)
    return weights


def prepare(data: Path, folder: Path, **settings) -> Corpus:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVLIB_WORKERS", "1")
        patch.setattr(runs, "RESULTS", folder / "results")
        patch.setattr(captured_corpus, "DATA", folder / "data")
        return prepare_captured(Run("run", load("smoke", **(SMALL | settings))), data)


@pytest.fixture(scope="module")
def takes(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder of takes, and their weights by name."""
    folder = tmp_path_factory.mktemp("takes")
    return folder, {f"t{n}": write_take(folder, f"t{n}", text) for n, text in enumerate(TEXTS)}


@pytest.fixture(scope="module")
def corpus(takes, checkout, tmp_path_factory) -> Corpus:
    """Without MediaPipe and its model, which takes do not need."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FaceLandmarker", "find_model"):
            patch.setattr(captured_corpus, name, lambda *_: pytest.fail("MediaPipe is not needed"))
        return prepare(takes[0], tmp_path_factory.mktemp("place"), **{"corpus.face": str(checkout)})


def test_the_motion_is_that_of_the_weights(corpus, takes, checkout):
    """On the mean face with closed lips, at the rate of the takes, and as long as the speech."""
    assert corpus.fps == FPS and corpus.templates.keys() == {"speaker"}
    np.testing.assert_allclose(corpus.templates["speaker"].numpy(), FaceKitFace(checkout).kit.mean, atol=1e-6)
    basis, seen = facekit_basis(checkout), set()
    for u in (u for split in corpus.subjects for u in corpus.utterances(split)):
        moved = motion_of_weights(takes[1][u.name], basis)
        np.testing.assert_allclose(corpus.motion(u) - corpus.templates["speaker"], moved, atol=1e-6)
        assert len(corpus.speech(u)) == u.frames / FPS * 16000 == SECONDS * 16000
        assert " ".join(word.label for word in u.words) == u.text
        seen.add(u.name)
    assert len(seen) == 4 and set(corpus.subjects) == {"train", "validation", "test"}


def test_the_2d_part_is_renders(corpus):
    for split, names in (("train", corpus.utterances("train")), ("validation", corpus.utterances("validation"))):
        clips = corpus.clips(split)
        assert {u.name for u in clips.utterances} == {f"render-{u.name}" for u in names}
        video = clips.video(0)
        assert video.shape == (SECONDS * 25, 32, 32) and video.float().std(0).max() > 5
    assert "takes of Live Link Face" in corpus.describe() and corpus.capture["takes"] == len(TEXTS)
    quality = corpus.capture["quality"]
    assert quality["reprojection_px"] is None and quality["pixels_per_mm"] is None and quality["closures"]["sounds"] > 3


def test_exported_weights_come_back_exactly(corpus, takes, checkout, tmp_path):
    """Motion of the corpus, exported for ARKit and imported again: the same weights, and the same vertices up to the
    rounding of the weights."""
    (utterance,) = corpus.utterances("test")
    mesh = corpus_mesh(corpus, "speaker", load("smoke", **SMALL | {"corpus.face": str(checkout)}).corpus)
    animation = Animation(corpus.motion(utterance).numpy(), corpus.fps, load_sound(corpus.speech(utterance)), mesh, {})
    models = models_for(mesh, ["arkit"])
    shapes = models.shapes
    assert shapes is not None and shapes.is_facekit_mesh
    about = save(animation, tmp_path / "out" / "a", ["arkit"], models)["arkit"]
    assert about["error"]["lips"]["rms"] < 0.05 and not about["transferred"] and "arkit" in FORMATS
    (tmp_path / "out" / "a-arkit.txt").write_text(utterance.text)
    soundfile.write(tmp_path / "out" / "a-arkit.wav", corpus.speech(utterance).numpy(), 16000)
    (source,) = list_sources(tmp_path / "out")[1]
    again = read_weights_take(source)
    exported = read_live_link(tmp_path / "out" / "a-arkit.csv").weights
    np.testing.assert_array_equal(again.weights, exported)
    np.testing.assert_array_equal(again.at(corpus.fps), exported)
    face = FaceKitFace(checkout)
    vertices = face.weighted(face.kit.mean, again.at(corpus.fps)).vertices
    away = np.linalg.norm(vertices[:, shapes.vertices] - corpus.motion(utterance).numpy()[:, shapes.vertices], axis=-1)
    assert np.sqrt(np.square(away).mean()) < 1e-4
    assert np.abs(exported - takes[1][utterance.name])[:, JAW].max() < 0.05


def test_a_person_who_is_also_filmed_has_the_filmed_face(takes, checkout, fake_mediapipe, tmp_path):
    for name, text in (("f0", "a boat"), ("f1", "big maps"), ("f2", "we were away")):
        write_talk(tmp_path / "data" / f"{name}.mkv", text)
    for n, text in enumerate(TEXTS[:2]):
        write_take(tmp_path / "data", f"t{n}", text)
    (tmp_path / "data" / "face_landmarker.task").write_bytes(MODEL)
    mixed = prepare(tmp_path / "data", tmp_path, **{"corpus.face": str(checkout), "corpus.sentences_train": 2})
    assert mixed.capture["layout"] == "Live Link Face and pairs" and mixed.capture["takes"] == 2 and mixed.fps == 25
    assert np.abs(mixed.templates["speaker"].numpy() - FaceKitFace(checkout).kit.mean).max() > 1e-4
    clips = {u.name.split("-")[0] for u in mixed.clips("train").utterances}
    assert clips == {"film", "render"} and not any(u.name.startswith("film-t") for u in mixed.clips("train").utterances)
    utterances = {u.name: u for split in mixed.subjects for u in mixed.utterances(split)}
    name = next(name for name in utterances if name.startswith("t"))
    weights = WeightsTake(FPS, takes[1][name], torch.zeros(round(SECONDS * 16000))).at(25)
    moved = motion_of_weights(weights, facekit_basis(checkout))
    np.testing.assert_allclose(mixed.motion(utterances[name]) - mixed.templates["speaker"], moved, atol=1e-6)


def test_takes_on_mediapipes_mesh_are_an_error_that_says_what_is_missing(takes):
    config = load("smoke", **SMALL).corpus
    with pytest.raises(
        ValueError, match="t0.csv: takes of Live Link Face .* corpus.face has to name a checkout"
    ) as error:
        check_captured(config, takes[0])
    assert "\n" not in str(error.value)


def test_takes_that_cannot_be_used_say_why(tmp_path):
    still, spoken = np.zeros((96, 52)), say(TEXTS[0], SECONDS)
    write_take(tmp_path, "percent", TEXTS[0], weights=50 * weights_of(spoken))
    write_take(tmp_path, "short", TEXTS[0], weights=still[:9])
    write_take(tmp_path, "long", TEXTS[0], weights=np.zeros((305, 52)), fps=5)
    write_take(tmp_path, "silent", TEXTS[0])
    (tmp_path / "silent.wav").unlink()
    write_take(tmp_path, "cut", TEXTS[0], weights=np.zeros((600, 52)))
    reasons = {
        "percent": "percent.csv, line 2, column MouthSmileLeft: expected a weight",
        "short": "4 frames, expected at least 5",
        "long": "longer than 60 s",
        "silent": "no sound beside it, such as 'silent.wav' or 'silent.mov'",
        "cut": "1.6 s of audio for 10.0 s of video",
    }
    sources = {source.name: source for source in list_sources(tmp_path)[1]}
    assert sources.keys() == reasons.keys()
    for name, reason in reasons.items():
        with pytest.raises(Excluded, match=reason):
            read_weights_take(sources[name])


def test_a_part_of_a_take_has_its_weights_and_its_sound(tmp_path):
    weights = write_take(tmp_path, "a", TEXTS[0])
    (source,) = list_sources(tmp_path)[1]
    whole, part = read_weights_take(source), read_weights_take(replace(source, begin_s=0.4, end_s=1.2))
    np.testing.assert_array_equal(whole.weights, weights)
    np.testing.assert_array_equal(part.weights, weights[24:72])
    assert torch.equal(part.speech, whole.speech[6400:19200]) and part.seconds == 0.8


def test_weights_at_other_rates_are_interpolated():
    ramp = np.repeat(np.arange(61)[:, None] / 60, 52, 1)
    take = WeightsTake(60, ramp, torch.zeros(16000, dtype=torch.int16))
    np.testing.assert_array_equal(take.at(60), ramp[:60])
    np.testing.assert_allclose(take.at(25)[:, 0], np.arange(25) / 25)
