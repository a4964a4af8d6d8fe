"""A film that drives a face by itself: motion at the film's own rate, at any length, without transcript or corpus."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...core.rates import SAMPLES_PER_FRAME, SPEECH_HZ, VIDEO_FPS
from ...core.scratch import scratch_array
from ..arkit_names import NAMES
from ..media import frame_rate, has_stream, speech_at
from ..video.face_landmarker import FaceLandmarker
from ..video.mouth_crops import Track, cut_crops, interpolate_gaps
from ..video.source import Source
from .dressing import film_albedo
from .face import Face
from .head_pose import angles, free, upright
from .people import MAX_FRAMES, resting_in
from .takes import Take, follow_face, mouth_track

CROPS_S = 60  # of mouth crops from the film's beginning, which show how bright the skin is
WINDOW = 250  # frames whose motion is fitted at once, which bounds memory
MARGIN_S = 1.0  # of film on either side of a window that is fitted with it, as the fit is smooth over time
RATE_TOLERANCE = 0.02  # by which frames may be rarer than a film's nominal rate says; beyond it the rate is variable


@dataclass(frozen=True)
class DrivenFace:
    """What a film makes a face do.

    fps: of the film. template: (V, 3), metres, the person's face at rest. albedo: (V,). vertices: (T, V, 3) float32,
    metres. weights: (T, 52), of ARKit's blendshapes as fitted; None for a face without such shapes. scores: (T, 51), of
    MediaPipe, in the order of `BLENDSHAPES`. head: (T, 3), rad, of `head_pose.angles`. speech: (S,) int16, 16 kHz.
    late_s: how much later than the film all this begins, because the first pictures could not be decoded.
    """

    fps: float
    template: np.ndarray
    albedo: np.ndarray
    vertices: np.ndarray
    weights: np.ndarray | None
    scores: np.ndarray
    head: np.ndarray
    speech: Tensor
    late_s: float


def read_film(path: Path, create_landmarker: Callable[[], FaceLandmarker]) -> Take:
    """The face in a film of any length, with or without sound, and mouth crops of its beginning.

    Excluded says what is wrong with the film. A variable rate becomes its mean, in whole frames a second.
    """
    face = follow_face(Source(path.stem, "train", path, ""), create_landmarker, math.inf)
    track = mouth_track(face.times, face.landmarks, 0.0)
    interpolate_gaps(track.points)  # Excluded for a long one
    video = cut_crops(path, Track(track.begin_s, track.points[: CROPS_S * VIDEO_FPS]))
    fps, times = steady_rate(frame_rate(path), face.times), face.times - track.begin_s
    first, last = times[np.argmin(np.abs(times))], times[-1]
    frames = round((last - first + (last - times[0]) / (len(times) - 1)) * fps)
    samples = math.ceil(frames / fps * SPEECH_HZ)
    speech = torch.zeros(samples, dtype=torch.int16)
    if has_stream(path, "audio"):
        speech = speech_at(path, track.begin_s, -(-samples // SAMPLES_PER_FRAME))[:samples]
    return Take(fps, times, face.landmarks, face.scores, face.size, video, speech, track.begin_s)


def steady_rate(nominal: float, times: np.ndarray) -> float:
    """The nominal rate, or the mean one if frames are rarer. times: (N,), s, at least two."""
    mean = float((len(times) - 1) / (times[-1] - times[0]))
    return nominal if nominal <= (1 + RATE_TOLERANCE) * mean else float(max(1, round(mean)))


def drive(face: Face, take: Take) -> DrivenFace:
    """The motion of a film on a face, whose identity is that of the person in the film."""
    landmarks, scores = take.at(take.fps)
    resting = resting_in(upright(landmarks[:: -(-len(landmarks) // MAX_FRAMES)]))
    person = face.person(resting.rest)
    beginning = replace(take, speech=take.speech[: len(take.video) * SAMPLES_PER_FRAME])
    frames, margin = len(landmarks), round(MARGIN_S * take.fps)
    vertices, head = scratch_array((frames, *person.template.shape)), np.zeros((frames, 3))
    weights = np.zeros((frames, len(NAMES)))
    weighted = False
    for first in range(0, frames, WINDOW):
        begin, end = max(0, first - margin), min(frames, first + WINDOW + margin)
        freed, similarity = free(upright(landmarks[begin:end].astype(float)), resting.reference)
        motion = person.motion(freed, take.fps)
        window, own = slice(first, first + WINDOW), slice(first - begin, first - begin + WINDOW)
        vertices[window], head[window] = motion.vertices[own], angles(similarity)[own]
        if motion.weights is not None:
            weights[window], weighted = motion.weights[own], True
    return DrivenFace(
        take.fps,
        person.template.astype(np.float32),
        film_albedo(face, person, resting, [beginning]).astype(np.float32),
        vertices,
        weights if weighted else None,
        scores,
        head,
        take.speech,
        take.late_s,
    )
