"""What the readers are trained on: phonemes in step with frames, and streams that come and go."""
import dataclasses

import pytest
import torch

from avlib import run as runs
from avlib.config import load
from avlib.corpus import Utterance
from avlib.espeak import Segment
from avlib.pretrain import IGNORED, PHONEMES, ReaderTask, build_reader, phoneme_labels, pretrain_reader
from avlib.run import Run


class Voices:
    """Stands for the clips that babble is mixed from."""

    def __len__(self) -> int:
        return 2

    def speech(self, i: int) -> torch.Tensor:
        return torch.sin(torch.arange(3200) * (0.1 + 0.2 * i))


def batch() -> dict:
    draw = torch.Generator().manual_seed(1)
    return {"speech": torch.randn(3, 8 * 640, generator=draw), "video": torch.rand(3, 8, 24, 24, generator=draw),
            "lengths": torch.tensor([8, 6, 7]), "tokens": torch.tensor([[1, 2], [3, 0], [4, 5]]),
            "token_lengths": torch.tensor([2, 1, 2]), "phonemes_25": torch.randint(1, 9, (3, 8), generator=draw)}


def loss(progress: float, change: dict, **settings) -> float:
    config = dataclasses.replace(load("smoke").expert, width=16, feedforward=32, fusion=64, decoder_layers=1, **settings)
    torch.manual_seed(0)
    task = ReaderTask(build_reader(config), config, Voices(), torch.device("cpu")).train()
    return float(task(batch() | change, torch.Generator().manual_seed(2), progress)["loss"].detach())


def test_the_first_part_of_the_training_has_speech_alone():
    dark, silent = {"video": torch.zeros(3, 8, 24, 24)}, {"speech": torch.zeros(3, 8 * 640)}
    assert loss(0.2, {}) == loss(0.2, dark) != loss(0.2, silent)
    assert loss(0.6, {}) != loss(0.6, dark)
    assert loss(0.6, {}, drop_audio=1.0, drop_video=0.0) == loss(0.6, silent, drop_audio=1.0, drop_video=0.0)


def test_each_frame_is_labelled_with_the_phoneme_that_sounds():
    phonemes = (Segment("", 0.0, 0.05), Segment("ˈm", 0.05, 0.12), Segment("strange", 0.12, 0.2), Segment("s", 0.2, 0.23))
    labels = phoneme_labels(Utterance("u", "train", "", "", 7, (), phonemes), 25, 7)
    assert labels.tolist() == [0, 0, PHONEMES["m"], IGNORED, IGNORED, PHONEMES["s"], IGNORED]


def test_a_clip_cannot_lose_both_streams(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("a", load("smoke", **{"expert.drop_audio": 0.7, "expert.drop_video": 0.6}))
    with pytest.raises(ValueError, match="expert.drop_audio and expert.drop_video"):
        pretrain_reader(run, None, "expert")
