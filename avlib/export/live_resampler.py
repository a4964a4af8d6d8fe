"""Resampling of a stream to 16 kHz."""

from fractions import Fraction

import torch
import torchaudio
from torch import Tensor

from ..core.rates import SPEECH_HZ


class Resampler:
    """Resamples pieces of sound to 16 kHz. Together they equal `torchaudio.functional.resample` of the whole sound.

    Recordings are resampled by the same function in training. A piece is held back for at most 22 ms (44.1 kHz).
    ValueError for a sample rate outside 4,000 to 768,000 Hz.
    """

    def __init__(self, rate: int):
        if not 4000 <= rate <= 768_000:
            raise ValueError(f"live: expected a rate of 4,000 to 768,000 Hz, got {rate}")
        ratio = Fraction(SPEECH_HZ, round(rate)).limit_denominator(1000)
        self.up, self.down = ratio.numerator, ratio.denominator
        # The filter is shorter than this many periods; a period is `down` input samples or `up` output samples.
        self.margin = 1 + -(-8 * max(1, -(-self.down // self.up)) // self.down)
        self.pending = torch.zeros(0)  # input samples that later output still depends on
        self.returned = 0  # periods of `pending` that have been returned

    def __call__(self, samples: Tensor, last: bool = False) -> Tensor:
        """Samples (S,) -> the samples at 16 kHz that are now final. last: the sound ends here."""
        if self.up == self.down:
            return samples
        self.pending = torch.cat((self.pending, samples))
        periods = -(-len(self.pending) // self.down) if last else len(self.pending) // self.down - self.margin
        if periods <= self.returned:
            return samples[:0]
        resampled = torchaudio.functional.resample(self.pending, self.down, self.up)
        resampled = resampled[self.returned * self.up : periods * self.up]
        dropped = max(0, periods - self.margin)
        self.pending, self.returned = self.pending[dropped * self.down :], periods - dropped
        return resampled
