"""A user's own recording, animated by a run's trained models."""
from pathlib import Path

import torch

from .audio import normalise, read_speech
from .corpus import SPEECH_HZ, Corpus
from .joint import GUIDANCE, load_animator, model_name
from .run import Run
from .view import faces, write_clip


@torch.no_grad()
def animate(run: Run, corpus: Corpus, model: str, speech: torch.Tensor, subject: str | None = None,
            style: str | None = None) -> torch.Tensor:
    """Vertices (T, V, 3) at corpus.fps for speech (S,) at 16 kHz.

    subject: whose face moves, the first test subject unless given; style: whose way of speaking, the first training
    subject's unless given. ValueError names an unknown one and lists those there are.
    """
    animator, _ = load_animator(run, corpus, model)
    styles = corpus.subjects["train"]
    subject, style = subject or corpus.subjects["test"][0], style or styles[0]
    for what, name, known in (("subject", subject, list(corpus.templates)), ("style", style, styles)):
        if name not in known:
            raise ValueError(f"{what}: expected one of {', '.join(known)}, got {name!r}")
    one_hot = torch.tensor([[float(s == style) for s in styles]], device=run.device)
    length = torch.tensor([len(speech)])
    frames = (length * corpus.fps / SPEECH_HZ).floor().long()
    moved = animator.predict(normalise(speech[None], length).to(run.device), length.to(run.device),
                             corpus.templates[subject][None].to(run.device), one_hot, frames.to(run.device))
    return moved[0].cpu()


def animate_file(run: Run, path: Path, seed: int = 0) -> list[Path]:
    """results/<run>/speech/<name>-<model>.mp4 for every trained model of that seed. Any rate, mono or stereo."""
    corpus = Corpus(Path(run.record("corpus")["folder"]))
    speech = read_speech(path)
    written = []
    for animator in run.config.animators:
        for guidance in GUIDANCE:
            model = model_name(animator, guidance, seed)
            motion = animate(run, corpus, model, speech)
            written.append(write_clip(run.folder / "speech" / f"{Path(path).stem}-{model}.mp4", faces(corpus, motion, 384),
                                      corpus.fps, speech))
    return written
