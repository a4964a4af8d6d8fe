"""Preset paper is the paper: its settings one by one, and the methods of training."""

import pytest

from avlib.core.config import as_dict
from avlib.core.overrides import with_settings
from avlib.core.presets import PRESETS, load
from avlib.core.published import METHODS, describe_method
from avlib.training.convergence import check_patience, steady_share
from avlib.training.joint_settings import check_settings

# As the paper, its released code and the configuration files of FaceFormer and CodeTalker have them.
ON_BOTH = {
    "joint.epochs": 100,
    "joint.patience": 0,
    "joint.batch": 1,
    "joint.lr": 1e-4,
    "joint.lr_decay_fraction": 0.0,
    "joint.betas": (0.9, 0.999),
    "joint.max_gradient_norm": 0.0,
    "joint.lambda_mse": 1.0,
    "joint.lambda_rlv": 1.0,
    "joint.lambda_av_unscaled": 1e-7,
    "joint.share": 0.0,
    "joint.guidance_start": 0.0,
    "joint.guidance_components": 0,
    "joint.expert_learns_from": "prediction",
    "joint.as_released": (),
    "speech.pretrained": "facebook/wav2vec2-base-960h",
    "faceformer.heads": 4,
    "faceformer.layers": 1,
    "codetalker.width": 1024,
    "codetalker.heads": 4,
    "codetalker.scheduled_sampling": 0.0,
    "codetalker.codebook_size": 256,
    "codetalker.vqvae_width": 1024,
    "codetalker.vqvae_layers": 6,
    "codetalker.vqvae_heads": 8,
    "codetalker.vqvae_hidden": 1536,
    "codetalker.vqvae_epochs": 200,
    "codetalker.vqvae_batch": 1,
    "codetalker.vqvae_lr": 1e-4,
    "expert.width": 768,
    "expert.heads": 12,
    "expert.feedforward": 3072,
    "expert.layers": 12,
    "expert.kernel": 31,
    "expert.decoder_layers": 6,
    "expert.fusion": 8192,
    "expert.frontend_width": 64,
    "expert.ctc": 0.1,
    "expert.babble_db": (-5.0, 20.0),
    "expert.time_mask": 0.4,
    "expert.average": 10,
    "evaluation.beam": 40,
    "evaluation.ctc_weight": 0.1,
    "evaluation.styles": 8,
    "corpus.crop": 96,
}
BY_CORPUS = {
    "vocaset": {
        "faceformer.width": 64,
        "codetalker.layers": 6,
        "codetalker.codes_per_frame": 16,
        "codetalker.code_width": 64,
        "codetalker.code_projection": False,
        "codetalker.vqvae_lr_halving": 20 / 200,
    },
    "biwi": {
        "faceformer.width": 128,
        "codetalker.layers": 12,
        "codetalker.codes_per_frame": 8,
        "codetalker.code_width": 128,
        "codetalker.code_projection": True,
        "codetalker.vqvae_lr_halving": 1.0,  # never within the training
    },
}


def flat(config) -> dict:
    """All settings by dotted key."""
    settings = {}
    for name, value in as_dict(config).items():
        settings |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return settings


@pytest.mark.parametrize("corpus", BY_CORPUS)
def test_every_published_setting_is_that_of_preset_paper(corpus):
    settings, published = flat(load("paper", **{"corpus.name": corpus})), ON_BOTH | BY_CORPUS[corpus]
    assert {key: settings[key] for key in published} == published


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_method_fits_every_preset(preset, method):
    config = load(preset, method=method)
    check_settings(config.joint)
    assert config.method == method and (config.joint.as_released != ()) == (method == "released")


def test_the_kits_own_method_trains_to_convergence_at_published_sizes():
    joint = load("paper", method="avlib").joint
    check_patience(joint)
    assert joint.patience == 10 and steady_share(joint) == 0.5 and joint.share == 0.4


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="^setting method: expected one of avlib, paper, released, got 'paiper'$"):
        load("demo", method="paiper")


def test_a_method_says_how_it_differs_from_the_paper():
    assert describe_method(load("demo", method="paper")) == "method paper: as the paper reads"
    assert describe_method(load("paper", method="released")) == (
        "method released: as released, with the faults of that code; unlike the paper: "
        "joint.as_released=gradient,rate,normalisation"
    )
    own = describe_method(load("demo"))
    assert "joint.guidance_components=30" in own and "joint.betas=0.9,0.98" in own and "joint.lambda_rlv" not in own


@pytest.mark.parametrize("method", METHODS)
def test_the_weight_of_guidance_that_is_set_counts(method):
    """In place of the share of preset paper and of the published weight, and in variants, too."""
    for config in (
        load("paper", method=method, **{"joint.lambda_av": "0.01"}),
        with_settings(load("paper", method=method), {"joint.lambda_av": 0.01}),
    ):
        assert (config.joint.lambda_av, config.joint.lambda_av_unscaled, config.joint.share) == (0.01, 0.0, 0.0)
    shared = load("paper", method=method, **{"joint.share": "0.3"}).joint
    assert (shared.share, shared.lambda_av_unscaled) == (0.3, 0.0)
    unscaled = load("paper", method=method, **{"joint.lambda_av_unscaled": 1e-6}).joint
    assert (unscaled.share, unscaled.lambda_av_unscaled) == (0.0, 1e-6)
