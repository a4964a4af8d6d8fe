"""Settings of the joint training: which values they may have, and which of them matter before the expert guides."""

from dataclasses import replace

from ..core.config import JointConfig
from ..core.published import FAULTS
from .convergence import check_patience

EXPERT_LEARNS_FROM = ("truth", "prediction", "frozen")
# What speech without scans teaches: lips from which the expert can read the transcript, or the reader of lip vertices
# (mesh); as controls, the motion that the animator without guidance makes of it, or the transcript by CTC on the
# animator's speech features, without any face.
UNSCANNED_TARGETS = ("transcript", "mesh", "motion", "speech")
# What is removed from a reading term's gradient, see `guidance_gradient.without_conflict`.
CONFLICTS = ("keep", "opposing", "gain", "random")
# Settings that change nothing before the expert guides.
GUIDANCE_SETTINGS = (
    "lambda_av",
    "lambda_av_unscaled",
    "share",
    "share_steps",
    "lambda_features",
    "feature_layer",
    "lambda_mesh",
    "guided_per_batch",
    "unscanned",
    "lambda_unscanned",
    "unscanned_target",
    "unscanned_speech",
    "guidance_fade",
    "conflict",
    "guidance_components",
    "soft_silhouettes",
    "backend",
    "expert_learns_from",
    "expert_lr",
    "babble_db",
    "drop_audio",
    "as_released",
)


def without_guidance(config: JointConfig) -> JointConfig:
    """The settings that tell how a training goes until the expert guides."""
    usual = JointConfig()
    shared = replace(config, **{name: getattr(usual, name) for name in GUIDANCE_SETTINGS})
    if "rate" in config.as_released:  # the one fault that changes more than the guidance
        shared = replace(shared, as_released=("rate",))
    return shared


def lengthened(config: JointConfig, passes: float) -> JointConfig:
    """The settings with so many times the epochs, so that a training on few scans takes as many steps as one on all."""
    return replace(config, epochs=round(passes * config.epochs), patience=round(passes * config.patience))


def has_mesh_guide(config: JointConfig) -> bool:
    """Whether a reader of lip vertices guides."""
    return bool(config.lambda_mesh or (config.unscanned and config.unscanned_target == "mesh"))


def has_teacher(config: JointConfig) -> bool:
    """Whether the motion of another animator is the target of speech without scans."""
    return bool(config.unscanned and config.unscanned_target == "motion")


def sees_truth(config: JointConfig) -> bool:
    """Whether a guiding expert sees the true lips of the scans: to be fine-tuned, or to compare features."""
    return config.expert_learns_from == "truth" or bool(config.lambda_features)


def check_settings(config: JointConfig) -> None:
    """ValueError for a setting without a meaning."""
    choices = {
        "expert_learns_from": EXPERT_LEARNS_FROM,
        "conflict": CONFLICTS,
        "unscanned_target": UNSCANNED_TARGETS,
        "backend": ("avlib", "pytorch3d"),
    }
    for name, allowed in choices.items():
        if (value := getattr(config, name)) not in allowed:
            raise ValueError(f"joint.{name}: expected {', '.join(allowed[:-1])} or {allowed[-1]}, got {value!r}")
    if len(config.betas) != 2 or not all(0 <= beta < 1 for beta in config.betas):
        raise ValueError(f"joint.betas: expected two numbers, each 0 to below 1, got {config.betas}")
    if config.max_gradient_norm < 0:
        raise ValueError(f"joint.max_gradient_norm: expected a norm, or 0 for none, got {config.max_gradient_norm:g}")
    if not 0 <= config.share < 1:
        raise ValueError(f"joint.share: expected a share of the gradient, 0 to below 1, got {config.share:g}")
    if not 0 <= config.guidance_fade <= 1:
        raise ValueError(f"joint.guidance_fade: expected a share of the training, 0 to 1, got {config.guidance_fade:g}")
    for name in (
        "scans",
        "share_steps",
        "unscanned",
        "lambda_unscanned",
        "context_frames",
        "lambda_features",
        "lambda_mesh",
    ):
        if (value := getattr(config, name)) < 0:
            raise ValueError(f"joint.{name}: expected 0 or more, got {value:g}")
    check_patience(config)
    if unknown := set(config.as_released) - set(FAULTS):
        raise ValueError(f"joint.as_released: expected some of {', '.join(FAULTS)}, got {min(unknown)!r}")
