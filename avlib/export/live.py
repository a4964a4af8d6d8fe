"""Speech while it is spoken: a microphone's or a file's sound goes in as it comes, the face's frames come out a moment later.

    stream = Stream(Speaker(open_run("demo")), rate=48000)
    stream.feed(samples)            # -> vertices (T, V, 3) of the frames that these samples complete, often none
    stream.end()                    # -> those that still waited for what would follow

`widget` is the same in a notebook, with a microphone or a recording.

A frame is made once `lookahead_s` of sound after it is there. Every `hop_s` the speech encoder, which looks both ways, hears the last
`window_s` anew; the animator itself goes on where it stopped, with the keys and values of what it said before.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from statistics import median

import torch
import torchaudio
from torch import Tensor

from ..animators.animator import Animator
from ..animators.codetalker import CodeTalker
from ..animators.faceformer import FaceFormer
from ..core.rates import SPEECH_HZ, WINDOW
from ..speech.sound import normalise
from ..speech.wav2vec2 import SpeechEncoder
from .speaker import Speaker

WINDOW_S, LOOKAHEAD_S, HOP_S = 4.0, 0.3, 0.2
# Normalised over a whole utterance, as it was trained, the encoder takes the noise of a silent room for speech, if it hears nothing else.
MEMORY_S = 6.0  # of sound from before the window that level is normalised with, here and in the encoder's first layer
QUIET = 0.05  # of the memory's level: what is not louder leaves the memory as it is
SPOKEN = (
    4.0  # times as loud as the quietest hop so far, or louder than CLOSE: somebody speaks; before, silence is heard
)
CLOSE, FAINTEST, NOTHING = 0.02, 5e-4, 1e-5  # root mean squares: of speech, of a microphone's noise, of none
DECODED_S = 4.0  # of codes, before those that become frames


class Stream:
    """One session. rate: of what is fed, Hz. ValueError for settings that leave a frame nothing to hear."""

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
                f"live: expected a hop of at least 0.025 s, and a window that holds it and the lookahead; got hop {hop_s:g} s, "
                f"lookahead {lookahead_s:g} s, window {window_s:g} s"
            )
        self.resample = Resampler(rate)
        self.encoder, self.fps, self.device = speaker.animator.encoder, speaker.corpus.fps, speaker.run.device
        self.delay_s = lookahead_s + hop_s
        self.window, self.lookahead, self.hop = (round(s * SPEECH_HZ) for s in (window_s, lookahead_s, hop_s))
        self.kept = self.window + self.hop + SPEECH_HZ // 4
        self.speak = continued(
            speaker.animator,
            speaker.template[None].to(self.device),
            speaker.mixed[None],
            int(lookahead_s * self.fps) // 2,
        )
        self.sound, self.heard, self.frames = torch.zeros(0), 0, 0  # the last samples; how many there were; frames made
        self.memory, self.faintest, self.spoken = torch.zeros(0), math.inf, False
        self.nothing = torch.zeros(0, *speaker.template.shape)
        self.spent: deque[float] = deque(maxlen=100)  # seconds that the last hops took

    def feed(self, samples: Tensor) -> Tensor:
        """The next samples (S,), of any number, in [-1, 1]. Returns the frames that became ready, (T, V, 3) in the corpus's unit.
        ValueError for samples that are none, which are then not taken: the session goes on without them."""
        samples = torch.as_tensor(samples, dtype=torch.float32)
        if samples.dim() != 1 or not samples.isfinite().all():
            raise ValueError(
                f"live: expected finite samples (S,), got {tuple(samples.shape)}"
                f"{'' if samples.isfinite().all() else ' with NaN or infinite values'}"
            )
        return self._take(self.resample(samples))

    def end(self) -> Tensor:
        """The frames that still waited, up to the end of the sound."""
        made = self._take(self.resample(torch.zeros(0), last=True))
        if self.heard < WINDOW:
            return made
        self._remember(self.hop)
        return torch.cat((made, self._frames(0)))

    @property
    def latency_s(self) -> float:
        """From a sound to its frame, at most: lookahead, a hop, and what the last hops took to compute."""
        return self.delay_s + (median(self.spent) if self.spent else 0.0)

    def _take(self, samples: Tensor) -> Tensor:
        """Samples at 16 kHz. It does not matter in which pieces they come, up to a hop; several hops at once, as they come where this was
        not quick enough, are gone through together as far as the window allows, and so faster."""
        made, most = [self.nothing], max(1, (self.window - self.lookahead) // self.hop)
        while len(samples):
            begun = self.heard % self.hop
            hops = min(most, (begun + len(samples)) // self.hop)
            piece, samples = samples.tensor_split([hops * self.hop - begun if hops else len(samples)])
            self.sound = torch.cat((self.sound, piece))
            self.heard += len(piece)
            if hops:
                self._remember(hops * self.hop)
                made.append(self._frames(self.lookahead))
        return torch.cat(made)

    def _remember(self, new: int):
        """How loud the hops in the last `new` samples are, and where what is too old for any window goes."""
        for loud in map(level, self.sound[-new:].split(self.hop)):
            self.faintest = min(self.faintest, max(loud, FAINTEST)) if loud > NOTHING else self.faintest
            self.spoken |= loud > min(CLOSE, SPOKEN * self.faintest)
        old, self.sound = self.sound[: -self.kept], self.sound[-self.kept :]
        most = round(MEMORY_S * SPEECH_HZ)
        if len(old) and (len(self.memory) < most or level(old) > QUIET * level(self.memory)):
            self.memory = torch.cat((self.memory, old))[-most:]

    @torch.no_grad()
    def _frames(self, lookahead: int) -> Tensor:
        """The frames not made yet that have so many samples after them."""
        ready = int((self.heard - lookahead) * self.fps / SPEECH_HZ)
        if ready <= self.frames:
            return self.nothing
        began = time.perf_counter()
        first = min(self.frames, max(0, math.ceil((self.heard - self.window) * self.fps / SPEECH_HZ)))
        sound = torch.cat((self.memory, self.sound)) * self.spoken
        skip = len(sound) - (self.heard - round(first * SPEECH_HZ / self.fps))  # samples before the window
        features = convolved(self.encoder, sound.to(self.device), skip)
        inside = int(self.heard * self.fps / SPEECH_HZ) - first
        made = self.speak(features, inside, slice(self.frames - first, ready - first)).cpu()
        self.frames = ready
        self.spent.append(time.perf_counter() - began)
        return made


def convolved(encoder: SpeechEncoder, sound: Tensor, skip: int) -> Tensor:
    """What `SpeechEncoder.extract` makes of sound (S,), without what lies before sample `skip`: (1, N, C). Level, and what the first
    layer normalises over time, are those of all of the sound."""
    stride = encoder.model.config.conv_stride[0]
    sound = sound[skip % stride :][None]
    layer, *layers = encoder.model.feature_extractor.conv_layers
    x = layer(normalise(sound, torch.tensor([sound.shape[1]], device=sound.device))[:, None])[..., skip // stride :]
    for layer in layers:
        x = layer(x)
    return x.transpose(1, 2)


def level(sound: Tensor) -> float:
    """Root mean square."""
    return float(sound.square().mean().sqrt())


def continued(
    animator: Animator, template: Tensor, style: Tensor, ahead: int
) -> Callable[[Tensor, int, slice], Tensor]:
    """A roll-out that is given windows: convolution features (1, N, C), the frames that they last, and which of them come next ->
    vertices (T, V, 3). template: (1, V, 3), style: (1, styles); ahead: see `Codes`."""
    whole = lambda features, frames: (torch.tensor([n], device=features.device) for n in (features.shape[1], frames))
    if isinstance(animator, CodeTalker):
        return Codes(animator, template, style, ahead, whole)
    if isinstance(animator, FaceFormer):
        heard: deque[Tensor] = deque()
        said = animator.unroll(iter(heard.popleft, None), template, style)

        def following(features: Tensor, frames: int, wanted: slice) -> Tensor:
            heard.append(animator.heard(features, *whole(features, frames))[:, wanted])
            return next(said)[0]

        return following

    def anew(features: Tensor, frames: int, wanted: slice) -> Tensor:
        """An animator that cannot go on begins anew with every window."""
        lengths, frames = whole(features, frames)
        return animator(features, lengths, template, style, frames)[0, wanted]

    return anew


class Codes:
    """CodeTalker's, whose codec looks both ways as well: of the lookahead, `ahead` frames are said in codes before those that are
    decoded, with the last seconds before them."""

    def __init__(self, animator: CodeTalker, template: Tensor, style: Tensor, ahead: int, whole: Callable):
        self.animator, self.template, self.whole = animator, template, whole
        self.rollout = animator.rollout(style, animator.window or animator.STREAMED)
        self.context, self.ahead, self.said, self.codes = round(DECODED_S * animator.fps), ahead, 0, None

    def __call__(self, features: Tensor, frames: int, wanted: slice) -> Tensor:
        """said: codes, at the end of those that are kept, that are no frames yet."""
        until = min(frames, wanted.stop + self.ahead)
        heard = self.animator.heard(features, *self.whole(features, frames))[:, wanted.start + self.said : until]
        if heard.shape[1]:
            codes = self.rollout(heard)
            self.codes = codes if self.codes is None else torch.cat((self.codes, codes), 1)
        self.said, count = until - wanted.stop, self.codes.shape[1]
        made = self.animator.decoded(self.codes, torch.tensor([count], device=features.device), self.template)[0]
        self.codes = self.codes[:, -(self.context + self.said) :]
        return made[count - self.said - (wanted.stop - wanted.start) : count - self.said]


class Resampler:
    """Sound of one rate to 16 kHz, in pieces that add up to what the whole would become. ValueError for a rate that no sound has."""

    def __init__(self, rate: int):
        if not 4000 <= rate <= 768_000:
            raise ValueError(f"live: expected a rate of 4,000 to 768,000 Hz, got {rate}")
        ratio = Fraction(SPEECH_HZ, round(rate)).limit_denominator(1000)
        self.up, self.down = ratio.numerator, ratio.denominator
        # whole periods of the filter, as many as it is long
        self.margin = 1 + -(-8 * max(1, -(-self.down // self.up)) // self.down)
        self.raw, self.known = torch.zeros(0), 0  # what is still needed, and how many periods of it are out already

    def __call__(self, samples: Tensor, last: bool = False) -> Tensor:
        if self.up == self.down:
            return samples
        self.raw = torch.cat((self.raw, samples))
        ready = -(-len(self.raw) // self.down) if last else len(self.raw) // self.down - self.margin
        if ready <= self.known:
            return samples[:0]
        made = torchaudio.functional.resample(self.raw, self.down, self.up)[self.known * self.up : ready * self.up]
        leave = max(0, ready - self.margin)
        self.raw, self.known = self.raw[leave * self.down :], ready - leave
        return made
