"""Variants of the method, which show what each part contributes.

A variant is the run with some settings changed. Its joint training runs anew in results/<run>/variants/<variant>/ and
is scored there; stages that the changes do not affect are the run's own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.config import Config
from ..core.overrides import with_settings
from ..core.parallel import run_parallel
from ..core.progress import log
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..training.joint import train_joint
from ..training.objectives import OBJECTIVES, model_name, model_names
from ..training.readers import pretrain_reader
from .budgets import as_long, as_many_steps
from .evaluate import evaluate, summary_line
from .labels import OBJECTIVE_LABELS

# Groups of variants, as `--set variants=` names them, and their titles.
GROUP_TITLES = {
    "ablation": "Ablation",
    "budget": "Equal steps and equal time",
    "weight": "Weight of the reading loss",
    "expert": "Fine-tuning of the expert",
    "audio_condition": "Speech input of the guiding expert",
    "gradient_projection": "Projection of the gradient",
    "faults": "Faults of the released code",
}


@dataclass(frozen=True)
class Variant:
    """A row of a table: the group it belongs to, its label, and what differs from the run.

    settings: dotted keys and values, as `--set` takes them. is_sweep: trained for the run's first animator and seed
    only, not for all of them. epochs: the number of epochs, where it depends on the run's records of the guided model
    and of its own model of this objective, both of the same animator and seed.
    """

    group: str
    label: str
    settings: dict = field(default_factory=dict)
    objective: str = "guided"
    is_sweep: bool = True
    epochs: Callable[[dict, dict], int] | None = None


def _ablation(label: str, settings: dict, objective: str = "guided") -> Variant:
    return Variant("ablation", label, settings, objective, is_sweep=False)


def _budget(objective: str, what: str = "", epochs: Callable[[dict, dict], int] | None = None) -> Variant:
    return Variant("budget", OBJECTIVE_LABELS[objective] + what, {}, objective, is_sweep=False, epochs=epochs)


CLEAN_SPEECH = {"joint.babble_db": [50.0, 50.0], "joint.drop_audio": 0.0}
NAIVE = CLEAN_SPEECH | {  # the method as the paper's text describes it
    "joint.expert_learns_from": "prediction",
    "joint.guidance_components": 0,
    "joint.soft_silhouettes": False,
}
# Each group's first variant is the reference of its differences: in sweeps the method itself, or λ_av = 0.
VARIANTS = {
    "full": _ablation("full method", {}),
    "no-prior": _ablation("without 2D prior", {"expert.epochs": 0}),
    "no-rlv": _ablation("without L_rlv", {"joint.lambda_rlv": 0.0}),
    "no-speech": _ablation("without speech", {"expert.modalities": ["video"]}),
    "rlv": _ablation(OBJECTIVE_LABELS["rlv"], {}, "rlv"),
    "baseline": _ablation(OBJECTIVE_LABELS["baseline"], {}, "baseline"),
    "budget-guided": _budget("guided"),
    "budget-baseline": _budget("baseline", ", its own number of steps"),
    "budget-baseline-steps": _budget("baseline", ", as many steps as guided", as_many_steps),
    "budget-baseline-time": _budget("baseline", ", as long as guided", as_long),
    "budget-rlv": _budget("rlv", ", its own number of steps"),
    "budget-rlv-steps": _budget("rlv", ", as many steps as guided", as_many_steps),
    "budget-rlv-time": _budget("rlv", ", as long as guided", as_long),
    "weight-0": Variant("weight", "λ_av = 0", {}, "rlv"),
    **{
        f"weight-{weight:g}": Variant("weight", f"λ_av = {weight:g}", {"joint.lambda_av": weight})
        for weight in (0.0005, 0.0015, 0.005, 0.015, 0.05)
    },
    "expert-truth": Variant("expert", "expert fine-tuned on true lips (method)"),
    "expert-prediction": Variant(
        "expert", "expert fine-tuned on predicted lips", {"joint.expert_learns_from": "prediction"}
    ),
    "expert-frozen": Variant("expert", "expert frozen", {"joint.expert_learns_from": "frozen"}),
    "audio-babble-or-absent": Variant("audio_condition", "speech in babble at -10 to 0 dB, or absent (method)"),
    "audio-clean": Variant("audio_condition", "clean speech", CLEAN_SPEECH),
    "audio-babble": Variant("audio_condition", "speech in babble at -10 to 0 dB", {"joint.drop_audio": 0.0}),
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
    "naive": Variant(
        "faults",
        "as in the paper's text: clean speech, expert fine-tuned on predicted lips, gradient not projected",
        NAIVE,
    ),
    "naive-all-faults": Variant(
        "faults",
        "as in the paper's text, with all faults",
        NAIVE | {"joint.as_released": ["gradient", "rate", "normalisation"]},
    ),
}


@dataclass(frozen=True)
class VariantModel:
    """One trained model of a variant. run: the run that holds its weights and records."""

    run: Run
    animator: str
    objective: str
    seed: int

    @property
    def name(self) -> str:
        """The model's name in its run, such as "faceformer-guided-s0"."""
        return model_name(self.animator, self.objective, self.seed)

    @property
    def has_scores(self) -> bool:
        """Whether it is scored itself; scores of the run's model of the same name do not count."""
        return (self.run.folder / "records" / f"evaluation-{self.name}.json").exists()


def chosen_variants(config: Config) -> dict[str, Variant]:
    """The variants of the configuration's groups. ValueError for an unknown group."""
    if unknown := set(config.variants) - GROUP_TITLES.keys():
        raise ValueError(f"variants: expected some of {', '.join(GROUP_TITLES)}, got {min(unknown)!r}")
    return {name: v for name, v in VARIANTS.items() if v.group in config.variants}


def groups_of(config: Config) -> list[str]:
    """The configuration's groups of variants, in the order of `GROUP_TITLES`."""
    return [group for group in GROUP_TITLES if group in config.variants]


def is_sweep(group: str) -> bool:
    """Whether a group's variants are trained for the first animator and seed only."""
    return all(v.is_sweep for v in VARIANTS.values() if v.group == group)


def variant_run(run: Run, name: str) -> Run:
    """The run in which a variant without `epochs` is trained: `run` itself where the variant changes no setting."""
    config = with_settings(run.config, VARIANTS[name].settings)
    return run if config == run.config else Run(name, config, run)


def budget_run(run: Run, name: str, animator: str, seed: int) -> Run:
    """The run in which one model of a variant with `epochs` is trained: `run` itself where its own model took as many.

    It is named after its epochs, since it differs in these alone; several variants may share it. ValueError if the run
    has not trained its own models.
    """
    variant = VARIANTS[name]
    assert variant.epochs is not None
    guided, own = (run.record(model_name(animator, objective, seed)) for objective in ("guided", variant.objective))
    epochs = variant.epochs(guided, own)
    if epochs == own["epochs"]:
        return run
    return Run(f"epochs-{epochs}", with_settings(run.config, {"joint.epochs": epochs, "joint.patience": 0}), run)


def variant_models(run: Run, name: str, seeds: list[int]) -> list[VariantModel]:
    """A variant's models: of all animators and seeds, or in a sweep of the first ones."""
    variant, animators = VARIANTS[name], run.config.animators
    if variant.is_sweep:
        animators, seeds = animators[:1], seeds[:1]
    return [
        VariantModel(
            budget_run(run, name, animator, seed) if variant.epochs else variant_run(run, name),
            animator,
            variant.objective,
            seed,
        )
        for animator in animators
        for seed in seeds
    ]


def unscored(run: Run, seeds: list[int]) -> list[str]:
    """Models of the run's variants that have no scores yet, as "no-rlv/faceformer-guided-s0".

    While the run's own models are not trained, these alone: variants may depend on their records.
    """
    own = [name for name in model_names(run, seeds) if not (run.folder / "records" / f"{name}.json").exists()]
    if own:
        return [f"{run.name}/{name}" for name in own]
    models = [model for name in chosen_variants(run.config) for model in variant_models(run, name, seeds)]
    return [f"{model.run.name}/{model.name}" for model in models if not model.has_scores]


def run_variants(run: Run, corpus: Corpus, seeds: list[int]) -> None:
    """Trains and scores all variants, as many in parallel as there are cores. Finished ones are kept.

    ValueError if the group "budget" is among them and the run has not trained its own models.
    """
    models = {
        (model.run.folder, model.name): model  # variants of several groups may share a model
        for name in chosen_variants(run.config)
        for model in variant_models(run, name, seeds)
    }
    own_experts = {m.run.folder: m.run for m in models.values() if m.run.config.expert != run.config.expert}
    list(run_parallel([(pretrain_reader, r, corpus, "expert") for r in own_experts.values()], run.device))
    jobs = [(train_and_score, model, corpus) for model in models.values()]
    for n, line in enumerate(run_parallel(jobs, run.device), 1):
        log(f"variants {n}/{len(jobs)}: {line}")
    if "ablation" in run.config.variants:
        jobs = [(score_with_guide, run, corpus, a, o, seeds[0]) for a in run.config.animators for o in OBJECTIVES]
        list(run_parallel(jobs, run.device))


def train_and_score(model: VariantModel, corpus: Corpus) -> str:
    """Trains and scores one model unless that is done; returns its scores in one line."""
    train_joint(model.run, corpus, model.animator, model.objective, model.seed)
    return f"{model.run.name}  {summary_line(evaluate(model.run, corpus, model.name))}"


def score_with_guide(run: Run, corpus: Corpus, animator: str, objective: str, seed: int) -> dict:
    """A model's scores by the expert that guided: shows whether an animator has adapted to its guide."""
    return evaluate(run, corpus, model_name(animator, objective, seed), guide=model_name(animator, "guided", seed))


def variant_record(model: VariantModel) -> dict:
    """The model's evaluation record. ValueError if it has no scores of its own."""
    if not model.has_scores:
        raise ValueError(
            f"{model.run.folder}: {model.name} is not trained and scored; run_all.sh trains the run's variants"
        )
    return model.run.record(f"evaluation-{model.name}")
