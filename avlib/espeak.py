"""espeak-ng through ctypes: speech with the times of its phonemes and words, and text to phonemes. No download, no noise.

espeak-ng ships inside the `espeakng-loader` wheel; structures and constants are those of its `speak_lib.h`.
"""
import ctypes
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

import espeakng_loader
import numpy as np

RATE_HZ = 22050
WORDS_PER_MINUTE, PITCH = (80, 450), (0, 100)  # what espeak-ng accepts
TEXT_LIMIT = 100_000

_SYNCHRONOUS, _PHONEME_EVENTS_IN_IPA = 2, 0b11
_RATE, _VOLUME, _PITCH, _RANGE, _WORDGAP = 1, 2, 3, 4, 7
_UTF8, _IPA = 1, 0x02
_END, _WORD, _SENTENCE, _PHONEME = 0, 1, 2, 7


@dataclass(frozen=True)
class Segment:
    """One phoneme or word of an utterance, from `start_s` up to `end_s`, seconds."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Speech:
    """samples: (S,) float32 in [-1, 1] at rate_hz. phonemes: IPA with stress marks, "" is a pause; they follow one
    another without gaps from 0 to the end. words: lower-case words of the text, within that time."""

    samples: np.ndarray
    rate_hz: int
    phonemes: tuple[Segment, ...]
    words: tuple[Segment, ...]
