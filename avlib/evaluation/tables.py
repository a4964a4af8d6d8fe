"""The paper's tables from evaluation records, as Markdown, CSV, LaTeX and JSON, with published figures beside them.

The records of a method are those of stage "evaluation-<model>", one for each seed. Every value is computed from their
rows, and every table names its protocol, vertex mask and split.
"""

from collections.abc import Sequence
from statistics import mean, stdev

from ..metrics.protocols import KIT, Score, read_protocols, score_value
from .agreement import NETWORK_FREE, counted_gains
from .differences import Difference, bootstrap_note, difference
from .floor import ABOVE_FLOOR, FLOOR_NOTE, add_excess
from .labels import FLOOR, METRICS, OBJECTIVE_LABELS, REFERENCE_LABELS, STILL, TRUTH
from .table_formats import Table

Records = list[dict]  # evaluation records of one method, one for each seed
# A secondary source quotes these figures from the paper; the paper's own tables were not available.
QUOTED = "quoted second-hand from the paper, protocol not confirmed"
PUBLISHED = {
    "FaceFormer, baseline (L_mse)": {"BIWI LVE": 6.0449, "BIWI CER": 72.588, "BIWI VER": 68.777, "VOCASET LVE": 3.2496},
    "FaceFormer, + L_rlv": {"BIWI LVE": 6.0976},
    "FaceFormer, + L_rlv + guidance": {
        "BIWI LVE": 5.5061,
        "BIWI CER": 68.423,
        "BIWI VER": 62.422,
        "VOCASET LVE": 3.0987,
    },
    "CodeTalker, baseline (L_mse)": {"BIWI LVE": 5.3711, "BIWI CER": 72.592, "BIWI VER": 65.593, "VOCASET LVE": 4.0557},
    "CodeTalker, + L_rlv": {"BIWI LVE": 5.2639},
    "CodeTalker, + L_rlv + guidance": {
        "BIWI LVE": 4.8403,
        "BIWI CER": 70.711,
        "BIWI VER": 63.299,
        "VOCASET LVE": 3.9884,
    },
}
PUBLISHED_UNITS = {"BIWI LVE": "1e-4", "BIWI CER": "%", "BIWI VER": "%", "VOCASET LVE": "1e-5 m²"}
PUBLISHED_ABLATION = {  # LVE on BIWI, 1e-4
    "full method": {"FaceFormer": 5.5061, "CodeTalker": 4.8403},
    "without 2D prior": {"FaceFormer": 5.9344, "CodeTalker": 5.4271},
    "without L_rlv": {"FaceFormer": 5.9023, "CodeTalker": 5.6524},
    "without speech": {"FaceFormer": 6.0352, "CodeTalker": 5.3155},
    OBJECTIVE_LABELS["rlv"]: {"FaceFormer": 6.0976, "CodeTalker": 5.2639},
    OBJECTIVE_LABELS["baseline"]: {"FaceFormer": 6.0449, "CodeTalker": 5.3711},
}
TRAINING_LOSSES = (
    "Baseline: as published, trained with L_mse alone; + L_rlv: with L_mse + L_rlv; + L_rlv + guidance: with L_mse + "
    "L_rlv + L_av"
)
INTERVALS = "[95 % interval] (as percent of the second method), p of "
JUDGES = (
    "CER and VER: of what the visual-only reader read; with _judge: of what the judge read, which shares neither clips "
    "nor architecture with the guide"
)
COUNTED = (
    f"A gain in CER or VER counts if both readers and at least one of {', '.join(NETWORK_FREE)}, which no network "
    "makes, agree in sign"
)
READABLE = 0.75  # a reader reads if its error rate on the scans is below this share of that on a still face
VERDICTS = "Better or worse than the second method (difference as its percent): zero is outside the 95 % interval of "


def methods(
    records: dict[str, Records],
    title: str,
    columns: Sequence[str] = METRICS,
    protocol: str = KIT,
    published: Sequence[str] = (),
) -> Table:
    """Tables 1 and 2 of the paper: one row for each method, mean ± standard deviation over its seeds.

    Beside the LVE stands `ABOVE_FLOOR` if the records contain the floor. columns: metrics of the protocol.
    published: columns of `PUBLISHED` to add, such as "BIWI LVE"; they also add the rows that were published in these
    columns and not measured.
    """
    first, scores = next(iter(records.values()))[0], {c: read_protocols()[protocol].scores[c] for c in columns}
    printed = {c: s.printed(first["unit"]) for c, s in scores.items()}
    heads = [
        "Method",
        *(_head(c, printed[c][1]) for c in columns),
        *(f"{p} ({PUBLISHED_UNITS[p]}), quoted" for p in published),
    ]
    rows, data = [], []
    for method in _with_published(list(records), published):
        values = {c: _values(records.get(method, []), score) for c, score in scores.items()}
        cells = [_cell(values[c], printed[c][0]) for c in columns]
        rows.append([method, *cells, *(str(PUBLISHED.get(method, {}).get(p, "–")) for p in published)])
        metrics = {
            c: {"unit": s.unit.format(unit=first["unit"]), "about": s.about, "values": values[c]}
            for c, s in scores.items()
        }
        data.append({"method": method, "metrics": metrics})
    higher = ", ".join(c for c, s in scores.items() if not s.lower_is_better)
    notes = ["Lower is better" + (f", except for {higher}" if higher else "")]
    notes += [f"Quoted: {QUOTED}"] if published else []
    notes += [_looks(records)] if first["split"] == "test" else []
    notes += [JUDGES] if any(s.measure.by == "judge" for s in scores.values()) else []
    notes += _unreadable(data, columns)
    notes += [TRAINING_LOSSES] if any(row[0].endswith(OBJECTIVE_LABELS["guided"]) for row in rows) else []
    table = Table(title, heads, rows, _source(first, list(scores.values()), protocol), notes, data)
    if REFERENCE_LABELS[FLOOR] in records and "LVE" in columns:
        _add_excess(table, 2 + list(columns).index("LVE"), *printed["LVE"])
    return table


def _add_excess(table: Table, place: int, scale: float, unit: str) -> None:
    """Adds the column `ABOVE_FLOOR` to a table of methods."""
    add_excess(table.data)
    table.heads.insert(place, _head(ABOVE_FLOOR, unit))
    for cells, row in zip(table.rows, table.data):
        cells.insert(place, _cell(row["metrics"][ABOVE_FLOOR]["values"], scale))
    table.notes.append(FLOOR_NOTE)


def _unreadable(data: list[dict], columns: Sequence[str]) -> list[str]:
    """A warning for each error rate by which the scans are hardly better than a still face: it judges nothing."""
    values = {row["method"]: {c: row["metrics"][c]["values"] for c in columns} for row in data}
    truth, still = (values.get(REFERENCE_LABELS[name], {}) for name in (TRUTH, STILL))
    return [
        f"{column}: {mean(truth[column]):.0f} % on the scans, {mean(still[column]):.0f} % on a still face. This reader "
        "can hardly read; do not rely on differences between its rates"
        for column in ("CER", "CER_judge")
        if truth.get(column) and still.get(column) and mean(truth[column]) > READABLE * mean(still[column])
    ]


def _looks(records: dict[str, Records]) -> str:
    """How often the test split was looked at: what has been chosen by it, it cannot judge."""
    looks = max(record.get("looks", 1) for same in records.values() for record in same)
    return f"The test split has been scored {'once' if looks == 1 else f'{looks} times'} in this run"


def _with_published(measured: list[str], columns: Sequence[str]) -> list[str]:
    """The measured methods, and before each animator's first row those that were published in one of the columns
    and not measured."""
    published = [method for method, values in PUBLISHED.items() if values.keys() & set(columns)]
    order: list[str] = []
    for method in measured:
        animator = method.split(",")[0]
        order += [p for p in published if p.split(",")[0] == animator and p not in (*order, *measured)]
        order.append(method)
    return order


def differences(
    pairs: dict[str, tuple[Records, Records]],
    title: str,
    columns: Sequence[str] = METRICS,
    protocol: str = KIT,
) -> Table:
    """One row for each pair of methods: the first minus the second, with intervals and p value."""
    first, scores = next(iter(pairs.values()))[0][0], {c: read_protocols()[protocol].scores[c] for c in columns}
    printed = {c: s.printed(first["unit"]) for c, s in scores.items()}
    by_pair = {name: {c: difference(*pair, s) for c, s in scores.items()} for name, pair in pairs.items()}
    rows = [[name, *(_difference_cell(row[c], printed[c][0]) for c in columns)] for name, row in by_pair.items()]
    return Table(
        title,
        ["Method", *(_head(c, printed[c][1]) for c in columns)],
        rows,
        _source(first, list(scores.values()), protocol),
        [INTERVALS + bootstrap_note(d for row in by_pair.values() for d in row.values())],
        [{"method": name, "metrics": row} for name, row in by_pair.items()],
    )


def verdicts(
    pairs: dict[str, tuple[Records, Records]], title: str, columns: Sequence[str] = (*METRICS, *NETWORK_FREE)
) -> Table:
    """Whether the first method of each pair is better or worse than the second, or which is better is undecided; and,
    in the last column, which of CER and VER it improves by both judges and by a measure that no network makes.

    columns: metrics of the kit's protocol.
    """
    first, scores = next(iter(pairs.values()))[0][0], {c: read_protocols()[KIT].scores[c] for c in columns}
    by_row = {name: {c: difference(*pair, score) for c, score in scores.items()} for name, pair in pairs.items()}
    counted = {name: [kind for kind, counts in counted_gains(row).items() if counts] for name, row in by_row.items()}
    rows = [
        [name, *map(_verdict_cell, row.values()), ", ".join(counted[name]) or "none"] for name, row in by_row.items()
    ]
    found = [d for row in by_row.values() for d in row.values()]
    notes = [f"{VERDICTS}{bootstrap_note(found)}", JUDGES, COUNTED]
    data = [{"method": name, "metrics": row, "counted_gains": counted[name]} for name, row in by_row.items()]
    heads = ["Method", *columns, "gains that count"]
    return Table(title, heads, rows, _source(first, list(scores.values()), KIT), notes, data)


def ablation(
    rows: dict[str, dict[str, Records]],
    title: str,
    metric: str = "LVE",
    protocol: str = KIT,
    reference: str = "full method",
) -> Table:
    """Table 3 of the paper: for each animator the metric, its difference from `reference`, and the published value.

    rows: {row: {animator: records}}. Published are the rows in `PUBLISHED_ABLATION`, and of these LVE only.
    """
    score = read_protocols()[protocol].scores[metric]
    is_published = metric == "LVE" and bool(rows.keys() & PUBLISHED_ABLATION.keys())
    animators = list(dict.fromkeys(animator for row in rows.values() for animator in row))
    first = next(iter(next(iter(rows.values())).values()))[0]
    scale, unit = score.printed(first["unit"])
    heads, cells, data = ["Method"], {name: [name] for name in rows}, {name: {} for name in rows}
    for animator in animators:
        heads += [f"{animator} {metric} ({unit})", f"minus {reference}"]
        heads += [f"{animator}, quoted (BIWI LVE, 1e-4)"] if is_published else []
        for name, row in rows.items():
            values, compared = _values(row.get(animator, []), score), None
            if values and name != reference:
                compared = difference(row[animator], rows[reference][animator], score)
            cells[name] += [_cell(values, scale), _difference_cell(compared, scale)]
            data[name][animator] = {"values": values, "difference": compared}
            if is_published:
                quoted = PUBLISHED_ABLATION.get(name, {}).get(animator)
                cells[name].append(str(quoted or "–"))
                data[name][animator]["quoted"] = quoted
    differences = [by_animator[animator]["difference"] for by_animator in data.values() for animator in by_animator]
    notes = [f"Minus {reference}: {INTERVALS}{bootstrap_note(differences)}"]
    notes += [f"Quoted: {QUOTED}"] if is_published else []
    by_row = [{"method": name, "animators": by_animator} for name, by_animator in data.items()]
    return Table(title, heads, list(cells.values()), _source(first, [score], protocol), notes, by_row)


def all_protocols(records: dict[str, Records], title: str) -> Table:
    """The same predictions under every protocol: a row for each metric, a column for each method, means over seeds."""
    first, rows, data = next(iter(records.values()))[0], [], []
    for name, protocol in read_protocols().items():
        for metric, score in protocol.scores.items():
            scale, unit = score.printed(first["unit"])
            values = {method: _values(method_records, score) for method, method_records in records.items()}
            source = _source(first, [score], name)
            means = [f"{mean(v) / scale:.3f}" if v else "–" for v in values.values()]
            rows.append([name, metric, unit, source["mask"], *means])
            data.append({**source, "metric": metric, "unit": score.unit.format(unit=first["unit"]), "values": values})
    return Table(title, ["protocol", "metric", "unit", "mask", *records], rows, {"split": first["split"]}, [], data)


def _values(records: Records, score: Score) -> list[float]:
    """The score for each seed; empty if any seed lacks it."""
    values = [score_value(r["rows"], score) for r in records]
    complete = [v for v in values if v is not None]
    return complete if len(complete) == len(values) else []


def _cell(values: list[float], scale: float) -> str:
    """ "mean ± standard deviation" in printed units; "–" where there are no values."""
    scaled = [v / scale for v in values]
    average = f"{mean(scaled):z.3f}".replace("-", "−") if scaled else "–"
    return average + (f" ± {stdev(scaled):.3f}" if len(scaled) > 1 else "")


def _difference_cell(difference: Difference | None, scale: float) -> str:
    """ "difference [low, high] (percent [low, high]), p 0.05" in printed units; "–" where there is no difference."""
    if difference is None:
        return "–"
    cell = "{} [{}, {}]".format(*(f"{difference[k] / scale:+z.3f}" for k in ("difference", "low", "high")))
    bounds = difference["percent"], difference["percent_low"], difference["percent_high"]
    percents = [bound for bound in bounds if bound is not None]
    if percents:
        cell += " ({} % [{}, {}])".format(*map(_percent, percents))
    p = f"p {difference['p']:.2g}" if difference["p"] >= 0.001 else "p < 0.001"
    return f"{cell}, {p}".replace("-", "−")


def _verdict_cell(difference: Difference | None) -> str:
    """ "better, −8.9 %"; "–" where there is no verdict."""
    if difference is None or difference["verdict"] is None:
        return "–"
    percent = difference["percent"]
    return difference["verdict"] + ("" if percent is None else f", {_percent(percent)} %".replace("-", "−"))


def _percent(percent: float) -> str:
    return f"{percent:+z.1f}" if abs(percent) < 9.95 else f"{percent:+.0f}"


def _head(metric: str, unit: str) -> str:
    return f"{metric} ({unit})" if unit else metric


def _source(record: dict, scores: list[Score], protocol: str) -> dict[str, str]:
    """Protocol, vertex mask and split of a table. record: any of its records, which share corpus and split."""
    return {"protocol": protocol, "mask": _mask(record, scores), "split": record["split"]}


def _mask(record: dict, scores: list[Score]) -> str:
    """The vertices that the scores use, as "lip 3f2a1b (384 vertices)"; "–" for scores of texts."""
    regions = dict.fromkeys(r for s in scores for r in s.measure.regions)
    masks = {region: record["masks"][region] for region in regions if region in record["masks"]}
    described = [
        f"{region} {m['hash']} ({m['vertices']} {'vertex' if m['vertices'] == 1 else 'vertices'})"
        for region, m in masks.items()
    ]
    return ", ".join(described) or ("all vertices" if any("{unit}" in s.unit for s in scores) else "–")
