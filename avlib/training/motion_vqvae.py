"""What an animator learns from motion alone, before it hears any speech: CodeTalker's codes."""

import torch
from torch import nn

from ..animators.animator import animator_settings
from ..animators.registry import find_animator
from ..core.files import load_weights
from ..core.run import Run
from ..core.tensors import pad, to_device
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..lipreading.augmentation import Generators
from .loop import finish_fit, fit
from .schedules import shuffled_batches, step_decay


class MotionVQVAETask(nn.Module):
    """One step of a prior on the scans' displacements, in units of the corpus's motion."""

    def __init__(self, prior: nn.Module, device: torch.device):
        super().__init__()
        self.prior, self.device = prior, device

    def forward(self, batch: dict, draws: Generators, progress: float) -> dict:
        batch = to_device(batch, self.device)
        return self.prior.losses(batch["displacement"], batch["frames"])


def collate(corpus: Corpus, utterances: list[Utterance]) -> dict:
    """Displacements from the template (B, T, 3 V), padded, and their frames (B,)."""
    moved = [((corpus.motion(u) - corpus.templates[u.subject]) / corpus.motion_scale).flatten(1) for u in utterances]
    return {"displacement": pad(moved), "frames": torch.tensor([len(m) for m in moved])}


def train_motion_vqvae(run: Run, corpus: Corpus, animator: str) -> None:
    """Stage "<animator>-prior"; nothing where the animator has none."""
    if not motion_vqvae_stages(run, corpus, animator):
        return
    stage, seed = f"{animator}-prior", run.config.seed
    c = animator_settings(run.config, animator)
    key = run.key(train_motion_vqvae, c, seed, corpus.hash)
    if run.finished(stage, key):
        return
    torch.manual_seed(seed)
    task = MotionVQVAETask(_untrained(run, corpus, animator), run.device).to(run.device)
    train, held_out = corpus.utterances("train"), corpus.utterances("validation")

    def validate() -> dict:
        return {f"held_out_{k}": float(v) for k, v in task(collate(corpus, held_out), None, 1.0).items() if k != "loss"}

    history = fit(
        run,
        stage,
        key,
        task,
        [{"params": task.parameters(), "lr": c.vqvae_lr}],
        c.vqvae_epochs,
        lambda g: shuffled_batches(len(train), c.vqvae_batch, g),
        lambda indices: collate(corpus, [train[i] for i in indices]),
        seed,
        step_decay(c.vqvae_lr_halving),
        validate,
    )
    finish_fit(run, stage, key, {"prior": task.prior}, history, corpus=corpus.hash)


def motion_vqvae_stages(run: Run, corpus: Corpus, animator: str) -> list[str]:
    """The stages that an animator has before the joint training: one or none."""
    with torch.device("meta"):  # nothing is allocated just to know
        return [] if _untrained(run, corpus, animator) is None else [f"{animator}-prior"]


def load_motion_vqvae(run: Run, corpus: Corpus, animator: str) -> nn.Module | None:
    """The trained prior of an animator, or None where it has none."""
    prior = _untrained(run, corpus, animator)
    if prior is not None:
        load_weights(nn.ModuleDict({"prior": prior}), run.weights(f"{animator}-prior"))
        prior = prior.to(run.device).eval()
    return prior


def histories(run: Run, corpus: Corpus) -> dict[str, list[dict]]:
    """How the priors of the run's animators learned, stage by stage."""
    return {
        stage: run.record(stage)["history"]
        for a in run.config.animators
        for stage in motion_vqvae_stages(run, corpus, a)
    }


def _untrained(run: Run, corpus: Corpus, animator: str) -> nn.Module | None:
    return find_animator(animator, run.config.plugins).prior(corpus.vertices, animator_settings(run.config, animator))
