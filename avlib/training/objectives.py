"""What an animator is trained on, and the names of the models that come of it."""

from dataclasses import replace

from ..core.config import JointConfig
from ..core.published import PUBLISHED_LAMBDA_AV
from ..core.run import Run

# L_mse alone, as published; L_mse + L_rlv; L_mse + L_rlv + L_av, the expert's loss.
OBJECTIVES = ("baseline", "rlv", "guided")


def model_name(animator: str, objective: str, seed: int) -> str:
    """The name of a trained model and of its stage."""
    return f"{animator}-{objective}-s{seed}"


def models_by_animator(run: Run, seed: int) -> list[list[str]]:
    """The models of each of the run's animators, of one seed, in the order of `OBJECTIVES`."""
    return [[model_name(animator, o, seed) for o in OBJECTIVES] for animator in run.config.animators]


def model_names(run: Run, seeds: list[int]) -> list[str]:
    """The run's models of all seeds, seed by seed and animator by animator."""
    return [model for seed in seeds for models in models_by_animator(run, seed) for model in models]


def training_order(run: Run, seeds: list[int]) -> list[tuple[str, str, int]]:
    """Animator, objective and seed of each of the run's models, in the order in which they are best trained.

    A guided training continues from the start that the one with L_rlv has kept, so it comes after that.
    """
    return [
        (animator, objective, seed)
        for seed in seeds
        for objective in ("rlv", "guided", "baseline")
        for animator in run.config.animators
    ]


def with_scaled_weight(config: JointConfig, motion_scale: float) -> JointConfig:
    """The settings with `lambda_av_unscaled`, if it counts, converted into `lambda_av`. motion_scale: of the corpus."""
    unscaled = config.lambda_av_unscaled
    return replace(config, lambda_av=scaled_weight(unscaled, motion_scale)) if unscaled else config


def scaled_weight(unscaled: float, motion_scale: float) -> float:
    """The λ_av that means the same as one for errors in the corpus's unit.

    motion_scale: by which `vertex_losses` divides errors. Their squares are then 1 / motion_scale² times as large, and
    so must be the weight.
    """
    return unscaled / motion_scale**2


def published_weight(motion_scale: float) -> float:
    """The published λ_av in the units of `joint.lambda_av`."""
    return scaled_weight(PUBLISHED_LAMBDA_AV, motion_scale)


def objective_settings(config: JointConfig, objective: str) -> JointConfig:
    """The settings with which an objective is trained: in the baseline L_rlv has weight 0.

    ValueError for an unknown objective.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective: expected one of {', '.join(OBJECTIVES)}, got {objective!r}")
    return replace(config, lambda_rlv=0.0) if objective == "baseline" else config
