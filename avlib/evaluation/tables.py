"""The paper's tables from records, over seeds: Markdown, CSV, LaTeX and JSON, with what published figures are known beside them.

A method's records are those of stage "evaluation-<model>", one for each seed. Every number is remade from their rows, and
every table says under which protocol, on which vertices and on which split.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

import torch

from ..core.files import write_atomic, write_json
from ..metrics.protocols import KIT, SPEECH, Score, paired_totals, protocols, value
from .statistics import paired_interval, permutation_test

Records = list[dict]
# As a secondary source quotes the paper, whose own tables were not seen.
QUOTED = "quoted second-hand from the paper, its protocol not confirmed"
PUBLISHED = {
    "FaceFormer": {"BIWI LVE": 6.0449, "BIWI CER": 72.588, "BIWI VER": 68.777, "VOCASET LVE": 3.2496},
    "FaceFormer + AV guidance": {"BIWI LVE": 5.5061, "BIWI CER": 68.423, "BIWI VER": 62.422, "VOCASET LVE": 3.0987},
    "CodeTalker": {"BIWI LVE": 5.3711, "BIWI CER": 72.592, "BIWI VER": 65.593, "VOCASET LVE": 4.0557},
    "CodeTalker + AV guidance": {"BIWI LVE": 4.8403, "BIWI CER": 70.711, "BIWI VER": 63.299, "VOCASET LVE": 3.9884},
}
PUBLISHED_UNITS = {"BIWI LVE": "1e-4", "BIWI CER": "%", "BIWI VER": "%", "VOCASET LVE": "1e-5 m²"}
PUBLISHED_ABLATION = {  # LVE on BIWI, 1e-4
    "full": {"FaceFormer": 5.5061, "CodeTalker": 4.8403},
    "without 2D prior": {"FaceFormer": 5.9344, "CodeTalker": 5.4271},
    "without L_rlv": {"FaceFormer": 5.9023, "CodeTalker": 5.6524},
    "without speech": {"FaceFormer": 6.0352, "CodeTalker": 5.3155},
    "L_rlv alone": {"FaceFormer": 6.0976, "CodeTalker": 5.2639},
    "baseline": {"FaceFormer": 6.0449, "CodeTalker": 5.3711},
}


@dataclass
class Table:
    """Rows of cells under heads, and what all of them have in common: where the numbers come from. data: the same for machines."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    source: dict[str, str]
    notes: list[str] = field(default_factory=list)
    data: list = field(default_factory=list)

    @property
    def caption(self) -> str:
        return ". ".join(["; ".join([self.title, *(f"{k} {v}" for k, v in self.source.items())]), *self.notes]) + "."

    def markdown(self) -> str:
        line = lambda cells: "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
        return (
            "\n".join([self.caption, "", line(self.heads), "|---" * len(self.heads) + "|", *map(line, self.rows)])
            + "\n"
        )

    def csv(self) -> str:
        """The source in columns of its own, so that no row loses it."""
        text, rows = io.StringIO(), [[*self.heads, *self.source], *([*row, *self.source.values()] for row in self.rows)]
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()

    def latex(self) -> str:
        """For booktabs."""
        line = lambda cells: "    " + " & ".join(map(_tex, cells)) + r" \\"
        return (
            "\n".join(
                [
                    r"\begin{table}",
                    r"  \centering",
                    rf"  \caption{{{_tex(self.caption)}}}",
                    rf"  \begin{{tabular}}{{l{'r' * (len(self.heads) - 1)}}}",
                    r"    \toprule",
                    line(self.heads),
                    r"    \midrule",
                    *map(line, self.rows),
                    r"    \bottomrule",
                    r"  \end{tabular}",
                    r"\end{table}",
                ]
            )
            + "\n"
        )

    def write(self, folder: Path, name: str, **about) -> str:
        """<name>.md, .csv, .tex and .json, which also says what is given `about` it; returns the Markdown."""
        for kind, text in (("md", self.markdown()), ("csv", self.csv()), ("tex", self.latex())):
            write_atomic(folder / f"{name}.{kind}", lambda p: p.write_text(text))
        write_json(
            folder / f"{name}.json",
            {"title": self.title, **about, **self.source, "notes": self.notes, "rows": self.data},
        )
        return self.markdown()


_TEX = {
    "\\": r"\textbackslash{}",
    "²": r"\textsuperscript{2}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    "|": r"\textbar{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def _tex(text: str) -> str:
    return re.sub("|".join(map(re.escape, _TEX)), lambda found: _TEX[found[0]], text)


def _values(records: Records, score: Score) -> list[float]:
    """Over the seeds; none if any of them has no such number."""
    found = [value(r["rows"], score) for r in records]
    return found if None not in found else []


def _cell(values: list[float], scale: float) -> str:
    scaled = [v / scale for v in values]
    return (f"{mean(scaled):.3f}" if scaled else "–") + (f" ± {stdev(scaled):.3f}" if len(scaled) > 1 else "")


def _head(metric: str, unit: str) -> str:
    return f"{metric} ({unit})" if unit else metric


def _mask(record: dict, scores: list[Score]) -> str:
    """Which vertices the scores look at, as "lip 3f2a1b (384 vertices)"; "–" for texts."""
    regions = dict.fromkeys(r for s in scores for r in s.measure.regions)
    sizes = {r: (record["masks"][r]["hash"], record["masks"][r]["vertices"]) for r in regions if r in record["masks"]}
    told = [f"{r} {short} ({n} {'vertex' if n == 1 else 'vertices'})" for r, (short, n) in sizes.items()]
    return ", ".join(told) or ("all vertices" if any("{unit}" in s.unit for s in scores) else "–")


def _source(record: dict, scores: list[Score], protocol: str) -> dict[str, str]:
    """What every number of a table has to be read with. record: any of them, for they share corpus and split."""
    return {"protocol": protocol, "mask": _mask(record, scores), "split": record["split"]}


def methods(
    records: dict[str, Records],
    title: str,
    columns: Sequence[str] = ("LVE", "CER", "VER"),
    protocol: str = KIT,
    published: Sequence[str] = (),
) -> Table:
    """Tables 1 and 2 of the paper: one row a method, mean ± standard deviation over its seeds. published: names in `PUBLISHED`
    that are put beside, as "BIWI LVE"."""
    first, scores = next(iter(records.values()))[0], {c: protocols()[protocol].scores[c] for c in columns}
    printed = {c: s.printed(first["unit"]) for c, s in scores.items()}
    heads = [
        "Method",
        *(_head(c, printed[c][1]) for c in columns),
        *(f"{p} ({PUBLISHED_UNITS[p]}), quoted" for p in published),
    ]
    values = {method: {c: _values(rs, s) for c, s in scores.items()} for method, rs in records.items()}
    rows = [
        [
            method,
            *(_cell(v[c], printed[c][0]) for c in columns),
            *(str(PUBLISHED.get(method, {}).get(p, "–")) for p in published),
        ]
        for method, v in values.items()
    ]
    data = [
        {
            "method": method,
            "metrics": {
                c: {"unit": s.unit.format(unit=first["unit"]), "about": s.about, "values": v[c]}
                for c, s in scores.items()
            },
        }
        for method, v in values.items()
    ]
    others = ", ".join(c for c, s in scores.items() if not s.lower_is_better)
    notes = ["Lower is better" + (f", but of {others}" if others else "")] + [f"Quoted: {QUOTED}"] * bool(published)
    return Table(title, heads, rows, _source(first, list(scores.values()), protocol), notes, data)


def difference(ones: Records, others: Records, score: Score, seed: int = 0) -> dict | None:
    """Of two methods, seed by seed on the same utterances: "difference" of their means, "low" and "high" of its 95 % bootstrap
    interval, and "p" of the paired test; None where fewer than two utterances have the number. An utterance under all styles and
    seeds is one draw: the interval says what other sentences would have brought, not other trainings."""
    if score.average == SPEECH:
        return None
    a, b = paired_totals([r["rows"] for r in ones], [r["rows"] for r in others], score)
    if len(a) < 2:
        return None
    found, low, high = paired_interval(a, b, seed)
    return {
        "difference": found,
        "low": low,
        "high": high,
        "p": permutation_test(a, b, seed),
        "utterances": len(a),
    }


def _difference_cell(found: dict | None, scale: float) -> str:
    if found is None:
        return "–"
    low, middle, high = (f"{found[k] / scale:+z.3f}".replace("-", "−") for k in ("low", "difference", "high"))
    return (
        f"{middle} [{low}, {high}], p {found['p']:.2g}"
        if found["p"] >= 0.001
        else f"{middle} [{low}, {high}], p < 0.001"
    )


def differences(
    pairs: dict[str, tuple[Records, Records]],
    title: str,
    columns: Sequence[str] = ("LVE", "CER", "VER"),
    protocol: str = KIT,
) -> Table:
    """One row a pair of methods: the first less the second, with interval and test."""
    first, scores = next(iter(pairs.values()))[0][0], {c: protocols()[protocol].scores[c] for c in columns}
    printed = {c: s.printed(first["unit"]) for c, s in scores.items()}
    found = {name: {c: difference(*pair, s) for c, s in scores.items()} for name, pair in pairs.items()}
    rows = [[name, *(_difference_cell(d[c], printed[c][0]) for c in columns)] for name, d in found.items()]
    utterances = max((d["utterances"] for ds in found.values() for d in ds.values() if d), default=0)
    notes = [
        f"In brackets the 95 % bootstrap interval over {utterances} utterances, all styles and seeds of one drawn together; p of a "
        "paired permutation test over them"
    ]
    return Table(
        title,
        ["Method", *(_head(c, printed[c][1]) for c in columns)],
        rows,
        _source(first, list(scores.values()), protocol),
        notes,
        [{"method": name, "metrics": d} for name, d in found.items()],
    )


def ablation(
    rows: dict[str, dict[str, Records]], title: str, metric: str = "LVE", protocol: str = KIT, against: str = "full"
) -> Table:
    """Table 3 of the paper: {row: {animator: records}}, rows called as in `PUBLISHED_ABLATION`; of every animator its number, what
    that is more than in the row `against`, with interval and test, and the published one: of LVE alone is it known."""
    score, known = protocols()[protocol].scores[metric], metric == "LVE"
    animators = list(dict.fromkeys(a for row in rows.values() for a in row))
    first = next(iter(next(iter(rows.values())).values()))[0]
    scale, unit = score.printed(first["unit"])
    heads, cells, data = ["Method"], {name: [name] for name in rows}, {name: {} for name in rows}
    for animator in animators:
        heads += [f"{animator} {metric} ({unit})", f"less {against}"] + [f"{animator}, quoted (BIWI LVE, 1e-4)"] * known
        for name, row in rows.items():
            values = _values(row.get(animator, []), score)
            apart = difference(row[animator], rows[against][animator], score) if values and name != against else None
            quoted = {"quoted": PUBLISHED_ABLATION.get(name, {}).get(animator)} if known else {}
            cells[name] += [
                _cell(values, scale),
                _difference_cell(apart, scale),
                *(str(q or "–") for q in quoted.values()),
            ]
            data[name][animator] = {"values": values, f"less {against}": apart, **quoted}
    notes = [
        f"Less {against}: in brackets the 95 % bootstrap interval over utterances, p of a paired permutation test over them"
    ]
    notes += [f"Quoted: {QUOTED}"] * known
    return Table(
        title,
        heads,
        list(cells.values()),
        _source(first, [score], protocol),
        notes,
        [{"method": name, "animators": found} for name, found in data.items()],
    )


def all_protocols(records: dict[str, Records], title: str) -> Table:
    """The same predictions under every protocol: one row a protocol's metric, one column a method, means over seeds."""
    first, rows, data = next(iter(records.values()))[0], [], []
    for name, protocol in protocols().items():
        for metric, score in protocol.scores.items():
            scale, unit = score.printed(first["unit"])
            values = {method: _values(rs, score) for method, rs in records.items()}
            told = _source(first, [score], name)
            rows.append(
                [name, metric, unit, told["mask"], *(f"{mean(v) / scale:.3f}" if v else "–" for v in values.values())]
            )
            data.append({**told, "metric": metric, "unit": score.unit.format(unit=first["unit"]), "values": values})
    return Table(title, ["protocol", "metric", "unit", "mask", *records], rows, {"split": first["split"]}, [], data)
