"""How much of the disk a corpus takes, known before it is built."""

import shutil
from pathlib import Path

from ..core.rates import SAMPLES_PER_FRAME, SPEECH_HZ, VIDEO_FPS

# Average duration of a sentence, s.
EMBEDDED_SENTENCE_S, SCAN_SENTENCE_S = 2.8, 4.0


def clip_bytes(clips: int, seconds: float, crop: int) -> int:
    """Size of clips of the 2D part: 8-bit crops of `crop` pixels at 25 fps, and 16-bit speech."""
    return round(clips * seconds * VIDEO_FPS * (crop**2 + 2 * SAMPLES_PER_FRAME))


def scan_bytes(sentences: int, seconds: float, fps: float, vertices: int) -> int:
    """Size of sentences of the 3D part: 32-bit coordinates, and 16-bit speech."""
    return round(sentences * seconds * (fps * vertices * 12 + 2 * SPEECH_HZ))


def check_room(folder: Path, needed: int) -> None:
    """ValueError if fewer bytes than needed are free where a folder is to be filled."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if (free := shutil.disk_usage(there).free) < needed:
        raise ValueError(
            f"{folder}: the corpus takes about {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free; make room, or name "
            "another folder by the environment variable AVLIB_DATA"
        )
