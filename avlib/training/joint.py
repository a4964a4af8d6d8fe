"""Stage two: an animator learns from 3D scans while the expert, fine-tuned beside it, reads its rendered lips."""

from pathlib import Path

import torch
from torch import nn

from ..animators.animator import Animator, animator_settings
from ..animators.registry import find_animator
from ..core.files import load_weights
from ..core.rates import VIDEO_FPS
from ..core.run import Run
from ..core.tensors import to_device
from ..corpus.corpus import Corpus
from ..corpus.pictures import lip_video
from ..corpus.utterance import Utterance
from ..lipreading.augmentation import Babble
from ..lipreading.expert import Expert
from ..metrics.vertices import lve
from .clip_batches import TOKENIZER
from .joint_batches import Example, collate, make_examples
from .joint_task import JointTask, principal_motions, rollout
from .loop import finish_fit, fit
from .motion_vqvae import load_motion_vqvae, motion_vqvae_stages
from .readers import load_reader
from .schedules import constant_then_cosine, shuffled_batches
from .speech_encoder import load_speech

GUIDANCE = ("unguided", "guided")
# Faults of the released code: no gradient passes the renderer; each frame of 30 a second is taken for one of 25, beside which
# the speech ends early; lips are normalised by another standard deviation than the expert was trained with.
RELEASED = ("gradient", "rate", "normalisation")


def model_name(animator: str, guidance: str, seed: int) -> str:
    return f"{animator}-{guidance}-s{seed}"


def model_pairs(run: Run, seed: int) -> list[list[str]]:
    """The unguided and the guided model of one seed, of each of the run's animators."""
    return [[model_name(animator, g, seed) for g in GUIDANCE] for animator in run.config.animators]


def model_names(run: Run, seeds: list[int]) -> list[str]:
    """The run's models of all seeds, each unguided before its guided partner."""
    return [model for seed in seeds for pair in model_pairs(run, seed) for model in pair]


def build_animator(run: Run, corpus: Corpus, name: str) -> Animator:
    """An untrained animator on the run's trained speech encoder and, where it has one, its trained prior."""
    return find_animator(name, run.config.plugins).build(
        animator_settings(run.config, name),
        load_motion_vqvae(run, corpus, name),
        vertices=corpus.vertices,
        styles=len(corpus.subjects["train"]),
        fps=corpus.fps,
        encoder=load_speech(run),
        scale=corpus.motion_scale,
    )


def train_joint(run: Run, corpus: Corpus, animator: str, guidance: str, seed: int) -> tuple[Animator, dict]:
    """The animator of stage "<animator>-<guidance>-s<seed>", trained unless it already is, and the stage's record."""
    if guidance not in GUIDANCE:
        raise ValueError(f"guidance: expected one of {', '.join(GUIDANCE)}, got {guidance!r}")
    config, guided = run.config.joint, guidance == "guided"
    if config.expert_learns_from not in ("truth", "prediction", "frozen"):
        raise ValueError(
            f"joint.expert_learns_from: expected truth, prediction or frozen, got {config.expert_learns_from!r}"
        )
    if unknown := set(config.as_released) - set(RELEASED):
        raise ValueError(f"joint.as_released: expected some of {', '.join(RELEASED)}, got {min(unknown)!r}")
    stage = model_name(animator, guidance, seed)
    stages = ["speech"] + ["expert"] * guided + motion_vqvae_stages(run, corpus, animator)
    key = run.key(
        train_joint,
        config,
        animator_settings(run.config, animator),
        animator,
        guidance,
        seed,
        corpus.hash,
        [run.finished_key(s) for s in stages],
        *map(Path, run.config.plugins),
    )
    if not run.finished(stage, key):
        torch.manual_seed(seed)
        task, train, held_out = joint_task(run, corpus, animator, guided)
        styles = corpus.subjects["train"]
        groups = [{"params": [p for p in task.animator.parameters() if p.requires_grad], "lr": config.lr}]
        if guided and config.expert_learns_from != "frozen":
            groups.append({"params": task.expert.parameters(), "lr": config.expert_lr})
        history = fit(
            run,
            stage,
            key,
            task,
            groups,
            config.epochs,
            lambda g: shuffled_batches(len(train), config.batch, g),
            lambda indices: collate([train[i] for i in indices], styles),
            seed,
            schedule=constant_then_cosine(config.lr_decay_fraction),
            validate=lambda: held_out_terms(task, collate(held_out, styles)),
        )
        modules = {"animator": task.animator} | ({"expert": task.expert} if guided else {})
        finish_fit(
            run, stage, key, modules, history, corpus=corpus.hash, seed=seed, animator=animator, guidance=guidance
        )
    return load_animator(run, corpus, stage)


def joint_task(run: Run, corpus: Corpus, animator: str, guided: bool) -> tuple[JointTask, list[Example], list[Example]]:
    """An untrained animator beside the expert, if that guides it; the examples it learns from, and the held-out ones."""
    config, model = run.config.joint, build_animator(run, corpus, animator).to(run.device)
    expert = load_reader(run, "expert") if guided else None
    tokenizer = expert.tokenizer if expert else TOKENIZER
    fps = VIDEO_FPS if "rate" in config.as_released else corpus.fps
    train, held_out = (
        make_examples(corpus, corpus.utterances(s), model.encoder, tokenizer, fps) for s in ("train", "validation")
    )
    motions = principal_motions(train, config.guidance_components) if guided and config.guidance_components else None
    task = JointTask(
        model,
        expert,
        lip_video(corpus, config.soft_silhouettes, fps),
        corpus.regions["lip"],
        corpus.motion_scale,
        config,
        run.config.expert.ctc,
        Babble(corpus.clips("train")),
        run.device,
        motions,
    )
    return task.to(run.device), train, held_out


def held_out_terms(task: JointTask, batch: dict) -> dict:
    """On subjects and sentences not trained on, under the mean of all styles: LVE, and L_av of the predicted lips."""
    batch = to_device(batch, task.device)
    batch["style"] = torch.full_like(batch["style"], 1 / batch["style"].shape[1])
    prediction = rollout(task.animator, batch)
    errors = [lve(p[:n], t[:n], task.lip) * int(n) for p, t, n in zip(prediction, batch["motion"], batch["frames"])]
    terms = {"held_out_lve": float(sum(errors) / batch["frames"].sum())}
    if task.expert is not None:
        video, _ = task.lips(prediction, batch["frames"])
        unheard = torch.zeros(len(video), dtype=torch.bool, device=video.device)
        terms["held_out_av"] = float(task.reading(video, batch["speech"], unheard, batch))
    return terms


@torch.no_grad()
def predict(
    run: Run, corpus: Corpus, animator: Animator, utterance: Utterance, style: str | None = None
) -> torch.Tensor:
    """Vertices (T, V, 3) of one utterance, as long as its scan, in a training subject's style, the first's unless given."""
    styles = corpus.subjects["train"]
    chosen = styles.index(style or styles[0])
    batch = to_device(collate(make_examples(corpus, [utterance], animator.encoder), styles), run.device)
    batch["style"] = torch.eye(len(styles), device=run.device)[chosen][None]
    return rollout(animator, batch)[0].cpu()


def predictions(run: Run, corpus: Corpus, models: list[str], utterance: Utterance) -> dict[str, torch.Tensor]:
    return {m: predict(run, corpus, load_animator(run, corpus, m)[0], utterance) for m in models}


def load_animator(run: Run, corpus: Corpus, stage: str) -> tuple[Animator, dict]:
    """A trained animator and its stage's record. The expert that was tuned beside it stays in the file."""
    return _load(run, corpus, stage)["animator"], run.record(stage)


def load_guide(run: Run, corpus: Corpus, stage: str) -> Expert:
    """The expert as it was tuned beside a guided animator."""
    return _load(run, corpus, stage)["expert"]


def _load(run: Run, corpus: Corpus, stage: str) -> nn.ModuleDict:
    record = run.record(stage)
    modules = nn.ModuleDict({"animator": build_animator(run, corpus, record["animator"])})
    if record["guidance"] == "guided":
        modules["expert"] = load_reader(run, "expert")
    load_weights(modules, run.weights(stage))
    return modules.to(run.device).eval()
