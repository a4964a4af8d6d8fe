"""Recordings of the user: alignment, transcripts that do not match, and the corpus that contains them."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from avlib.core import run as runs
from avlib.core.config import CorpusConfig
from avlib.core.presets import load
from avlib.core.rates import SPEECH_HZ
from avlib.core.run import Run
from avlib.corpus import prepare as prepare_module
from avlib.corpus.embedded import embedded_corpus, recordings
from avlib.metrics.lips import lip_aperture
from tests.speech.test_phoneme_alignment import AFTER_S, BEFORE_S, PAUSE_S, TEXT, shifted, spoken

SIZES = {
    f"corpus.{name}": 1
    for name in ("clips_2d", "validation_clips_2d", "sentences_train", "sentences_validation", "sentences_test")
}


def write(
    folder: Path, name: str = "one", text: str = "Many people came up, but nobody bumped the map!", suffix: str = "wav"
) -> Path:
    """Writes a stereo recording at 22,050 Hz, and its transcript with capitals and punctuation."""
    speech, samples, _ = spoken()
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / f"{name}.{suffix}", 0.4 * np.stack([samples, samples / 2], 1), speech.rate_hz)
    (folder / f"{name}.txt").write_text(text + "\n")
    return folder


def damaged(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def sounding(samples: np.ndarray):
    return lambda folder: soundfile.write(folder / "one.wav", samples, SPEECH_HZ)


NOISE = 0.1 * np.random.default_rng(1).standard_normal(3 * SPEECH_HZ)
FAULTS = {
    "no transcript": (
        lambda f: (f / "one.txt").unlink(),
        r"one: expected a recording .* and its transcript \(.txt\), got one.wav$",
    ),
    "no sound": (lambda f: (f / "one.wav").unlink(), r"one: expected a recording .*, got one.txt$"),
    "two sounds": (damaged("one.flac", b""), r"one: expected a recording .*, got one.flac, one.txt, one.wav"),
    "no audio": (damaged("one.wav", b"no"), r"one.wav: 2 bytes, not a sound or video file"),
    "empty transcript": (damaged("one.txt", b" .\n"), r"one.txt: no words in it"),
    "digits": (damaged("one.txt", b"take 5"), r"one.txt: no token for '5' in 'take 5'"),
    "no text": (damaged("one.txt", b"\xff\xfe\x00"), r"one.txt: transcript .* is not a text in UTF-8"),
    "silence": (sounding(np.zeros(SPEECH_HZ)), r"one.wav: silent: its level is -100 dB"),
    "noise": (
        sounding(NOISE),
        r"one.txt and one.wav: the speech does not match its transcript, .*: mismatch \d.\d+, expected at most",
    ),
    "another text": (
        damaged("one.txt", b"she was far away from her sister's hall"),
        r"one.txt and one.wav: the speech does not match its transcript",
    ),
    "too short": (sounding(NOISE[: SPEECH_HZ // 2]), r"speech lasts 0.5 s, too short for the 9 words"),
    "too long": (sounding(np.tile(NOISE, 5)), r"one.wav: 15.0 s, expected at most 12 s: cut it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_recording_are_reported_in_one_line(tmp_path, fault):
    damage, message = FAULTS[fault]
    damage(write(tmp_path))
    with pytest.raises(ValueError, match=message) as error:
        recordings.read_recording(recordings.find_recordings(str(tmp_path))["one"])
    assert "\n" not in str(error.value)


def test_any_sound_file_with_a_transcript_is_a_recording(tmp_path):
    write(tmp_path, "two", suffix="flac")
    (tmp_path / "notes.md").write_text("of others")
    assert list(recordings.find_recordings(str(tmp_path))) == ["two"] and recordings.find_recordings("") == {}
    text, speech, *_ = recordings.read_recording(recordings.find_recordings(str(tmp_path))["two"])
    assert text == TEXT and len(speech) / SPEECH_HZ == pytest.approx(
        BEFORE_S + PAUSE_S + AFTER_S + len(spoken()[0].samples) / 22050, abs=1e-3
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A function that prepares a small corpus, and a folder with a good recording and one without transcript."""
    folder = tmp_path_factory.mktemp("own")
    own = write(folder / "own")
    soundfile.write(own / "none.wav", NOISE, SPEECH_HZ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avlib.core.parallel.cpu_count", lambda: 1)
        patch.setattr(runs, "RESULTS", folder / "results")
        patch.setattr(embedded_corpus, "DATA", folder / "data")

        def prepare(name, **settings):
            settings = (
                {f"corpus.{k}": v for k, v in settings.items()}
                | SIZES
                | {"corpus.crop": 32, "corpus.effort": "[1.0,1.0]"}
            )
            return prepare_module.prepare_corpus(Run(name, load("smoke", **settings)))

        yield prepare, own


def test_recordings_are_added_only_to_the_training_split(prepared):
    """Of both parts; everything else stays the same, also the corpus without recordings and its hash."""
    prepare, own = prepared
    plain, corpus = prepare("plain"), prepare("own", recordings=str(own))
    assert prepare("plain").hash == plain.hash != corpus.hash and plain.recordings == {}
    for split in corpus.subjects:
        names = [u.name for u in corpus.utterances(split)]
        assert set(names) - {u.name for u in plain.utterances(split)} == (
            {corpus.example().name} if split == "train" else set()
        )
        assert all(torch.equal(corpus.motion(u), plain.motion(u)) for u in plain.utterances(split))
    assert corpus.example().subject in corpus.subjects["train"] and corpus.example().text == TEXT
    assert corpus.clips("validation").utterances == plain.clips("validation").utterances
    clips = corpus.clips("train")
    assert [u.text for u in clips.utterances if u not in plain.clips("train").utterances] == [TEXT]
    i = [u.text for u in clips.utterances].index(TEXT)
    assert (
        clips.video(i).shape == (clips.utterances[i].frames, 32, 32)
        and corpus.speech(corpus.example()).abs().max() > 0.05
    )
    assert (clips.speech(i) - corpus.speech(corpus.example())).abs().max() < 1e-3
    description = corpus.describe()
    assert "Your recordings, in the training split of both parts: 1." in description and "Excluded: 1." in description
    assert re.search(r"\* `none`: .*none: expected a recording .* got none.wav", description)


def test_lips_close_in_the_bilabials_of_the_recording(prepared):
    prepare, own = prepared
    corpus, (speech, _, cut) = prepare("own", recordings=str(own)), spoken()
    gap = 1000 * lip_aperture(
        corpus.motion(corpus.example()), *(int(corpus.regions[f"{s}_lip_middle"][0]) for s in ("upper", "lower"))
    )

    def middle(phoneme):
        middle_s = (shifted(phoneme.start_s, cut) + shifted(phoneme.end_s - 1e-3, cut)) / 2
        return float(gap[round(middle_s * corpus.fps)])

    closed = [middle(p) for p in speech.phonemes if p.label.lstrip("ˈˌ") in ("p", "b", "m")]
    opened = [middle(p) for p in speech.phonemes if p.label.lstrip("ˈˌ") in ("æ", "ɑː", "eɪ")]
    assert len(closed) >= 10 and sorted(closed)[len(closed) // 2] < 0.5 and len(opened) == 3 and sum(opened) > 12


def test_a_recording_that_cannot_be_used_stops_a_strict_run(prepared):
    prepare, own = prepared
    with pytest.raises(ValueError, match="^none: .*none: expected a recording"):
        prepare("strict", recordings=str(own), strict=True)


def test_a_changed_or_renamed_transcript_gives_another_corpus(prepared, tmp_path, monkeypatch):
    """The same files in another folder give the same corpus."""
    prepare, _ = prepared
    plain, run = prepare("plain"), Run("keys", load("smoke"))
    own, folders = write(tmp_path / "changing"), []
    monkeypatch.setattr(
        embedded_corpus,
        "CorpusBuilder",
        lambda config, folder, face: SimpleNamespace(build=lambda: folders.append(folder)),
    )
    monkeypatch.setattr(embedded_corpus, "Corpus", lambda folder: None)

    def build(folder):
        config = CorpusConfig(recordings=str(folder))
        embedded_corpus.build_configured(run, config, None, plain.clips_folder)

    build(own)
    build(shutil.copytree(own, tmp_path / "copy"))
    assert folders[0] == folders[1] and len(list((folders[0] / "2d").iterdir())) == len(
        list(plain.clips_folder.iterdir())
    )
    (own / "one.txt").write_text(TEXT.replace("many", "any"))
    build(own)
    for path in sorted(own.iterdir()):
        path.rename(path.with_stem("other"))
    build(own)
    assert len(set(folders)) == 3


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"recordings": "/nowhere"}, "corpus.recordings: expected a folder .*'/nowhere'"),
        (
            {"recordings": str(Path(__file__).parents[2] / "fixtures")},
            "corpus.recordings: expected a folder with recordings",
        ),
        (
            {"recordings": ".", "name": "vocaset", "data": "."},
            "corpus.recordings: .* embedded or facekit; vocaset is of kind scans",
        ),
    ],
)
def test_a_folder_without_recordings_and_a_corpus_that_cannot_use_them_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        prepare_module.check_corpus(CorpusConfig(**settings))
