"""Inputs of a reader: normalised mouth crops and speech, and the augmentations of both."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from ..core.tensors import frame_mask
from ..corpus.clips import Clips
from ..speech.sound import normalise

MEAN, STD = 0.421, 0.165  # of grey mouth crops in [0, 1], as Auto-AVSR normalises them
CROP_RATIO = 88 / 96  # side of the reader's crop over side of the stored crop

# One generator for each clip of a batch, so that the augmentation of a clip does not depend on the other clips.
ClipGenerators = Sequence[torch.Generator]


def crop_and_normalise(video: Tensor, generators: ClipGenerators | None = None, deviation: float = STD) -> Tensor:
    """Stored crops (B, T, H, W) in [0, 1] -> the reader's video (B, T, H', W').

    The centre of the stored crops, or with generators a random part of each clip, mirrored with probability 1/2.
    deviation: the standard deviation to normalise by, that of the reader's training.
    """
    side = round(video.shape[-1] * CROP_RATIO)
    slack = video.shape[-1] - side
    if generators is None:
        top = left = slack // 2
        cropped = video[..., top : top + side, left : left + side]
    else:
        parts = []
        for clip, generator in zip(video, generators, strict=True):
            y, x = torch.randint(slack + 1, (2,), generator=generator).tolist()
            part = clip[:, y : y + side, x : x + side]
            parts.append(part.flip(-1) if torch.rand((), generator=generator) < 0.5 else part)
        cropped = torch.stack(parts)
    return (cropped - MEAN) / deviation


def normalise_speech(samples: Tensor, frame_lengths: Tensor) -> Tensor:
    """Speech (B, S) normalised to zero mean and unit variance over each utterance; frame_lengths: (B,) video frames."""
    return normalise(samples, frame_lengths * SAMPLES_PER_FRAME)


def add_babble(samples: Tensor, babble: Tensor, snr_db: Tensor) -> Tensor:
    """Speech and babble, both (B, S), mixed at the signal-to-noise ratios snr_db (B,)."""
    gain = (_power(samples) / _power(babble).clamp_min(1e-10)).sqrt() * 10 ** (-snr_db[:, None] / 20)
    return samples + gain * babble


def _power(samples: Tensor) -> Tensor:
    return samples.square().mean(1, keepdim=True)


def mask_time_spans(
    x: Tensor, lengths: Tensor, steps_per_second: float, longest_s: float, generators: ClipGenerators
) -> Tensor:
    """Adaptive time masking after Ma et al. 2022: for each second of a clip, replaces one span of random length by the
    clip's mean.

    x: (B, T, ...); lengths: (B,) steps; longest_s: the longest span, seconds.
    """
    if longest_s <= 0:
        return x
    keep = torch.ones(x.shape[:2], dtype=torch.bool)
    for row, length, generator in zip(keep, lengths.tolist(), generators, strict=True):
        for _ in range(max(1, round(length / steps_per_second))):
            width = int(torch.randint(1 + round(longest_s * steps_per_second), (), generator=generator))
            start = int(torch.randint(max(1, length - width), (), generator=generator))
            row[start : start + width] = False
    keep = keep.to(x.device).view(*keep.shape, *[1] * (x.ndim - 2))
    valid = frame_mask(lengths, x.shape[1], x.device).view(keep.shape)
    mean = (x * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True)
    return torch.where(keep | ~valid, x, mean)


def augmented_lips(video: Tensor, lengths: Tensor, longest_s: float, generators: ClipGenerators) -> Tensor:
    """Random crops with masked time spans, normalised: stored crops (B, T, H, W) in [0, 1] -> (B, T, H', W').

    lengths: (B,) frames; longest_s: the longest masked span in each second, seconds.
    """
    return mask_time_spans(crop_and_normalise(video, generators), lengths, VIDEO_FPS, longest_s, generators)


class Babble:
    """Babble noise: the sum of a few random clips' speech, each repeated as long as needed."""

    def __init__(self, clips: Clips, voices: int = 4):
        self.clips, self.voices = clips, voices

    def __call__(self, samples: int, generators: ClipGenerators) -> Tensor:
        """(B, samples), a row for each generator."""
        noise = torch.zeros(len(generators), samples)
        for row, generator in zip(noise, generators):
            for i in torch.randint(len(self.clips), (self.voices,), generator=generator).tolist():
                voice = self.clips.speech(i)
                row += voice.repeat(-(-samples // len(voice)))[:samples]
        return noise


def noisy_speech(
    samples: Tensor,
    frame_lengths: Tensor,
    babble: Babble,
    snr_db: tuple[float, float],
    generators: ClipGenerators,
) -> Tensor:
    """Speech with babble at a random signal-to-noise ratio, then normalised.

    samples: (B, S), as recorded; frame_lengths: (B,) video frames; snr_db: range of the uniform ratio. Returns (B, S).
    """
    draws = torch.stack([torch.rand((), generator=generator) for generator in generators])
    ratios = snr_db[0] + (snr_db[1] - snr_db[0]) * draws
    noise = babble(samples.shape[1], generators).to(samples.device)
    return normalise_speech(add_babble(samples, noise, ratios.to(samples.device)), frame_lengths)
