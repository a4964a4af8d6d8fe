"""Real film, which the project does not contain: the folder that AVLIB_FILM names."""

import importlib.util
import os
from pathlib import Path

import av
import numpy as np
import pytest

FILM = Path(os.environ.get("AVLIB_FILM", "none"))
MODEL = FILM / "face_landmarker.task"

needs_mediapipe = pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="MediaPipe is not installed")


def needs_film(*parts: str):
    """Skips a test unless the folder contains the Face Landmarker and some parts."""
    missing = [name for name in ("face_landmarker.task", *parts) if not (FILM / name).exists()]
    reason = f"no {', '.join(missing)} here: AVLIB_FILM names its folder"
    return pytest.mark.skipif(bool(missing) or needs_mediapipe.args[0], reason=reason)


def film_pictures(path: Path, count: int) -> list[np.ndarray]:
    """The first pictures of a film, (H, W, 3) uint8."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for _, frame in zip(range(count), container.decode(video=0))]
    assert len(frames) == count
    return frames
