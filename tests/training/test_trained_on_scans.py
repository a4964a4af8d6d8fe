"""A reader without a 2D part: trained on the rendered lips of the scans, for as long as on clips."""

from dataclasses import replace

import pytest
import torch

from avlib.core import run as runs
from avlib.core.files import read_json
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus import scan_clips
from avlib.corpus.corpus import Corpus
from avlib.corpus.pictures import lips
from avlib.training import readers
from avlib.training.readers import ReaderTask, load_reader, pretrain_reader, training_data
from tests import scan_corpora

TINY = {
    "device": "cpu",
    "expert.trained_on": "3d",
    "expert.epochs": 2,
    "expert.width": 16,
    "expert.heads": 2,
    "expert.feedforward": 16,
    "expert.fusion": 16,
    "expert.frontend_width": 2,
    "expert.audio_frontend_width": 2,
    "expert.decoder_layers": 1,
    "expert.audio_only_fraction": 0.0,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    """Three training scans of 20 video frames each, and training clips of 15 to 20 frames."""
    texts = {"train": ["a map"] * 6, "judge": ["a mop"], "validation": ["a mouse"]}
    return scan_corpora.converted(tmp_path_factory.mktemp("scans"), texts)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    monkeypatch.setattr(scan_clips, "DATA", tmp_path / "data")
    return Run("one", load("smoke", **TINY))


def test_the_expert_sees_the_rendered_lips_of_the_scans_for_as_many_frames_as_of_clips(run, corpus, monkeypatch):
    batches, forward = [], ReaderTask.forward
    monkeypatch.setattr(
        ReaderTask, "forward", lambda self, batch, *rest: batches.append(batch) or forward(self, batch, *rest)
    )
    pretrain_reader(run, corpus, "expert")
    truth = [lips(corpus, corpus.motion(u)) for u in corpus.utterances("train")]
    shown = [pixels for batch in batches for pixels in (255 * batch.video).round().byte()]
    assert all(any(torch.equal(pixels, scan) for scan in truth) for pixels in shown)
    frames = sum(len(pixels) for pixels in shown)
    wanted = 2 * int(corpus.clips("train").frames.sum())
    assert wanted <= frames < wanted + sum(map(len, truth)), "rounded up to whole epochs"
    record = run.record("expert")
    assert record["epochs"] == len(record["history"]) == frames // sum(map(len, truth)) == 4
    assert record["history"][-1]["loss"] < record["history"][0]["loss"] and "cer_video" in record["history"][-1]
    seen = read_json(run.weights("expert").with_suffix("").with_suffix(".clips.json"))
    assert set(seen.values()) < {u.name for u in corpus.utterances("train")} and len(seen) == 2, "two sound alike"
    assert load_reader(run, "expert").modalities == ("audio", "video")


def test_held_out_scans_measure_it(run, corpus):
    _, held_out, _ = training_data(run, corpus, run.config.expert)
    (scan,) = corpus.utterances("validation")
    assert torch.equal(held_out.video(0), lips(corpus, corpus.motion(scan)))


def test_by_default_a_reader_is_trained_on_the_2d_part(run, corpus):
    clips, held_out, epochs = training_data(run, corpus, replace(run.config.expert, trained_on="2d"))
    assert [u.name for u in clips.utterances] == [f"train{n}" for n in range(6)]
    assert ([u.name for u in held_out.utterances], epochs) == (["validation0"], 2)


def test_or_on_both_parts(run, corpus):
    clips, _, epochs = training_data(run, corpus, replace(run.config.expert, trained_on="both"))
    of_clips, of_scans = (training_data(run, corpus, replace(run.config.expert, trained_on=p))[0] for p in ("2d", "3d"))
    assert clips.utterances == of_clips.utterances + of_scans.utterances and epochs == 2
    assert len(clips.frames) == len(clips) > len(of_clips) > 0
    for i, (part, k) in enumerate([*((of_clips, k) for k in range(6)), (of_scans, 0)]):
        assert torch.equal(clips.video(i), part.video(k)) and torch.equal(clips.speech(i), part.speech(k))


def test_the_training_data_are_part_of_the_key(run, corpus, monkeypatch):
    monkeypatch.setattr(readers, "_train_reader", lambda run, corpus, stage, key, seed: run.finish(stage, key))
    pretrain_reader(run, corpus, "expert")
    other = Run("two", load("smoke", **TINY | {"expert.trained_on": "2d"}))
    pretrain_reader(other, corpus, "expert")
    assert run.finished_key("expert") != other.finished_key("expert")
    with pytest.raises(ValueError, match="^expert.trained_on: expected 2d, 3d or both, got '4d'$"):
        pretrain_reader(Run("three", load("smoke", **TINY | {"expert.trained_on": "4d"})), corpus, "expert")
