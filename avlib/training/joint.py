"""The joint training: an animator is trained on 3D scans while the expert reads its rendered lips and is fine-tuned."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..animators.animator import Animator, animator_settings
from ..core.config import JointConfig
from ..core.digest import digest
from ..core.progress import log
from ..core.published import PUBLISHED_LAMBDA_AV
from ..core.rates import VIDEO_FPS
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.division import guide_clips
from ..corpus.pictures import lip_video
from ..corpus.run_corpus import run_characters
from ..corpus.training_scans import passes_as_long, training_scans
from ..corpus.utterance import Utterance
from ..lipreading.augmentation import Babble
from ..metrics.vertices import lve
from ..render.renderer import usable_backend
from .checkpoints import SharedStart, TrainingState
from .convergence import convergence, joint_epochs
from .guidance_gradient import principal_motions
from .guide import Guide
from .joint_batches import Example, JointBatch, collate_examples, make_examples
from .joint_settings import check_settings, has_mesh_guide, has_teacher, lengthened, sees_truth, without_guidance
from .joint_task import JointTask, rollout
from .loop import finish_fit, fit
from .mesh_reader import STAGE as MESH_READER
from .mesh_reader import load_mesh_guide
from .motion_vqvae import load_motion_vqvae, motion_vqvae_stages
from .objectives import model_name, objective_settings, published_weight, with_scaled_weight
from .readers import load_reader
from .replication import pretraining_key, pretraining_run
from .schedules import constant_then_cosine, shuffled_batches
from .speech_encoder import load_speech
from .trained_models import assemble_animator, load_animator
from .unscanned import folder_state, speech_without_scans


def build_animator(base: Run, corpus: Corpus, name: str) -> Animator:
    """An untrained animator with the trained speech encoder and, if it has one, the motion VQ-VAE of a pre-training.

    base: the run that holds the pre-training.
    """
    return assemble_animator(base.config, corpus, name, load_speech(base), load_motion_vqvae(base, corpus, name))


def train_joint(run: Run, corpus: Corpus, animator: str, objective: str, seed: int) -> tuple[Animator, dict]:
    """Trains the animator of stage "<animator>-<objective>-s<seed>" unless the stage is finished.

    objective: one of `OBJECTIVES`, whose trainings of one seed start from equal weights and take equal batches.
    Returns the animator and the stage's record. ValueError for an unknown objective or setting of the joint training.
    """
    config, base = objective_settings(run.config.joint, objective), pretraining_run(run, seed)
    check_settings(config)
    stage, inputs = model_name(animator, objective, seed), _inputs(base, corpus, animator)
    guides = ["expert", *([MESH_READER] if has_mesh_guide(config) else [])]
    guide = [*(pretraining_key(base, name) for name in guides), *folder_state(config)] if objective == "guided" else []
    teacher = _teacher(config, animator, objective, seed)
    key = run.key(train_joint, config, objective, seed, inputs, guide, *map(run.finished_key, teacher))
    if not run.finished(stage, key):
        torch.manual_seed(seed)
        published = published_weight(corpus.motion_scale)
        teachers = [load_animator(run, corpus, name)[0] for name in teacher]
        task, train, held_out = joint_task(base, corpus, animator, objective, *teachers)
        start = _unguided_start(run, config, animator, seed, inputs)
        config = lengthened(config, passes_as_long(corpus, config.scans))
        if task.guide is not None and task.config.lambda_av:
            weight = "set by its share of the gradient" if config.share else f"{task.config.lambda_av:.3g}"
            log(f"{stage}: λ_av is {weight}; the published {PUBLISHED_LAMBDA_AV:g} would be {published:.3g} here")
        state = _fit_joint(run, stage, key, config, task, train, held_out, corpus.subjects["train"], seed, start)
        modules: dict[str, nn.Module] = {"animator": task.animator}
        if task.guide is not None:
            modules["expert"] = task.guide.expert
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
            # of the last epoch, where joint.share sets it
            lambda_av=0.0 if task.guide is None else state.history[-1].get("lambda_av", task.config.lambda_av),
            lambda_av_published=published,  # what the published weight amounts to
            scans=len(train) / len(corpus.subjects["train"]),  # of each subject, in the mean
            unscanned=task.unscanned.summary() if task.unscanned else None,
            convergence=convergence(state.history, config),
        )
    return load_animator(run, corpus, stage)


def _teacher(config: JointConfig, animator: str, objective: str, seed: int) -> list[str]:
    """The model whose motion is the target of speech without scans, if that has such a target."""
    needed = objective == "guided" and has_teacher(config)
    return [model_name(animator, "rlv" if config.lambda_rlv else "baseline", seed)] if needed else []


def _inputs(base: Run, corpus: Corpus, animator: str) -> list:
    """What every training of an animator depends on besides seed and settings of the joint training. base: the run that
    holds its pre-training."""
    stages = ["speech", *motion_vqvae_stages(base, corpus, animator)]
    for stage in stages[1:]:
        if (scans := base.record(stage).get("scans", 0)) != base.config.joint.scans:
            raise ValueError(
                f"{base.folder}: {stage} has learned from {scans or 'all'} scans of each subject, expected "
                f"{base.config.joint.scans or 'all'} (joint.scans); train it first"
            )
    plugins = [digest(Path(plugin)) for plugin in base.config.plugins]
    settings = digest(animator_settings(base.config, animator))
    return [animator, settings, corpus.hash, [pretraining_key(base, stage) for stage in stages], plugins]


def _unguided_start(run: Run, config: JointConfig, animator: str, seed: int, inputs: list) -> SharedStart | None:
    """The part of a training before the expert guides, which is the same with and without it.

    None if it guides from the first step on.
    """
    if config.guidance_start <= 0:
        return None
    stage = model_name(animator, "rlv" if config.lambda_rlv else "baseline", seed)
    runs = [run]
    while runs[-1].variant_of:
        runs.append(runs[-1].variant_of)
    return SharedStart(
        [r.folder / "weights" / f"{stage}.start.safetensors" for r in runs],
        run.key(train_joint, without_guidance(config), seed, inputs),
        "animator.",
        config.guidance_start,
    )


def _fit_joint(
    run: Run,
    stage: str,
    key: str,
    config: JointConfig,
    task: JointTask,
    train: list[Example],
    held_out: list[Example],
    styles: list[str],
    seed: int,
    start: SharedStart | None,
) -> TrainingState:
    groups: list[dict] = [{"params": [p for p in task.animator.parameters() if p.requires_grad], "lr": config.lr}]
    if task.speech_head is not None:
        groups[0]["params"] += task.speech_head.parameters()
    if task.guide is not None and config.expert_learns_from != "frozen":
        groups.append({"params": task.guide.expert.parameters(), "lr": config.expert_lr})
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
        validate=lambda progress: held_out_terms(task, collate_examples(held_out, styles), progress),
        max_gradient_norm=config.max_gradient_norm,
        length=lambda history, epochs: joint_epochs(history, config),
        betas=config.betas,
        start=start,
        names=[e.utterance.name for e in train],
    )


def joint_task(
    base: Run, corpus: Corpus, animator: str, objective: str, teacher: Animator | None = None
) -> tuple[JointTask, list[Example], list[Example]]:
    """The task of an untrained animator, with the expert if that guides it; the training and the held-out examples.

    base: the run that holds the pre-training. teacher: whose motion is the target of speech without scans, if it is.
    """
    config = with_scaled_weight(objective_settings(base.config.joint, objective), corpus.motion_scale)
    model = build_animator(base, corpus, animator).to(base.device)
    expert = load_reader(base, "expert") if objective == "guided" else None
    characters = run_characters(base)
    tokenizer = expert.tokenizer if expert else characters
    fps = VIDEO_FPS if "rate" in config.as_released else corpus.fps
    shown = expert is not None and sees_truth(config)
    train = make_examples(corpus, training_scans(corpus, config.scans), model.encoder, tokenizer, fps, shown)
    held_out = make_examples(corpus, corpus.utterances("validation"), model.encoder, tokenizer, fps)
    if expert and config.lambda_features:
        expert.check_layer(config.feature_layer)
    if expert and has_mesh_guide(config) and tokenizer.units != characters.units:
        raise ValueError(
            f"joint.lambda_mesh: the reader of lip vertices spells in {characters.size} characters, the expert in "
            f"{tokenizer.size} units; leave expert.tokenizer empty"
        )
    clips = guide_clips(corpus, base.config.corpus.judge_share)
    guide = unscanned = None
    if expert:
        guide = Guide(
            expert,
            lip_video(corpus, config.soft_silhouettes, fps, usable_backend(config.backend)),
            config,
            base.config.expert.ctc,
            Babble(clips),
            base.device,
            principal_motions(train, config.guidance_components) if config.guidance_components else None,
            load_mesh_guide(base, corpus) if has_mesh_guide(config) else None,
            base.config.expert.precision,
        )
        unscanned = speech_without_scans(config, corpus, clips, model, tokenizer, teacher)
    task = JointTask(model, corpus.regions["lip"], corpus.motion_scale, config, base.device, guide, unscanned)
    return task.to(base.device), train, held_out


def held_out_terms(task: JointTask, batch: JointBatch, progress: float = 1.0) -> dict[str, float]:
    """Figures on held-out subjects and sentences, under the mean of all styles: "held_out_lve", in the square of the
    mesh's unit, and once an expert guides "held_out_av", the L_av of the predicted lips without speech."""
    batch = batch.to(task.device)
    batch.style = torch.full_like(batch.style, 1 / batch.style.shape[1])
    prediction = rollout(task.animator, batch)
    errors = [
        lve(p[:n], t[:n], task.lip_vertices) * int(n) for p, t, n in zip(prediction, batch.motion, batch.frame_lengths)
    ]
    terms = {"held_out_lve": float(sum(errors) / batch.frame_lengths.sum())}
    if task.guide is not None and progress > task.config.guidance_start:
        video = task.guide.show(prediction, batch, []).video
        silent = torch.zeros(len(video), dtype=torch.bool)
        terms["held_out_av"] = float(task.guide.reading_loss(video, batch.samples, silent, batch))
    return terms


@torch.no_grad()
def predict(run: Run, corpus: Corpus, animator: Animator, utterance: Utterance, style: str | None = None) -> Tensor:
    """Vertices (T, V, 3) of one utterance, as many frames as its scan, on the CPU.

    style: a training subject; the first of them unless given.
    """
    styles = corpus.subjects["train"]
    index = styles.index(style or styles[0])
    batch = collate_examples(make_examples(corpus, [utterance], animator.encoder, run_characters(run)), styles).to(
        run.device
    )
    batch.style = torch.eye(len(styles), device=run.device)[index][None]
    return rollout(animator, batch)[0].cpu()


def predictions(run: Run, corpus: Corpus, models: list[str], utterance: Utterance) -> dict[str, Tensor]:
    """`predict` of each of the trained models, by name."""
    return {m: predict(run, corpus, load_animator(run, corpus, m)[0], utterance) for m in models}
