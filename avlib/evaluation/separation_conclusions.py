"""What the record of the feature analysis says, in sentences that follow from its intervals and maps alone."""

from collections.abc import Callable, Sequence

from .evaluate import TRUTH
from .results import model_label
from .separation_conditions import CLIPS, INCLUDED, LEFT_OUT, NONE, READERS

ABOVE, BELOW, AROUND, WITHOUT = "above zero", "below zero", "around zero", "without interval"
OPENING_LABELS = {
    LEFT_OUT: "words that open a sentence left out",
    INCLUDED: "words that open a sentence included",
    NONE: "no word opens a sentence",
}


def lips_label(lips: str) -> str:
    """Whose lips, as tables name them."""
    return {CLIPS: "held-out 2D clips", TRUTH: "true renders of test scans"}.get(lips, model_label(lips))


def side(difference: dict) -> str:
    """On which side of zero the interval of a difference lies. Bounds that are zero count as around it."""
    if difference["low"] is None:
        return WITHOUT
    return ABOVE if difference["low"] > 0 else BELOW if difference["high"] < 0 else AROUND


def conclusions(record: dict) -> list[str]:
    """A sentence on each kind of row, on words that open a sentence, on the maps, and on guided lips.

    record: of `tsne.tsne_record`. Markdown. Rows without numbers have no part in it.
    """
    rows = [row for row in record["rows"] if row["difference"]]
    if not rows:
        return ["No row has enough utterances of both words: nothing follows."]
    kinds = dict.fromkeys((row["points"], row["opening"]) for row in rows)
    lines = [_readers_line(*kind, [row for row in rows if (row["points"], row["opening"]) == kind]) for kind in kinds]
    return [*lines, *_opening_line(rows), _maps_line(rows), *_guidance_lines(record["guidance"])]


def _readers_line(points: str, opening: str, rows: list[dict]) -> str:
    """On which lips the audio-visual reader's silhouette differs from the visual-only reader's."""
    found = by_side(rows, lambda row: side(row["difference"]), lambda row: lips_label(row["lips"]))
    kind = f"{points}, {OPENING_LABELS[opening]}"
    return f"**{kind[0].upper()}{kind[1:]}.** Audio-visual minus visual-only silhouette: {found}."


def by_side(rows: Sequence[dict], side_of: Callable[[dict], str], label: Callable[[dict], str]) -> str:
    """The labels of the rows under the side of zero that each lies on: "above zero: a; b. below zero: none ..." """
    groups = {name: [label(row) for row in rows if side_of(row) == name] for name in (ABOVE, BELOW, AROUND, WITHOUT)}
    return "; ".join(f"{name} on {', '.join(labels)}" for name, labels in groups.items() if labels)


def _opening_line(rows: list[dict]) -> list[str]:
    """Whether the side of zero depends on words that open a sentence. Nothing without such words."""
    sides = {(row["lips"], row["points"], row["opening"]): side(row["difference"]) for row in rows}
    pairs = [
        (f"{points} on {lips_label(lips)}", sides[lips, points, INCLUDED], without)
        for (lips, points, opening), without in sides.items()
        if opening == LEFT_OUT
    ]
    pairs = [pair for pair in pairs if WITHOUT not in pair]
    if not pairs:
        return []
    changed = [
        f"{label} ({included} with them, {without} without)"
        for label, included, without in pairs
        if included != without
    ]
    count = f"{len(changed)} of {len(pairs)} comparisons"
    details = f": {'; '.join(changed)}" if changed else ""
    return [f"**Words that open a sentence.** Leaving them out moves the interval in {count}{details}."]


def _maps_line(rows: list[dict]) -> str:
    """Whether the four maps agree with each other, and with the intervals, about the reader that separates better."""
    orders = [_map_order(row) for row in rows]
    contrary = [
        f"{row['points']} on {lips_label(row['lips'])}, {OPENING_LABELS[row['opening']]}"
        for row, order in zip(rows, orders)
        if side(row["difference"]) in (ABOVE, BELOW) and order != side(row["difference"])
    ]
    higher, lower, mixed = (orders.count(order) for order in (ABOVE, BELOW, AROUND))
    decided = sum(side(row["difference"]) in (ABOVE, BELOW) for row in rows)
    details = f": {'; '.join(contrary)}" if contrary else ""
    return (
        f"**Maps.** The audio-visual reader's silhouette is the higher one on all four maps in {higher} of {len(rows)} "
        f"rows and the lower one in {lower}; in {mixed} the maps disagree. Of {decided} rows whose interval excludes "
        f"zero, not all maps show the same order in {len(contrary)}{details}."
    )


def _map_order(row: dict) -> str:
    """ABOVE if the audio-visual silhouette is the higher one on all four maps, BELOW if on none, else AROUND."""
    first, second = (row["maps"][reader] for reader in READERS)
    differences = [a - b for a, b in zip(first, second)]
    return ABOVE if min(differences) > 0 else BELOW if max(differences) < 0 else AROUND


def _guidance_lines(differences: list[dict]) -> list[str]:
    """For each reader, whether the words lie further apart on guided than on baseline lips."""
    lines = []
    for reader in READERS:
        rows = [row for row in differences if row["reader"] == reader]
        found = by_side(
            rows,
            side,
            lambda row: f"{lips_label(row['lips'])} ({row['points']}, {OPENING_LABELS[row['opening']]})",
        )
        if rows:
            lines.append(f"**Guidance, {reader} reader.** Silhouette on guided minus baseline lips: {found}.")
    return lines
