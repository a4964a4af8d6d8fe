"""Clips of the 2D part as padded batches, with the phoneme labels of each step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.distributed import mean_over
from ..core.rates import FEATURES_PER_SECOND, VIDEO_FPS
from ..core.tensors import Batch, at_least_float32, pad
from ..corpus.clips import Clips
from ..corpus.utterance import Utterance
from ..speech.languages import ENGLISH
from ..speech.text import Tokenizer
from ..speech.visemes import in_parts, phoneme_to_viseme, sound_to_viseme

TOKENIZER = Tokenizer()  # characters
IGNORED = -100  # label of steps that do not count in the loss


@cache
def phoneme_ids(language: str) -> dict[str, int]:
    """Ids of a pause, 0, and of espeak-ng's English phonemes; of another language, of the letters of the International
    Phonetic Alphabet."""
    table = phoneme_to_viseme() if language == ENGLISH else sound_to_viseme()
    return {"": 0} | {sound: i for i, sound in enumerate(table, 1)}


PHONEMES = phoneme_ids(ENGLISH)


@dataclass(kw_only=True)
class ReaderInput(Batch):
    """What a reader is given to read. It is padded with zeros at the end."""

    samples: Tensor  # (B, S) speech at 16 kHz, 640 samples a video frame
    frame_lengths: Tensor  # (B,) video frames of each clip
    video: Tensor | None = None  # (B, T, H, W) grey lip crops in [0, 1] at 25 fps; None where no reader uses it


@dataclass(kw_only=True)
class ClipBatch(ReaderInput):
    """Clips of the 2D part, with what a training compares a reader's outputs with."""

    tokens: Tensor  # (B, L) of the transcript
    token_lengths: Tensor  # (B,)
    feature_phonemes: Tensor  # (B, N) `phoneme_ids` at each audio feature, 50 a second; padded with IGNORED
    frame_phonemes: Tensor  # (B, T) `phoneme_ids` at each video frame, 25 a second; padded with IGNORED


def collate_clips(
    clips: Clips, indices: Sequence[int], video: bool = True, tokenizer: Tokenizer = TOKENIZER
) -> ClipBatch:
    """A padded batch of some of the clips, in the order of `indices`. video: whether their lip crops are read too."""
    chosen = list(indices)
    utterances = [clips.utterances[i] for i in chosen]
    frame_lengths = clips.frames[chosen]
    feature_lengths = frame_lengths * FEATURES_PER_SECOND // VIDEO_FPS
    tokens = [torch.tensor(tokenizer.encode(u.text)) for u in utterances]
    return ClipBatch(
        samples=pad([clips.speech(i) for i in chosen]),
        frame_lengths=frame_lengths,
        video=pad([clips.video(i) for i in chosen]).float() / 255 if video else None,
        tokens=pad(tokens),
        token_lengths=torch.tensor([len(t) for t in tokens]),
        feature_phonemes=padded_phoneme_labels(utterances, FEATURES_PER_SECOND, feature_lengths, tokenizer.language),
        frame_phonemes=padded_phoneme_labels(utterances, VIDEO_FPS, frame_lengths, tokenizer.language),
    )


def padded_phoneme_labels(
    utterances: list[Utterance], rate_hz: float, lengths: Tensor, language: str = ENGLISH
) -> Tensor:
    """`phoneme_labels` of each utterance, (B, max(lengths)), padded with IGNORED. lengths: (B,) in steps."""
    labels = [phoneme_labels(u, rate_hz, int(n), language) for u, n in zip(utterances, lengths)]
    return nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)


def phoneme_labels(utterance: Utterance, rate_hz: float, steps: int, language: str = ENGLISH) -> Tensor:
    """The phoneme spoken at n / rate_hz seconds, n < steps, of `phoneme_ids`; IGNORED where it is unknown."""
    labels, ids = torch.full((steps,), IGNORED), phoneme_ids(language)
    for p in utterance.phonemes if language == ENGLISH else in_parts(utterance.phonemes):
        first, last = (math.ceil(max(0.0, s) * rate_hz - 1e-6) for s in (p.start_s, p.end_s))
        labels[first:last] = ids.get(p.label.lstrip("ˈˌ"), IGNORED)
    return labels


def phoneme_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the phoneme spoken at each step: logits (B, T, P), labels (B, >= T - 1); zero without labels.

    The published models start CTC training from pre-training on far more data. On corpora with phoneme times, this loss
    brings the front-ends to the same point within minutes.
    """
    steps = min(logits.shape[1], labels.shape[1])
    logits, labels = at_least_float32(logits[:, :steps].transpose(1, 2)), labels[:, :steps]
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return mean_over(total, (labels != IGNORED).sum())
