"""The joint training: an animator is trained on 3D scans while the expert reads its rendered lips and is fine-tuned."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..animators.animator import Animator, animator_settings
from ..animators.registry import find_animator
from ..core.config import JointConfig
from ..core.files import load_weights
from ..core.rates import VIDEO_FPS
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.division import guide_clips
from ..corpus.pictures import lip_video
from ..corpus.utterance import Utterance
from ..lipreading.augmentation import Babble
from ..lipreading.expert import Expert
from ..metrics.vertices import lve
from .clip_batches import TOKENIZER
from .convergence import check_patience, convergence, joint_epochs
from .joint_batches import Example, JointBatch, collate_examples, make_examples
from .joint_task import JointTask, principal_motions, rollout
from .loop import TrainingState, finish_fit, fit
from .motion_vqvae import load_motion_vqvae, motion_vqvae_stages
from .objectives import model_name, objective_settings
from .readers import load_reader
from .schedules import constant_then_cosine, shuffled_batches
from .speech_encoder import load_speech

# Faults of the released code. gradient: no gradient passes the renderer. rate: motion at 30 fps is taken for 25 fps, so
# that the speech ends before the video. normalisation: lip crops are normalised by another standard deviation than in
# the expert's training.
RELEASED = ("gradient", "rate", "normalisation")


def build_animator(run: Run, corpus: Corpus, name: str) -> Animator:
    """An untrained animator with the run's trained speech encoder and, if the animator has one, its motion VQ-VAE."""
    return find_animator(name, run.config.plugins).build(
        animator_settings(run.config, name),
        load_motion_vqvae(run, corpus, name),
        vertices=corpus.vertices,
        styles=len(corpus.subjects["train"]),
        fps=corpus.fps,
        encoder=load_speech(run),
        scale=corpus.motion_scale,
    )


def train_joint(run: Run, corpus: Corpus, animator: str, objective: str, seed: int) -> tuple[Animator, dict]:
    """Trains the animator of stage "<animator>-<objective>-s<seed>" unless the stage is finished.

    objective: one of `OBJECTIVES`, whose trainings of one seed start from equal weights and take equal batches.
    Returns the animator and the stage's record. ValueError for an unknown objective or setting of the joint training.
    """
    config = objective_settings(run.config.joint, objective)
    _check(config)
    stage = model_name(animator, objective, seed)
    stages = ["speech"] + ["expert"] * (objective == "guided") + motion_vqvae_stages(run, corpus, animator)
    key = run.key(
        train_joint,
        config,
        animator_settings(run.config, animator),
        animator,
        objective,
        seed,
        corpus.hash,
        [run.finished_key(s) for s in stages],
        *map(Path, run.config.plugins),
    )
    if not run.finished(stage, key):
        torch.manual_seed(seed)
        task, train, held_out = joint_task(run, corpus, animator, objective)
        state = _fit_joint(run, stage, key, task, train, held_out, corpus.subjects["train"], seed)
        modules: dict[str, nn.Module] = {"animator": task.animator}
        if task.expert is not None:
            modules["expert"] = task.expert
        finish_fit(
            run,
            stage,
            key,
            modules,
            state,
            corpus=corpus.hash,
            seed=seed,
            animator=animator,
            objective=objective,
            convergence=convergence(state.history, config),
        )
    return load_animator(run, corpus, stage)


def _check(config: JointConfig) -> None:
    if config.expert_learns_from not in ("truth", "prediction", "frozen"):
        raise ValueError(
            f"joint.expert_learns_from: expected truth, prediction or frozen, got {config.expert_learns_from!r}"
        )
    check_patience(config)
    if unknown := set(config.as_released) - set(RELEASED):
        raise ValueError(f"joint.as_released: expected some of {', '.join(RELEASED)}, got {min(unknown)!r}")


def _fit_joint(
    run: Run,
    stage: str,
    key: str,
    task: JointTask,
    train: list[Example],
    held_out: list[Example],
    styles: list[str],
    seed: int,
) -> TrainingState:
    config = run.config.joint
    groups: list[dict] = [{"params": [p for p in task.animator.parameters() if p.requires_grad], "lr": config.lr}]
    if task.expert is not None and config.expert_learns_from != "frozen":
        groups.append({"params": task.expert.parameters(), "lr": config.expert_lr})
    return fit(
        run,
        stage,
        key,
        task,
        groups,
        config.epochs,
        lambda generator: shuffled_batches(len(train), config.batch, generator),
        lambda indices: collate_examples([train[i] for i in indices], styles),
        seed,
        schedule=constant_then_cosine(config.lr_decay_fraction),
        validate=lambda: held_out_terms(task, collate_examples(held_out, styles)),
        length=lambda history, epochs: joint_epochs(history, config),
    )


def joint_task(
    run: Run, corpus: Corpus, animator: str, objective: str
) -> tuple[JointTask, list[Example], list[Example]]:
    """The task of an untrained animator, with the expert if that guides it; the training and the held-out examples."""
    config = objective_settings(run.config.joint, objective)
    model = build_animator(run, corpus, animator).to(run.device)
    expert = load_reader(run, "expert") if objective == "guided" else None
    tokenizer = expert.tokenizer if expert else TOKENIZER
    fps = VIDEO_FPS if "rate" in config.as_released else corpus.fps
    train, held_out = (
        make_examples(corpus, corpus.utterances(split), model.encoder, tokenizer, fps)
        for split in ("train", "validation")
    )
    restricted = expert is not None and config.guidance_components > 0
    task = JointTask(
        model,
        expert,
        lip_video(corpus, config.soft_silhouettes, fps),
        corpus.regions["lip"],
        corpus.motion_scale,
        config,
        run.config.expert.ctc,
        Babble(guide_clips(corpus, run.config.corpus.judge_share)),
        run.device,
        principal_motions(train, config.guidance_components) if restricted else None,
    )
    return task.to(run.device), train, held_out


def held_out_terms(task: JointTask, batch: JointBatch) -> dict[str, float]:
    """Figures on held-out subjects and sentences, under the mean of all styles: "held_out_lve", in the square of the
    mesh's unit, and with an expert "held_out_av", the L_av of the predicted lips without speech."""
    batch = batch.to(task.device)
    batch.style = torch.full_like(batch.style, 1 / batch.style.shape[1])
    prediction = rollout(task.animator, batch)
    errors = [
        lve(p[:n], t[:n], task.lip_vertices) * int(n) for p, t, n in zip(prediction, batch.motion, batch.frame_lengths)
    ]
    terms = {"held_out_lve": float(sum(errors) / batch.frame_lengths.sum())}
    if task.expert is not None:
        video, _ = task.render_lips(prediction, batch.frame_lengths)
        silent = torch.zeros(len(video), dtype=torch.bool, device=video.device)
        terms["held_out_av"] = float(task.reading_loss(video, batch.samples, silent, batch))
    return terms


@torch.no_grad()
def predict(run: Run, corpus: Corpus, animator: Animator, utterance: Utterance, style: str | None = None) -> Tensor:
    """Vertices (T, V, 3) of one utterance, as many frames as its scan, on the CPU.

    style: a training subject; the first of them unless given.
    """
    styles = corpus.subjects["train"]
    index = styles.index(style or styles[0])
    batch = collate_examples(make_examples(corpus, [utterance], animator.encoder), styles).to(run.device)
    batch.style = torch.eye(len(styles), device=run.device)[index][None]
    return rollout(animator, batch)[0].cpu()


def predictions(run: Run, corpus: Corpus, models: list[str], utterance: Utterance) -> dict[str, Tensor]:
    """`predict` of each of the trained models, by name."""
    return {m: predict(run, corpus, load_animator(run, corpus, m)[0], utterance) for m in models}


def load_animator(run: Run, corpus: Corpus, stage: str) -> tuple[Animator, dict]:
    """A trained animator and its stage's record. The expert that was fine-tuned with it is left in the file."""
    animator = _load(run, corpus, stage)["animator"]
    assert isinstance(animator, Animator)
    return animator, run.record(stage)


def load_guide(run: Run, corpus: Corpus, stage: str) -> Expert:
    """The expert as fine-tuned with a guided animator."""
    expert = _load(run, corpus, stage)["expert"]
    assert isinstance(expert, Expert)
    return expert


def _load(run: Run, corpus: Corpus, stage: str) -> nn.ModuleDict:
    record = run.record(stage)
    if not record.keys() >= {"objective", "convergence"}:
        raise ValueError(f"{run.folder}: {stage} was trained by an older version; train it again, or use another run")
    modules = nn.ModuleDict({"animator": build_animator(run, corpus, record["animator"])})
    if record["objective"] == "guided":
        modules["expert"] = load_reader(run, "expert")
    load_weights(modules, run.weights(stage))
    return modules.to(run.device).eval()
