"""A user's own recording, of any length, animated by a run's trained models."""
from collections.abc import Iterator
from pathlib import Path

import torch

from .audio import LONG_S, SpeechFile
from .corpus import SPEECH_HZ, Corpus
from .joint import GUIDANCE, load_animator, model_name
from .run import Run
from .view import faces, write_clip


def mixture(styles: list[str], wanted: str | dict[str, float]) -> torch.Tensor:
    """A style (styles,): that of one training subject, or of several with weights, which are made to add up to one."""
    weights = {wanted: 1.0} if isinstance(wanted, str) else wanted
    for name in weights:
        if name not in styles:
            raise ValueError(f"style: expected one of {', '.join(styles)}, got {name!r}")
    style = torch.tensor([float(weights.get(s, 0.0)) for s in styles])
    if not style.sum() > 0:
        raise ValueError(f"style: expected weights with a positive sum, got {wanted!r}")
    return style / style.sum()


@torch.no_grad()
def animate(run: Run, corpus: Corpus, model: str, speech: torch.Tensor | SpeechFile, subject: str | None = None,
            style: str | dict[str, float] | None = None) -> Iterator[torch.Tensor]:
    """Vertices (T, V, 3) at corpus.fps for normalised speech (S,) at 16 kHz, in pieces: one up to 20 s of speech.

    subject: whose face moves, the first test subject unless given; style: whose way of speaking, the first training
    subject's unless given, or a mixture, {name: weight}. ValueError names an unknown one and lists those there are.
    """
    animator, _ = load_animator(run, corpus, model)
    styles = corpus.subjects["train"]
    subject = subject or corpus.subjects["test"][0]
    if subject not in corpus.templates:
        raise ValueError(f"subject: expected one of {', '.join(corpus.templates)}, got {subject!r}")
    mixed = mixture(styles, style or styles[0]).to(run.device)
    template, frames = corpus.templates[subject].to(run.device), int(len(speech) * corpus.fps / SPEECH_HZ)
    if len(speech) > LONG_S * SPEECH_HZ:
        yield from (piece.cpu() for piece in animator.stream(speech, template, mixed, frames))
    else:
        lengths = torch.tensor([len(speech)], device=run.device)
        yield animator.predict(speech[:][None].to(run.device), lengths, template[None], mixed[None],
                               torch.tensor([frames], device=run.device))[0].cpu()


def animate_file(run: Run, path: Path, seed: int = 0) -> list[Path]:
    """results/<run>/speech/<name>-<model>.mp4 for every trained model of that seed. Any rate, length, mono or stereo."""
    corpus = Corpus(Path(run.record("corpus")["folder"]))
    sound, speech = SpeechFile(path), SpeechFile(path, normalised=True)
    written = []
    for animator in run.config.animators:
        for guidance in GUIDANCE:
            model = model_name(animator, guidance, seed)
            pictures = (faces(corpus, piece, 384) for piece in animate(run, corpus, model, speech))
            written.append(write_clip(run.folder / "speech" / f"{Path(path).stem}-{model}.mp4", pictures, corpus.fps, sound))
    return written
