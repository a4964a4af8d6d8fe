"""Learning curves over the number of scans: how far each method comes with how many, and what guidance is worth in
scans. They are of the group of variants "scans"."""

import math
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

from ..core.run import Run
from ..metrics.protocols import KIT, read_protocols, score_value
from .labels import METRICS, OBJECTIVE_LABELS
from .results import animator_label, run_description
from .table_formats import Table
from .variant_definitions import FEW_SCANS, GROUP_NOTES, UNSCANNED_LABEL, scans_of
from .variants import chosen_variants, seeds_of, unfinished, variant_models, variant_record, variant_run

GROUP = "scans"
REFERENCE = OBJECTIVE_LABELS["rlv"]  # the method in whose scans the others are counted


class Point(NamedTuple):
    """What a method reaches with so many scanned sentences of each subject. values: metric -> one value a seed."""

    scans: float
    values: dict[str, list[float]]


Curves = dict[str, dict[str, list[Point]]]  # animator -> method -> points, with ascending numbers of scans


def scan_curves(run: Run, seeds: Sequence[int]) -> Curves:
    """The curves of the run's models and its variants with fewer scans; a training that diverged is left out.

    Empty if the run has no such variants, or if not all of them are scored.
    """
    if GROUP not in run.config.variants or unfinished(run, list(seeds)):
        return {}
    curves: Curves = {}
    for name, variant in chosen_variants(run.config).items():
        if variant.group == GROUP:
            method = variant.label.partition(", ")[2]
            for model in variant_models(run, name, seeds_of(GROUP, list(seeds))):
                if record := variant_record(model):
                    points = curves.setdefault(animator_label(model.animator), {}).setdefault(method, [])
                    _add(points, model.run.record(model.name)["scans"], record)
    for methods in curves.values():
        for points in methods.values():
            points.sort(key=lambda point: point.scans)
    return curves


def few_scans_run(run: Run, scans: int) -> Run:
    """The run of the models of so many scanned sentences of each subject whose guide also reads speech without scans.

    Its models without guidance, or without such speech, are those of the other variants with as many scans. scans: 0
    for the fewest. ValueError if there is no such variant.
    """
    chosen = few_scans_variants(run)
    if scans not in (0, *chosen) or not chosen:
        raise ValueError(f"scans: expected one of {', '.join(map(str, [0, *chosen]))}, got {scans}")
    return variant_run(run, chosen[scans or min(chosen)])


def few_scans_variants(run: Run) -> dict[int, str]:
    """Number of scans -> name of its variant with speech without scans; without those that learn from all scans."""
    names = [f"scans-{count}-unscanned" for count in FEW_SCANS]
    return {scans_of(name): name for name in names if name in chosen_variants(run.config)}


def _add(points: list[Point], scans: float, record: dict) -> None:
    """Adds the scores of one model to the point of its number of scans."""
    scores = read_protocols()[KIT].scores
    values = next((point.values for point in points if point.scans == scans), None)
    if values is None:
        values = {}
        points.append(Point(scans, values))
    for metric in METRICS:
        if (value := score_value(record["rows"], scores[metric])) is not None:
            values.setdefault(metric, []).append(value)


def worth_in_scans(
    points: Sequence[Point], reference: Sequence[Point], metric: str
) -> list[tuple[float, float | None]]:
    """For each point: its number of scans, and with how many the reference reaches the same mean value.

    Interpolated linearly over the logarithm of the number of scans; None where the reference does not reach it with all
    scans, or is better with the fewest. The metric is one of which less is better.
    """
    known = [(math.log(point.scans), mean(point.values[metric])) for point in reference]
    worth: list[tuple[float, float | None]] = []
    for point in points:
        value, found = mean(point.values[metric]), None
        for (left, before), (right, after) in zip(known, known[1:]):
            if before >= value >= after and before > after:
                found = math.exp(left + (right - left) * (before - value) / (before - after))
                break
        worth.append((point.scans, found))
    return worth


def scan_table(run: Run, seeds: Sequence[int], corpus: str) -> str:
    """Writes table "scans_worth" to the run's tables/: what guidance is worth in scans; returns its Markdown."""
    curves = scan_curves(run, seeds)
    if not curves:
        return (
            "This run has no models of few scans. `./run_all.sh --preset study --run scans --set variants=scans` "
            "trains them.\n"
        )
    heads = ["Animator, method", "scans of each subject", *(f"worth in scans, by {metric}" for metric in METRICS)]
    rows, data = [], []
    for animator, methods in curves.items():
        for method in (OBJECTIVE_LABELS["guided"], UNSCANNED_LABEL):
            points, reference = methods.get(method, []), methods.get(REFERENCE, [])  # none if all have diverged
            worth = {metric: dict(worth_in_scans(points, reference, metric)) for metric in METRICS}
            for point in points:
                found = {metric: worth[metric][point.scans] for metric in METRICS}
                cells = ["–" if n is None else f"{n:.1f}" for n in found.values()]
                rows.append([f"{animator}, {method}", f"{point.scans:g}", *cells])
                data.append({"method": f"{animator}, {method}", "scans": point.scans, "worth": found})
    used = seeds_of(GROUP, list(seeds))
    title = f"What guidance is worth in scans, {run_description(run, used, corpus)}"
    notes = [
        f"Worth: the number of scans of each subject with which “{REFERENCE}” reaches the same mean value, "
        "interpolated between the numbers that were trained; –: it does not with all scans, or does better with the "
        "fewest",
        *GROUP_NOTES[GROUP],
    ]
    table = Table(title, heads, rows, {"protocol": KIT, "split": "test"}, notes, data)
    return table.write(run.folder / "tables", "table_scans_worth", corpus=corpus, seeds=used)
