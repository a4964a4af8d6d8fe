"""Sound files as speech: 16 kHz mono, read in blocks, normalised."""

import math
import os
from fractions import Fraction
from pathlib import Path

import soundfile
import soxr
import torch
from torch import Tensor

from ..core.rates import SPEECH_HZ, WINDOW
from ..core.tensors import frame_mask

BLOCK_S = 60  # of sound in memory at a time, where a whole file is read
MARGIN_S = 0.05  # of sound read on either side of what is resampled: several times the length of soxr's filter
LARGEST_PERIOD = 1000  # samples


class SpeechFile:
    """A WAV, FLAC, OGG or MP3 file of any rate as 16 kHz mono, read on demand: `file[a:b]` is (b - a,) float32.

    Channels are averaged. normalised: to zero mean and unit variance over the file. ValueError, with file and reason,
    where the file does not exist, is not audio, has samples that are not finite or lasts less than 25 ms.
    """

    def __init__(self, path: str | Path, normalised: bool = False):
        self.path, self.mean, self.deviation = Path(path), 0.0, 1.0
        if not self.path.is_file():
            raise ValueError(f"{path}: no such file")
        if self.path.suffix.lower() == ".raw":
            raise ValueError(f"{path}: no header says how to read this sound; expected WAV, FLAC, OGG or MP3")
        try:
            with soundfile.SoundFile(self.path) as f:
                self.rate_hz = f.samplerate
                self.source_samples = self._count_samples(f)
        except soundfile.LibsndfileError as error:
            size = self.path.stat().st_size
            raise ValueError(f"{path}: {size} bytes, not an audio file: {error.error_string}") from error
        # `up` samples at 16 kHz last as long as `down` of the file: one period of the resampling. For odd rates, the
        # nearest ratio of small numbers keeps the period short.
        ratio = Fraction(SPEECH_HZ, self.rate_hz).limit_denominator(LARGEST_PERIOD)
        self.up, self.down = ratio.numerator, ratio.denominator
        if normalised:
            self.mean, self.deviation = self._statistics()

    def _count_samples(self, f: soundfile.SoundFile) -> int:
        """The samples that the file contains, whatever its header says; checks that they are enough and finite."""
        count = 0
        for block in f.blocks(BLOCK_S * self.rate_hz, dtype="float32", always_2d=True):
            mono = torch.from_numpy(block).mean(1)
            if not mono.isfinite().all():
                raise ValueError(f"{self.path}: {int((~mono.isfinite()).sum())} of {len(mono)} samples are not finite")
            count += len(mono)
        if count < WINDOW * self.rate_hz / SPEECH_HZ:
            raise ValueError(f"{self.path}: {1000 * count / self.rate_hz:.1f} ms of audio, expected at least 25 ms")
        return count

    def _statistics(self) -> tuple[float, float]:
        """Mean and standard deviation over the file."""
        block = BLOCK_S * SPEECH_HZ
        sums = torch.zeros(2, dtype=torch.double)
        for samples in (self[n : n + block].double() for n in range(0, len(self), block)):
            sums += torch.stack((samples.sum(), samples.square().sum()))
        mean, square = (sums / len(self)).tolist()
        return mean, math.sqrt(max(square - mean**2, 0.0) + 1e-7)

    def __len__(self) -> int:
        """Number of samples at 16 kHz."""
        return -(-self.source_samples * self.up // self.down)

    def __getitem__(self, part: slice) -> Tensor:
        begin, end, _ = part.indices(len(self))
        end = max(begin, end)
        margin = math.ceil(MARGIN_S * self.rate_hz / self.down)
        # whole periods, so that the resampling filter has the same phase for every part of the file
        first_period, last_period = max(0, begin // self.up - margin), -(-end // self.up) + margin
        with soundfile.SoundFile(self.path) as f:
            f.seek(min(first_period * self.down, self.source_samples))
            count = (last_period - first_period) * self.down
            channels = f.read(count, dtype="float32", always_2d=True, fill_value=0.0)
        samples = torch.from_numpy(channels).mean(1)
        if self.up != self.down:
            samples = torch.from_numpy(soxr.resample(samples.numpy(), self.down, self.up))
        first = first_period * self.up
        return (samples[begin - first : end - first] - self.mean) / self.deviation


def read_speech(path: str | Path) -> Tensor:
    """All samples of a `SpeechFile`, (S,) float32 at 16 kHz."""
    return SpeechFile(path)[:]


def write_speech(path: str | Path, samples: Tensor, rate_hz: int = SPEECH_HZ) -> None:
    """Writes samples (S,) as a 16-bit WAV file, atomically; clips values outside [-1, 1]."""
    path = Path(path)
    partial = path.with_name(path.name + ".tmp")
    soundfile.write(partial, samples.detach().cpu().numpy(), rate_hz, subtype="PCM_16", format="WAV")
    os.replace(partial, path)


def normalise(samples: Tensor, sample_lengths: Tensor) -> Tensor:
    """Normalises samples (B, S) to zero mean and unit variance over each utterance; the padding becomes zero.

    sample_lengths: (B,)
    """
    valid = frame_mask(sample_lengths, samples.shape[1], samples.device)
    count = sample_lengths[:, None].to(samples)
    centred = torch.where(valid, samples - torch.where(valid, samples, 0).sum(1, True) / count, 0)
    return centred / (centred.square().sum(1, True) / count + 1e-7).sqrt()
