"""What an animator is, and where a name finds one.

An animator turns speech into a moving face. To add one, write a file with

    from avlib import Animator, register

    @register("mine")
    class Mine(Animator):
        def __init__(self, vertices, styles, fps, encoder, scale): ...
        def forward(self, speech, lengths, template, style, frames=None): ...

and name it: `./run_all.sh --run mine --set plugins=mine.py --set animators=faceformer,mine`. It is trained with and
without guidance, evaluated and shown beside the others. `Animator.learn` and `Animator.prior` say what else it may do.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..core.config import AnimatorConfig, Config
from ..core.rates import SPEECH_HZ, WINDOW
from ..speech.sound import SpeechFile
from ..speech.wav2vec2 import CONTEXT_S, LONG_S, PIECE_S, SpeechEncoder

ANIMATORS: dict[str, type["Animator"]] = {}


def register(name: str) -> Callable[[type], type]:
    """Class decorator: makes an animator known as `name`."""

    def add(animator: type) -> type:
        if name in ANIMATORS:
            raise ValueError(f"animator {name!r} is registered already, as {ANIMATORS[name].__name__}")
        ANIMATORS[name] = animator
        return animator

    return add


def animator_settings(config: Config, name: str) -> AnimatorConfig | None:
    """The animator's own group of a configuration, or None."""
    group = getattr(config, name, None)
    return group if isinstance(group, AnimatorConfig) else None


class Animator(nn.Module, ABC):
    """Speech, a face at rest and a speaking style in; moving vertices out.

    `forward` rolls out autoregressively, in training (with gradient) as in prediction, for a padded batch; no item's
    frames depend on another item or on padding. The convolution features it takes come from
    `animator.encoder.extract(samples, lengths)`, apart so that a caller who trains with frozen convolutions can
    compute them once.
    """

    def __init__(self, encoder: SpeechEncoder, vertices: int, styles: int, fps: float):
        """vertices: of the template; styles: number of training subjects; fps: frames per second of the motion."""
        super().__init__()
        self.encoder, self.vertices, self.styles, self.fps = encoder, vertices, styles, fps

    @abstractmethod
    def forward(
        self, speech: Tensor, lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor | None = None
    ) -> Tensor:
        """speech: convolution features (B, N, C), 50 per second, and their lengths (B,); template: (B, V, 3);
        style: (B, styles), one-hot or a mixture; frames: (B,) frames of motion wanted, all of the speech if absent.
        Returns vertices (B, max(frames), V, 3) in the template's unit and frame; what lies beyond an item's own frames
        is finite and means nothing (see `frame_mask`).
        """

    def learn(
        self, speech: Tensor, lengths: Tensor, template: Tensor, style: Tensor, motion: Tensor, frames: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What training differentiates: the vertices (B, T, V, 3) that the losses judge, and terms of the animator's own
        that are added to them. The roll-out and nothing else, unless overridden. motion: (B, T, V, 3), the truth."""
        return self(speech, lengths, template, style, frames), {}

    @classmethod
    def build(cls, settings, prior: nn.Module | None, **common) -> "Animator":
        """An untrained one. settings: its group of the configuration, as a dataclass, or None; prior: the trained one;
        common: vertices, styles, fps, encoder and scale, the root mean square of the corpus's displacements."""
        return cls(**common, **(dataclasses.asdict(settings) if settings else {}))

    @classmethod
    def prior(cls, vertices: int, settings) -> nn.Module | None:
        """What is trained on motion alone before the animator, untrained: a module with
        `losses(displacement (B, T, 3 V), frames (B,)) -> {"loss": ..., ...}`. None where there is nothing of the kind."""
        return None

    def frames(self, lengths: Tensor) -> Tensor:
        """Frames of motion (B,) that convolution features of `lengths` (B,) last."""
        return self.encoder.frames(lengths, self.fps)

    @torch.no_grad()
    def predict(
        self, samples: Tensor, lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor | None = None
    ) -> Tensor:
        """`forward` from normalised speech samples (B, S) at 16 kHz and their lengths (B,), without gradient. Where the
        longest lasts over `LONG_S` seconds, each by `stream`."""
        if int(lengths.max()) <= LONG_S * SPEECH_HZ:
            return self(*self.encoder.extract(samples, lengths), template, style, frames)
        self.check(template, style, len(samples))
        wanted = [None] * len(samples) if frames is None else frames.tolist()
        moved = [
            torch.cat(list(self.stream(s[:n], t, y, f)))
            for s, n, t, y, f in zip(samples, lengths.tolist(), template, style, wanted)
        ]
        return nn.utils.rnn.pad_sequence(moved, batch_first=True)

    @torch.no_grad()
    def stream(
        self, speech: "Tensor | SpeechFile", template: Tensor, style: Tensor, frames: int | None = None
    ) -> Iterator[Tensor]:
        """One utterance of any length at bounded memory: normalised samples (S,) at 16 kHz, template (V, 3), style
        (styles,). Yields pieces (T', V, 3) that add up to `frames` frames.

        Here piece by piece, each in the middle of its own roll-out; an animator that can go on where it stopped does.
        """
        frames = int(self.frames(self.encoder.lengths(torch.tensor(len(speech))))) if frames is None else frames
        piece, context, step = round(PIECE_S * self.fps), round(CONTEXT_S * self.fps), SPEECH_HZ / self.fps
        device = template.device
        for begin in range(0, frames, piece):
            end = min(begin + piece, frames)
            first, last = max(0, begin - context), min(frames, end + context)
            samples = speech[round(first * step) : round(last * step) + WINDOW][None].to(device)
            moved = self(
                *self.encoder.extract(samples, torch.tensor([samples.shape[1]], device=device)),
                template[None],
                style[None],
                torch.tensor([last - first], device=device),
            )
            yield moved[0, begin - first : end - first]

    def check(self, template: Tensor, style: Tensor, batch: int):
        """Raises ValueError where template or style do not fit this animator and a batch of that size."""
        if template.shape != (batch, self.vertices, 3):
            raise ValueError(f"template has shape {tuple(template.shape)}, expected {(batch, self.vertices, 3)}")
        if style.shape != (batch, self.styles):
            raise ValueError(
                f"style has shape {tuple(style.shape)}, expected {(batch, self.styles)}: "
                f"this animator knows {self.styles} styles"
            )
