"""Which gains count: those that both judges see, and at least one measure of the mouth that no network makes."""

from collections.abc import Mapping

from ..metrics.protocols import KIT, Score, read_protocols
from .differences import Difference

JUDGED = {"CER": ("CER", "CER_judge"), "VER": ("VER", "VER_judge")}  # scores of the same kind by each judge
NETWORK_FREE = ("closure", "aperture r", "MTM", "lip DTW")


def counted_gains(differences: Mapping[str, Difference | None]) -> dict[str, bool]:
    """For the CER and the VER, whether the first method is better than the second by both judges and by at least one
    of the measures `NETWORK_FREE`.

    differences: first method minus second, by the name of the score in the kit's protocol. Only signs count; how sure
    they are is for the intervals to say. A gain that a judge has not measured does not count.
    """
    scores = read_protocols()[KIT].scores
    better = {name for name, difference in differences.items() if is_gain(difference, scores[name])}
    confirmed = not better.isdisjoint(NETWORK_FREE)
    return {kind: confirmed and better.issuperset(names) for kind, names in JUDGED.items()}


def is_gain(difference: Difference | None, score: Score) -> bool:
    """Whether a difference has the sign of an improvement. A missing one has not, nor has one of exactly zero, nor one
    of a score whose best value is 0."""
    if difference is None or score.is_signed:
        return False
    change = difference["difference"]
    return change < 0 if score.lower_is_better else change > 0
