"""One sentence as speech with word and phoneme times: synthesised by espeak-ng, or from a recording of the user."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import resample

from ...core.rates import SPEECH_HZ
from ...speech.espeak import speak
from ...speech.languages import ENGLISH
from ...speech.segment import Segment
from ..utterance import Utterance
from .recordings import read_recording
from .studio import uniform

LEADING_SILENCE_S = 0.12  # before the first phoneme
DURATION_STEP_S = 0.2  # durations are multiples of this: whole frames at 25 and at 30 fps


@dataclass(frozen=True)
class SpokenSentence:
    """text: the transcript. speech: (S,), 16 kHz, in [-1, 1]. words, phonemes: with times in seconds."""

    text: str
    speech: torch.Tensor
    words: tuple[Segment, ...]
    phonemes: tuple[Segment, ...]

    @property
    def seconds(self) -> float:
        return len(self.speech) / SPEECH_HZ

    def utterance(self, name: str, split: str, subject: str, frames: int) -> Utterance:
        return Utterance(name, split, subject, self.text, frames, self.words, self.phonemes)


def synthesise_sentence(text: str, voice: str, generator: torch.Generator, language: str = ENGLISH) -> SpokenSentence:
    """A sentence spoken by a variant of espeak-ng; the generator draws speaking rate, pitch and loudness."""
    words_per_minute, pitch = int(uniform((115, 155), generator)), int(uniform((35, 65), generator))
    spoken = speak(text, language, voice, words_per_minute=words_per_minute, pitch=pitch)
    samples = resample(torch.from_numpy(spoken.samples), spoken.rate_hz, SPEECH_HZ)
    seconds = np.ceil((LEADING_SILENCE_S + len(samples) / SPEECH_HZ) / DURATION_STEP_S) * DURATION_STEP_S
    speech, first = torch.zeros(round(seconds * SPEECH_HZ)), round(LEADING_SILENCE_S * SPEECH_HZ)
    speech[first : first + len(samples)] = samples * uniform((0.5, 1.0), generator)

    def delayed(spans: Iterable[Segment]) -> tuple[Segment, ...]:
        return tuple(
            Segment(s.label, round(s.start_s + LEADING_SILENCE_S, 4), round(s.end_s + LEADING_SILENCE_S, 4))
            for s in spans
        )

    return SpokenSentence(text, speech.clamp(-1, 1), delayed(spoken.words), delayed(spoken.phonemes))


def recorded_sentence(files: list[Path], language: str = ENGLISH) -> SpokenSentence:
    """A recording of the user, padded to whole frames. ValueError gives the reason if it cannot be used.

    files: the sound and its transcript.
    """
    text, speech, words, phonemes = read_recording(files, language)
    samples = round(np.ceil(len(speech) / SPEECH_HZ / DURATION_STEP_S) * DURATION_STEP_S * SPEECH_HZ)
    padded = torch.nn.functional.pad(speech, (0, samples - len(speech))).clamp(-1, 1)
    return SpokenSentence(text, padded, words, phonemes)
