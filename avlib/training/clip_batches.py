"""Padded batches of clips, with phonemes to name."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..core.distributed import mean_over
from ..core.rates import FEATURES_PER_SECOND, VIDEO_FPS
from ..core.tensors import at_least_float32, pad
from ..corpus.clips import Clips
from ..corpus.utterance import Utterance
from ..speech.text import Tokenizer
from ..speech.visemes import phoneme_to_viseme

TOKENIZER = Tokenizer()  # characters
PHONEMES = {"": 0} | {p: i for i, p in enumerate(phoneme_to_viseme(), 1)}  # pause and espeak-ng's English phonemes
IGNORED = -100


def collate(clips: Clips, indices: list[int], video: bool = True, tokenizer: Tokenizer = TOKENIZER) -> dict:
    """A padded batch of clips: speech (B, S), video (B, T, H, W) in [0, 1], lengths (B,) in video frames, tokens."""
    tokens = [torch.tensor(tokenizer.encode(clips.utterances[i].text)) for i in indices]
    heard, seen = clips.frames[indices] * FEATURES_PER_SECOND // VIDEO_FPS, clips.frames[indices]
    label = lambda rate, counts: nn.utils.rnn.pad_sequence(
        [phoneme_labels(clips.utterances[i], rate, int(n)) for i, n in zip(indices, counts)], True, IGNORED
    )
    batch = {
        "speech": pad([clips.speech(i) for i in indices]),
        "lengths": seen,
        "tokens": pad(tokens),
        "token_lengths": torch.tensor([len(t) for t in tokens]),
        "phonemes_50": label(FEATURES_PER_SECOND, heard),
        "phonemes_25": label(VIDEO_FPS, seen),
    }
    if video:
        batch["video"] = pad([clips.video(i) for i in indices]).float() / 255
    return batch


def phoneme_labels(utterance: Utterance, rate: float, steps: int) -> torch.Tensor:
    """The phoneme that sounds at n / rate seconds, n < steps, as an index into PHONEMES; IGNORED where none is known."""
    labels = torch.full((steps,), IGNORED)
    for p in utterance.phonemes:
        first, last = (math.ceil(max(0.0, s) * rate - 1e-6) for s in (p.start_s, p.end_s))
        labels[first:last] = PHONEMES.get(p.label.lstrip("ˈˌ"), IGNORED)
    return labels


def phoneme_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the phoneme that sounds at each step, logits (B, T, P) beside labels (B, >= T - 1).

    The published models come to CTC from pre-training on far more data; where the corpus tells when phonemes sound, this
    brings the front-ends to the same place within minutes. Where it does not, this is zero.
    """
    steps = min(logits.shape[1], labels.shape[1])
    logits, labels = at_least_float32(logits[:, :steps].transpose(1, 2)), labels[:, :steps]
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return mean_over(total, (labels != IGNORED).sum())
