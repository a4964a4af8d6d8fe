"""Typed batches: padding, phoneme labels beside frames, parts of a batch, and moving to a device."""

from types import SimpleNamespace

import pytest
import torch

from avlib.corpus.utterance import Utterance
from avlib.speech.segment import Segment
from avlib.speech.text import Tokenizer
from avlib.training.clip_batches import IGNORED, PHONEMES, TOKENIZER, ClipBatch, collate_clips, phoneme_ids
from avlib.training.joint_batches import Example, JointBatch, collate_examples


class Clips:
    """Two clips, of 3 and 5 video frames."""

    frames = torch.tensor([3, 5])
    utterances = [
        Utterance("a", "train", "", "may", 3, (), (Segment("m", 0.0, 0.12),)),
        Utterance("b", "train", "", "must go", 5, (), ()),
    ]

    def speech(self, i: int) -> torch.Tensor:
        return torch.full((int(self.frames[i]) * 640,), 1.0 + i)

    def video(self, i: int) -> torch.Tensor:
        return torch.full((int(self.frames[i]), 4, 4), 255, dtype=torch.uint8)


def example(subject: str, frames: int, video_frames: int) -> Example:
    return Example(
        utterance=SimpleNamespace(subject=subject),
        features=torch.ones(2 * video_frames, 6),
        samples=torch.ones(640 * video_frames),
        motion=torch.ones(frames, 7, 3),
        template=torch.zeros(7, 3),
        video_frames=video_frames,
        video=torch.full((video_frames, 4, 4), 255, dtype=torch.uint8),
        tokens=torch.ones(video_frames, dtype=torch.long),
    )


@pytest.fixture
def joint_batch() -> JointBatch:
    return collate_examples([example("F1", 6, 5), example("F3", 12, 10), example("F2", 3, 2)], ["F1", "F2"])


def test_clips_are_padded_and_labelled():
    batch = collate_clips(Clips(), [1, 0])
    assert len(batch) == 2 and batch.frame_lengths.tolist() == [5, 3]
    assert batch.samples.shape == (2, 3200) and batch.samples[1].tolist() == [1.0] * 1920 + [0.0] * 1280
    assert batch.video.shape == (2, 5, 4, 4) and batch.video[1, :3].eq(1).all() and not batch.video[1, 3:].any()
    assert batch.token_lengths.tolist() == [7, 3] and batch.tokens[1, :3].tolist() == TOKENIZER.encode("may")
    assert batch.frame_phonemes.tolist() == [[IGNORED] * 5, [PHONEMES["m"]] * 3 + [IGNORED] * 2]
    assert batch.feature_phonemes.tolist() == [[IGNORED] * 10, [PHONEMES["m"]] * 6 + [IGNORED] * 4]


def test_clips_of_another_language_have_its_tokens_and_sounds():
    batch = collate_clips(Clips(), [0], False, Tokenizer("yam", "de"))
    assert batch.tokens.tolist() == [[3, 2, 1]]
    assert batch.frame_phonemes.tolist() == [[phoneme_ids("de")["m"]] * 3] != [[PHONEMES["m"]] * 3]
    assert batch.feature_phonemes.tolist() == [[phoneme_ids("de")["m"]] * 6]


def test_a_batch_without_video_has_none_on_every_device():
    batch = collate_clips(Clips(), [0], video=False)
    moved = batch.to(torch.device("meta"))
    assert batch.video is None and moved.video is None and type(moved) is ClipBatch
    stays = {name for name in batch.tensors() if name.endswith(("lengths", "tokens"))}
    assert {name for name, tensor in moved.tensors().items() if tensor.device.type == "cpu"} == stays
    assert "frame_lengths" in stays and batch.samples.device.type == "cpu"


def test_examples_are_padded_with_one_hot_styles(joint_batch):
    assert joint_batch.style.tolist() == [[1, 0], [0, 0], [0, 1]]  # F3 is not a style
    assert joint_batch.frame_lengths.tolist() == [6, 12, 3] and joint_batch.video_lengths.tolist() == [5, 10, 2]
    assert joint_batch.motion.shape == (3, 12, 7, 3) and not joint_batch.motion[2, 3:].any()


def test_a_subset_is_as_long_as_its_longest_video(joint_batch):
    part = joint_batch.subset(torch.tensor([2, 0]))
    assert len(part) == 2 and part.video.shape[1] == 5 and part.samples.shape[1] == 3200
    assert part.video_lengths.tolist() == [2, 5] and part.motion.shape[1] == 12
    assert len(joint_batch) == 3 and joint_batch.video.shape[1] == 10
