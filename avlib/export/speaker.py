"""Speech of a user's own, of any length, animated by a run's trained models."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torchaudio

from ..core.rates import SPEECH_HZ
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..speech.espeak import speak
from ..speech.sound import SpeechFile, normalise
from ..speech.wav2vec2 import LONG_S
from ..training.joint import GUIDANCE, load_animator

MODEL = "faceformer-guided-s0"


def style_mixture(styles: list[str], wanted: str | dict[str, float]) -> torch.Tensor:
    """A style (styles,): that of one training subject, or of several with weights, which are made to add up to one."""
    weights = {wanted: 1.0} if isinstance(wanted, str) else wanted
    for name in weights:
        if name not in styles:
            raise ValueError(f"style: expected one of {', '.join(styles)}, got {name!r}")
    style = torch.tensor([float(weights.get(s, 0.0)) for s in styles])
    if not style.sum() > 0:
        raise ValueError(f"style: expected weights with a positive sum, got {wanted!r}")
    return style / style.sum()


@dataclass(frozen=True)
class Sound:
    """What is said: samples (S,) at 16 kHz, as they are and normalised; in memory, or files read where they are asked for."""

    samples: torch.Tensor | SpeechFile
    normalised: torch.Tensor | SpeechFile
    text: str = ""

    @property
    def seconds(self) -> float:
        return len(self.samples) / SPEECH_HZ


def load_sound(speech: str | Path | torch.Tensor) -> Sound:
    """A sound file of any rate and length, a text, which espeak-ng then says, or samples (S,) at 16 kHz. ValueError for a file
    that is no sound, and for a text without anything to say."""
    if torch.is_tensor(speech):
        return Sound(speech, normalise(speech[None], torch.tensor([len(speech)]))[0])
    if isinstance(speech, Path) or looks_like_file(speech):
        return Sound(SpeechFile(speech), SpeechFile(speech, normalised=True))
    spoken = speak(speech)
    samples = torchaudio.functional.resample(torch.from_numpy(spoken.samples), spoken.rate_hz, SPEECH_HZ)
    return Sound(samples, load_sound(samples).normalised, speech)


def looks_like_file(words: str) -> bool:
    """Whether it is there, or is a single word with a slash or an ending, as no text is."""
    return bool(words) and (os.path.exists(words) or re.fullmatch(r"\S*/\S*|\S+\.\w+", words) is not None)


def trained_models(run: Run) -> list[str]:
    """The models of a run that are finished."""
    return [
        path.stem
        for animator in run.config.animators
        for guidance in GUIDANCE
        for path in sorted((run.folder / "records").glob(f"{animator}-{guidance}-s*.json"))
    ]


class Speaker:
    """A run's trained model, with the face that it moves and the way in which that speaks.

    subject: whose face moves, the first test subject unless given; style: whose way of speaking, the first training
    subject's unless given, or a mixture, {name: weight}. ValueError names an unknown one and lists those there are.
    """

    def __init__(
        self, run: Run, model: str = MODEL, subject: str | None = None, style: str | dict[str, float] | None = None
    ):
        if model not in (there := trained_models(run)):
            raise ValueError(
                f"model: expected one of {', '.join(there) or 'none, none is trained'} in {run.folder}, got {model!r}"
            )
        self.run, self.model, self.corpus = run, model, corpus_of(run)
        styles = self.corpus.subjects["train"]
        self.subject, self.style = subject or self.corpus.subjects["test"][0], style or styles[0]
        if self.subject not in self.corpus.templates:
            raise ValueError(f"subject: expected one of {', '.join(self.corpus.templates)}, got {subject!r}")
        self.mixed = style_mixture(styles, self.style).to(run.device)
        self.template = self.corpus.templates[self.subject]
        self.animator, self.record = load_animator(run, self.corpus, model)

    @torch.no_grad()
    def __call__(self, sound: Sound) -> Iterator[torch.Tensor]:
        """Vertices (T, V, 3) at corpus.fps, in the corpus's unit, in pieces: one up to 20 s of speech."""
        speech, template, device = sound.normalised, self.template.to(self.run.device), self.run.device
        frames = int(len(speech) * self.corpus.fps / SPEECH_HZ)
        if len(speech) > LONG_S * SPEECH_HZ:
            yield from (piece.cpu() for piece in self.animator.stream(speech, template, self.mixed, frames))
        else:
            yield self.animator.predict(
                speech[:][None].to(device),
                torch.tensor([len(speech)], device=device),
                template[None],
                self.mixed[None],
                torch.tensor([frames], device=device),
            )[0].cpu()


def corpus_of(run: Run) -> Corpus:
    """The corpus that a finished run was made with, as it lies there."""
    folder = Path(run.record("corpus")["folder"])
    if not (folder / "corpus.json").is_file():
        raise ValueError(f"{folder}: no longer there; ./run_all.sh with what made {run.folder} makes it again")
    return Corpus(folder)
