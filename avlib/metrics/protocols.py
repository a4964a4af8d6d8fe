"""Protocols: what published work means by LVE, FDD and the like, as data, and one set of predictions scored under all of them.

A sequence leaves a sum and a count for every measure (of frames, of characters), so that any protocol's number is remade
from the rows of a record, without the models. facts/protocols.json holds the protocols; nothing here knows their names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path

import torch

from ..core.config import digest
from ..core.files import read_json
from ..speech.segment import Segment
from ..speech.visemes import visemes
from .error_rates import error_counts
from .lips import bilabial_gaps, correlation, lip_aperture
from .synchrony import intensity_correlation, lip_intensity, misalignment
from .vertices import dynamics, paired_sequences, squared_lengths

PATH = Path(__file__).with_name("protocols.json")
KIT = "avlib"  # the protocol of the kit's own tables


@dataclass(frozen=True)
class Measure:
    """What one sequence leaves behind.

    kind: one of `KINDS`. regions: which vertices, all where none is named. power: of the distance, 2 for squared ones.
    truth_every: every how many-th frame of the truth is laid beside the prediction's first, second, third. centred: whether
    the region's mean is taken out of each frame. of: what is said to be dynamic, or edited.
    """

    kind: str
    regions: tuple[str, ...] = ()
    power: int = 1
    truth_every: int = 1
    centred: bool = False
    of: str = ""

    @property
    def key(self) -> str:
        """What it is called in a record's rows: "largest(lip, power=2)"."""
        told = [f"{f.name}={getattr(self, f.name)}" for f in fields(self)[2:] if getattr(self, f.name) != f.default]
        return f"{self.kind}({', '.join([*self.regions, *told])})"


@dataclass(frozen=True)
class Score:
    """A metric of a protocol: a measure and how sequences become one number.

    average: "pooled" counts frames (or characters) alike, "sequences" sequences; "magnitudes" the same without signs; "against
    speech" is the correlation with how loud they are. unit: of the value, with the corpus's unit filled in. scale: what one
    printed unit is, for corpora of one unit or "else".
    """

    measure: Measure
    average: str
    unit: str
    scale: float | dict[str, float] = 1.0
    lower_is_better: bool = True
    about: str = ""

    def printed(self, unit: str) -> tuple[float, str]:
        """What one printed unit is, and its name: 1e-5, "1e-5 m²"."""
        scale = self.scale.get(unit, self.scale["else"]) if isinstance(self.scale, dict) else self.scale
        name = self.unit.format(unit=unit)
        return scale, {(1e-3, "m"): "mm", (1.0, name): name}.get(
            (scale, name), f"{scale:.0e} {name}".replace("e-0", "e-")
        )


@dataclass(frozen=True)
class Protocol:
    name: str
    source: str
    about: str
    scores: dict[str, Score]


@cache
def protocols() -> dict[str, Protocol]:
    """Those of facts/protocols.json. ValueError names a field that does not exist."""

    def score(where: str, given: dict) -> Score:
        own = {f.name for f in fields(Measure)}
        measure = {k: tuple(v) if k == "regions" else v for k, v in given.items() if k in own}
        try:
            made = Score(Measure(**measure), **{k: v for k, v in given.items() if k not in own})
        except TypeError as error:
            raise ValueError(f"{PATH}: {where}: {error}") from None
        if made.measure.kind not in KINDS or made.average not in (*PER_SEQUENCE, SPEECH):
            raise ValueError(
                f"{PATH}: {where}: kind {made.measure.kind!r}, average {made.average!r}; expected one of "
                f"{', '.join(KINDS)}, and of {', '.join((*PER_SEQUENCE, SPEECH))}"
            )
        return made

    return {
        name: Protocol(name, p["source"], p["about"], {m: score(f"{name}: {m}", s) for m, s in p["scores"].items()})
        for name, p in read_json(PATH).items()
    }


def measures() -> list[Measure]:
    """Those of all protocols, once each."""
    return list(dict.fromkeys(s.measure for p in protocols().values() for s in p.scores.values()))


class Comparison:
    """One prediction beside its scan, and what was said beside what was read from it; what measures share is computed once.

    prediction, truth: (T, V, 3), template: (V, 3), in the corpus's unit; regions: vertices by name.
    """

    def __init__(
        self,
        prediction: torch.Tensor,
        truth: torch.Tensor,
        template: torch.Tensor,
        regions: dict[str, torch.Tensor],
        fps: float,
        phonemes: Sequence[Segment] = (),
        said: str = "",
        read: str = "",
    ):
        [(self.prediction, self.truth)] = paired_sequences(prediction, truth)
        self.template, self.regions, self.fps, self.phonemes, self.said, self.read = (
            template,
            regions,
            fps,
            phonemes,
            said,
            read,
        )
        self._displacements = {}

    @cached_property
    def squares(self) -> torch.Tensor:
        """(T, V) squared distances."""
        return squared_lengths(self.prediction - self.truth)

    def distances(self, measure: Measure) -> torch.Tensor:
        """To the measure's power, (frames, vertices of the region)."""
        index = self.regions[measure.regions[0]] if measure.regions else slice(None)
        squares = (
            self.squares[:, index] if measure.truth_every == 1 and not measure.centred else self._apart(index, measure)
        )
        return squares ** (measure.power / 2)

    def _apart(self, index: torch.Tensor | slice, measure: Measure) -> torch.Tensor:
        """Squared distances where frames or places are not laid beside each other as they are."""
        truth = self.truth[:: measure.truth_every, index]
        apart = self.prediction[: len(truth), index] - truth
        return squared_lengths(apart - apart.mean(1, keepdim=True) if measure.centred else apart)

    def displacements(self, region: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(T, region, 3) from the template, of the truth and of the prediction."""
        if region not in self._displacements:
            index = self.regions[region]
            self._displacements[region] = tuple(
                x.index_select(1, index) - self.template[index] for x in (self.truth, self.prediction)
            )
        return self._displacements[region]

    @cached_property
    def apertures(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(T,) of the prediction and of the truth, between the middles of the lips."""
        lips = [self.regions[f"{side}_lip_middle"] for side in ("upper", "lower")]
        return lip_aperture(self.prediction, *lips), lip_aperture(self.truth, *lips)


def _largest(c: Comparison, m: Measure) -> tuple[float, int]:
    errors = c.distances(m).amax(-1)
    return float(errors.sum()), len(errors)


def _mean(c: Comparison, m: Measure) -> tuple[float, int]:
    errors = c.distances(m).mean(-1)
    return float(errors.sum()), len(errors)


def _dynamics(c: Comparison, m: Measure) -> tuple[float, int]:
    true, predicted = (dynamics(x, m.of) for x in c.displacements(m.regions[0]))
    return float(true - predicted), 1


def _misalignment(c: Comparison, m: Measure) -> tuple[float, int]:
    return _if_any(misalignment(*c.apertures, c.fps))


def _aperture(c: Comparison, m: Measure) -> tuple[float, int]:
    return _if_any(correlation(*c.apertures))


def _closure(c: Comparison, m: Measure) -> tuple[float, int]:
    predicted, true = (
        bilabial_gaps(x, *(c.regions[r] for r in m.regions), c.phonemes, c.fps) for x in (c.prediction, c.truth)
    )
    return float((predicted - true).sum()), len(true)


def _intensity(c: Comparison, m: Measure) -> tuple[float, int]:
    return lip_intensity(c.prediction, c.regions[m.regions[0]]), 1


def _edits(c: Comparison, m: Measure) -> tuple[float, int]:
    said, read = (visemes(c.said), visemes(c.read)) if m.of == "visemes" else (c.said, c.read)
    edits, length = error_counts(said, read, words=m.of == "words")
    return 100.0 * edits, max(1, length)  # of an empty reference, every character read is an error


def _if_any(value: float) -> tuple[float, int]:
    """Lips that stand still have no extrema and correlate with nothing: such a sequence counts for nothing."""
    return (0.0, 0) if value != value else (value, 1)


KINDS = {
    "largest": _largest,
    "mean": _mean,
    "dynamics": _dynamics,
    "misalignment": _misalignment,
    "aperture": _aperture,
    "closure": _closure,
    "intensity": _intensity,
    "edits": _edits,
}
# A sequence's sum and count as it enters the mean.
PER_SEQUENCE = {
    "pooled": lambda total, count: (total, count),
    "sequences": lambda total, count: (total / count, 1),
    "magnitudes": lambda total, count: (abs(total) / count, 1),
}
SPEECH = "against speech"


def score(compared: Comparison) -> dict[str, list]:
    """Sum and count of every measure whose vertices the corpus knows, by key: what a row keeps."""
    return {
        m.key: list(KINDS[m.kind](compared, m)) for m in measures() if all(r in compared.regions for r in m.regions)
    }


def totals(row: dict, score: Score) -> tuple[float, float] | None:
    """What a row adds to a score's sum and count; None where it has nothing to say."""
    total, count = row["scores"].get(score.measure.key, (0, 0))
    return PER_SEQUENCE[score.average](total, count) if count else None


def value(rows: Iterable[dict], score: Score) -> float | None:
    """A score of all rows of one model; None where no row has anything to say."""
    if score.average == SPEECH:
        heard = [r for r in rows if score.measure.key in r["scores"]]
        loud, moved = [r["loudness"] for r in heard], [r["scores"][score.measure.key][0] for r in heard]
        found = intensity_correlation(loud, moved, [f"{r['subject']} {r['style']}" for r in heard])  # style by style
        return found if found == found else None
    found = [t for t in (totals(r, score) for r in rows) if t]
    return sum(t for t, _ in found) / sum(n for _, n in found) if found else None


def paired_totals(ones: list[list[dict]], others: list[list[dict]], score: Score) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums and counts of two models over utterances, (N, 2) each, from their rows of each seed. All styles and seeds of an
    utterance are added up; rows that either model lacks, or has nothing to say on, are left out of both."""
    if len(ones) != len(others):
        raise ValueError(f"rows of {len(ones)} seeds beside rows of {len(others)}; expected as many")
    sums = {}
    for one, other in zip(ones, others):
        theirs = {(r["utterance"], r["style"]): r for r in other}
        for row in one:
            partner = theirs.get((row["utterance"], row["style"]))
            both = (totals(row, score), totals(partner, score)) if partner else (None,)
            if all(both):
                sums[row["utterance"]] = sums.get(row["utterance"], 0) + torch.tensor(both, dtype=torch.float64)
    together = torch.stack(list(sums.values())) if sums else torch.zeros(0, 2, 2)
    return together[:, 0], together[:, 1]


def summary(rows: list[dict], unit: str, protocol: str = KIT) -> dict:
    """A protocol's metrics from the rows of one model, each with its value and unit; null where it is not defined."""
    return {
        name: {"value": value(rows, s), "unit": s.unit.format(unit=unit), "about": s.about}
        for name, s in protocols()[protocol].scores.items()
    }


def masks(regions: dict[str, torch.Tensor]) -> dict[str, dict]:
    """What stands for each region's vertices beside a number: a short hash, and how many there are."""
    found = {name: sorted(set(torch.as_tensor(index).tolist())) for name, index in regions.items()}
    return {name: {"hash": digest(index)[:6], "vertices": len(index)} for name, index in found.items()}
