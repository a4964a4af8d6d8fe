"""The variants of the method: what each of them changes, and the groups that compare them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.config import Config
from ..core.published import AS_THE_PAPER_READS, CLEAN_SPEECH, FAULTS, TRAINED_AS_PUBLISHED
from .budgets import as_long, as_many_steps
from .labels import OBJECTIVE_LABELS

# Groups of variants, as `--set variants=` names them, and their titles.
GROUP_TITLES = {
    "ablation": "Ablation",
    "budget": "Equal steps and equal time",
    "published": "Trained as published",
    "scans": "Scans of each subject",
    "guiding": "Ways of guiding with few scans",
    "weight": "Weight of the reading loss",
    "expert": "Fine-tuning of the expert",
    "audio_condition": "Speech input of the guiding expert",
    "gradient_projection": "Projection of the gradient",
    "faults": "Faults of the released code",
}
GROUP_NOTES = {  # sentences below the tables of a group
    "scans": [
        "With n scans: animators and motion VQ-VAE learn from the first n scanned sentences of each training subject, "
        "for about as many steps as from all; with speech without scans, the expert also reads as many utterances of "
        "the 2D part a step",
    ],
    "guiding": [
        "Animators learn from the first 4 scanned sentences of each training subject, for as many steps as from all",
        "By its share: the gradients of the vertex terms and of the guide are as large as each other",
        "Controls: as many utterances of speech without scans, which teach without the expert's reading of lips",
    ],
    "ablation": [
        "Without 2D prior: the expert is pre-trained on renders of the training scans, for as many steps as on clips",
        "Without speech: the expert sees the lips of clips alone, as often as that of the full method does",
    ],
    "published": [
        "As published: Adam with betas of 0.9 and 0.999, constant learning rate, no clipping; batch size and learning "
        "rate are those of the method. Rows that are not the run's own have as many steps as the method",
        "As the paper reads: also guidance from the first step, clean speech, an expert that is fine-tuned on "
        "predicted lips and pre-trained with time masks, no projection of the gradient, no soft silhouettes, λ_av = "
        "1e-7 for errors in the corpus's unit",
        "As released: also no gradient through the renderer, lip video slower than the speech where motion is not at "
        "25 frames per second, lip crops normalised unlike in pre-training",
    ],
}


@dataclass(frozen=True)
class Variant:
    """A row of a table: the group it belongs to, its label, and what differs from the run.

    settings: dotted keys and values, as `--set` takes them. further: settings that depend on the run's. base: another
    variant, whose settings this one has, too, and whose expert it uses. is_sweep: trained for the run's first animator
    and seed only, and scored on the validation split, since sweeps choose. epochs: the number of epochs, where it
    depends on the run's records of the guided model and of its own model of this objective, both of the same animator
    and seed.
    """

    group: str
    label: str
    settings: dict = field(default_factory=dict)
    objective: str = "guided"
    is_sweep: bool = True
    epochs: Callable[[dict, dict], int] | None = None
    further: Callable[[Config], dict] | None = None
    base: str = ""


def scans_of(name: str) -> int:
    """How many scanned sentences of each subject a variant learns from; 0 stands for all."""
    variant = VARIANTS[name]
    return variant.settings.get("joint.scans", 0) or (scans_of(variant.base) if variant.base else 0)


def lips_alone_epochs(config: Config) -> dict:
    """The epochs of an expert without audio that sees lips alone as often as the run's audio-visual expert does.

    That one has lips without speech in the share `drop_audio` of what follows its audio-only beginning. If it never has
    (drop_audio 0), lips with speech count.
    """
    expert = config.expert
    share = (1 - expert.audio_only_fraction) * (expert.drop_audio or 1 - expert.drop_video)
    return {"expert.epochs": max(1, round(share * expert.epochs))}


def _ablation(label: str, settings: dict, objective: str = "guided", **more) -> Variant:
    return Variant("ablation", label, settings, objective, is_sweep=False, **more)


def _budget(objective: str, what: str = "", epochs: Callable[[dict, dict], int] | None = None) -> Variant:
    return Variant("budget", OBJECTIVE_LABELS[objective] + what, {}, objective, is_sweep=False, epochs=epochs)


def _published(label: str, settings: dict, objective: str = "guided", base: str = "") -> Variant:
    """Trained for as many steps as the run's guided model of the same animator and seed."""
    return Variant("published", label, settings, objective, is_sweep=False, epochs=as_many_steps, base=base)


UNSCANNED_LABEL = f"{OBJECTIVE_LABELS['guided']}, also on speech without scans"
UNSCANNED = {"joint.unscanned": 4}
FEW_SCANS = (2, 4, 8, 16)


def _few_scans(count: int) -> dict[str, Variant]:
    """Four variants that learn from the first `count` scanned sentences of each subject. They share one motion model,
    that of the first of them."""

    def variant(label: str, objective: str, settings: dict, base: str = "") -> Variant:
        return Variant("scans", f"{count} scans, {label}", settings, objective, is_sweep=False, base=base)

    base = f"scans-{count}-baseline"
    return {
        base: variant(OBJECTIVE_LABELS["baseline"], "baseline", {"joint.scans": count}),
        f"scans-{count}-rlv": variant(OBJECTIVE_LABELS["rlv"], "rlv", {}, base),
        f"scans-{count}-guided": variant(OBJECTIVE_LABELS["guided"], "guided", {}, base),
        f"scans-{count}-unscanned": variant(UNSCANNED_LABEL, "guided", UNSCANNED, base),
    }


GUIDED_WITH = 4  # scans of each subject, in the group "guiding"
BY_SHARE = {"joint.share": 0.5}
FEATURES = {"joint.lambda_features": 1.0, "joint.lambda_av": 0.0} | BY_SHARE
OF_SPEECH = "speech without scans"


def _guiding(label: str, settings: dict, objective: str = "guided") -> Variant:
    return Variant("guiding", label, settings, objective, base=f"scans-{GUIDED_WITH}-baseline")


GUIDING = {
    "guiding-rlv": _guiding(OBJECTIVE_LABELS["rlv"], {}, "rlv"),
    "guiding-transcript": _guiding("guided by transcripts (method)", {}),
    "guiding-readings": _guiding("with twice as many readings", {"joint.guided_per_batch": 8}),
    "guiding-unscanned": Variant("guiding", f"also on {OF_SPEECH}", base=f"scans-{GUIDED_WITH}-unscanned"),
    "guiding-unscanned-more": _guiding(f"on twice as much {OF_SPEECH}", {"joint.unscanned": 8}),
    "guiding-unscanned-strong": _guiding(
        f"on {OF_SPEECH}, three times the weight", UNSCANNED | {"joint.lambda_unscanned": 0.015}
    ),
    "guiding-motion": _guiding(
        f"control: {OF_SPEECH}, + L_rlv's motion as target", UNSCANNED | {"joint.unscanned_target": "motion"}
    ),
    "guiding-speech": _guiding(
        f"control: {OF_SPEECH}, spelled from speech features", UNSCANNED | {"joint.unscanned_target": "speech"}
    ),
    **{
        f"guiding-features-{layer}": _guiding(
            f"by features of {name}, by their share", FEATURES | {"joint.feature_layer": layer}
        )
        for layer, name in ((0, "the front-end"), (1, "the first layer"), (-1, "the last layer"))
    },
    "guiding-features-unscanned": _guiding(
        f"by features of the last layer, and by transcripts on {OF_SPEECH}", FEATURES | UNSCANNED
    ),
    "guiding-share": _guiding("by transcripts, by their share", BY_SHARE),
    "guiding-opposing": _guiding("without what opposes the vertex terms", {"joint.conflict": "opposing"}),
    "guiding-random": _guiding("control: without a random motion as large", {"joint.conflict": "random"}),
    "guiding-gain": _guiding("without what only scales the motion", {"joint.conflict": "gain"}),
    "guiding-fade": _guiding("falling to nothing over the last quarter", {"joint.guidance_fade": 0.25}),
    "guiding-context-rlv": _guiding("+ L_rlv, phonetic context", {"joint.context_frames": 5}, "rlv"),
    "guiding-context": _guiding("guided, phonetic context", {"joint.context_frames": 5}),
    "guiding-mesh": _guiding(
        "by a reader of lip vertices, by its share", {"joint.lambda_mesh": 1.0, "joint.lambda_av": 0.0} | BY_SHARE
    ),
    "guiding-mesh-unscanned": _guiding(
        f"by a reader of lip vertices on {OF_SPEECH}", UNSCANNED | {"joint.unscanned_target": "mesh"}
    ),
}


# Each group's first variant is the reference of its differences: in sweeps the method itself, or λ_av = 0.
VARIANTS = {
    "full": _ablation("full method", {}),
    "no-prior": _ablation("without 2D prior", {"expert.trained_on": "3d", "expert.pretrained": ""}),
    "no-rlv": _ablation("without L_rlv", {"joint.lambda_rlv": 0.0}),
    # With another seed than the reader, which has the same architecture and learns from the same clips.
    "no-speech": _ablation("without speech", {"expert.modalities": ["video"]}, further=lips_alone_epochs),
    "rlv": _ablation(OBJECTIVE_LABELS["rlv"], {}, "rlv"),
    "baseline": _ablation(OBJECTIVE_LABELS["baseline"], {}, "baseline"),
    "budget-guided": _budget("guided"),
    "budget-baseline": _budget("baseline", ", its own number of steps"),
    "budget-baseline-steps": _budget("baseline", ", as many steps as guided", as_many_steps),
    "budget-baseline-time": _budget("baseline", ", as long as guided", as_long),
    "budget-rlv": _budget("rlv", ", its own number of steps"),
    "budget-rlv-steps": _budget("rlv", ", as many steps as guided", as_many_steps),
    "budget-rlv-time": _budget("rlv", ", as long as guided", as_long),
    "run-guided": Variant("published", f"{OBJECTIVE_LABELS['guided']} (method)", is_sweep=False),
    "run-baseline": Variant(
        "published", f"{OBJECTIVE_LABELS['baseline']}, trained like the method", objective="baseline", is_sweep=False
    ),
    "published-baseline": _published("baseline, trained as published", TRAINED_AS_PUBLISHED, "baseline"),
    "paper-text": _published("guided as the paper reads", AS_THE_PAPER_READS),
    "as-released": _published("guided as released", {"joint.as_released": list(FAULTS)}, base="paper-text"),
    "scans-guided": Variant("scans", f"all scans, {OBJECTIVE_LABELS['guided']}", is_sweep=False),
    "scans-rlv": Variant("scans", f"all scans, {OBJECTIVE_LABELS['rlv']}", objective="rlv", is_sweep=False),
    "scans-baseline": Variant(
        "scans", f"all scans, {OBJECTIVE_LABELS['baseline']}", objective="baseline", is_sweep=False
    ),
    "scans-unscanned": Variant("scans", f"all scans, {UNSCANNED_LABEL}", UNSCANNED, is_sweep=False),
    **{name: variant for count in FEW_SCANS for name, variant in _few_scans(count).items()},
    **GUIDING,
    "weight-0": Variant("weight", "λ_av = 0", {}, "rlv"),
    **{
        f"weight-{weight:g}": Variant("weight", f"λ_av = {weight:g}", {"joint.lambda_av": weight})
        for weight in (0.0015, 0.005, 0.015, 0.05)
    },
    "expert-truth": Variant("expert", "expert fine-tuned on true lips (method)"),
    "expert-prediction": Variant(
        "expert", "expert fine-tuned on predicted lips", {"joint.expert_learns_from": "prediction"}
    ),
    "expert-frozen": Variant("expert", "expert frozen", {"joint.expert_learns_from": "frozen"}),
    "audio-babble-or-absent": Variant("audio_condition", "speech in babble at -10 to 0 dB, or absent (method)"),
    "audio-clean": Variant("audio_condition", "clean speech", CLEAN_SPEECH),
    "audio-absent": Variant("audio_condition", "no speech", {"joint.drop_audio": 1.0}),
    "projected": Variant("gradient_projection", "gradient projected on principal motions, soft silhouettes (method)"),
    "not-projected": Variant("gradient_projection", "gradient not projected", {"joint.guidance_components": 0}),
    "hard-silhouettes": Variant("gradient_projection", "hard silhouettes", {"joint.soft_silhouettes": False}),
    "no-faults": Variant("faults", "none of the faults (method)"),
    "fault-gradient": Variant("faults", "no gradient through the renderer", {"joint.as_released": ["gradient"]}),
    "fault-rate": Variant("faults", "lip video slower than the speech", {"joint.as_released": ["rate"]}),
    "fault-normalisation": Variant(
        "faults", "lip crops normalised unlike in pre-training", {"joint.as_released": ["normalisation"]}
    ),
}
