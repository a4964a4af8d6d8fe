"""Sound files as speech: 16 kHz mono, normalised."""

import copy
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
import torch
from av import AudioFrame, AudioResampler
from av.error import FFmpegError
from scipy.io import wavfile
from torch import Tensor

from ..core.files import write_atomic
from ..core.media import open_media
from ..core.rates import SPEECH_HZ, WINDOW
from ..core.scratch import gathered
from ..core.tensors import frame_mask

LONGEST_GAP_S = 0.1  # that decoding may leave: twice the length of a coded block
RATES_HZ = (4000, 768000)  # of sound that is read


class SpeechFile:
    """A sound file of any rate, WAV, FLAC, OGG, MP3 or another, as 16 kHz mono: `file[a:b]` is (b - a,) float32.

    Channels are averaged. A file that is cut short is read as far as it goes, whatever its header says. ValueError,
    with file and reason, where the file does not exist, is not audio, is damaged in its midst, has samples that are not
    finite or lasts less than 25 ms.
    """

    def __init__(self, path: str | Path):
        self.path, self.mean, self.deviation = Path(path), 0.0, 1.0
        try:
            self._samples = gathered(decode_mono(self.path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if len(self) < WINDOW:
            raise ValueError(f"{path}: {1000 * len(self) / SPEECH_HZ:.1f} ms of audio, expected at least 25 ms")

    def normalised(self) -> "SpeechFile":
        """The same sound with zero mean and unit variance over the file."""
        other = copy.copy(self)
        other.mean = float(self._samples.mean(dtype=np.double))
        square = float(np.einsum("n,n", self._samples, self._samples, dtype=np.double)) / len(self)
        other.deviation = math.sqrt(max(square - other.mean**2, 0.0) + 1e-7)
        return other

    def __len__(self) -> int:
        """Number of samples at 16 kHz."""
        return len(self._samples)

    def __getitem__(self, part: slice) -> Tensor:
        return (torch.tensor(self._samples[part]) - self.mean) / self.deviation


def decode_mono(path: Path) -> Iterator[np.ndarray]:
    """The sound of a file in pieces of float32 samples at 16 kHz, its channels averaged. ValueError with the reason."""
    resampler = None
    for frame in decode_frames(path):
        with np.errstate(over="ignore", invalid="ignore"):
            mono = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).mean(1)
        if faulty := int((~np.isfinite(mono)).sum()):
            raise ValueError(f"{faulty} of {len(mono)} samples at {frame.time or 0:.1f} s are not finite")
        rate_hz = frame.sample_rate
        if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
            raise ValueError(f"sound of {rate_hz} Hz, expected {RATES_HZ[0]} to {RATES_HZ[1]}")
        if rate_hz != SPEECH_HZ:
            resampler = resampler or soxr.ResampleStream(rate_hz, SPEECH_HZ, 1)
        yield resampler.resample_chunk(mono) if resampler else mono
    if resampler:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def decode_frames(path: Path) -> Iterator[AudioFrame]:
    """The sound of a file as interleaved float32, of one rate and layout.

    What cannot be decoded before the sound and at its end is passed over; ValueError where it leaves a gap.
    """
    as_floats, end_s = AudioResampler("flt"), None  # not planes: of eight, PyAV 18 reads a ninth
    with open_media(path) as container:
        streams = [stream for stream in container.streams.audio if stream.codec_context]
        if not streams:
            raise ValueError("has no sound, or sound that FFmpeg cannot decode")
        for packet in container.demux(streams[0]):
            try:
                frames = packet.decode()
            except FFmpegError:
                continue
            for frame in frames:
                begin_s = frame.time if frame.time is not None else end_s or 0.0
                if end_s is not None and begin_s - end_s > LONGEST_GAP_S:
                    raise ValueError(f"damaged: {begin_s - end_s:.1f} s are missing after {end_s:.1f} s")
                end_s = begin_s + frame.samples / frame.sample_rate
                yield from as_floats.resample(frame)


def read_speech(path: str | Path) -> Tensor:
    """All samples of a `SpeechFile`, (S,) float32 at 16 kHz."""
    return SpeechFile(path)[:]


def write_speech(path: str | Path, samples: Tensor, rate_hz: int = SPEECH_HZ) -> Path:
    """Writes samples (S,) as a 16-bit WAV file, atomically."""
    return write_atomic(Path(path), lambda partial: partial.write_bytes(wav_bytes(samples, rate_hz)))


def wav_bytes(samples: Tensor, rate_hz: int = SPEECH_HZ) -> bytes:
    """A 16-bit WAV file of samples (S,); values outside [-1, 1] are clipped."""
    file = io.BytesIO()
    levels = (32768 * samples.detach().cpu()).round().clamp(-32768, 32767).to(torch.int16)
    wavfile.write(file, rate_hz, levels.numpy())
    return file.getvalue()


def normalise(samples: Tensor, sample_lengths: Tensor) -> Tensor:
    """Normalises samples (B, S) to zero mean and unit variance over each utterance; the padding becomes zero.

    sample_lengths: (B,)
    """
    valid = frame_mask(sample_lengths, samples.shape[1], samples.device)
    count = sample_lengths[:, None].to(samples)
    centred = torch.where(valid, samples - torch.where(valid, samples, 0).sum(1, True) / count, 0)
    return centred / (centred.square().sum(1, True) / count + 1e-7).sqrt()
