"""Animates speech with the trained models of a finished run."""

from pathlib import Path

import torch

from ..core.run import Run
from ..corpus.pictures import faces
from ..render.clips import write_clip
from ..training.objectives import OBJECTIVES, model_name
from .animation import Animation, speaking
from .shipped_model import speaking_run
from .speaker import MODEL, Speaker, load_sound

CLIP_SIDE = 384  # width and height of a clip, pixels


def animate(
    speech: str | Path | torch.Tensor,
    run: str | None = None,
    model: str = MODEL,
    subject: str | None = None,
    style: str | dict[str, float] | None = None,
    device: str = "auto",
) -> Animation:
    """Animates speech with a model of a finished run, by default the demo's or, without one, the model that comes with
    the kit.

    speech: a sound file, a film with sound, a text that espeak-ng speaks, or samples (S,) at 16 kHz; model, subject,
    style: see `Speaker`.
    ValueError for an unknown run, model, subject or style, and for speech that cannot be read.
    """
    opened = speaking_run(run, device)
    sound = load_sound(speech, opened.config.corpus.language)
    return speaking(Speaker(opened, model, subject, style), sound)


def animate_file(run: Run, path: Path, seed: int = 0) -> list[Path]:
    """Writes results/<run>/speech/<name>-<model>.mp4 for every trained model of the seed; returns the paths.

    path: a sound file of any sample rate and length, mono or stereo.
    """
    sound, paths = load_sound(Path(path)), []
    for animator in run.config.animators:
        for objective in OBJECTIVES:
            speaker = Speaker(run, model_name(animator, objective, seed))
            pictures = (faces(speaker.corpus, piece, CLIP_SIDE) for piece in speaker(sound))
            clip = run.folder / "speech" / f"{Path(path).stem}-{speaker.model}.mp4"
            paths.append(write_clip(clip, pictures, speaker.corpus.fps, sound.samples))
    return paths
