"""What a take of Live Link Face gives: weights of ARKit's blendshapes, and speech."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...core.rates import SPEECH_HZ, VIDEO_FPS
from ..arkit_names import NAMES
from ..live_link import read_live_link
from ..media import LONGEST_S, check_length, speech_at
from ..utterance import Excluded
from ..video.sources import Source

OF_THE_LIPS = [k for k, name in enumerate(NAMES) if name.startswith(("jaw", "mouth"))]


@dataclass(frozen=True)
class WeightsTake:
    """A recording of the app, or a part of one.

    fps: of the recording. weights: (N, 52), in the order of NAMES. speech: (T * 640,) int16, at 16 kHz. late_s: 0, as
    of `Take`.
    """

    fps: float
    weights: np.ndarray
    speech: Tensor
    late_s: float = 0.0

    @property
    def seconds(self) -> float:
        return len(self.speech) / SPEECH_HZ

    @property
    def frames(self) -> int:
        return len(self.weights)

    def at(self, fps: float) -> np.ndarray:
        """Weights (T, 52) at a frame rate, interpolated linearly. The take's own rate gives its own weights."""
        times, wanted = np.arange(self.frames) / self.fps, np.arange(max(1, int(self.seconds * fps + 1e-6))) / fps
        return np.stack([np.interp(wanted, times, weights) for weights in self.weights.T], 1)

    def lip_speed(self) -> np.ndarray:
        """(T,), at 25 fps: how fast the shapes of jaw and mouth change."""
        return np.linalg.norm(np.gradient(self.at(VIDEO_FPS)[:, OF_THE_LIPS], axis=0), axis=1)


def read_weights_take(source: Source) -> WeightsTake:
    """The take that a source names, whose sound begins with its first frame. Excluded says what is wrong with it."""
    if source.fault or source.sound is None:
        raise Excluded(source.fault or "no sound")
    try:
        take = read_live_link(source.path)
    except ValueError as error:
        raise Excluded(str(error)) from None
    first, last = round(source.begin_s * take.fps), min(source.end_s * take.fps, len(take.weights))
    weights = take.weights[first : round(last)]
    seconds = len(weights) / take.fps
    if seconds > LONGEST_S:
        raise Excluded(f"longer than {LONGEST_S:.0f} s, without word times to split it")
    check_length(round(seconds * VIDEO_FPS))
    speech = speech_at(source.sound, source.begin_s, max(1, int(seconds * VIDEO_FPS + 1e-6)))
    return WeightsTake(take.fps, weights, speech)
