"""Tables of a run's variants, and all effects for the figure: differences with their intervals."""

from typing import NamedTuple

from ..core.files import read_json
from ..core.run import Run
from ..metrics.protocols import KIT, read_protocols
from ..training.objectives import OBJECTIVES, model_name
from . import tables
from .convergence import training_table
from .results import COMPARISONS, animator_label, comparison_label, method_label, run_description
from .table_formats import Table
from .tables import METRICS, Difference, Records
from .variants import (
    GROUP_TITLES,
    Variant,
    VariantModel,
    chosen_variants,
    groups_of,
    is_sweep,
    unscored,
    variant_models,
    variant_record,
)

EffectRows = dict[str, dict[str, Difference | None]]  # row label -> metric -> difference


class Effects(NamedTuple):
    """Differences for `plots.effects`. groups: title -> rows; units: metric -> size and name of one printed unit."""

    groups: dict[str, EffectRows]
    units: dict[str, tuple[float, str]]


def variant_tables(run: Run, seeds: list[int], corpus: str) -> str:
    """Writes the tables of the run's variants to its tables/; returns their Markdown, or what is missing."""
    if not (groups := groups_of(run.config)):
        return "This run has no variants. Use preset study, or `--set variants=ablation,weight`.\n"
    if missing := unscored(run, seeds):
        command = f"./run_all.sh --preset {run.config.preset} --run {run.name} --seeds {','.join(map(str, seeds))}"
        return (
            f"{len(missing)} models of this run or its variants are not trained and scored yet, such as {missing[0]}. "
            f"Run `{command}` with the run's settings.\n"
        )
    results: dict[str, Table] = {}
    for group in groups:
        tables_of = _sweep_tables if is_sweep(group) else _animator_tables
        results |= tables_of(run, group, seeds, corpus)
    folder = run.folder / "tables"
    return "\n".join(t.write(folder, f"table_{name}", corpus=corpus, seeds=seeds) for name, t in results.items())


def effects(run: Run, seeds: list[int]) -> Effects:
    """Effects of L_rlv, of guidance and, once all are scored, of each variant, from the tables that the run has
    written.

    `results_table` and `variant_tables` must have written them.
    """
    groups = _objective_effects(run)
    if not unscored(run, seeds):
        for group in groups_of(run.config):
            effects_of = _sweep_effects if is_sweep(group) else _animator_effects
            groups[f"{GROUP_TITLES[group]}, minus “{_reference(run, group)}”"] = effects_of(run, group)
    unit, scores = run.record("evaluation-truth")["unit"], read_protocols()[KIT].scores
    return Effects(groups, {metric: scores[metric].printed(unit) for metric in METRICS})


def _animator_tables(run: Run, group: str, seeds: list[int], corpus: str) -> dict[str, Table]:
    """Tables of a group that is trained for all animators and seeds: one for each metric, and one more."""
    description, records = run_description(run, seeds, corpus), _animator_records(run, group, seeds)
    title, reference = f"{GROUP_TITLES[group]} {description}", _reference(run, group)
    results = {f"{group}_{m.lower()}": tables.ablation(records, title, m, reference=reference) for m in METRICS}
    if group == "ablation":
        results["judges"] = _judges_table(run, seeds[0], corpus)
    if group == "budget":
        title = f"Trainings of equal steps and of equal time {description}"
        results["budget_trainings"] = training_table(run, _training_records(run, group, seeds), title)
    return results


def _animator_records(run: Run, group: str, seeds: list[int]) -> dict[str, dict[str, Records]]:
    """{row: {animator: its evaluation records over the seeds}}"""
    rows: dict[str, dict[str, Records]] = {}
    for name, variant in _variants_of(run, group).items():
        row = rows.setdefault(variant.label, {})
        for model in variant_models(run, name, seeds):
            row.setdefault(animator_label(model.animator), []).append(variant_record(model))
    return rows


def _training_records(run: Run, group: str, seeds: list[int]) -> dict[str, dict]:
    """The training records of a group's models: {"<animator>, <variant>, seed <n>": record}."""
    return {
        f"{animator_label(model.animator)}, {variant.label}, seed {model.seed}": model.run.record(model.name)
        for name, variant in _variants_of(run, group).items()
        for model in variant_models(run, name, seeds)
    }


def _judges_table(run: Run, seed: int, corpus: str) -> Table:
    """Scores by the evaluation reader, which takes part in no training loss, beside those by the guiding expert."""
    judges = {"evaluation reader": "evaluation", "guiding expert": "judged"}  # label and prefix of the stage
    records = {
        f"{method_label(animator, objective)}, read by the {judge}": [
            run.record(f"{prefix}-{model_name(animator, objective, seed)}")
        ]
        for animator in run.config.animators
        for objective in OBJECTIVES
        for judge, prefix in judges.items()
    }
    title = f"Scores by the evaluation reader and by the guiding expert, {run_description(run, [seed], corpus)}"
    return tables.methods(records, title, columns=("CER", "VER"))


def _sweep_tables(run: Run, group: str, seeds: list[int], corpus: str) -> dict[str, Table]:
    """Two tables of a group, of the first seed: its variants' scores, and each variant minus the group's first.

    The scores include, of the last epoch, the share of L_av in the gradient on the vertices and L_av on held-out lips.
    """
    models = {variant.label: variant_models(run, name, seeds)[0] for name, variant in _variants_of(run, group).items()}
    animator = animator_label(run.config.animators[0])
    title = f"{GROUP_TITLES[group]}, {animator}, {run_description(run, seeds[:1], corpus)}"
    records = {label: [variant_record(model)] for label, model in models.items()}
    scores = tables.methods(records, title)
    scores.heads += ["share of the gradient", "L_av, held out"]
    for cells, row, model in zip(scores.rows, scores.data, models.values()):
        guidance = _guidance_in_last_epoch(model)
        row |= guidance
        held_out = guidance["held_out_av"]
        cells += [f"{guidance['share_av']:.2f}", "–" if held_out is None else f"{held_out:.1f}"]
    reference, *others = records
    pairs = {label: (records[label], records[reference]) for label in others}
    return {group: scores, f"{group}_differences": tables.differences(pairs, f"{title}; minus “{reference}”")}


def _guidance_in_last_epoch(model: VariantModel) -> dict[str, float | None]:
    """ "share_av" is 0 and "held_out_av" None for a model without guidance."""
    last = model.run.record(model.name)["history"][-1]
    return {"share_av": last.get("share_av", 0.0), "held_out_av": last.get("held_out_av")}


def _written_rows(run: Run, table: str) -> list[dict]:
    return read_json(run.folder / "tables" / f"table_{table}.json")["rows"]


def _objective_effects(run: Run) -> dict[str, EffectRows]:
    """{comparison: {animator: differences}}"""
    groups: dict[str, EffectRows] = {comparison_label(*objectives): {} for objectives in COMPARISONS}
    for row in _written_rows(run, "differences"):
        animator, _, comparison = row["method"].rpartition(", ")
        groups[comparison][animator] = row["metrics"]
    return groups


def _animator_effects(run: Run, group: str) -> EffectRows:
    """Rows "<animator>, <variant>", animator by animator."""
    rows_by_metric = {metric: _written_rows(run, f"{group}_{metric.lower()}") for metric in METRICS}
    labels = [row["method"] for row in rows_by_metric["LVE"]]
    return {
        f"{animator}, {label}": {
            metric: rows[n]["animators"][animator]["difference"] for metric, rows in rows_by_metric.items()
        }
        for animator in rows_by_metric["LVE"][0]["animators"]
        for n, label in enumerate(labels)
        if label != _reference(run, group)
    }


def _sweep_effects(run: Run, group: str) -> EffectRows:
    return {row["method"]: row["metrics"] for row in _written_rows(run, f"{group}_differences")}


def _reference(run: Run, group: str) -> str:
    """Label of a group's first variant."""
    return next(v.label for v in _variants_of(run, group).values())


def _variants_of(run: Run, group: str) -> dict[str, Variant]:
    return {name: v for name, v in chosen_variants(run.config).items() if v.group == group}
