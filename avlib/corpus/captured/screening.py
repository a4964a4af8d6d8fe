"""Whether the sound of a film is that of its mouth and says its transcript, and when."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from ...core.rates import SPEECH_HZ, VIDEO_FPS
from ...speech.languages import ENGLISH
from ...speech.phoneme_alignment import align, check_match, fit_phonemes
from ...speech.segment import Segment
from ..utterance import Excluded
from ..video.sources import Source
from .takes import Take
from .weights_take import WeightsTake

LAGS = np.arange(-15, 16)  # frames at 25 fps by which the sound may follow the lips
MIN_CORRELATION = 0.1  # of loudness and speed of the lips, at the best lag; that of other sound is often lower
MAX_LAG_S = 0.2  # of a single film, and
MIN_GAIN = 0.9  # how much the correlation at its lag must exceed that at lag 0, times the square root of its seconds
MAX_COMMON_LAG_S = 0.1  # of all films of a person, which tell the lag within a frame if they are at least
MIN_FILMS = 12  # so many
SILENT_DB = -65  # relative to full scale


def check_sound(take: Take | WeightsTake, correlations: np.ndarray) -> None:
    """Excluded for a silent film, and for sound that does not move with the lips. correlations: see `lag_profile`."""
    speech = take.speech.float() / 32768
    if (level := 10 * float(torch.log10(speech.square().mean() + 1e-10))) < SILENT_DB:
        raise Excluded(f"silent: its level is {level:.0f} dB, expected more than {SILENT_DB} dB")
    if correlations.max() < MIN_CORRELATION:
        raise Excluded(
            f"the lips do not move with the sound: correlation {correlations.max():.2f}, expected at least "
            f"{MIN_CORRELATION}"
        )
    lag_s, gain = best_lag(correlations)
    if abs(lag_s) > MAX_LAG_S and gain > MIN_GAIN / take.seconds**0.5:
        raise Excluded(f"the sound comes {describe_lag(lag_s)} the lips")


def common_lag(profiles: list[np.ndarray]) -> str:
    """The reason why all films of a person are excluded, if their sound is late or early; else "".

    profiles: of `lag_profile`, of each film.
    """
    if len(profiles) < MIN_FILMS:
        return ""
    lag_s, _ = best_lag(np.mean(profiles, 0))
    if abs(lag_s) <= MAX_COMMON_LAG_S:
        return ""
    return f"in all {len(profiles)} films of this person, the sound comes {describe_lag(lag_s)} the lips"


def describe_lag(lag_s: float) -> str:
    return f"{abs(lag_s):.2f} s {'after' if lag_s > 0 else 'before'}"


def best_lag(correlations: np.ndarray) -> tuple[float, float]:
    """The lag with the highest correlation, s, and by how much that exceeds the correlation at lag 0."""
    best = int(correlations.argmax())
    return float(LAGS[best]) / VIDEO_FPS, float(correlations[best] - correlations[LAGS == 0][0])


def lag_profile(take: Take | WeightsTake) -> np.ndarray:
    """(31,): correlation of the speed of the lips with the loudness of the sound that follows LAGS frames later."""
    speed = gaussian_filter1d(take.lip_speed(), 1.0)
    loudness = loudness_db(take.speech.numpy().astype(float) / 32768, len(speed))
    return np.array([correlation_at(speed, loudness, lag) for lag in LAGS.tolist()])


def correlation_at(speed: np.ndarray, loudness: np.ndarray, lag: int) -> float:
    """Pearson's correlation of speed[t] and loudness[t + lag]; 0 if one is constant or too short."""
    count = len(speed) - abs(lag)
    a, b = speed[max(0, -lag) :][:count], loudness[max(0, lag) :][:count]
    if count < 5 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def loudness_db(samples: np.ndarray, frames: int) -> np.ndarray:
    """(frames,): level of the 80 ms around the middle of each frame at 25 fps, dB, at most 30 dB below the loudest."""
    step = SPEECH_HZ // VIDEO_FPS
    padded = np.pad(samples**2, (step, step))
    sums = np.r_[0, padded.cumsum()]
    starts = step // 2 + np.arange(frames) * step
    power = (sums[np.minimum(starts + 2 * step, len(padded))] - sums[starts]) / (2 * step)
    level = 10 * np.log10(power + 1e-10)
    return level.clip(level.max() - 30)


def times_of_speech(
    take: Take | WeightsTake, source: Source, language: str = ENGLISH
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Words and phonemes with their times. Excluded if the speech does not say the transcript.

    Words with times in the data keep them; all other times come from the alignment with espeak-ng's speech.
    """
    speech = take.speech.float() / 32768
    words = tuple(Segment(w.label, w.start_s - take.late_s, w.end_s - take.late_s) for w in source.words)
    try:
        alignment = align(speech, source.text, language)
        phonemes = fit_phonemes(alignment, words, take.seconds) if words else alignment.phonemes
    except ValueError as error:
        raise Excluded(str(error)) from None
    if fault := check_match(alignment):
        raise Excluded(fault)
    return words or alignment.words, phonemes
