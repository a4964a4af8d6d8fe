"""Sound files as speech: 16 kHz mono, read in blocks, normalised."""

import math
import os
from fractions import Fraction
from pathlib import Path

import soundfile
import torch
import torchaudio
from torch import Tensor

from ..core.rates import SPEECH_HZ, WINDOW


class SpeechFile:
    """A WAV, FLAC, OGG or MP3 file of any rate as samples at 16 kHz, channels averaged, read where they are asked for:
    `file[a:b]` is (b - a,) float32, normalised to zero mean and unit variance if `normalised`.

    ValueError, naming file and reason, where the file is absent, no audio, not finite or shorter than 25 ms.
    """

    BLOCK_S = 60

    def __init__(self, path: str | Path, normalised: bool = False):
        self.path, self.mean, self.deviation = Path(path), 0.0, 1.0
        if not self.path.is_file():
            raise ValueError(f"{path}: no such file")
        try:
            with soundfile.SoundFile(self.path) as f:
                self.rate, self.frames = f.samplerate, f.frames
                self._check(f)
        except soundfile.LibsndfileError as error:
            size = self.path.stat().st_size
            raise ValueError(f"{path}: {size} bytes that are no audio file: {error.error_string}") from error
        # the filter has a phase for each unit of the ratio: a close ratio of small numbers serves odd rates
        ratio = Fraction(SPEECH_HZ, self.rate).limit_denominator(1000)
        self.up, self.down = ratio.numerator, ratio.denominator
        if normalised:
            block = self.BLOCK_S * SPEECH_HZ
            sums = torch.zeros(2, dtype=torch.double)
            for samples in (self[n : n + block].double() for n in range(0, len(self), block)):
                sums += torch.stack((samples.sum(), samples.square().sum()))
            mean, square = (sums / len(self)).tolist()
            self.mean, self.deviation = mean, math.sqrt(max(square - mean**2, 0.0) + 1e-7)

    def _check(self, f: soundfile.SoundFile):
        """One pass through the file: is there enough, and is all of it finite."""
        count = 0
        for block in f.blocks(self.BLOCK_S * self.rate, dtype="float32", always_2d=True):
            mono = torch.from_numpy(block).mean(1)
            if not mono.isfinite().all():
                raise ValueError(f"{self.path}: {int((~mono.isfinite()).sum())} of {len(mono)} samples are not finite")
            count += len(mono)
        self.frames = count  # what is there, not what the header promises
        if count < WINDOW * self.rate / SPEECH_HZ:
            raise ValueError(f"{self.path}: {1000 * count / self.rate:.1f} ms of audio, expected at least 25 ms")

    def __len__(self) -> int:
        return -(-self.frames * self.up // self.down)

    def __getitem__(self, wanted: slice) -> Tensor:
        begin, end, _ = wanted.indices(len(self))
        # whole periods of the filter, with as many on either side as it is long
        margin = 1 + -(-8 * max(1, -(-self.down // self.up)) // self.down)
        first = max(0, begin // self.up * self.down - margin * self.down)
        last = min(self.frames, -(-end // self.up) * self.down + margin * self.down)
        with soundfile.SoundFile(self.path) as f:
            f.seek(first)
            channels = f.read(last - first, dtype="float32", always_2d=True)
        samples = torchaudio.functional.resample(torch.from_numpy(channels).mean(1), self.down, self.up)
        before = first // self.down * self.up
        return (samples[begin - before : end - before] - self.mean) / self.deviation


def read_speech(path: str | Path) -> Tensor:
    """All of a `SpeechFile`, samples (S,) float32 at 16 kHz."""
    return SpeechFile(path)[:]


def write_speech(path: str | Path, samples: Tensor, rate_hz: int = SPEECH_HZ):
    """Writes samples (S,) as a 16-bit WAV file, whole or not at all; values beyond [-1, 1] are clipped."""
    path = Path(path)
    partial = path.with_name(path.name + ".tmp")
    soundfile.write(partial, samples.detach().cpu().numpy(), rate_hz, subtype="PCM_16", format="WAV")
    os.replace(partial, path)


def normalise(samples: Tensor, lengths: Tensor) -> Tensor:
    """samples (B, S) to zero mean and unit variance over each utterance's own `lengths` (B,); padding becomes zero."""
    own = torch.arange(samples.shape[1], device=samples.device) < lengths[:, None]
    count = lengths[:, None].to(samples)
    centred = torch.where(own, samples - torch.where(own, samples, 0).sum(1, True) / count, 0)
    return centred / (centred.square().sum(1, True) / count + 1e-7).sqrt()
