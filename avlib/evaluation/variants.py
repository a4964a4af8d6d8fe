"""The study: what each part of the method is worth. Every variant is the run with some settings changed, its joint training
done anew and scored, in results/<run>/variants/; what the changes do not touch is the run's own."""

from dataclasses import dataclass, field

from ..core.config import Config, changed
from ..core.files import read_json
from ..core.parallel import run_parallel
from ..core.progress import log
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..metrics.protocols import KIT, protocols
from ..training.joint import GUIDANCE, model_name, train_joint
from ..training.readers import pretrain_reader
from . import tables
from .evaluate import evaluate, summary_line
from .report import ANIMATOR_LABELS, run_description, method_label


@dataclass(frozen=True)
class Variant:
    """A row of a table. sweep: a question of its own, answered by the run's first animator and seed alone."""

    group: str
    name: str
    settings: dict = field(default_factory=dict)
    guidance: str = "guided"
    sweep: bool = True


def _ablation(name: str, settings: dict, guidance: str = "guided") -> Variant:
    return Variant("ablation", name, settings, guidance, sweep=False)


NAIVE = {
    "joint.expert_learns_from": "prediction",
    "joint.babble_db": [50.0, 50.0],
    "joint.drop_audio": 0.0,
    "joint.guidance_components": 0,
    "joint.soft_silhouettes": False,
}
VARIANTS = {
    "full": _ablation("full", {}),
    "no-prior": _ablation("without 2D prior", {"expert.epochs": 0}),
    "no-rlv": _ablation("without L_rlv", {"joint.lambda_rlv": 0.0}),
    "no-speech": _ablation("without speech", {"expert.modalities": ["video"]}),
    "rlv-alone": _ablation("L_rlv alone", {}, "unguided"),
    "mse-alone": _ablation("baseline", {"joint.lambda_rlv": 0.0}, "unguided"),
    "weight-0": Variant("weight", "λ_av = 0", {}, "unguided"),
    **{
        f"weight-{w:g}": Variant("weight", f"λ_av = {w:g}", {"joint.lambda_av": w})
        for w in (0.0005, 0.0015, 0.005, 0.015, 0.05)
    },
    "learns-truth": Variant("expert", "the expert learns from true lips"),
    "learns-prediction": Variant("expert", "from predicted lips", {"joint.expert_learns_from": "prediction"}),
    "learns-nothing": Variant("expert", "not at all", {"joint.expert_learns_from": "frozen"}),
    "hears-drowned": Variant("audio_condition", "the expert hears drowned speech, or none"),
    "hears-clean": Variant(
        "audio_condition", "clean speech", {"joint.babble_db": [50.0, 50.0], "joint.drop_audio": 0.0}
    ),
    "hears-noise": Variant("audio_condition", "drowned speech, always", {"joint.drop_audio": 0.0}),
    "hears-nothing": Variant("audio_condition", "none", {"joint.drop_audio": 1.0}),
    "pushes-modes": Variant(
        "gradient_projection", "guidance pushes along the scans' motions, through blended silhouettes"
    ),
    "pushes-anything": Variant("gradient_projection", "it pushes any vertex any way", {"joint.guidance_components": 0}),
    "pushes-inside": Variant("gradient_projection", "silhouettes are hard", {"joint.soft_silhouettes": False}),
    "sound": Variant("faults", "as it is here"),
    "released-gradient": Variant("faults", "no gradient passes the renderer", {"joint.as_released": ["gradient"]}),
    "released-rate": Variant("faults", "lips run slower than speech", {"joint.as_released": ["rate"]}),
    "released-normalisation": Variant("faults", "lips of another contrast", {"joint.as_released": ["normalisation"]}),
    "naive": Variant(
        "faults", "as the paper reads: clean speech, expert learns from predictions, pushes anything", NAIVE
    ),
    "all-faults": Variant(
        "faults", "and with all faults", NAIVE | {"joint.as_released": ["gradient", "rate", "normalisation"]}
    ),
}


def chosen_variants(config: Config) -> dict[str, Variant]:
    """The variants that the configuration asks for. ValueError for a group that there is not."""
    if unknown := set(config.variants) - {v.group for v in VARIANTS.values()}:
        raise ValueError(
            f"variants: expected some of {', '.join(dict.fromkeys(v.group for v in VARIANTS.values()))}, "
            f"got {min(unknown)!r}"
        )
    return {name: v for name, v in VARIANTS.items() if v.group in config.variants}


def variant_run(run: Run, name: str) -> Run:
    """The run in which a variant is trained: the run itself where it changes nothing."""
    config = changed(run.config, VARIANTS[name].settings)
    return run if config == run.config else Run(name, config, run)


@dataclass(frozen=True)
class VariantModel:
    """A model of a variant: where it is trained, and what it is."""

    run: Run
    animator: str
    guidance: str
    seed: int

    @property
    def model(self) -> str:
        return model_name(self.animator, self.guidance, self.seed)


def variant_models(run: Run, name: str, seeds: list[int]) -> list[VariantModel]:
    """A variant's models: of all animators and seeds or, in a sweep, of the first."""
    variant, there = VARIANTS[name], variant_run(run, name)
    animators, seeds = (run.config.animators[:1], seeds[:1]) if variant.sweep else (run.config.animators, seeds)
    return [VariantModel(there, a, variant.guidance, s) for a in animators for s in seeds]


def train_and_score(trial: VariantModel, corpus: Corpus) -> str:
    """What came of it, in a line."""
    train_joint(trial.run, corpus, trial.animator, trial.guidance, trial.seed)
    return f"{trial.run.name}  {summary_line(evaluate(trial.run, corpus, trial.model))}"


def run_variants(run: Run, corpus: Corpus, seeds: list[int]) -> None:
    """Trains and scores all variants, as many at once as there are cores. What is finished stays."""
    wanted = {
        (t.run.folder, t.model): t for name in chosen_variants(run.config) for t in variant_models(run, name, seeds)
    }  # some are there twice
    experts = {t.run.folder: t.run for t in wanted.values() if t.run.config.expert != run.config.expert}
    list(run_parallel([(pretrain_reader, r, corpus, "expert") for r in experts.values()], run.device))
    jobs = [(train_and_score, t, corpus) for t in wanted.values()]
    for n, came in enumerate(run_parallel(jobs, run.device), 1):
        log(f"variants {n}/{len(jobs)}: {came}")
    if "ablation" in run.config.variants:
        jobs = [(score_with_guide, run, corpus, a, g, seeds[0]) for a in run.config.animators for g in GUIDANCE]
        list(run_parallel(jobs, run.device))


def score_with_guide(run: Run, corpus: Corpus, animator: str, guidance: str, seed: int) -> dict:
    """A model's scores if the expert that guided read its lips: what an animator that learned to please it would gain."""
    return evaluate(run, corpus, model_name(animator, guidance, seed), judge=model_name(animator, "guided", seed))


def unscored(run: Run, seeds: list[int]) -> list[str]:
    """Which models of the run's variants have no scores yet, as "no-rlv/faceformer-guided-s0"."""
    wanted = [t for name in chosen_variants(run.config) for t in variant_models(run, name, seeds)]
    return [f"{t.run.name}/{t.model}" for t in wanted if not is_scored(t)]


def variant_tables(run: Run, seeds: list[int], corpus: str) -> str:
    """Writes the tables of the run's variants into its tables/; returns their Markdown, or what is still to be trained."""
    groups = list(dict.fromkeys(v.group for v in chosen_variants(run.config).values()))
    if not groups:
        return "Nothing was tried beside the method in this run; preset study, or `--set variants=ablation,weight`, does.\n"
    if lacking := unscored(run, seeds):
        return (
            f"{len(lacking)} models of this run's variants are not trained and scored yet, {lacking[0]} among them: "
            f"`./run_all.sh --preset {run.config.preset} --run {run.name} --seeds {','.join(map(str, seeds))}`, "
            "with the settings that the run was given, does that.\n"
        )
    made: dict[str, tables.Table] = {}
    if "ablation" in groups:
        title = f"What each part is worth, {run_description(run, seeds, corpus)}"
        made = {
            f"ablation_{metric.lower()}": tables.ablation(ablations(run, seeds), title, metric)
            for metric in ("LVE", "CER", "VER")
        }
        made["judges"] = judges_table(run, seeds[0], corpus)
    for group in (g for g in groups if g != "ablation"):
        made |= sweep(run, group, seeds[0], corpus)
    return "\n".join(
        t.write(run.folder / "tables", f"table_{name}", corpus=corpus, seeds=seeds) for name, t in made.items()
    )


def judges_table(run: Run, seed: int, corpus: str) -> tables.Table:
    """Scores by the reader, which has no part in any training, beside those by the expert that guided."""
    stages = {
        f"{method_label(a, g)}, read by {who}": f"{stage}-{model_name(a, g, seed)}"
        for a in run.config.animators
        for g in GUIDANCE
        for who, stage in (("the reader", "evaluation"), ("its guide", "judged"))
    }
    return tables.methods(
        {name: [run.record(stage)] for name, stage in stages.items()},
        f"Who reads, {run_description(run, [seed], corpus)}",
        columns=("CER", "VER"),
    )


def ablations(run: Run, seeds: list[int]) -> dict[str, dict[str, tables.Records]]:
    """{row: {animator: its evaluations over the seeds}}"""
    rows: dict[str, dict[str, tables.Records]] = {}
    for name, v in chosen_variants(run.config).items():
        for t in variant_models(run, name, seeds) if v.group == "ablation" else ():
            rows.setdefault(v.name, {}).setdefault(ANIMATOR_LABELS.get(t.animator, t.animator), []).append(variant_record(t))
    return rows


def is_scored(trial: VariantModel) -> bool:
    """Scores of the run's model of that name are not a variant's."""
    return (trial.run.folder / "records" / f"evaluation-{trial.model}.json").exists()


def variant_record(trial: VariantModel) -> dict:
    """ValueError for a model that has no scores of its own yet."""
    if not is_scored(trial):
        raise ValueError(
            f"{trial.run.folder}: {trial.model} has not been trained and scored yet; run_all.sh does, with the run's variants"
        )
    return trial.run.record(f"evaluation-{trial.model}")


def sweep(run: Run, group: str, seed: int, corpus: str) -> dict[str, tables.Table]:
    """Of a group of variants a table of their scores, with guidance's share of the gradient on the vertices and the expert's loss on
    held-out lips in the last epoch, where there is an expert; and one of what each changes beside the group's first."""
    found = {
        v.name: variant_models(run, name, [seed])[0] for name, v in chosen_variants(run.config).items() if v.group == group
    }
    title = (
        f"{group}, {ANIMATOR_LABELS.get(run.config.animators[0], run.config.animators[0])}, {run_description(run, [seed], corpus)}"
    )
    records = {name: [variant_record(t)] for name, t in found.items()}
    table = tables.methods(records, title)
    table.heads += ["share of the gradient", "L_av, held out"]
    for row, data, t in zip(table.rows, table.data, found.values()):
        last = t.run.record(t.model)["history"][-1]
        data |= {"share_av": last.get("share_av", 0.0), "held_out_av": last.get("held_out_av")}
        row += [f"{data['share_av']:.2f}", "–" if data["held_out_av"] is None else f"{data['held_out_av']:.1f}"]
    first, *others = records
    return {
        group: table,
        f"{group}_differences": tables.differences(
            {name: (records[name], records[first]) for name in others}, f"{title}; less {first}"
        ),
    }


def effects(run: Run, seeds: list[int]) -> tuple[dict[str, dict[str, dict]], dict[str, tuple[float, str]]]:
    """For `view.effects`: what guidance and each variant, if all are scored, changes, as the tables that `report.table` and `variant_tables`
    have written say."""
    rows = lambda name: read_json(run.folder / "tables" / f"table_{name}.json")["rows"]
    metrics, firsts = ("LVE", "CER", "VER"), {v.group: v.name for v in reversed(chosen_variants(run.config).values())}
    found = {"guided less unguided": {r["method"].split(",")[0]: r["metrics"] for r in rows("differences")}}
    variants = () if unscored(run, seeds) else run.config.variants
    if "ablation" in variants:
        per = {m: rows(f"ablation_{m.lower()}") for m in metrics}
        found["part left out, less full method"] = {
            f"{a}, {row['method']}": {m: per[m][n]["animators"][a]["less full"] for m in metrics}
            for a in per["LVE"][0]["animators"]
            for n, row in enumerate(per["LVE"])
            if row["method"] != "full"
        }
    for group in (g for g in variants if g != "ablation"):
        found[f"{group}, less “{firsts[group]}”"] = {r["method"]: r["metrics"] for r in rows(f"{group}_differences")}
    unit = run.record("evaluation-truth")["unit"]
    return found, {m: protocols()[KIT].scores[m].printed(unit) for m in metrics}
