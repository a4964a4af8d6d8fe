"""Analyses of readers: each stream by itself, the same noise for all, every viseme counted once."""

from types import SimpleNamespace

import jiwer
import pytest
import torch

from avlib.core import run as runs
from avlib.core.config import ReaderConfig
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.core.tensors import pad
from avlib.corpus.utterance import Utterance
from avlib.evaluation import reader_analysis
from avlib.evaluation.labels import VISEME_PHONEMES
from avlib.evaluation.reader_analysis import (
    mix_babble,
    transcribe_in_noise,
    transcripts_by_epoch,
    viseme_counts,
)
from avlib.lipreading.augmentation import Babble, crop_and_normalise, normalise_speech
from avlib.metrics.error_rates import corpus_rate
from avlib.speech.visemes import phoneme_to_viseme, text_to_visemes
from avlib.training.readers import build_reader

FRAMES, TEXTS = (14, 9, 12), ["you must go", "just me", "we were away"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small models are slower on more threads when the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clips() -> SimpleNamespace:
    draw = torch.Generator().manual_seed(0)
    speech = [torch.randn(n * 640, generator=draw) * (0.2 + k) for k, n in enumerate(FRAMES)]
    video = [(255 * torch.rand(n, 24, 24, generator=draw)).byte() for n in FRAMES]

    class Clips(SimpleNamespace):
        def __len__(self) -> int:
            return len(FRAMES)

    return Clips(
        utterances=[Utterance(f"c{i}", "v", "", text, n) for i, (text, n) in enumerate(zip(TEXTS, FRAMES))],
        frames=torch.tensor(FRAMES),
        speech=lambda i: speech[i],
        video=lambda i: video[i],
    )


def reader(*modalities: str):
    torch.manual_seed(1)
    return build_reader(
        ReaderConfig(
            modalities=modalities,
            width=16,
            heads=2,
            feedforward=16,
            layers=1,
            decoder_layers=1,
            fusion=32,
            frontend_width=2,
            audio_frontend_width=2,
        )
    ).eval()


@pytest.fixture
def features(monkeypatch):
    """Decoding returns a clip's features (T, D) in place of its text, at three levels of noise."""
    monkeypatch.setattr(reader_analysis, "LEVELS_DB", (None, 10, -10))
    monkeypatch.setattr(
        reader_analysis, "decode", lambda expert, x, lengths, *_: [f[:n] for f, n in zip(x, lengths.tolist())]
    )


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.allclose(x, y, atol=1e-4) for x, y in zip(a, b, strict=True))


def test_each_phoneme_belongs_to_its_viseme_and_none_is_missing():
    table = phoneme_to_viseme()
    assert all(table[p] == viseme for viseme, phonemes in VISEME_PHONEMES.items() for p in phonemes.split())
    assert set("".join(table.values())) == VISEME_PHONEMES.keys()


def test_visemes_are_counted_by_hand():
    visemes_and_none = [*VISEME_PHONEMES, None]

    def nonzero(reference, transcript):
        rows = zip(visemes_and_none, viseme_counts([reference], [transcript]))
        return {(a, b): count for a, row in rows for b, count in zip(visemes_and_none, row) if count}

    assert nonzero("pat", "bat") == {("p", "p"): 1, ("a", "a"): 1, ("t", "t"): 1}
    assert nonzero("pat", "fat") == {("p", "f"): 1, ("a", "a"): 1, ("t", "t"): 1}
    assert nonzero("pat", "at") == {("p", None): 1, ("a", "a"): 1, ("t", "t"): 1}
    assert nonzero("at", "pat") == {(None, "p"): 1, ("a", "a"): 1, ("t", "t"): 1}
    assert nonzero("map", "") == {("p", None): 2, ("a", None): 1}


def test_counts_add_up_to_the_visemes_spoken_and_read():
    transcripts = ["you must know now", "", "we wear a way"]
    counts = torch.tensor(viseme_counts(TEXTS, transcripts))
    spoken, read = ([text_to_visemes(t).replace(" ", "") for t in texts] for texts in (TEXTS, transcripts))
    for viseme, row, column in zip(VISEME_PHONEMES, counts, counts.T):
        assert row.sum() == "".join(spoken).count(viseme) and column.sum() == "".join(read).count(viseme)
    edits = jiwer.process_characters(spoken, read)
    assert counts.sum() - counts.diagonal().sum() == edits.substitutions + edits.deletions + edits.insertions > 0
    correct = torch.tensor(viseme_counts(TEXTS, TEXTS))
    assert torch.equal(correct, correct.diagonal().diag())


def test_noise_has_its_level_over_the_clip_without_padding(generator):
    speech = [torch.randn(n, generator=generator) for n in (900, 400)]
    noise = [torch.randn(1, n, generator=generator) for n in (900, 400)]
    assert torch.equal(mix_babble(pad(speech), noise, None), pad(speech))
    added = mix_babble(pad(speech), noise, -5) - pad(speech)
    assert not added[1, 400:].any()
    for s, a in zip(speech, added):
        assert float(10 * (s.square().mean() / a[: len(s)].square().mean()).log10()) == pytest.approx(-5, abs=1e-3)


@torch.no_grad()
def test_streams_are_read_as_the_expert_reads_them(clips, features):
    expert, lengths = reader("audio", "video"), clips.frames
    read = transcribe_in_noise(expert, clips, [0, 1, 2], Babble(clips), 0)
    assert {streams: len(levels) for streams, levels in read.items()} == {"audio and video": 3, "audio": 3, "video": 1}
    yes, no = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    video = crop_and_normalise(pad([clips.video(i) for i in range(3)]).float() / 255)
    audio = normalise_speech(pad([clips.speech(i) for i in range(3)]), lengths)
    for streams, present in {
        "audio and video": None,
        "audio": {"video": no, "audio": yes},
        "video": {"video": yes, "audio": no},
    }.items():
        encoded = expert.encode(video, audio, lengths, present=present)
        assert same(read[streams][0], [f[:n] for f, n in zip(encoded, FRAMES)])
    assert not same(read["audio"][0], read["video"][0]) and not same(read["audio"][0], read["audio and video"][0])
    for streams in ("audio", "audio and video"):
        levels = read[streams]
        assert not same(levels[0], levels[1]) and not same(levels[1], levels[2])


def test_noise_depends_only_on_the_clip_and_the_seed(clips, features):
    expert, babble = reader("audio", "video"), Babble(clips)
    read = transcribe_in_noise(expert, clips, [0, 1, 2], babble, 0)
    alone = transcribe_in_noise(expert, clips, [2, 0], babble, 0, budget=1)
    for streams, levels in read.items():
        for two, three in zip(alone[streams], levels, strict=True):
            assert same(two, [three[2], three[0]])
    other = transcribe_in_noise(expert, clips, [0, 1, 2], babble, 1)
    assert same(other["video"][0], read["video"][0]) and same(other["audio"][0], read["audio"][0])
    assert not same(other["audio"][-1], read["audio"][-1])


@pytest.mark.parametrize("modality, levels", [("video", 1), ("audio", 3)])
def test_readers_of_one_stream_are_analysed_too(clips, features, modality, levels):
    read = transcribe_in_noise(reader(modality), clips, [0, 1, 2], Babble(clips), 0)
    assert list(read) == [modality] and [[len(f) for f in level] for level in read[modality]] == [list(FRAMES)] * levels


def test_stages_are_done_once(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    monkeypatch.setattr(reader_analysis, "MAX_CLIPS", 2)
    monkeypatch.setattr(reader_analysis, "LEVELS_DB", (None, 0))
    run, corpus = Run("a", load("smoke")), SimpleNamespace(hash="none", clips=lambda split: clips)
    run.finish("expert", "e")
    run.finish("reader", "r")
    run.finish("readers", "rs", read={"expert": TEXTS, "reader": ["you", "just", "were"]})
    expert = reader("audio", "video")
    record = reader_analysis.readers_in_noise(run, corpus, {"expert": expert})
    assert record["levels_db"][0] is None and record["clips"] == 2
    read = transcribe_in_noise(expert, clips, [0, 2], Babble(clips), run.config.seed)
    assert record["accuracy"]["expert"]["audio"] == [
        100 * (1 - corpus_rate([TEXTS[0], TEXTS[2]], t)) for t in read["audio"]
    ]
    monkeypatch.setattr(reader_analysis, "transcribe_in_noise", None)
    assert reader_analysis.readers_in_noise(run, corpus, {"expert": None}) == run.record("noise")
    confusions = reader_analysis.viseme_confusions(run, corpus, ["reader", "expert"])
    assert confusions["counts"]["expert"] == viseme_counts(TEXTS, TEXTS) != confusions["counts"]["reader"]
    with monkeypatch.context() as patch:
        patch.setattr(reader_analysis, "viseme_counts", None)
        assert reader_analysis.viseme_confusions(run, corpus, ["reader", "expert"]) == run.record("visemes")
    run.finish("readers", "another key", read={"reader": TEXTS, "expert": TEXTS})
    again = reader_analysis.viseme_confusions(run, corpus, ["reader", "expert"])
    assert again["counts"]["reader"] == confusions["counts"]["expert"]


def test_transcripts_of_the_epochs_are_rows():
    expert = {"said": "you must go", "history": [{"read": f"try {e}"} for e in range(40)]}
    reader = {"said": "you must go", "history": [{"read": "o"}, {"read": "you o"}]}
    lines = transcripts_by_epoch({"expert": expert, "reader": reader}, max_rows=5).splitlines()
    assert lines[0] == "| epoch | expert | reader |" and lines[2] == "| reference | you must go | you must go |"
    assert lines[3] == "| 1 | try 0 | o |" and lines[-1] == "| 40 | try 39 |  |" and len(lines) == 3 + 5
    assert len(transcripts_by_epoch({"reader": reader}).splitlines()) == 3 + 2
    published = {"pretrained": "base.pth", "history": []}
    assert "not trained in this run" in transcripts_by_epoch({"expert": published, "reader": published})
    assert transcripts_by_epoch({"expert": published, "reader": reader}).splitlines()[2:] == [
        "| reference |  | you must go |",
        "| 1 |  | o |",
        "| 2 |  | you o |",
    ]
    assert "not trained in this run" in transcripts_by_epoch({"reader": {"history": [{"loss": 1.0}]}})
    silent = {"reader": {"said": "go", "history": [{"read": ""}]}}
    assert transcripts_by_epoch(silent).splitlines()[2:] == ["| reference | go |", "| 1 |  |"]
