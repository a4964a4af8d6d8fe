"""Variants of the method, which show what each part contributes: where they are trained and scored.

A variant is the run with some settings changed. Its joint training runs anew in results/<run>/variants/<variant>/ and
is scored there; stages that the changes do not affect are the run's own.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.config import Config
from ..core.overrides import with_settings
from ..core.parallel import run_parallel
from ..core.progress import log
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..training.checkpoints import Diverged
from ..training.joint import train_joint
from ..training.joint_settings import has_mesh_guide, has_teacher
from ..training.mesh_reader import train_mesh_reader
from ..training.motion_vqvae import train_motion_vqvae
from ..training.objectives import OBJECTIVES, model_name, model_names
from ..training.reader_checks import check_readers
from ..training.readers import pretrain_reader
from ..training.replication import pretraining_run
from .evaluate import evaluate, evaluation_stage, summary_line
from .variant_definitions import FEW_SCANS, GROUP_TITLES, VARIANTS, Variant, scans_of

VARIANT_SEEDS = 3  # variants that are trained for several seeds have the run's first so many; "scans" has all


@dataclass(frozen=True)
class VariantModel:
    """One trained model of a variant. run: the run that holds its weights and records; split: that it is scored on."""

    run: Run
    animator: str
    objective: str
    seed: int
    split: str = "test"

    @property
    def name(self) -> str:
        """The model's name in its run, such as "faceformer-guided-s0"."""
        return model_name(self.animator, self.objective, self.seed)

    @property
    def divergence(self) -> str | None:
        """How its training diverged, if it did."""
        is_recorded = self._record_path(self._diverged).exists()
        return self.run.record(self._diverged)["reason"] if is_recorded else None

    @property
    def is_finished(self) -> bool:
        """Whether it is scored itself, which scores of the run's model of the same name do not tell, or diverged."""
        return self._record_path(evaluation_stage(self.name, self.split)).exists() or self.divergence is not None

    def note_divergence(self, error: Diverged | None) -> None:
        """Records how the training diverged; or, with None, that it did not."""
        if error is None:
            self._record_path(self._diverged).unlink(missing_ok=True)
        else:
            self.run.finish(self._diverged, "", reason=str(error))

    @property
    def _diverged(self) -> str:
        return f"diverged-{self.name}"

    def _record_path(self, stage: str) -> Path:
        return self.run.folder / "records" / f"{stage}.json"


def chosen_variants(config: Config) -> dict[str, Variant]:
    """The variants of the configuration's groups, by name. ValueError for an unknown group, and for one of which no
    variant suits the corpus."""
    if unknown := set(config.variants) - GROUP_TITLES.keys():
        raise ValueError(f"variants: expected some of {', '.join(GROUP_TITLES)}, got {min(unknown)!r}")
    # There are only variants with fewer scans than all. Of few people, a captured corpus has as many as of eight.
    most = config.corpus.sentences_train * (8 if config.corpus.name == "captured" else 1)
    if unknown := set(config.few_scans) - set(FEW_SCANS):
        raise ValueError(f"few_scans: expected some of {', '.join(map(str, FEW_SCANS))}, got {min(unknown)}")
    kept = {0, *config.few_scans}
    chosen = {
        name: v
        for name, v in VARIANTS.items()
        if v.group in config.variants and scans_of(name) < most and (v.group != "scans" or scans_of(name) in kept)
    }
    if empty := set(config.variants) - {variant.group for variant in chosen.values()}:
        raise ValueError(
            f"variants {min(empty)}: there are no more than {most} sentences of a training subject, and the variants "
            "use a part of them; see corpus.sentences_train"
        )
    return chosen


def groups_of(config: Config) -> list[str]:
    """The configuration's groups of variants, in the order of `GROUP_TITLES`."""
    return [group for group in GROUP_TITLES if group in config.variants]


def is_sweep(group: str) -> bool:
    """Whether a group's variants are trained for the first animator and seed only, and scored on validation data."""
    return all(v.is_sweep for v in VARIANTS.values() if v.group == group)


def seeds_of(group: str, seeds: list[int]) -> list[int]:
    """The seeds for which a group's variants are trained."""
    if group == "scans":
        return seeds
    return seeds[:1] if is_sweep(group) else seeds[:VARIANT_SEEDS]


def check_variants(config: Config) -> None:
    """ValueError for an unknown group, and for a variant whose readers could not read what they would be given."""
    for name in chosen_variants(config):
        try:
            check_readers(variant_config(config, name))
        except ValueError as error:
            raise ValueError(f"variant {name}: {error}") from None


def variant_config(config: Config, name: str) -> Config:
    """The configuration of a variant of a run with this one."""
    variant = VARIANTS[name]
    base = variant_config(config, variant.base) if variant.base else config
    return with_settings(base, variant.settings | (variant.further(config) if variant.further else {}))


def variant_run(run: Run, name: str) -> Run:
    """The run of a variant with the run's number of epochs: `run` itself where the variant changes no setting."""
    variant = VARIANTS[name]
    base = variant_run(run, variant.base) if variant.base else run
    config = variant_config(run.config, name)
    return base if config == base.config else Run(name, config, base)


def model_run(run: Run, name: str, animator: str, seed: int) -> Run:
    """The run in which one model of a variant is trained.

    A variant with `epochs` has one for each number of epochs, inside that of its settings; variants without settings
    share it, and `run` itself is taken if its own model took as many. ValueError if the run has not trained its models.
    """
    variant, base = VARIANTS[name], variant_run(run, name)
    if variant.epochs is None:
        return base
    guided, own = (run.record(model_name(animator, objective, seed)) for objective in ("guided", variant.objective))
    epochs = variant.epochs(guided, own)
    if base is run and epochs == own["epochs"]:
        return run
    place = f"epochs-{epochs}" if base is run else f"{name}-epochs-{epochs}"
    return Run(place, with_settings(base.config, {"joint.epochs": epochs, "joint.patience": 0}), base)


def variant_models(run: Run, name: str, seeds: list[int]) -> list[VariantModel]:
    """A variant's models, in the order of `animators_and_seeds`."""
    variant = VARIANTS[name]
    split = "validation" if variant.is_sweep else "test"
    return [
        VariantModel(model_run(run, name, animator, seed), animator, variant.objective, seed, split)
        for animator, seed in animators_and_seeds(run, name, seeds)
    ]


def animators_and_seeds(run: Run, name: str, seeds: list[int]) -> list[tuple[str, int]]:
    """Of each of a variant's models: all animators and several seeds, or in a sweep the first ones."""
    variant, animators = VARIANTS[name], run.config.animators
    return [
        (animator, seed)
        for animator in (animators[:1] if variant.is_sweep else animators)
        for seed in seeds_of(variant.group, seeds)
    ]


def unfinished(run: Run, seeds: list[int]) -> list[str]:
    """Models of the run's variants that are not scored yet, as "no-rlv/faceformer-guided-s0".

    While the run's own models are not trained, these alone: variants may depend on their records.
    """
    own = [name for name in model_names(run, seeds) if not (run.folder / "records" / f"{name}.json").exists()]
    if own:
        return [f"{run.name}/{name}" for name in own]
    models = [model for name in chosen_variants(run.config) for model in variant_models(run, name, seeds)]
    return [f"{model.run.name}/{model.name}" for model in models if not model.is_finished]


def run_variants(run: Run, corpus: Corpus, seeds: list[int]) -> None:
    """Trains and scores all variants, as many in parallel as there are cores. Finished ones are kept.

    ValueError if a variant needs the records of the run's own models, and it has not trained these.
    """
    trainings: dict[tuple[Path, str], list[VariantModel]] = {}  # variants of several groups may share a model
    for name in chosen_variants(run.config):
        for model in variant_models(run, name, seeds):
            trainings.setdefault((model.run.folder, model.name), []).append(model)
    models = [same[0] for same in trainings.values()]
    list(run_parallel(pretraining_jobs(run, corpus, models), run.device))
    numbers = itertools.count(1)
    for pupils in (False, True):  # of models that are trained before
        part = [same for same in trainings.values() if has_teacher(same[0].run.config.joint) == pupils]
        jobs = [(train_and_score, same, corpus) for same in part]
        for line, n in zip(run_parallel(jobs, run.device), numbers):
            log(f"variants {n}/{len(trainings)}: {line}")
    if "ablation" in run.config.variants:
        jobs = [(score_with_guide, run, corpus, a, o, seeds[0]) for a in run.config.animators for o in OBJECTIVES]
        list(run_parallel(jobs, run.device))


def pretraining_jobs(run: Run, corpus: Corpus, models: Sequence[VariantModel]) -> list[tuple]:
    """Calls that pre-train what variants need and the run may lack: experts, motion models of fewer scans, and readers
    of lip vertices.

    They go to the outermost run with the same settings.
    """
    jobs: dict[tuple, tuple] = {}
    for model in models:
        config, base = model.run.config, pretraining_run(model.run, model.seed)
        if model.objective == "guided" and config.expert != run.config.expert:
            place = _outermost(base, lambda outer: outer.expert)
            jobs.setdefault((place.folder, "expert"), (pretrain_reader, place, corpus, "expert"))
        if config.joint.scans != run.config.joint.scans:
            place = _outermost(base, lambda outer: outer.joint.scans)
            jobs.setdefault((place.folder, model.animator), (train_motion_vqvae, place, corpus, model.animator))
        if model.objective == "guided" and has_mesh_guide(config.joint):
            place = _outermost(base, lambda outer: (outer.joint.scans, outer.mesh_reader))
            jobs.setdefault((place.folder, "mesh"), (train_mesh_reader, place, corpus))
    return list(jobs.values())


def _outermost(run: Run, settings: Callable[[Config], object]) -> Run:
    """The outermost of the runs that a variant belongs to, and itself, which have the same settings."""
    while (outer := run.variant_of) and settings(outer.config) == settings(run.config):
        run = outer
    return run


def variant_experts(run: Run) -> dict[str, Run]:
    """The runs of variants that have pre-trained an expert of their own, by the expert's label."""
    runs = {f"expert, {variant.label}": variant_run(run, name) for name, variant in chosen_variants(run.config).items()}
    return {label: r for label, r in runs.items() if r is not run and (r.folder / "records" / "expert.json").exists()}


def train_and_score(same: list[VariantModel], corpus: Corpus) -> str:
    """Trains one model, unless that is done, and scores it on the splits that are asked for.

    same: entries that differ in their splits. Returns its scores in one line, or how its training diverged.
    """
    model = same[0]
    try:
        train_joint(model.run, corpus, model.animator, model.objective, model.seed)
    except Diverged as error:
        model.note_divergence(error)
        return f"{model.run.name}  {error}"
    model.note_divergence(None)
    records = [evaluate(model.run, corpus, model.name, split) for split in dict.fromkeys(m.split for m in same)]
    return f"{model.run.name}  {summary_line(records[0])}"


def score_with_guide(run: Run, corpus: Corpus, animator: str, objective: str, seed: int) -> dict:
    """A model's scores by the expert that guided: shows whether an animator has adapted to its guide."""
    return evaluate(run, corpus, model_name(animator, objective, seed), guide=model_name(animator, "guided", seed))


def variant_record(model: VariantModel) -> dict | None:
    """The model's evaluation record, or None if its training diverged. ValueError if it has no scores of its own."""
    if not model.is_finished:
        raise ValueError(
            f"{model.run.folder}: {model.name} is not trained and scored; run_all.sh trains the run's variants"
        )
    return None if model.divergence else model.run.record(evaluation_stage(model.name, model.split))
