"""Protocols: how publications compute LVE, FDD and other metrics, as data. Predictions are scored under all of them.

A sequence leaves a sum and a count for every measure (of frames, of characters). Every protocol's numbers can thus be
computed again from the rows of a record, without the models. protocols.json holds the protocols; no code depends on a
protocol's name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..core.digest import digest
from ..core.files import read_json
from .measures import KINDS, READERS, Comparison, Measure, sum_and_count
from .synchrony import intensity_correlation

PATH = Path(__file__).with_name("protocols.json")
KIT = "avlib"  # the protocol of the kit's own tables
AGAINST_SPEECH = "against speech"
AVERAGES = ("pooled", "sequences", "magnitudes", AGAINST_SPEECH)


@dataclass(frozen=True)
class Score:
    """A metric of a protocol: a measure, and how sequences become one number.

    average: "pooled", the mean over frames (or characters, bilabials); "sequences", the mean over sequences;
        "magnitudes", the same of magnitudes; "against speech", the correlation with the loudness of speech.
    unit: of the value, with the corpus's unit for "{unit}".
    scale: what one printed unit is; by the corpus's unit, or "else", if it differs.
    """

    measure: Measure
    average: str
    unit: str
    scale: float | dict[str, float] = 1.0
    lower_is_better: bool = True
    about: str = ""

    @property
    def is_signed(self) -> bool:
        """Whether the best value is 0, with worse ones on both sides: the FDD with its sign."""
        return self.measure.kind == "dynamics" and self.average != "magnitudes"

    def printed(self, unit: str) -> tuple[float, str]:
        """What one printed unit is, and its name, in a corpus with this unit: 1e-5, "1e-5 m²"."""
        scale = self.scale.get(unit, self.scale["else"]) if isinstance(self.scale, dict) else self.scale
        name = self.unit.format(unit=unit)
        if scale == 1.0:
            return scale, name
        if scale == 1e-3 and name in ("m", "m/s"):
            return scale, f"m{name}"
        return scale, f"{scale:.0e} {name}".replace("e-0", "e-")


@dataclass(frozen=True)
class Protocol:
    """How one publication scores predictions. source: where this is defined. scores: by the metric's name."""

    name: str
    source: str
    about: str
    scores: dict[str, Score]


@cache
def read_protocols() -> dict[str, Protocol]:
    """The protocols of protocols.json by name. Errors: ValueError names a field or value that does not exist."""
    protocols = {}
    for name, entry in read_json(PATH).items():
        scores = {metric: _read_score(f"{name}: {metric}", given) for metric, given in entry["scores"].items()}
        protocols[name] = Protocol(name, entry["source"], entry["about"], scores)
    return protocols


def _read_score(where: str, given: dict[str, Any]) -> Score:
    """A score from its JSON object, which holds the fields of the measure and its own side by side."""
    names = {f.name for f in fields(Measure)}
    of_measure: dict[str, Any] = {k: tuple(v) if k == "regions" else v for k, v in given.items() if k in names}
    try:
        score = Score(Measure(**of_measure), **{k: v for k, v in given.items() if k not in names})
    except TypeError as error:
        raise ValueError(f"{PATH}: {where}: {error}") from None
    measure = score.measure
    choices = [("kind", measure.kind, KINDS), ("average", score.average, AVERAGES), ("by", measure.by, READERS)]
    for name, value, known in choices:
        if value not in known:
            raise ValueError(f"{PATH}: {where}: {name} {value!r}; expected one of {', '.join(known)}")
    return score


def all_measures() -> list[Measure]:
    """The measures of all protocols, once each."""
    return list(dict.fromkeys(s.measure for p in read_protocols().values() for s in p.scores.values()))


def sums_and_counts(comparison: Comparison, measures: Iterable[Measure] | None = None) -> dict[str, list]:
    """[sum, count] of every measure whose regions the corpus defines, by the measure's key, as records keep them.

    measures: those of all protocols unless given.
    """
    return {
        measure.key: list(sum_and_count(comparison, measure))
        for measure in (all_measures() if measures is None else measures)
        if all(region in comparison.regions for region in measure.regions)
    }


def row_totals(row: dict, score: Score) -> tuple[float, float] | None:
    """What a record's row adds to the sum and the count of a score; None if the score is undefined for it.

    Errors: ValueError for a score against speech, which takes all rows at once.
    """
    if score.average == AGAINST_SPEECH:
        raise ValueError(f"{score.measure.key}: a row has no total of a score {AGAINST_SPEECH}; use score_value")
    total, count = row["scores"].get(score.measure.key, (0, 0))
    if not count:
        return None
    if score.average == "pooled":
        return total, count
    return (abs(total) if score.average == "magnitudes" else total) / count, 1


def score_value(rows: Iterable[dict], score: Score) -> float | None:
    """A score over all rows of one model; None if it is undefined for every row."""
    if score.average == AGAINST_SPEECH:
        return _correlation_with_speech(rows, score)
    totals = [t for t in (row_totals(row, score) for row in rows) if t]
    return sum(total for total, _ in totals) / sum(count for _, count in totals) if totals else None


def _correlation_with_speech(rows: Iterable[dict], score: Score) -> float | None:
    """SLCC of rows, standardised for each subject and style, since a style as a whole may move more."""
    measured = [row for row in rows if score.measure.key in row["scores"]]
    loudness = [row["loudness"] for row in measured]
    intensity = [row["scores"][score.measure.key][0] for row in measured]
    r = intensity_correlation(loudness, intensity, [f"{row['subject']} {row['style']}" for row in measured])
    return None if r != r else r


def summary(rows: list[dict], unit: str, protocol: str = KIT) -> dict[str, dict]:
    """A protocol's metrics over the rows of one model: value (None if undefined), unit and description of each.

    unit: of the corpus.
    """
    return {
        name: {"value": score_value(rows, s), "unit": s.unit.format(unit=unit), "about": s.about}
        for name, s in read_protocols()[protocol].scores.items()
    }


def masks(regions: dict[str, torch.Tensor]) -> dict[str, dict]:
    """What identifies each region's vertices beside a number: a short hash of them, and how many there are."""
    vertices = {name: sorted(set(torch.as_tensor(index).tolist())) for name, index in regions.items()}
    return {name: {"hash": digest(index)[:6], "vertices": len(index)} for name, index in vertices.items()}
