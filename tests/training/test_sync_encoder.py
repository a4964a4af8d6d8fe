"""Training of the encoder of lip-sync scores: it finds lips that are late, and lips that say nothing agree less."""

from types import SimpleNamespace

import pytest
import torch

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.rates import SAMPLES_PER_FRAME
from avlib.core.run import Run
from avlib.core.tensors import seeded_generator
from avlib.corpus.utterance import Utterance
from avlib.training.sync_encoder import load_sync_scorer, train_sync_encoder

FPS, FRAMES, LIPS = 50.0, 100, torch.tensor([1, 3])
SMALL = {"sync_encoder.width": 16, "sync_encoder.outputs": 16, "sync_encoder.epochs": 30, "device": "cpu"}


def utterance(split: str, n: int) -> Utterance:
    return Utterance(f"{split}{n}", split, "Ada", "", FRAMES)


def opening(u: Utterance) -> torch.Tensor:
    """How far the lips of an utterance are open in each frame of video, (50,): open or closed, at random."""
    return (torch.rand(FRAMES // 2, generator=seeded_generator(len(u.split), int(u.name[-2:], 36))) > 0.5).float()


@pytest.fixture
def corpus() -> SimpleNamespace:
    """Five vertices; the lips open as loud noise is heard."""
    template = torch.zeros(5, 3)

    def motion(u: Utterance) -> torch.Tensor:
        moved = template.repeat(FRAMES, 1, 1)
        moved[:, LIPS, 1] = 0.01 * opening(u).repeat_interleave(2)[:, None]
        return moved

    def speech(u: Utterance) -> torch.Tensor:
        loudness = 0.01 + 0.3 * opening(u).repeat_interleave(SAMPLES_PER_FRAME)
        return loudness * torch.randn(len(loudness), generator=torch.Generator().manual_seed(1))

    return SimpleNamespace(
        hash="abc",
        fps=FPS,
        motion_scale=0.005,
        regions={"lip": LIPS},
        templates={"Ada": template},
        utterances=lambda split: [utterance(split, n) for n in range({"train": 24, "validation": 6}[split])],
        motion=motion,
        speech=speech,
    )


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return Run("s", load("smoke", **SMALL))


def test_it_finds_late_lips_and_lips_that_say_nothing(run, corpus):
    train_sync_encoder(run, corpus)
    history = run.record("sync_encoder")["history"]
    assert history[-1]["in_sync"] == 1 and history[-1]["agreement"] > max(0.3, history[0]["agreement"])
    scorer, unheard = load_sync_scorer(run, corpus), utterance("test", 90)
    true = corpus.motion(unheard)
    late = torch.cat([true[:1].expand(8, -1, -1), true[:-8]])  # by 8 frames of 50 a second: 4 of video
    scores = scorer.score([unheard] * 4, [true, late, 0 * true, true[:30]])
    assert scores[3] is None and [s.offset for s in scores[:2]] == [0, 4]
    assert scores[0].agreement > 0.3 > scores[2].agreement and scores[0].confidence > scores[2].confidence
    key = run.finished_key("sync_encoder")
    train_sync_encoder(run, corpus)
    assert run.finished_key("sync_encoder") == key
