"""Speech animated by the trained models of a finished run."""

from pathlib import Path

import torch

from ..core.opening import open_run
from ..core.run import Run
from ..corpus.pictures import faces
from ..render.clips import write_clip
from ..training.joint import GUIDANCE, model_name
from .animation import Animation
from .speaker import MODEL, Speaker, load_sound


def animate(
    speech: str | Path | torch.Tensor,
    run: str = "demo",
    model: str = MODEL,
    subject: str | None = None,
    style: str | dict[str, float] | None = None,
    device: str = "auto",
) -> Animation:
    """Speech as `load_sound` takes it, animated by a model of a finished run: see `Speaker`."""
    sound, speaker = load_sound(speech), Speaker(open_run(run, device=device), model, subject, style)
    return Animation(torch.cat(list(speaker(sound))), sound, speaker)


def animate_file(run: Run, path: Path, seed: int = 0) -> list[Path]:
    """results/<run>/speech/<name>-<model>.mp4 for every trained model of that seed. Any rate, length, mono or stereo."""
    sound, written = load_sound(Path(path)), []
    for animator in run.config.animators:
        for guidance in GUIDANCE:
            speaker = Speaker(run, model_name(animator, guidance, seed))
            pictures = (faces(speaker.corpus, piece, 384) for piece in speaker(sound))
            place = run.folder / "speech" / f"{Path(path).stem}-{speaker.model}.mp4"
            written.append(write_clip(place, pictures, speaker.corpus.fps, sound.samples))
    return written
