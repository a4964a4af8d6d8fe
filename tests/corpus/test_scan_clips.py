"""Scans as clips: their rendered lips with their speech, and none of the judge's sentences."""

import pytest
import torch

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from avlib.core.run import Run
from avlib.corpus import scan_clips
from avlib.corpus.corpus import Corpus
from avlib.corpus.pictures import lips
from avlib.corpus.scan_clips import guide_scans
from tests import scan_corpora

FIRST, SECOND = scan_corpora.TEXTS[1:3]  # the sentences of the training scans; two of the three have the first


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return scan_corpora.converted(tmp_path_factory.mktemp("scans"), {"train": ["a map"], "judge": ["a mop"]})


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    monkeypatch.setattr(scan_clips, "DATA", tmp_path / "data")
    return Run("one", load("smoke"))


def test_a_scan_as_a_clip_has_the_lips_that_animators_are_judged_by_and_its_speech(run, corpus):
    clips, scans = scan_clips.scan_clips(run, corpus, "train"), corpus.utterances("train")
    assert [u.name for u in clips.utterances] == [u.name for u in scans] and len(scans) == 3
    for i, scan in enumerate(scans):
        seconds = scan.frames / corpus.fps
        assert clips.utterances[i].frames == len(clips.video(i)) == round(seconds * VIDEO_FPS) != scan.frames
        assert (clips.utterances[i].text, clips.utterances[i].phonemes) == (scan.text, scan.phonemes)
        assert torch.equal(clips.video(i), lips(corpus, corpus.motion(scan)))
        speech = clips.speech(i)
        common = min(len(speech), len(corpus.speech(scan)))
        assert len(speech) == clips.utterances[i].frames * SAMPLES_PER_FRAME and common > 0.9 * len(speech)
        torch.testing.assert_close(speech[:common], corpus.speech(scan)[:common], atol=2e-5, rtol=0)


def test_scans_are_rendered_once(run, corpus, monkeypatch):
    first = scan_clips.scan_clips(run, corpus, "validation")
    monkeypatch.setattr(scan_clips, "rendered_clips", lambda *_: pytest.fail("rendered again"))
    assert torch.equal(scan_clips.scan_clips(run, corpus, "validation").video(0), first.video(0))


def test_sentences_of_the_judge_are_left_out(run, corpus, tmp_path):
    assert len(guide_scans(run, corpus)) == 3
    shared = scan_corpora.converted(tmp_path / "shared", {"train": ["a map"], "judge": ["a mop", FIRST]})
    assert [u.text for u in guide_scans(run, shared).utterances] == [SECOND]
    both = scan_corpora.converted(tmp_path / "both", {"train": ["a map"], "judge": [SECOND, FIRST]})
    with pytest.raises(ValueError, match="both/corpus: the judge's clips have the sentences of all 3 training scans"):
        guide_scans(run, both)
