"""The presets, one for each budget."""

from .config import Config
from .overrides import with_settings
from .published import SIZES, method_settings

PRESETS = {
    # A smoke test of every stage. Its results are not meaningful.
    "smoke": {
        "corpus.clips_2d": 48,
        "corpus.validation_clips_2d": 24,
        "corpus.judge_clips_2d": 24,
        "corpus.sentences_train": 2,
        "corpus.sentences_validation": 1,
        "corpus.sentences_test": 1,
        "speech.epochs": 1,
        "speech.width": 64,
        "speech.layers": 1,
        "expert.epochs": 1,
        "expert.width": 64,
        "expert.layers": 1,
        "reader.epochs": 1,
        "reader.width": 64,
        "reader.layers": 1,
        "judge.epochs": 1,
        "judge.channels": (8, 16, 32),
        "judge.width": 64,
        "codetalker.vqvae_epochs": 2,
        "joint.epochs": 2,
        "evaluation.beam": 2,
        "evaluation.styles": 2,
        "evaluation.tsne_perplexity": 5.0,
    },
    # The paper's experiment in miniature: 23 minutes on two cores with AVX-512.
    "demo": {},
    # The experiments in docs/evidence.md: twice the scans and three times the clips, all variants, trainings until the
    # held-out LVE rests, and a pre-training for each training seed. The readers train longer, too: they judge.
    "study": {
        "pretrain_each_seed": True,
        "corpus.clips_2d": 2600,
        "corpus.validation_clips_2d": 120,
        "corpus.judge_clips_2d": 1500,
        "speech.epochs": 4,
        "expert.epochs": 5,
        "reader.epochs": 9,
        "judge.epochs": 9,
        "corpus.sentences_train": 24,
        "corpus.sentences_validation": 10,
        "corpus.sentences_test": 15,
        "joint.epochs": 60,
        "joint.patience": 4,
        "variants": (
            "ablation",
            "budget",
            "published",
            "weight",
            "expert",
            "audio_condition",
            "gradient_projection",
            "faults",
        ),
    },
    # The published sizes and schedules, for a GPU, with the published weights of wav2vec 2.0. `SIZES` has those that
    # depend on the corpus.
    "paper": {
        "method": "paper",
        "corpus.crop": 96,
        "corpus.clips_2d": 20000,
        "corpus.validation_clips_2d": 500,
        "corpus.judge_clips_2d": 10000,
        "corpus.sentences_train": 40,
        "corpus.sentences_validation": 20,
        "corpus.sentences_test": 20,
        "speech.pretrained": "facebook/wav2vec2-base-960h",
        **{
            f"{reader}.{name}": value
            for reader in ("expert", "reader")
            for name, value in {
                "width": 768,
                "heads": 12,
                "feedforward": 3072,
                "layers": 12,
                "kernel": 31,
                "decoder_layers": 6,
                "fusion": 8192,
                "frontend_width": 64,
                "audio_frontend_width": 64,
                "dropout": 0.1,
                "epochs": 75,
                "batch_frames": 1600,
                "lr": 1e-3,
                "ctc": 0.1,
                "phoneme": 0.0,
                "babble_db": (-5.0, 20.0),
                "drop_audio": 0.0,
                "drop_video": 0.0,
                "audio_only_fraction": 0.0,
                "time_mask": 0.4,
                "average": 10,
            }.items()
        },
        "reader.trained_on": "both",
        **{
            f"judge.{name}": value
            for name, value in {
                "channels": (32, 64, 96),
                "width": 256,
                "dropout": 0.5,
                "epochs": 75,
                "batch_frames": 1600,
                "lr": 1e-3,
                "phoneme": 0.0,
                "average": 10,
            }.items()
        },
        **{
            f"codetalker.{name}": value
            for name, value in {
                "width": 1024,
                "scheduled_sampling": 0.0,
                "vqvae_width": 1024,
                "vqvae_layers": 6,
                "vqvae_hidden": 1536,
                "codebook_size": 256,
                "vqvae_epochs": 200,
                "vqvae_batch": 1,
                "vqvae_lr": 1e-4,
            }.items()
        },
        "joint.epochs": 100,
        "joint.patience": 10,
        "joint.batch": 1,
        "joint.lr": 1e-4,
        # of method avlib; the guide hears what its readers were trained on
        "joint.babble_db": (-5.0, 0.0),
        "joint.drop_audio": 0.0,
        "joint.share": 0.4,
        "joint.share_steps": 200,
        "evaluation.beam": 40,
        "evaluation.styles": 8,
        "evaluation.ctc_weight": 0.1,
        "evaluation.choose_search": True,
    },
}


def load(preset: str, /, **overrides) -> Config:
    """The configuration of a preset, with other values for some dotted keys: `load("smoke", **{"joint.epochs": 3})`.

    Preset `paper` has the sizes published for the corpus. The settings of the method come after those of the preset.
    Values may be strings, as on a command line; they are read as JSON and must fit the setting's type.
    ValueError for an unknown preset or setting, or a value of another type.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
    config = with_settings(Config(preset=preset), PRESETS[preset])
    if preset == "paper":
        config = with_settings(config, SIZES.get(overrides.get("corpus.name", ""), SIZES["vocaset"]))
    config = with_settings(config, method_settings(overrides.get("method", config.method)))
    return with_settings(config, overrides)
