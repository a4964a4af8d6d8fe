"""Animation while somebody speaks: samples go in as they arrive, the frames of the face come out a moment later.

    stream = Stream(Speaker(open_run("demo")), rate=48000)
    stream.feed(samples)            # -> vertices (T, V, 3) of the frames that became ready, often none
    stream.end()                    # -> the frames that waited for more sound

A frame is ready when `lookahead_s` of sound after it have arrived. The speech encoder is bidirectional: every `hop_s`
it encodes the last `window_s` again. The animator continues from its cached keys and values.
`avlib.widgets.live_face` uses this in a notebook.
"""

import math
import time
from collections import deque
from statistics import median

import torch
from torch import Tensor

from ..core.rates import SPEECH_HZ, WINDOW
from ..speech.sound import normalise
from ..speech.wav2vec2 import SpeechEncoder
from .live_resampler import Resampler
from .live_rollout import window_rollout
from .speaker import Speaker

WINDOW_S, LOOKAHEAD_S, HOP_S = 4.0, 0.3, 0.2
# The encoder is trained on sound that is normalised over a whole utterance. It takes the noise of a silent room for
# speech if it gets nothing else, so that the level is that of the window and of MEMORY_S seconds before it.
MEMORY_S = 6.0
QUIET = 0.05  # of the memory's level: fainter sound is not added to the memory
# Speech has started when a hop is SPEECH_RATIO times as loud as the faintest one, or louder than SPEECH_LEVEL. Until
# then the encoder gets silence. Levels are root mean squares.
SPEECH_RATIO, SPEECH_LEVEL = 4.0, 0.02
MIN_NOISE_LEVEL = 5e-4  # of a microphone in a silent room
DIGITAL_SILENCE = 1e-5


class Stream:
    """One session. speaker: model, face and style; rate: sample rate of what is fed, Hz.

    ValueError for a hop shorter than 25 ms, a window shorter than hop and lookahead, or an invalid rate.
    """

    def __init__(
        self,
        speaker: Speaker,
        rate: int = SPEECH_HZ,
        window_s: float = WINDOW_S,
        lookahead_s: float = LOOKAHEAD_S,
        hop_s: float = HOP_S,
    ):
        if not (lookahead_s >= 0 and hop_s * SPEECH_HZ >= WINDOW and hop_s + lookahead_s <= window_s < math.inf):
            raise ValueError(
                "live: expected a hop of at least 0.025 s and a window of at least hop + lookahead, "
                f"got hop {hop_s:g} s, lookahead {lookahead_s:g} s, window {window_s:g} s"
            )
        self.resample = Resampler(rate)
        self.encoder, self.fps, self.device = speaker.animator.encoder, speaker.corpus.fps, speaker.run.device
        self.delay_s = lookahead_s + hop_s
        self.window, self.lookahead, self.hop = (round(s * SPEECH_HZ) for s in (window_s, lookahead_s, hop_s))
        self.recent = self.window + self.hop + SPEECH_HZ // 4  # samples that a window may need
        self.rollout = window_rollout(
            speaker.animator,
            speaker.template[None].to(self.device),
            speaker.style_weights[None],
            int(lookahead_s * self.fps) // 2,
        )
        self.samples = torch.zeros(0)  # the last `recent` samples at 16 kHz
        self.received = 0  # samples at 16 kHz since the session began
        self.frames = 0  # frames returned since the session began
        self.memory = torch.zeros(0)  # samples before `samples`, for the level
        self.noise_level, self.speech_started = math.inf, False
        self.no_frames = torch.zeros(0, *speaker.template.shape)
        self.hop_seconds: deque[float] = deque(maxlen=100)  # computing time of the last hops

    def feed(self, samples: Tensor) -> Tensor:
        """The next samples (S,), of any number, in [-1, 1] -> the frames that became ready, (T, V, 3), corpus unit.

        ValueError for another shape, NaN or infinite values. The session then continues without these samples.
        """
        samples = torch.as_tensor(samples, dtype=torch.float32)
        finite = bool(samples.isfinite().all())
        if samples.dim() != 1 or not finite:
            raise ValueError(
                f"live: expected finite samples (S,), got {tuple(samples.shape)}"
                f"{'' if finite else ' with NaN or infinite values'}"
            )
        return self._process(self.resample(samples))

    def end(self) -> Tensor:
        """The remaining frames up to the end of the sound, (T, V, 3)."""
        vertices = self._process(self.resample(torch.zeros(0), last=True))
        if self.received < WINDOW:
            return vertices
        self._update_levels(self.hop)
        return torch.cat((vertices, self._predict_frames(0)))

    @property
    def latency_s(self) -> float:
        """Largest delay from a sound to its frame: lookahead, hop, and the median computing time of the last hops."""
        return self.delay_s + (median(self.hop_seconds) if self.hop_seconds else 0.0)

    def _process(self, samples: Tensor) -> Tensor:
        """Takes samples at 16 kHz. Pieces of up to a hop give the same frames, however long they are.

        Several hops at once arrive when the computer was too slow. They are processed together as far as the window
        allows, which is faster.
        """
        vertices, max_hops = [self.no_frames], max(1, (self.window - self.lookahead) // self.hop)
        while len(samples):
            begun = self.received % self.hop
            hops = min(max_hops, (begun + len(samples)) // self.hop)
            piece, samples = samples.tensor_split([hops * self.hop - begun if hops else len(samples)])
            self.samples = torch.cat((self.samples, piece))
            self.received += len(piece)
            if hops:
                self._update_levels(hops * self.hop)
                vertices.append(self._predict_frames(self.lookahead))
        return torch.cat(vertices)

    def _update_levels(self, new: int):
        """Detects speech in the last `new` samples, and moves samples that no window needs any more to the memory."""
        for hop_level in map(level, self.samples[-new:].split(self.hop)):
            if hop_level > DIGITAL_SILENCE:
                self.noise_level = min(self.noise_level, max(hop_level, MIN_NOISE_LEVEL))
            self.speech_started |= hop_level > min(SPEECH_LEVEL, SPEECH_RATIO * self.noise_level)
        old, self.samples = self.samples[: -self.recent], self.samples[-self.recent :]
        capacity = round(MEMORY_S * SPEECH_HZ)
        if len(old) and (len(self.memory) < capacity or level(old) > QUIET * level(self.memory)):
            self.memory = torch.cat((self.memory, old))[-capacity:]

    @torch.no_grad()
    def _predict_frames(self, lookahead: int) -> Tensor:
        """The new frames that have at least `lookahead` samples after them, (T, V, 3)."""
        ready = int((self.received - lookahead) * self.fps / SPEECH_HZ)
        if ready <= self.frames:
            return self.no_frames
        started = time.perf_counter()
        first = min(self.frames, max(0, math.ceil((self.received - self.window) * self.fps / SPEECH_HZ)))
        samples = torch.cat((self.memory, self.samples)) * self.speech_started
        before_window = len(samples) - (self.received - round(first * SPEECH_HZ / self.fps))
        features = convolution_features(self.encoder, samples.to(self.device), before_window)
        frames_in_window = int(self.received * self.fps / SPEECH_HZ) - first
        vertices = self.rollout(features, frames_in_window, slice(self.frames - first, ready - first)).cpu()
        self.frames = ready
        self.hop_seconds.append(time.perf_counter() - started)
        return vertices


def convolution_features(encoder: SpeechEncoder, samples: Tensor, skip: int) -> Tensor:
    """`SpeechEncoder.extract` of samples (S,), without the features of the first `skip` samples: (1, N, C).

    The level, and the normalisation over time in the first layer, are those of all samples.
    """
    stride = encoder.model.config.conv_stride[0]
    samples = samples[skip % stride :][None]
    first_layer, *layers = encoder.model.feature_extractor.conv_layers
    lengths = torch.tensor([samples.shape[1]])
    x = first_layer(normalise(samples, lengths)[:, None])[..., skip // stride :]
    for layer in layers:
        x = layer(x)
    return x.transpose(1, 2)


def level(samples: Tensor) -> float:
    """Root mean square."""
    return float(samples.square().mean().sqrt())
