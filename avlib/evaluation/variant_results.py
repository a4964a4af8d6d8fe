"""Tables of a run's variants, and all effects for the figure: differences with their intervals."""

from typing import NamedTuple

from ..core.files import read_json
from ..core.run import Run
from ..metrics.protocols import KIT, read_protocols
from ..training.joint import OBJECTIVES, model_name
from . import tables
from .results import COMPARISONS, animator_label, comparison_label, method_label, run_description
from .table_formats import Table
from .tables import METRICS, Difference, Records
from .variants import GROUP_TITLES, VariantModel, chosen_variants, unscored, variant_models, variant_record

EffectRows = dict[str, dict[str, Difference | None]]  # row label -> metric -> difference


class Effects(NamedTuple):
    """Differences for `plots.effects`. groups: title -> rows; units: metric -> size and name of one printed unit."""

    groups: dict[str, EffectRows]
    units: dict[str, tuple[float, str]]


def variant_tables(run: Run, seeds: list[int], corpus: str) -> str:
    """Writes the tables of the run's variants to its tables/; returns their Markdown, or what is missing."""
    groups = list(dict.fromkeys(v.group for v in chosen_variants(run.config).values()))
    if not groups:
        return "This run has no variants. Use preset study, or `--set variants=ablation,weight`.\n"
    if missing := unscored(run, seeds):
        numbers = ",".join(map(str, seeds))
        return (
            f"{len(missing)} models of this run's variants are not trained and scored yet, such as {missing[0]}. Run "
            f"`./run_all.sh --preset {run.config.preset} --run {run.name} --seeds {numbers}` with the run's settings.\n"
        )
    results: dict[str, Table] = {}
    for group in groups:
        results |= _ablation_tables(run, seeds, corpus) if group == "ablation" else {}
        results |= _sweep_tables(run, group, seeds[0], corpus) if group != "ablation" else {}
    folder = run.folder / "tables"
    return "\n".join(t.write(folder, f"table_{name}", corpus=corpus, seeds=seeds) for name, t in results.items())


def effects(run: Run, seeds: list[int]) -> Effects:
    """Effects of L_rlv, of guidance and, once all are scored, of each variant, from the tables that the run has
    written.

    `results_table` and `variant_tables` must have written them.
    """
    groups = _objective_effects(run)
    if not unscored(run, seeds):
        for group in dict.fromkeys(v.group for v in chosen_variants(run.config).values()):
            if group == "ablation":
                groups["Ablation, minus full method"] = _ablation_effects(run)
            else:
                groups[f"{GROUP_TITLES[group]}, minus “{_reference(run, group)}”"] = _sweep_effects(run, group)
    unit, scores = run.record("evaluation-truth")["unit"], read_protocols()[KIT].scores
    return Effects(groups, {metric: scores[metric].printed(unit) for metric in METRICS})


def _ablation_tables(run: Run, seeds: list[int], corpus: str) -> dict[str, Table]:
    title, records = f"Ablation {run_description(run, seeds, corpus)}", _ablation_records(run, seeds)
    by_metric = {f"ablation_{metric.lower()}": tables.ablation(records, title, metric) for metric in METRICS}
    return by_metric | {"judges": _judges_table(run, seeds[0], corpus)}


def _ablation_records(run: Run, seeds: list[int]) -> dict[str, dict[str, Records]]:
    """{row: {animator: its evaluation records over the seeds}}"""
    rows: dict[str, dict[str, Records]] = {}
    for name, variant in chosen_variants(run.config).items():
        if variant.group == "ablation":
            row = rows.setdefault(variant.label, {})
            for model in variant_models(run, name, seeds):
                row.setdefault(animator_label(model.animator), []).append(variant_record(model))
    return rows


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


def _sweep_tables(run: Run, group: str, seed: int, corpus: str) -> dict[str, Table]:
    """Two tables of a group: its variants' scores, and each variant minus the group's first.

    The scores include, of the last epoch, the share of L_av in the gradient on the vertices and L_av on held-out lips.
    """
    models = {
        variant.label: variant_models(run, name, [seed])[0]
        for name, variant in chosen_variants(run.config).items()
        if variant.group == group
    }
    animator = animator_label(run.config.animators[0])
    title = f"{GROUP_TITLES[group]}, {animator}, {run_description(run, [seed], corpus)}"
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


def _ablation_effects(run: Run) -> EffectRows:
    """Rows "<animator>, <variant>", animator by animator."""
    rows_by_metric = {metric: _written_rows(run, f"ablation_{metric.lower()}") for metric in METRICS}
    labels = [row["method"] for row in rows_by_metric["LVE"]]
    return {
        f"{animator}, {label}": {
            metric: rows[n]["animators"][animator]["difference"] for metric, rows in rows_by_metric.items()
        }
        for animator in rows_by_metric["LVE"][0]["animators"]
        for n, label in enumerate(labels)
        if label != "full method"
    }


def _sweep_effects(run: Run, group: str) -> EffectRows:
    return {row["method"]: row["metrics"] for row in _written_rows(run, f"{group}_differences")}


def _reference(run: Run, group: str) -> str:
    """Label of a group's first variant."""
    return next(v.label for v in chosen_variants(run.config).values() if v.group == group)
