"""What a reader sees and hears: lip video from vertices, normalised crops and speech, and the augmentations of both."""

from collections.abc import Sequence

import torch

from ..core.rates import SAMPLES_PER_FRAME
from ..core.tensors import frame_mask
from ..corpus.clips import Clips
from ..speech.sound import normalise

MEAN, STD = 0.421, 0.165  # of grey mouth crops in [0, 1], as Auto-AVSR normalises them
SEEN = 88 / 96  # side of what a reader sees over side of the stored crop


# Augmentations draw from a generator of each clip's own: what a clip looks and sounds like depends on no other of its batch.
Generators = Sequence[torch.Generator]


def crop_and_normalise(video: torch.Tensor, draws: Generators | None = None, deviation: float = STD) -> torch.Tensor:
    """Stored crops (B, T, H, W) in [0, 1] -> what the reader is given: the centre, or with draws a random part of each
    clip, every second one mirrored; normalised, by the standard deviation that its training had."""
    side = round(video.shape[-1] * SEEN)
    slack = video.shape[-1] - side
    if draws is None:
        top = left = slack // 2
        part = video[..., top : top + side, left : left + side]
    else:
        parts = []
        for clip, draw in zip(video, draws, strict=True):
            y, x = torch.randint(slack + 1, (2,), generator=draw).tolist()
            part = clip[:, y : y + side, x : x + side]
            parts.append(part.flip(-1) if torch.rand((), generator=draw) < 0.5 else part)
        part = torch.stack(parts)
    return (part - MEAN) / deviation


def normalise_speech(speech: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Speech (B, S), normalised as the reader hears it; lengths (B,) in video frames."""
    return normalise(speech, lengths * SAMPLES_PER_FRAME)


def add_babble(speech: torch.Tensor, babble: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
    """speech, babble (B, S) mixed at the signal-to-noise ratio snr_db (B,)."""
    power = lambda x: x.square().mean(1, keepdim=True)
    gain = (power(speech) / power(babble).clamp_min(1e-10)).sqrt() * 10 ** (-snr_db[:, None] / 20)
    return speech + gain * babble


def mask_time_spans(
    x: torch.Tensor, lengths: torch.Tensor, rate: float, longest_s: float, draws: Generators
) -> torch.Tensor:
    """Adaptive time masking after Ma et al. 2022: one stretch of up to `longest_s` seconds for each second of clip is
    replaced by the clip's mean. x (B, T, ...) with `rate` steps a second, lengths (B,) in steps."""
    if longest_s <= 0:
        return x
    keep = torch.ones(x.shape[:2], dtype=torch.bool)
    for row, n, draw in zip(keep, lengths.tolist(), draws, strict=True):
        for _ in range(max(1, round(n / rate))):
            width = int(torch.randint(1 + round(longest_s * rate), (), generator=draw))
            start = int(torch.randint(max(1, n - width), (), generator=draw))
            row[start : start + width] = False
    keep = keep.to(x.device).view(*keep.shape, *[1] * (x.ndim - 2))
    valid = frame_mask(lengths.to(x.device), x.shape[1]).view(keep.shape)
    mean = (x * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True)
    return torch.where(keep | ~valid, x, mean)


class Babble:
    """Babble noise mixed from the 2D part's own speech: a few voices at once."""

    def __init__(self, clips: Clips, voices: int = 4):
        self.clips, self.voices = clips, voices

    def __call__(self, samples: int, draws: Generators) -> torch.Tensor:
        """(draws, samples)"""
        noise = torch.zeros(len(draws), samples)
        for row, draw in zip(noise, draws):
            for i in torch.randint(len(self.clips), (self.voices,), generator=draw).tolist():
                voice = self.clips.speech(i)
                row += voice.repeat(-(-samples // len(voice)))[:samples]
        return noise


def noisy_speech(
    speech: torch.Tensor, lengths: torch.Tensor, babble: Babble, snr_db: tuple[float, float], draws: Generators
) -> torch.Tensor:
    """Speech as a reader hears it in training, with babble at a random level.

    speech (B, S) raw, lengths (B,) in video frames -> normalised (B, S)."""
    level = snr_db[0] + (snr_db[1] - snr_db[0]) * torch.stack([torch.rand((), generator=draw) for draw in draws])
    noise = babble(speech.shape[1], draws).to(speech.device)
    return normalise_speech(add_babble(speech, noise, level.to(speech.device)), lengths)
