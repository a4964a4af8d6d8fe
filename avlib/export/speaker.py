"""Speech of any length, animated by a trained model of a run."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torchaudio

from ..core.media import SOUND_SUFFIXES
from ..core.rates import SPEECH_HZ
from ..core.run import Run
from ..corpus.run_corpus import open_corpus
from ..corpus.video.folders import VIDEO_SUFFIXES
from ..speech.espeak import speak
from ..speech.languages import ENGLISH
from ..speech.sound import SpeechFile, normalise
from ..speech.wav2vec2 import LONG_S
from ..training.objectives import OBJECTIVES
from ..training.trained_models import load_animator
from .film_files import film_sound, is_film

MODEL = "faceformer-guided-s0"


def style_mixture(styles: list[str], wanted: str | dict[str, float]) -> torch.Tensor:
    """Weights (styles,) that add up to one, of one training subject's style or of a mixture, {name: weight}.

    ValueError for an unknown style, or weights without a positive sum.
    """
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
    """Speech: samples (S,) at 16 kHz, in memory or read from a file by slices, as they are and normalised.

    text: the text that espeak-ng spoke, if any.
    """

    samples: torch.Tensor | SpeechFile
    normalised: torch.Tensor | SpeechFile
    text: str = ""

    @property
    def seconds(self) -> float:
        return len(self.samples) / SPEECH_HZ


def load_sound(speech: str | Path | torch.Tensor, language: str = ENGLISH) -> Sound:
    """speech: a sound file of any sample rate and length, a film, a text that espeak-ng speaks, or samples (S,) at
    16 kHz. language: of the text.

    ValueError for a file that is not audio, and for a text without words.
    """
    if torch.is_tensor(speech):
        return Sound(speech, normalise(speech[None], torch.tensor([len(speech)]))[0])
    if isinstance(speech, Path) or looks_like_file(speech):
        if is_film(Path(speech)):
            return load_sound(film_sound(Path(speech)))
        file = SpeechFile(speech)
        return Sound(file, file.normalised())
    spoken = speak(speech, language)
    samples = torchaudio.functional.resample(torch.from_numpy(spoken.samples), spoken.rate_hz, SPEECH_HZ)
    return Sound(samples, load_sound(samples).normalised, speech)


def looks_like_file(text: str) -> bool:
    """Whether the text is the path of a file or folder, or ends like a sound or a film, or begins like a path."""
    ends, begins = (*SOUND_SUFFIXES, *VIDEO_SUFFIXES, ".raw", "/"), ("/", "./", "../", "~/")
    return bool(text) and (os.path.exists(text) or text.lower().endswith(ends) or text.startswith(begins))


def trained_models(run: Run) -> list[str]:
    """The names of a run's trained models."""
    return [
        path.stem
        for animator in run.config.animators
        for objective in OBJECTIVES
        for path in sorted((run.folder / "records").glob(f"{animator}-{objective}-s*.json"))
    ]


class Speaker:
    """A trained model of a run, with the face that it animates and its speaking style.

    subject: whose face, by default the first test subject's. style: a training subject, by default the first, or a
    mixture, {name: weight}. ValueError for an unknown model, subject or style; it lists those that exist.
    """

    def __init__(
        self, run: Run, model: str = MODEL, subject: str | None = None, style: str | dict[str, float] | None = None
    ):
        if model not in (models := trained_models(run)):
            raise ValueError(
                f"model: expected one of {', '.join(models) or 'none, none is trained'} in {run.folder}, got {model!r}"
            )
        self.run, self.model, self.corpus = run, model, open_corpus(run)
        styles = self.corpus.subjects["train"]
        self.subject, self.style = subject or self.corpus.subjects["test"][0], style or styles[0]
        if self.subject not in self.corpus.templates:
            raise ValueError(f"subject: expected one of {', '.join(self.corpus.templates)}, got {subject!r}")
        self.style_weights = style_mixture(styles, self.style).to(run.device)
        self.template = self.corpus.templates[self.subject]
        self.animator, self.record = load_animator(run, self.corpus, model)

    @torch.no_grad()
    def __call__(self, sound: Sound) -> Iterator[torch.Tensor]:
        """Vertices (T, V, 3) at corpus.fps, in the corpus's unit; in pieces for speech longer than 20 s."""
        speech, template, device = sound.normalised, self.template.to(self.run.device), self.run.device
        frames = int(len(speech) * self.corpus.fps / SPEECH_HZ)
        if len(speech) > LONG_S * SPEECH_HZ:
            yield from (piece.cpu() for piece in self.animator.stream(speech, template, self.style_weights, frames))
        else:
            yield self.animator.predict(
                speech[:][None].to(device),
                torch.tensor([len(speech)], device=device),
                template[None],
                self.style_weights[None],
                torch.tensor([frames], device=device),
            )[0].cpu()
