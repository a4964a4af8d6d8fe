"""Times of phonemes and words in recordings with transcripts, by dynamic time warping (Sakoe and Chiba 1978).

espeak-ng speaks the transcript, and its speech, of which all times are known, is warped onto the recording. This needs
no trained model. The warping also shows whether the recording says the transcript.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import soxr
import torch
from torch import Tensor
from torchaudio.functional import create_dct, melscale_fbanks

from ..core.rates import SPEECH_HZ
from .espeak import Speech, speak
from .languages import ENGLISH
from .segment import Segment

WINDOW, HOP = 400, 160  # samples: frames of 25 ms, every 10 ms
MELS, CEPSTRA = 40, 12
DELTA_REACH = 2  # frames to either side whose difference is the change over time
VOICES = ("m3", "f2")  # of espeak-ng; the voice with the lower cost is used
FIRST_PACE, PACES = 160, (80, 260)  # words a minute; beyond this range espeak-ng drops phonemes
FLOOR_DB = -30  # of spectra, relative to loud speech
PAUSE_DB = 4  # a pause may be louder than the quietest frames by this much, at no cost
PAUSE_COST = 4.0  # of a loud frame in a pause
STEP_COST = 0.3  # of each frame for which the recording or espeak-ng's speech does not advance
SLACK_S = 1e-6  # by which rounding may shift times
MAX_MISMATCH = 0.2  # above it, the recording does not say the transcript (measured: docs/phoneme_alignment.md)


class Alignment(NamedTuple):
    """Words and phonemes with their times in a recording, as in `espeak.Speech`, and how badly they match it.

    mismatch: of `mismatch_of`, mostly below 0.15 for the right transcript and 0.2 to 0.5 for others.
    """

    words: tuple[Segment, ...]
    phonemes: tuple[Segment, ...]
    mismatch: float


@dataclass(frozen=True)
class Warping:
    """espeak-ng's speech warped onto a recording.

    path: (T,) state of each frame of the recording; states: (M,) frame of the speech that each state stands for, -1 for
    a pause; costs: (T, M) of each frame in each state, outside pauses the squared distance of the features.
    """

    speech: Speech
    states: np.ndarray
    path: np.ndarray
    costs: np.ndarray

    @property
    def voiced(self) -> np.ndarray:
        """The frames of the recording that are not in a pause."""
        return np.flatnonzero(self.states[self.path] >= 0)

    @property
    def cost(self) -> float:
        """Mean over the frames of the recording outside pauses."""
        return float(self.costs[self.voiced, self.path[self.voiced]].mean())

    def recorded_pace(self, pace: float) -> float:
        """Pace of the recording without its pauses. pace: of espeak-ng's speech, in the same unit."""
        return pace * (self.states >= 0).sum() / len(self.voiced)


def align(samples: Tensor, text: str, language: str = ENGLISH) -> Alignment:
    """Times of the words and phonemes of a text in samples (S,) at 16 kHz.

    ValueError for samples that are silent or too short for the text.

    espeak-ng's speech is a sequence of states: one every 10 ms, and an optional pause at either end and between any
    two words. From each frame of the recording to the next, the state stays the same or advances by one or two. This
    is done twice, the second time with espeak-ng at the pace that the first alignment shows.
    """
    features, level_db = cepstral_features(samples)
    quietest = np.percentile(level_db, 3)
    pause_costs = PAUSE_COST * ((level_db - quietest - PAUSE_DB) / max(10.0, -quietest)).clip(0, 1)
    pace = FIRST_PACE
    for _ in range(2):
        spoken = [speak(text, language, variant, words_per_minute=pace) for variant in VOICES]
        warpings = [warp(features, pause_costs, speech) for speech in spoken]
        best = min(warpings, key=lambda warping: warping.cost)
        pace = int(np.clip(best.recorded_pace(pace), *PACES))
    return Alignment(*warped_segments(best, len(samples) / SPEECH_HZ), mismatch_of(best))


def align_words(samples: Tensor, text: str, words: Sequence[Segment]) -> tuple[Segment, ...]:
    """Times of the phonemes of a text in samples (S,) at 16 kHz of which the times of the words are known.

    They are those of `align`, fitted into the words. ValueError as of `align` and `fit_phonemes`.
    """
    return fit_phonemes(align(samples, text), words, len(samples) / SPEECH_HZ)


def fit_phonemes(alignment: Alignment, words: Sequence[Segment], duration_s: float) -> tuple[Segment, ...]:
    """The aligned phonemes and pauses, with the phonemes of each word stretched linearly to its known times.

    words: those of the transcript, in order. duration_s: of the recording. ValueError for other words, and for times
    that do not ascend or lie after the recording.
    """
    if (labels := [w.label for w in words]) != (expected := [w.label for w in alignment.words]):
        raise ValueError(f"word times: expected times of {' '.join(expected)!r}, got those of {' '.join(labels)!r}")
    spans: list[WordSpan] = []
    end_s = 0.0
    for aligned, known in zip(alignment.words, words):
        if not end_s - SLACK_S <= known.start_s < min(known.end_s, duration_s):
            raise ValueError(
                f"word times: {known.label!r} from {known.start_s:.2f} to {known.end_s:.2f} s, expected times that "
                f"ascend from {end_s:.2f} s within the {duration_s:.2f} s of the recording"
            )
        span = WordSpan(aligned.start_s, aligned.end_s, max(end_s, known.start_s), min(known.end_s, duration_s))
        end_s = span.known_end_s
        if spans and span.start_s < spans[-1].end_s - SLACK_S:  # espeak-ng says both words as one
            span = WordSpan(spans[-1].start_s, max(span.end_s, spans[-1].end_s), spans[-1].known_start_s, end_s)
            spans.pop()
        spans.append(span)
    return _fitted(alignment.phonemes, spans, duration_s)


class WordSpan(NamedTuple):
    """The aligned and the known times of a word, or of words that share phonemes, seconds."""

    start_s: float
    end_s: float
    known_start_s: float
    known_end_s: float


def _fitted(phonemes: Sequence[Segment], spans: list[WordSpan], duration_s: float) -> tuple[Segment, ...]:
    """The phonemes, and the pauses within words, at the known times; a pause fills each gap between words."""
    starts, fitted, end_before = [span.start_s for span in spans], [], 0.0
    for phoneme in phonemes:
        span = spans[max(0, bisect_right(starts, phoneme.start_s + SLACK_S) - 1)]
        if not phoneme.label and not span.start_s < phoneme.start_s < span.end_s - SLACK_S:
            continue  # a pause between words
        ends = (span.start_s, span.end_s), (span.known_start_s, span.known_end_s)
        begin, end = (float(np.interp(t, *ends)) for t in (phoneme.start_s, phoneme.end_s))
        fitted += [Segment("", end_before, begin)] if begin > end_before + SLACK_S else []
        fitted.append(Segment(phoneme.label, max(begin, end_before), end))
        end_before = end
    return (*fitted, *([Segment("", end_before, duration_s)] if end_before < duration_s - SLACK_S else []))


def check_match(alignment: Alignment) -> str:
    """Why a recording does not say the transcript that it was aligned with, in a line; "" if it does."""
    if alignment.mismatch <= MAX_MISMATCH:
        return ""
    return (
        "the speech does not match its transcript, or is too noisy: "
        f"mismatch {alignment.mismatch:.2f}, expected at most {MAX_MISMATCH:g}"
    )


def mismatch_of(warping: Warping) -> float:
    """How much worse the frames of the recording fit their places in the speech than they could elsewhere in it.

    0 if the distance of a frame is as small, on average, as that of the 5 % of the speech's frames that are most like
    it; 1 if it is the median distance, as for a frame picked at random. A voice or a room that is unlike espeak-ng's
    raises all distances alike, and therefore not the mismatch.
    """
    elsewhere = warping.costs[warping.voiced][:, warping.states >= 0]
    low, median = np.percentile(elsewhere, (5, 50), axis=1).mean(1)
    return float((warping.cost - low) / (median - low))


def cepstral_features(samples: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Features (T, 26) and level in dB (T,) of the frames around the samples HOP * t. samples: (S,) at 16 kHz.

    The features are mel cepstra, the level, and the change of both over time. Cepstra have mean 0 and variance 1 over
    the loud frames, so that they depend neither on the voice nor on the microphone. ValueError for silence.
    """
    frames = torch.nn.functional.pad(samples, (WINDOW // 2, WINDOW // 2 + HOP)).unfold(0, WINDOW, HOP)
    frames = frames - frames.mean(1, keepdim=True)
    frames = torch.cat([0.03 * frames[:, :1], frames[:, 1:] - 0.97 * frames[:, :-1]], 1) * torch.hann_window(WINDOW)
    filters = melscale_fbanks(257, 60.0, 7000.0, MELS, SPEECH_HZ, norm="slaney")
    mel = torch.fft.rfft(frames, 512).abs().square() @ filters
    power = mel.sum(1)
    loud = power.quantile(0.95).clamp_min(1e-10)
    level_db = 10 * torch.log10(power / loud + 1e-6)
    cepstra = torch.log(mel + 10 ** (FLOOR_DB / 10) * loud) @ create_dct(CEPSTRA + 1, MELS, "ortho")[:, 1:]
    loud_cepstra = cepstra[level_db > FLOOR_DB]
    if not len(loud_cepstra):
        raise ValueError(f"speech of {len(samples) / SPEECH_HZ:.1f} s is silent")
    cepstra = (cepstra - loud_cepstra.mean(0)) / (loud_cepstra.std(0, correction=0) + 1e-6) / CEPSTRA**0.5
    static = torch.cat([cepstra, 0.05 * level_db.clamp_min(-40)[:, None]], 1)
    padded = torch.nn.functional.pad(static.T[None], (DELTA_REACH, DELTA_REACH), "replicate")[0].T
    change = 0.3 * (padded[2 * DELTA_REACH :] - padded[: -2 * DELTA_REACH])
    return torch.cat([static, change], 1).numpy(), level_db.numpy()


def warp(features: np.ndarray, pause_costs: np.ndarray, speech: Speech) -> Warping:
    """Warps espeak-ng's speech onto a recording. features: (T, D) of the recording; pause_costs: (T,) cost of a pause
    at each of its frames."""
    samples = soxr.resample(speech.samples, speech.rate_hz, SPEECH_HZ)
    speech_features, _ = cepstral_features(torch.from_numpy(samples))  # (N, D)
    states = state_sequence(speech, len(speech_features))
    if len(states) > 2 * len(features):
        seconds = len(features) * HOP / SPEECH_HZ
        raise ValueError(f"speech lasts {seconds:.1f} s, too short for the {len(speech.words)} words of its transcript")
    pause = states < 0
    products = features @ speech_features.T
    distance = np.square(features).sum(1)[:, None] + np.square(speech_features).sum(1) - 2 * products
    costs = np.where(pause, pause_costs[:, None], distance[:, states.clip(0)])
    return Warping(speech, states, cheapest_path(costs, np.where(pause, 0, STEP_COST)), costs)


def state_sequence(speech: Speech, frames: int) -> np.ndarray:
    """States (M,) of espeak-ng's speech: the numbers of its frames, and -1 for pauses.

    There is a pause at either end, before each word, and instead of each pause of the speech.
    """
    phoneme_of_frame = phonemes_at(speech, np.arange(frames) * HOP / SPEECH_HZ)
    word_starts = {p.start_s for p in speech.phonemes} & {w.start_s for w in speech.words}
    states = [-1]
    for frame, n in enumerate(phoneme_of_frame):
        phoneme = speech.phonemes[n]
        begins = frame == 0 or n != phoneme_of_frame[frame - 1]
        if states[-1] >= 0 and (not phoneme.label or begins and phoneme.start_s in word_starts):
            states.append(-1)
        if phoneme.label:
            states.append(frame)
    return np.array(states if states[-1] < 0 else [*states, -1])


def phonemes_at(speech: Speech, times_s: np.ndarray) -> np.ndarray:
    """The number of the phoneme or pause at each time."""
    return np.searchsorted([p.start_s for p in speech.phonemes], times_s + 1e-6, side="right") - 1


def cheapest_path(costs: np.ndarray, stay_costs: np.ndarray) -> np.ndarray:
    """The state of each frame (T,) on the path of least cost, from one of the first two states to one of the last two.

    costs: (T, M) of each frame in each state. A path may stay in a state, for `stay_costs` (M,) more, advance by one,
    or advance by two, for STEP_COST more.
    """
    steps = np.zeros(costs.shape, np.int8)
    totals = np.full((3, costs.shape[1]), np.inf)  # of paths that stay, advance by one and advance by two
    total = totals[0].copy()
    total[:2] = costs[0, :2]
    for t in range(1, len(costs)):
        totals[0], totals[1, 1:], totals[2, 2:] = total + stay_costs, total[:-1], total[:-2] + STEP_COST
        steps[t] = totals.argmin(0)
        total = totals.min(0) + costs[t]
    path = np.empty(len(costs), int)
    path[-1] = costs.shape[1] - 2 + total[-2:].argmin()
    for t in range(len(costs) - 1, 0, -1):
        path[t - 1] = path[t] - steps[t, path[t]]
    return path


def warped_segments(warping: Warping, duration_s: float) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Words and phonemes with the times at which the path passes their states. duration_s: of the recording."""
    speech, spans = warping.speech, phoneme_spans(warping, duration_s)
    phonemes, end_before = [], 0.0
    for n, (begin, end) in spans.items():
        phonemes += [Segment("", end_before, begin)] if begin > end_before else []
        phonemes.append(Segment(speech.phonemes[n].label, begin, end))
        end_before = end
    phonemes += [Segment("", end_before, duration_s)] if end_before < duration_s else []
    first_phonemes = phonemes_at(speech, np.array([word.start_s for word in speech.words]))
    last_phonemes = phonemes_at(speech, np.array([word.end_s - 1e-4 for word in speech.words]))
    words = [
        Segment(word.label, nearest_span(spans, first)[0], nearest_span(spans, last)[1])
        for word, first, last in zip(speech.words, first_phonemes, last_phonemes)
    ]
    return tuple(words), tuple(phonemes)


def phoneme_spans(warping: Warping, duration_s: float) -> dict[int, tuple[float, float]]:
    """Number of each phoneme with a state -> its begin and end in the recording, seconds."""
    states = warping.states
    phoneme_of_state = np.where(states < 0, -1, phonemes_at(warping.speech, states * HOP / SPEECH_HZ))
    first = np.flatnonzero(np.diff(phoneme_of_state, prepend=-2))  # the first state of each phoneme and pause
    # a phoneme begins in the middle between two frames
    begins = ((np.searchsorted(warping.path, first) - 0.5) * HOP / SPEECH_HZ).clip(0, duration_s).tolist()
    spans = zip(phoneme_of_state[first].tolist(), begins, [*begins[1:], duration_s])
    return {n: (begin, end) for n, begin, end in spans if n >= 0}


def nearest_span(spans: dict[int, tuple[float, float]], n: int) -> tuple[float, float]:
    """The span of phoneme n, or of its nearest neighbour with a state: a phoneme shorter than a frame has none."""
    return spans[min(spans, key=lambda m: abs(m - n))]
