"""The protocol of animators, and the registry that finds one by name.

An animator turns speech into a moving face. To add one, write a file with

    from avlib import Animator, register

    @register("mine")
    class Mine(Animator):
        def __init__(self, vertices, styles, fps, encoder, scale): ...
        def forward(self, features, feature_lengths, template, style, frames=None): ...

and name it: `./run_all.sh --run mine --set plugins=mine.py --set animators=faceformer,mine`. The kit trains it on
each objective, evaluates it and shows it beside the others. `Animator.training_forward` and `Animator.motion_model` are
the optional methods.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..core.config import AnimatorConfig, Config
from ..core.rates import SPEECH_HZ, WINDOW
from ..speech.sound import SpeechFile
from ..speech.wav2vec2 import CONTEXT_S, LONG_S, PIECE_S, SpeechEncoder

ANIMATORS: dict[str, type["Animator"]] = {}
AnimatorClass = TypeVar("AnimatorClass", bound=type["Animator"])
FORMER_METHODS = {"learn": "training_forward", "prior": "motion_model"}  # former name -> name


def register(name: str) -> Callable[[AnimatorClass], AnimatorClass]:
    """Class decorator: registers an animator as `name`. ValueError if the name is taken, or if the class still defines
    a method under its former name."""

    def add(animator: AnimatorClass) -> AnimatorClass:
        if name in ANIMATORS:
            raise ValueError(f"animator {name!r} is registered already, as {ANIMATORS[name].__name__}")
        for former, current in FORMER_METHODS.items():
            if hasattr(animator, former):
                raise ValueError(
                    f"animator {name!r}: {animator.__name__} defines the method {former}, which is now called {current}"
                )
        ANIMATORS[name] = animator
        return animator

    return add


def animator_settings(config: Config, name: str) -> AnimatorConfig | None:
    """The group of a configuration that is named after the animator, or None."""
    group = getattr(config, name, None)
    return group if isinstance(group, AnimatorConfig) else None


class MotionModel(nn.Module, ABC):
    """A model of motion without speech, which is trained before the animator that uses it."""

    @abstractmethod
    def losses(self, displacement: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """displacement: (B, T, 3 V) from the template, in units of the corpus's motion scale, with the frames (B,) of
        each item. Returns the loss, "loss", and the terms that add up to it."""


class Animator(nn.Module, ABC):
    """Turns speech, the template of a face and a speaking style into moving vertices.

    `forward` rolls out autoregressively for a padded batch, in training (with gradient) as in prediction. The frames
    of an item depend neither on other items nor on padding. `forward` takes the convolution features of wav2vec 2.0,
    `animator.encoder.extract(samples, sample_lengths)`, so that training with frozen convolutions computes them only
    once.
    """

    def __init__(self, encoder: SpeechEncoder, vertices: int, styles: int, fps: float):
        """vertices: of the template; styles: number of training subjects; fps: frames per second of the motion."""
        super().__init__()
        self.encoder, self.vertices, self.styles, self.fps = encoder, vertices, styles, fps

    @abstractmethod
    def forward(
        self, features: Tensor, feature_lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor | None = None
    ) -> Tensor:
        """features: (B, N, C), convolution features of wav2vec 2.0 at 50 Hz, with `feature_lengths` (B,); template:
        (B, V, 3); style: (B, styles), one-hot or a mixture; frames: (B,) frames of motion to make, as long as the
        speech if None. Returns vertices (B, max(frames), V, 3) in the template's unit and coordinates. Values beyond
        an item's own frames are finite but meaningless (see `frame_mask`). Lengths and frames are on the CPU.
        """

    def training_forward(
        self,
        features: Tensor,
        feature_lengths: Tensor,
        template: Tensor,
        style: Tensor,
        motion: Tensor,
        frames: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The vertices (B, T, V, 3) on which the losses are computed, and the animator's own loss terms, which are
        added to them. By default the roll-out, without further terms. motion: (B, T, V, 3), the true motion."""
        return self(features, feature_lengths, template, style, frames), {}

    def training_rollout(
        self, features: Tensor, feature_lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor
    ) -> Tensor:
        """The vertices on which the losses of speech without a scan are computed, (B, T, V, 3): `forward`, unless its
        gradient is not fit for training."""
        return self(features, feature_lengths, template, style, frames)

    @classmethod
    def build(cls, settings, motion_model: MotionModel | None, **common) -> "Animator":
        """An untrained animator. settings: its group of the configuration, a dataclass, or None; motion_model: the
        trained one, or None; common: vertices, styles, fps, encoder and scale, the root mean square of the corpus's
        displacements."""
        return cls(**common, **(dataclasses.asdict(settings) if settings else {}))

    @classmethod
    def motion_model(cls, vertices: int, settings) -> MotionModel | None:
        """The untrained model that is trained on motion alone before the animator. None if the animator has none."""
        return None

    def frames(self, feature_lengths: Tensor) -> Tensor:
        """Frames of motion (B,) that last as long as convolution features of `feature_lengths` (B,)."""
        return self.encoder.frame_lengths(feature_lengths, self.fps)

    @torch.no_grad()
    def predict(
        self, samples: Tensor, sample_lengths: Tensor, template: Tensor, style: Tensor, frames: Tensor | None = None
    ) -> Tensor:
        """`forward` from normalised speech samples (B, S) at 16 kHz and their lengths (B,), without gradient. If the
        longest item is over `LONG_S` seconds, every item goes through `stream`."""
        if int(sample_lengths.max()) <= LONG_S * SPEECH_HZ:
            return self(*self.encoder.extract(samples, sample_lengths), template, style, frames)
        self.check(template, style, len(samples))
        item_frames = [None] * len(samples) if frames is None else frames.tolist()
        vertices = [
            torch.cat(list(self.stream(item[:length], item_template, item_style, count)))
            for item, length, item_template, item_style, count in zip(
                samples, sample_lengths.tolist(), template, style, item_frames
            )
        ]
        return nn.utils.rnn.pad_sequence(vertices, batch_first=True)

    @torch.no_grad()
    def stream(
        self, samples: "Tensor | SpeechFile", template: Tensor, style: Tensor, frames: int | None = None
    ) -> Iterator[Tensor]:
        """One utterance of any length at bounded memory: normalised samples (S,) at 16 kHz, template (V, 3), style
        (styles,). Yields pieces (T', V, 3) that add up to `frames` frames.

        This implementation rolls out each piece separately, with context on both sides. Animators that can continue a
        roll-out override it.
        """
        frames = self.frame_count(samples) if frames is None else frames
        piece, context, samples_per_frame = round(PIECE_S * self.fps), round(CONTEXT_S * self.fps), SPEECH_HZ / self.fps
        device = template.device
        for begin in range(0, frames, piece):
            end = min(begin + piece, frames)
            first, last = max(0, begin - context), min(frames, end + context)
            window = samples[round(first * samples_per_frame) : round(last * samples_per_frame) + WINDOW][None].to(
                device
            )
            vertices = self(
                *self.encoder.extract(window, torch.tensor([window.shape[1]])),
                template[None],
                style[None],
                torch.tensor([last - first]),
            )
            yield vertices[0, begin - first : end - first]

    def frame_count(self, samples: "Tensor | SpeechFile") -> int:
        """Frames of motion that last as long as speech samples (S,) at 16 kHz."""
        return int(self.frames(self.encoder.feature_lengths(torch.tensor(len(samples)))))

    def check(self, template: Tensor, style: Tensor, batch: int) -> None:
        """ValueError if template or style do not fit this animator and a batch of that size."""
        if template.shape != (batch, self.vertices, 3):
            raise ValueError(f"template has shape {tuple(template.shape)}, expected {(batch, self.vertices, 3)}")
        if style.shape != (batch, self.styles):
            raise ValueError(
                f"style has shape {tuple(style.shape)}, expected {(batch, self.styles)}: "
                f"this animator has {self.styles} styles"
            )
