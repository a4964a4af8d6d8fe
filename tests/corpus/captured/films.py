"""Films of the synthetic face: what it says is heard, and its mouth moves with it."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soxr

from avlib.corpus.video.face_landmarker import Face
from avlib.speech.espeak import Speech, speak
from tests.corpus.captured import synthetic_face
from tests.corpus.captured.synthetic_face import State
from tests.corpus.video.videos import SOUND_HZ, write_sound

BEFORE_S = 0.28  # of silence before the speech
OPENING = {"p": 0.0, "b": 0.0, "m": 0.0, "": 0.0, "f": 0.001, "v": 0.001, "w": 0.002}  # metres
CONSONANT, VOWEL = 0.004, 0.012


class Spoken(NamedTuple):
    """A sentence as speech: samples (S,) int16 at 48 kHz, and the opening of the mouth at times in seconds."""

    samples: np.ndarray
    opening: Callable[[np.ndarray], np.ndarray]


@cache
def say(text: str, seconds: float = 1.6, variant: str = "m1") -> Spoken:
    """Speech of a length, with silence before and after it."""
    speech = speak(text, words_per_minute=220, variant=variant)
    samples = soxr.resample(speech.samples, speech.rate_hz, SOUND_HZ)
    before, total = round(BEFORE_S * SOUND_HZ), round(seconds * SOUND_HZ)
    samples = np.pad(samples, (before, max(0, total - before - len(samples))))[:total]
    return Spoken((samples * 32767).astype(np.int16), opening_of(speech))


def opening_of(speech: Speech) -> Callable[[np.ndarray], np.ndarray]:
    """The opening in the middle of each phoneme is that of its kind, and between them it changes linearly."""
    middles = [BEFORE_S + (p.start_s + p.end_s) / 2 for p in speech.phonemes]
    openings = [
        OPENING.get(p.label, VOWEL if p.label.lstrip("ˈˌ")[:1] in "aeiouæɐɑɒɔəɛɜɪʊʌ" else CONSONANT)
        for p in speech.phonemes
    ]
    times = [BEFORE_S - 0.03, *middles, BEFORE_S + speech.phonemes[-1].end_s + 0.05]
    return lambda at: np.interp(at, times, [0.0, *openings, 0.0])


def talking(spoken: Spoken, seconds: float, fps: float = 25, person: int = 0, **fixed: float) -> list[State]:
    """The states of a face that says something while its head moves a little. fixed: other values of all states."""
    times = np.arange(round(seconds * fps)) / fps
    turn = np.sin(2 * times + person)
    return [
        State(float(opening), yaw=0.1 * t, pitch=0.06 * t, roll=-0.05 * t, x=5 * t, y=3 * t, person=person)._replace(
            **fixed
        )
        for opening, t in zip(spoken.opening(times), turn)
    ]


def write_film(path: Path, states: Sequence[State], samples: np.ndarray | None, fps: float = 25) -> Path:
    """A lossless film of the states, with sound (S,) int16 at 48 kHz if there is any."""
    rate = Fraction(fps).limit_denominator(1001)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=rate)
        video.width = video.height = synthetic_face.SIDE
        video.pix_fmt = "gray"
        audio = out.add_stream("pcm_s16le", rate=SOUND_HZ, layout="mono") if samples is not None else None
        for n, picture in enumerate(synthetic_face.pictures(list(states))):
            frame = av.VideoFrame.from_ndarray(picture, "gray")
            frame.pts, frame.time_base = n, 1 / rate
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if samples is not None:
            write_sound(out, audio, samples)
    return path


def write_talk(path: Path, text: str, seconds: float = 1.6, fps: float = 25, person: int = 0, **fixed: float) -> Path:
    """A film in which a person says a text, and the text beside it."""
    spoken = say(text, seconds, ("m1", "f2", "m3", "f4")[person % 4])
    write_film(path, talking(spoken, seconds, fps, person, **fixed), spoken.samples, fps)
    path.with_suffix(".txt").write_text(text)
    return path


class PictureLandmarker:
    """In the place of `FaceLandmarker`: sees the faces whose state is written in a picture."""

    def __call__(self, rgb: np.ndarray, time_s: float) -> list[Face]:
        return synthetic_face.seen(rgb)
