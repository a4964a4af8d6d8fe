"""Films as input: which files are films, and the sound of one."""

from pathlib import Path

import torch

from ..core.rates import SPEECH_HZ
from ..corpus.media import has_stream, read_sound
from ..corpus.utterance import Excluded
from ..corpus.video.folders import VIDEO_SUFFIXES


def is_film(path: Path) -> bool:
    """Whether a file has the ending of a film, and pictures. ValueError names one that cannot be opened."""
    if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
        return False
    try:
        return has_stream(path, "video")
    except Excluded as error:
        raise ValueError(f"{path}: {error}") from None


def film_sound(path: Path) -> torch.Tensor:
    """The sound of a film from its first picture on, (S,) float32 at 16 kHz. ValueError names a film without sound."""
    try:
        samples, delay_s = read_sound(path)
    except Excluded as error:
        raise ValueError(f"{path}: {error}") from None
    late = round(delay_s * SPEECH_HZ)
    samples = torch.nn.functional.pad(samples.float() / 32768, (max(0, late), 0))
    return samples[max(0, -late) :]
