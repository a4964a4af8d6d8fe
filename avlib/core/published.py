"""What the paper and the code that it builds on used, as settings: sizes on each corpus, and methods of training.

Sources: the paper (arXiv 2407.01034) and its released code; FaceFormer (Fan et al. 2022) and CodeTalker (Xing et al.
2023) with their configuration files.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

from .config import Config

# Sizes and schedules of the animators, by corpus. Preset `paper` has them, and on other corpora those of VOCASET.
SIZES: dict[str, dict[str, Any]] = {
    "vocaset": {
        "faceformer.width": 64,
        "codetalker.layers": 6,
        "codetalker.codes_per_frame": 16,
        "codetalker.code_width": 64,
        "codetalker.code_projection": False,
        "codetalker.vqvae_lr_halving": 0.1,  # every 20 of 200 epochs
    },
    "biwi": {
        "faceformer.width": 128,
        "codetalker.layers": 12,
        "codetalker.codes_per_frame": 8,
        "codetalker.code_width": 128,
        "codetalker.code_projection": True,
        "codetalker.vqvae_lr_halving": 1.0,  # a constant learning rate
    },
}

# The paper's λ_av, for errors in the unit of the corpus.
PUBLISHED_LAMBDA_AV = 1e-7

# Adam as the released code uses it, without decay of the learning rate, for a set number of epochs. Batch size and peak
# learning rate are those of the preset.
TRAINED_AS_PUBLISHED: dict[str, Any] = {
    "joint.betas": [0.9, 0.999],
    "joint.max_gradient_norm": 0.0,
    "joint.lr_decay_fraction": 0.0,
    "joint.guidance_start": 0.0,  # of a model without guidance, this changes nothing
}
CLEAN_SPEECH: dict[str, Any] = {"joint.babble_db": [50.0, 50.0], "joint.drop_audio": 0.0}
# The method as the paper's text describes it. Time masks are part of the pre-training there; whether the joint training
# has them is not stated, and it has none here.
AS_THE_PAPER_READS: dict[str, Any] = {
    **TRAINED_AS_PUBLISHED,
    **CLEAN_SPEECH,
    "joint.lambda_av_unscaled": PUBLISHED_LAMBDA_AV,
    "joint.expert_learns_from": "prediction",
    "joint.guidance_components": 0,
    "joint.soft_silhouettes": False,
    "expert.time_mask": 0.4,
}
# Faults of the released code (`joint.as_released`). gradient: no gradient passes the renderer. rate: motion at 30 fps
# is taken for 25 fps, so that the speech ends before the video. normalisation: lip crops are normalised by another
# standard deviation than in the expert's training.
FAULTS = ("gradient", "rate", "normalisation")


@dataclass(frozen=True)
class Method:
    """A way to train: what it is, and its settings. The preset has the others."""

    about: str
    settings: dict[str, Any]


# Preset `paper` has other values of these for method avlib.
_PAPER = {**AS_THE_PAPER_READS, "joint.patience": 0, "joint.as_released": []}
METHODS = {
    "avlib": Method("the kit's own", {}),
    "paper": Method("as the paper reads", _PAPER),
    "released": Method("as released, with the faults of that code", {**_PAPER, "joint.as_released": list(FAULTS)}),
}


def method_settings(method: str) -> dict[str, Any]:
    """The settings of a method. ValueError for an unknown one."""
    if method not in METHODS:
        raise ValueError(f"setting method: expected one of {', '.join(METHODS)}, got {method!r}")
    return METHODS[method].settings


def describe_method(config: Config) -> str:
    """One line: the method, and which settings differ from those of the paper's text."""
    differing = []
    for key, published in _PAPER.items():
        value = reduce(getattr, key.split("."), config)
        if (list(value) if isinstance(value, tuple) else value) != published:
            differing.append(f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}")
    unlike = f"; unlike the paper: {', '.join(differing)}" if differing else ""
    return f"method {config.method}: {METHODS[config.method].about}{unlike}"
