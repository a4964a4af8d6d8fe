"""Training on motion alone, before the joint training: CodeTalker's motion VQ-VAE.

`Animator.motion_model` names the model; an animator without one has no such stage.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..animators.animator import MotionModel, animator_settings
from ..animators.registry import find_animator
from ..core.config import CodeTalkerConfig, Config
from ..core.files import load_weights
from ..core.run import Run
from ..core.tensors import Batch, pad
from ..corpus.corpus import Corpus
from ..corpus.training_scans import passes_as_long, training_scans
from ..corpus.utterance import Utterance
from ..lipreading.augmentation import ClipGenerators
from .loop import finish_fit, fit
from .schedules import shuffled_batches, step_decay


@dataclass(kw_only=True)
class MotionBatch(Batch):
    """Motion of 3D utterances, padded with zeros at the end."""

    displacement: Tensor  # (B, T, 3 V) from the subject's template, in units of the corpus's motion scale
    frame_lengths: Tensor  # (B,)


class MotionVQVAETask(nn.Module):
    """One training step on the displacements of 3D utterances."""

    def __init__(self, motion_vqvae: MotionModel, device: torch.device):
        super().__init__()
        self.motion_vqvae, self.device = motion_vqvae, device

    def forward(self, batch: MotionBatch, draws: ClipGenerators, progress: float) -> dict[str, Tensor]:
        """The loss, "loss", and its terms. The training loop passes `draws` and `progress`, which are not used."""
        batch = batch.to(self.device)
        return self.motion_vqvae.losses(batch.displacement, batch.frame_lengths)


def collate(corpus: Corpus, utterances: list[Utterance]) -> MotionBatch:
    """The motion of the utterances as a padded batch."""
    displacements = [
        ((corpus.motion(u) - corpus.templates[u.subject]) / corpus.motion_scale).flatten(1) for u in utterances
    ]
    return MotionBatch(displacement=pad(displacements), frame_lengths=torch.tensor([len(d) for d in displacements]))


def train_motion_vqvae(run: Run, corpus: Corpus, animator: str) -> None:
    """Stage "<animator>-motion_vqvae". Returns at once if the animator has no motion model."""
    if not motion_vqvae_stages(run, corpus, animator):
        return
    stage, seed, settings = stage_name(animator), run.config.seed, motion_vqvae_settings(run.config, animator)
    scans = run.config.joint.scans
    key = run.key(train_motion_vqvae, settings, seed, corpus.hash, scans)
    if run.finished(stage, key):
        return
    torch.manual_seed(seed)
    motion_vqvae = untrained_motion_vqvae(run, corpus, animator)
    assert motion_vqvae is not None  # it has the stage
    task = MotionVQVAETask(motion_vqvae, run.device).to(run.device)
    train, held_out = training_scans(corpus, scans), corpus.utterances("validation")

    def validate(progress: float) -> dict:
        terms = task(collate(corpus, held_out), [], 1.0)
        return {f"held_out_{name}": float(term) for name, term in terms.items() if name != "loss"}

    state = fit(
        run,
        stage,
        key,
        task,
        [{"params": task.parameters(), "lr": settings.vqvae_lr}],
        round(passes_as_long(corpus, scans) * settings.vqvae_epochs),
        lambda generator: shuffled_batches(len(train), settings.vqvae_batch, generator),
        lambda indices: collate(corpus, [train[i] for i in indices]),
        seed,
        step_decay(settings.vqvae_lr_halving),
        validate,
        names=[u.name for u in train],
    )
    finish_fit(run, stage, key, {"motion_vqvae": task.motion_vqvae}, state, corpus=corpus.hash, scans=scans)


def stage_name(animator: str) -> str:
    return f"{animator}-motion_vqvae"


def motion_vqvae_stages(run: Run, corpus: Corpus, animator: str) -> list[str]:
    """The stages of an animator before the joint training: one, or none if it has no motion model."""
    with torch.device("meta"):  # allocates nothing
        motion_vqvae = untrained_motion_vqvae(run, corpus, animator)
    return [] if motion_vqvae is None else [stage_name(animator)]


def load_motion_vqvae(run: Run, corpus: Corpus, animator: str) -> MotionModel | None:
    """The trained motion model of an animator, or None if it has none."""
    motion_vqvae = untrained_motion_vqvae(run, corpus, animator)
    if motion_vqvae is None:
        return None
    load_weights(nn.ModuleDict({"motion_vqvae": motion_vqvae}), run.weights(stage_name(animator)))
    return motion_vqvae.to(run.device).eval()


def histories(run: Run, corpus: Corpus) -> dict[str, list[dict]]:
    """The training history of each motion model of the run's animators, by stage."""
    return {
        stage: run.record(stage)["history"]
        for animator in run.config.animators
        for stage in motion_vqvae_stages(run, corpus, animator)
    }


def motion_vqvae_settings(config: Config, animator: str) -> CodeTalkerConfig:
    """The settings of an animator with a motion model. ValueError if it has none of that kind."""
    settings = animator_settings(config, animator)
    if not isinstance(settings, CodeTalkerConfig):
        raise ValueError(
            f"animator {animator!r}: its motion model needs a group of settings like codetalker's, got none"
        )
    return settings


def untrained_motion_vqvae(run: Run, corpus: Corpus, animator: str) -> MotionModel | None:
    """A new motion model of an animator, or None if it has none."""
    settings = animator_settings(run.config, animator)
    return find_animator(animator, run.config.plugins).motion_model(corpus.vertices, settings)
