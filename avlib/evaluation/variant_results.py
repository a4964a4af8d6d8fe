"""Tables of a run's variants, and all effects for the figure: differences with their intervals."""

from statistics import mean
from typing import NamedTuple

from ..core.files import read_json
from ..core.run import Run
from ..metrics.protocols import KIT, read_protocols
from ..training.objectives import OBJECTIVES, model_name
from . import tables
from .convergence import training_table
from .labels import METRICS
from .results import COMPARISONS, animator_label, comparison_label, method_label, run_description
from .table_formats import Table
from .tables import Difference, Records
from .variant_definitions import GROUP_NOTES, GROUP_TITLES, VARIANTS, Variant
from .variants import (
    VariantModel,
    chosen_variants,
    groups_of,
    is_sweep,
    seeds_of,
    unfinished,
    variant_experts,
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
    if missing := unfinished(run, seeds):
        command = f"./run_all.sh --preset {run.config.preset} --run {run.name} --seeds {','.join(map(str, seeds))}"
        return (
            f"{len(missing)} models of this run or its variants are not trained and scored yet, such as {missing[0]}. "
            f"Run `{command}` with the run's settings.\n"
        )
    texts = []
    for group in groups:
        tables_of, used = _sweep_tables if is_sweep(group) else _animator_tables, seeds_of(group, seeds)
        for name, table in tables_of(run, group, used, corpus).items():
            table.notes += _notes(run, group, used)
            texts.append(table.write(run.folder / "tables", f"table_{name}", corpus=corpus, seeds=used))
    return "\n".join(texts)


def effects(run: Run, seeds: list[int]) -> Effects:
    """Effects of L_rlv, of guidance and, once all are scored, of each variant, from the tables that the run has
    written.

    `results_table` and `variant_tables` must have written them.
    """
    groups = _objective_effects(run)
    if not unfinished(run, seeds):
        for group in groups_of(run.config):
            effects_of, split = (_sweep_effects, " (validation)") if is_sweep(group) else (_animator_effects, "")
            groups[f"{GROUP_TITLES[group]}{split}, minus “{_reference(run, group)}”"] = effects_of(run, group)
    unit, scores = run.record("evaluation-truth")["unit"], read_protocols()[KIT].scores
    return Effects(groups, {metric: scores[metric].printed(unit) for metric in METRICS})


def _animator_tables(run: Run, group: str, seeds: list[int], corpus: str) -> dict[str, Table]:
    """Tables of a group that is trained for all animators and several seeds: one for each metric, and others."""
    records, reference = _animator_records(run, group, seeds), _reference(run, group)
    title = f"{GROUP_TITLES[group]} {run_description(run, seeds, corpus)}"
    results = {f"{group}_{m.lower()}": tables.ablation(records, title, m, reference=reference) for m in METRICS}
    if group == "ablation":
        results["judges"] = _judges_table(run, seeds[0], corpus)
    else:
        trainings = _training_records(run, group, seeds)
        results[f"{group}_trainings"] = training_table(run, trainings, f"Trainings: {title}")
    if group == "published":
        results[f"{group}_trainings"].notes.append(_weights_note(run, seeds))
        results |= _published_differences(records, title)
    return results


def _weights_note(run: Run, seeds: list[int]) -> str:
    """λ_av of each guided row of the group "published"."""
    weights = {
        VARIANTS[name].label: model.run.record(model.name)["lambda_av"]
        for name, variant in _variants_of(run, "published").items()
        for model in variant_models(run, name, seeds)
        if variant.objective == "guided" and not model.divergence
    }
    return "λ_av for errors in multiples of the scans' root mean square motion: " + ", ".join(
        f"{weight:.3g} ({label})" for label, weight in weights.items()
    )


def _published_differences(records: dict[str, dict[str, Records]], title: str) -> dict[str, Table]:
    """Each row minus the baseline that is trained as published, for each animator; no table if that diverged."""
    baseline = records[VARIANTS["published-baseline"].label]
    pairs = {
        f"{animator}, {label}": (own, baseline[animator])
        for label, row in records.items()
        for animator, own in row.items()
        if row is not baseline and own and baseline[animator]
    }
    title += f"; minus “{VARIANTS['published-baseline'].label}”"
    return {"published_differences": tables.differences(pairs, title)} if pairs else {}


def _animator_records(run: Run, group: str, seeds: list[int]) -> dict[str, dict[str, Records]]:
    """{row: {animator: its evaluation records over the seeds}}; none if any of its trainings diverged."""
    rows: dict[str, dict[str, Records]] = {}
    for name, variant in _variants_of(run, group).items():
        found: dict[str, list[dict | None]] = {}
        for model in variant_models(run, name, seeds):
            found.setdefault(animator_label(model.animator), []).append(variant_record(model))
        rows[variant.label] = {
            animator: [] if None in records else [r for r in records if r] for animator, records in found.items()
        }
    return rows


def _labelled_models(run: Run, group: str, seeds: list[int]) -> dict[str, VariantModel]:
    """A group's models as "<animator>, <variant>, seed <n>"."""
    return {
        f"{animator_label(model.animator)}, {variant.label}, seed {model.seed}": model
        for name, variant in _variants_of(run, group).items()
        for model in variant_models(run, name, seeds)
    }


def _training_records(run: Run, group: str, seeds: list[int]) -> dict[str, dict]:
    """The training records of a group's models, by label."""
    models = _labelled_models(run, group, seeds)
    return {label: m.run.record(m.name) for label, m in models.items() if not m.divergence}


def _notes(run: Run, group: str, seeds: list[int]) -> list[str]:
    """What the rows of a group are, whether the expert without 2D prior is at rest, and which trainings diverged."""
    models = _labelled_models(run, group, seeds)
    diverged = [f"Diverged: {label} ({model.divergence})" for label, model in models.items() if model.divergence]
    without_prior = variant_experts(run).get("expert, without 2D prior") if group == "ablation" else None
    at_rest = [_rest_of_training(without_prior.record("expert")["history"])] if without_prior else []
    return [*GROUP_NOTES.get(group, []), *at_rest, *diverged]


def _rest_of_training(history: list[dict]) -> str:
    """Whether an expert that was trained on scans has come to rest. history: of its pre-training."""
    rates = [100 * row.get("cer_video", row["cer"]) for row in history]
    fifth = max(1, round(len(rates) / 5))
    early, late = mean(rates[-2 * fifth : -fifth] or rates[:1]), mean(rates[-fifth:])
    return (
        f"The expert without 2D prior reads lips of held-out scans at {late:.1f} % CER in the last fifth of its "
        f"{len(rates)} epochs, {early:.1f} % in the fifth before, in the mean"
    )


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
    records = {label: [r for r in [variant_record(model)] if r] for label, model in models.items()}
    scores = tables.methods(records, title)
    scores.heads += ["share of the gradient", "L_av, held out"]
    for cells, row, model in zip(scores.rows, scores.data, models.values()):
        guidance = _guidance_in_last_epoch(model)
        row |= guidance
        share, held_out = guidance.values()
        cells += ["–" if share is None else f"{share:.2f}", "–" if held_out is None else f"{held_out:.1f}"]
    reference, *others = records
    pairs = {label: (records[label], records[reference]) for label in others if records[label]}
    results = {group: scores}
    if pairs:
        results[f"{group}_differences"] = tables.differences(pairs, f"{title}; minus “{reference}”")
    return results


def _guidance_in_last_epoch(model: VariantModel) -> dict[str, float | None]:
    """ "share_av" is 0 and "held_out_av" None for a model without guidance; both are None if its training diverged."""
    if model.divergence:
        return {"share_av": None, "held_out_av": None}
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
    """Rows "<variant>", without those whose training diverged."""
    if not (run.folder / "tables" / f"table_{group}_differences.json").exists():
        return {}  # all of them
    return {row["method"]: row["metrics"] for row in _written_rows(run, f"{group}_differences")}


def _reference(run: Run, group: str) -> str:
    """Label of a group's first variant."""
    return next(v.label for v in _variants_of(run, group).values())


def _variants_of(run: Run, group: str) -> dict[str, Variant]:
    return {name: v for name, v in chosen_variants(run.config).items() if v.group == group}
