"""The difference between two methods in a score, from their evaluation records: size, interval, p values, verdict."""

from collections.abc import Iterable
from typing import NamedTuple, TypedDict

import numpy as np

from ..metrics.protocols import AGAINST_SPEECH, Score, row_totals
from .hierarchical_bootstrap import hierarchical_interval
from .statistics import permutation_test

ENOUGH = 10  # seeds or subjects; intervals of fewer contain the truth less often than they should (docs/metrics.md)
BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"


class Difference(TypedDict):
    """Mean of one method minus mean of another, with 95 % intervals over seeds, subjects and utterances.

    percent, percent_low, percent_high: of the second method's mean; None where `hierarchical_interval` has none.
    p: of the interval's resamples. Swap tests: p_utterances exchanges the methods utterance by utterance, which holds
    trainings and subjects fixed. p_seeds exchanges them seed by seed, which holds subjects and utterances fixed; it is
    exact, at least 2 / 2^seeds, and None for one seed.
    verdict: see `verdict`. seeds, subjects, utterances: how many there are.
    """

    difference: float
    low: float
    high: float
    percent: float | None
    percent_low: float | None
    percent_high: float | None
    p: float
    p_utterances: float
    p_seeds: float | None
    verdict: str | None
    seeds: int
    subjects: int
    utterances: int


class PairedTotals(NamedTuple):
    """Sums and counts of two methods. a, b: (seeds, utterances, 2). subjects: of the utterances."""

    a: np.ndarray
    b: np.ndarray
    subjects: list[str]


def difference(ones: list[dict], others: list[dict], score: Score, seed: int = 0) -> Difference | None:
    """Mean of `ones` minus mean of `others`, paired seed by seed on the same utterances.

    ones, others: evaluation records of each method, one for each training seed, in the same order.
    None where fewer than two utterances have the score, and for scores against speech, which have no sums.
    Errors: ValueError if the methods differ in their number of seeds.
    """
    if score.average == AGAINST_SPEECH:
        return None
    totals = paired_totals([r["rows"] for r in ones], [r["rows"] for r in others], score)
    if len(totals.subjects) < 2:
        return None
    interval = hierarchical_interval(*totals, seed)
    a, b = totals.a, totals.b
    return Difference(
        **interval._asdict(),
        p_utterances=permutation_test(a.sum(0), b.sum(0), seed),
        p_seeds=permutation_test(a.sum(1), b.sum(1), seed) if len(a) > 1 else None,
        verdict=verdict(interval.low, interval.high, score),
        seeds=len(a),
        subjects=len(set(totals.subjects)),
        utterances=len(totals.subjects),
    )


def verdict(low: float, high: float, score: Score) -> str | None:
    """ "better" or "worse" if the interval of a difference excludes zero, else "undecided".

    None for scores whose best value is 0, with worse ones on both sides.
    """
    if score.is_signed:
        return None
    if low <= 0 <= high:
        return UNDECIDED
    return BETTER if (high < 0) == score.lower_is_better else WORSE


def paired_totals(ones: list[list[dict]], others: list[list[dict]], score: Score) -> PairedTotals:
    """Sums and counts of two methods for each seed and utterance. ones, others: their rows of each seed.

    All styles of an utterance are added up. A row counts only if both methods have it and its score. Utterances are in
    the order of their subjects and names, whatever the order of the rows.
    Errors: ValueError if the methods differ in their number of seeds.
    """
    if len(ones) != len(others):
        raise ValueError(f"rows of {len(ones)} seeds beside rows of {len(others)}; expected as many")
    sums: dict[tuple[str, str], np.ndarray] = {}  # (subject, utterance) -> (seeds, methods, 2)
    for n, (one, other) in enumerate(zip(ones, others)):
        partners = {(row["utterance"], row["style"]): row for row in other}
        for row in sorted(one, key=lambda row: (row["utterance"], row["style"])):
            partner = partners.get((row["utterance"], row["style"]))
            pair = [row_totals(row, score), row_totals(partner, score)] if partner else [None]
            if all(pair):
                sums.setdefault((row["subject"], row["utterance"]), np.zeros((len(ones), 2, 2)))[n] += np.array(pair)
    names = sorted(sums)
    stacked = np.stack([sums[name] for name in names], 1) if names else np.zeros((len(ones), 0, 2, 2))
    return PairedTotals(stacked[:, :, 0], stacked[:, :, 1], [subject for subject, _ in names])


def bootstrap_note(differences: Iterable[Difference | None]) -> str:
    """What the intervals and p of a table's differences cover, and what they hold fixed, after "p of"."""
    known = [d for d in differences if d]
    if not known:
        return "a bootstrap that resamples seeds, subjects and their utterances"
    counts = {level: sorted({d[level] for d in known}) for level in ("seeds", "subjects", "utterances")}
    seeds, subjects, utterances = (_counted(level, numbers) for level, numbers in counts.items())
    note = f"a bootstrap that resamples {seeds}, {subjects} and {utterances}, each with all its styles"
    fixed = [
        f"the {held} fixed: one {level.removesuffix('s')}"
        for level, held in (("seeds", "training"), ("subjects", "subject"))
        if counts[level][0] == 1
    ]
    note += f". It holds {' and '.join(fixed)}" if fixed else ""
    is_few = any(1 < number < ENOUGH for level in ("seeds", "subjects") for number in counts[level])
    few = "So few seeds or subjects make the interval too narrow if they differ more than utterances do"
    return note + (f". {few}" if is_few else "")


def _counted(level: str, numbers: list[int]) -> str:
    """ "1 seed", "5 seeds", "1 to 5 seeds"."""
    if numbers == [1]:
        return f"1 {level.removesuffix('s')}"
    return f"{numbers[0]} to {numbers[-1]} {level}" if len(numbers) > 1 else f"{numbers[0]} {level}"
