"""A user's own recordings with transcripts, x.wav beside x.txt, and when each phoneme in them is said: espeak-ng speaks the same
text, and the time axes of the two are warped onto each other (Sakoe and Chiba 1978). No model, no download."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import create_dct, melscale_fbanks, resample

from ..core.rates import SPEECH_HZ
from .espeak import Speech, speak
from .segment import Segment

WINDOW, HOP = 400, 160  # samples: 25 ms, every 10 ms
MELS, CEPSTRA, NEAR = 40, 12, 2  # NEAR: frames to either side whose difference is the change
VOICES = ("m3", "f2")  # of espeak-ng; the one that fits better is taken
PACE, PACES = (
    160,
    (80, 260),
)  # words a minute: at first, and between which it is then adapted; faster, phonemes get lost
LOW_DB, QUIET_DB = (
    -30,
    4,
)  # floor of the spectra below loud speech; by how much a pause may be louder than the quietest frames
PAUSE, HASTE = (
    4.0,
    0.3,
)  # cost of a loud frame in a pause; of each frame for which either of the two waits for the other


def spoken(text: str, variant: str, words_per_minute: int) -> tuple[Speech, np.ndarray]:
    """The text as espeak-ng says it, and the features of that."""
    said = speak(text, variant=variant, words_per_minute=words_per_minute)
    return said, features(resample(torch.from_numpy(said.samples), said.rate_hz, SPEECH_HZ))[0]


def features(speech: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """speech (S,) at 16 kHz -> mel cepstra, loudness and their change around the sample HOP * t, (T, 26), and the frames' levels in dB,
    (T,). Cepstra have mean 0 and variance 1 where it is loud: neither voice nor microphone matters."""
    frames = torch.nn.functional.pad(speech, (WINDOW // 2, WINDOW // 2 + HOP)).unfold(0, WINDOW, HOP)
    frames = frames - frames.mean(1, keepdim=True)
    frames = torch.cat([0.03 * frames[:, :1], frames[:, 1:] - 0.97 * frames[:, :-1]], 1) * torch.hann_window(WINDOW)
    mel = torch.fft.rfft(frames, 512).abs().square() @ melscale_fbanks(
        257, 60.0, 7000.0, MELS, SPEECH_HZ, norm="slaney"
    )
    power = mel.sum(1)
    loud = power.quantile(0.95).clamp_min(1e-10)
    level = 10 * torch.log10(power / loud + 1e-6)
    cepstra = torch.log(mel + 10 ** (LOW_DB / 10) * loud) @ create_dct(CEPSTRA + 1, MELS, "ortho")[:, 1:]
    heard = cepstra[level > LOW_DB]
    cepstra = (cepstra - heard.mean(0)) / (heard.std(0) + 1e-6) / CEPSTRA**0.5
    now = torch.cat([cepstra, 0.05 * level.clamp_min(-40)[:, None]], 1)
    around = torch.nn.functional.pad(now.T[None], (NEAR, NEAR), "replicate")[0].T
    return torch.cat([now, 0.3 * (around[2 * NEAR :] - around[: -2 * NEAR])], 1).numpy(), level.numpy()


def align(speech: Tensor, text: str) -> tuple[tuple[Segment, ...], tuple[Segment, ...], float]:
    """Words and phonemes of a text with their times in speech (S,) at 16 kHz, as `espeak.Speech` has them, and how far apart the two are:
    the mean squared distance of their features outside pauses. ValueError where the speech is too short for the text.

    espeak-ng's speech is a chain of states, one every 10 ms, with a pause between any two words and at either end that may be left
    out. Each frame of the recording stays in its predecessor's state, or goes on by one or two. That is done twice, the second time at
    the pace that the first found.
    """
    heard, level = features(speech)
    floor = np.percentile(level, 3)
    loudness = PAUSE * ((level - floor - QUIET_DB) / max(10.0, -floor)).clip(0, 1)  # what a pause costs here
    pace = PACE
    for _ in range(2):
        ways = [warp(heard, loudness, *spoken(text, voice, pace)) for voice in VOICES]
        cost, path, states, said = min(ways, key=lambda way: way[0])
        pace = int(np.clip(pace * (states >= 0).sum() / (states[path] >= 0).sum(), *PACES))
    return *carried(said, path, states, len(speech) / SPEECH_HZ), cost


def warp(
    heard: np.ndarray, loudness: np.ndarray, said: Speech, known: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, Speech]:
    """heard (T, D), what a pause costs at each of its frames (T,), espeak-ng's speech and its features (N, D) -> mean cost outside
    pauses, the state of each frame (T,), the frame of `known` that each state stands for (M,), -1 for pauses, and the speech."""
    states = chain(said, len(known))
    if len(states) > 2 * len(heard):
        raise ValueError(f"{len(heard) * HOP / SPEECH_HZ:.1f} s are too short for its {len(said.words)} words")
    pause = states < 0
    distance = np.square(heard).sum(1)[:, None] + np.square(known).sum(1) - 2 * heard @ known.T
    costs = np.where(pause, loudness[:, None], distance[:, states.clip(0)])
    path = cheapest(costs, np.where(pause, 0, HASTE))
    voiced = ~pause[path]
    return float(costs[voiced, path[voiced]].mean()), path, states, said


def chain(said: Speech, frames: int) -> np.ndarray:
    """States (M,) of espeak-ng's speech: its frames, with a pause (-1) at either end, before each word and in place of its own."""
    numbers = sounding(said, np.arange(frames) * HOP / SPEECH_HZ)
    first = {p.start_s for p in said.phonemes} & {w.start_s for w in said.words}
    states = [-1]
    for k, n in enumerate(numbers):
        phoneme = said.phonemes[n]
        begins = k == 0 or n != numbers[k - 1]
        if states[-1] >= 0 and (not phoneme.label or begins and phoneme.start_s in first):
            states.append(-1)
        if phoneme.label:
            states.append(k)
    return np.array(states if states[-1] < 0 else [*states, -1])


def sounding(said: Speech, times_s: Sequence[float]) -> np.ndarray:
    """The number of the phoneme that sounds at each time."""
    return np.searchsorted([p.start_s for p in said.phonemes], np.asarray(times_s) + 1e-6, side="right") - 1


def cheapest(costs: np.ndarray, waiting: np.ndarray) -> np.ndarray:
    """costs (T, M) -> the state of each frame (T,), from one of the first two to one of the last two; staying in a state costs
    `waiting` (M,) more, skipping one HASTE."""
    steps = np.zeros(costs.shape, np.int8)
    ways = np.full((3, costs.shape[1]), np.inf)
    total = ways[0].copy()
    total[:2] = costs[0, :2]
    for t in range(1, len(costs)):
        ways[0], ways[1, 1:], ways[2, 2:] = total + waiting, total[:-1], total[:-2] + HASTE
        steps[t] = ways.argmin(0)
        total = ways.min(0) + costs[t]
    path = np.empty(len(costs), int)
    path[-1] = costs.shape[1] - 2 + total[-2:].argmin()
    for t in range(len(costs) - 1, 0, -1):
        path[t - 1] = path[t] - steps[t, path[t]]
    return path


def carried(
    said: Speech, path: np.ndarray, states: np.ndarray, seconds: float
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """Words and phonemes of espeak-ng's speech, at the times at which the path (T,) passes their states (M,)."""
    numbers = np.where(states < 0, -1, sounding(said, states * HOP / SPEECH_HZ))
    first = np.flatnonzero(np.diff(numbers, prepend=-2))  # state of each phoneme and pause
    edges = ((np.searchsorted(path, first) - 0.5) * HOP / SPEECH_HZ).clip(0, seconds).tolist() + [
        seconds
    ]  # between two frames
    spans = {n: (begin, end) for n, begin, end in zip(numbers[first].tolist(), edges, edges[1:]) if n >= 0}
    phonemes, at = [], 0.0
    for n, (begin, end) in spans.items():
        phonemes += [Segment("", at, begin)] if begin > at else []
        phonemes.append(Segment(said.phonemes[n].label, begin, end))
        at = end
    phonemes += [Segment("", at, seconds)] if at < seconds else []
    near = lambda n: spans[min(spans, key=lambda m: abs(m - n))]  # a phoneme of less than a frame has no state
    first, last = (
        sounding(said, [getattr(w, edge) + extra for w in said.words])
        for edge, extra in (("start_s", 0), ("end_s", -1e-4))
    )
    words = [Segment(w.label, near(a)[0], near(b)[1]) for w, a, b in zip(said.words, first, last)]
    return tuple(words), tuple(phonemes)
