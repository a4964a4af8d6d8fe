"""The people of a captured corpus: each one's mean and resting face, from his films."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..video.sources import Source
from .head_pose import free, person_reference, upright
from .landmarks import face_at_rest
from .take_files import load_take

MAX_FRAMES = 3000  # of a person's films that his mean face is taken from, evenly spaced


@dataclass(frozen=True)
class Resting:
    """A person's face in the coordinates of `head_pose`, metres.

    reference: (43, 3), the landmarks that speech does not move. rest: (478, 3), all landmarks with closed lips.
    """

    reference: np.ndarray
    rest: np.ndarray


def resting_face(sources: list[Source], takes: Path) -> Resting:
    """The face of a person from his films. takes: the folder with their takes."""
    every, frames = 1, []
    for source in sources:
        landmarks = load_take(source, takes).landmarks
        frames.append(upright(landmarks[np.isfinite(landmarks[:, 0, 0])].astype(float))[::every])
        if sum(map(len, frames)) > 2 * MAX_FRAMES:  # keeps every second frame, so that memory is bounded
            every *= 2
            frames = [part[::2] for part in frames]
    return resting_in(np.concatenate(frames))


def resting_in(seen: np.ndarray) -> Resting:
    """The face of a person from `upright` landmarks (T, 478, 3) of frames that show it."""
    seen = seen[:: -(-len(seen) // MAX_FRAMES)].astype(float)
    reference = person_reference(seen)
    freed, _ = free(seen, reference)
    return Resting(reference, face_at_rest(freed))
