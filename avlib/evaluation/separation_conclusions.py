"""What the record of the feature analysis says, in sentences that follow from its intervals and maps alone."""

from collections.abc import Callable, Sequence

from .labels import TRUTH
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


def _name(row: dict) -> str:
    """Whose lips, within a list that commas separate: "FaceFormer guided"."""
    return lips_label(row["lips"]).replace(",", "")


def _kind(row: dict) -> str:
    """Kind of point, and words that open a sentence."""
    return f"{row['points']}, {OPENING_LABELS[row['opening']]}"


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
    lines = [
        f"**{kind[0].upper()}{kind[1:]}.** Audio-visual minus visual-only silhouette: "
        f"{by_side([row for row in rows if _kind(row) == kind], lambda row: side(row['difference']))}."
        for kind in dict.fromkeys(map(_kind, rows))
    ]
    return [*lines, *_opening_line(rows), _maps_line(rows), *_guidance_lines(record["guidance"])]


def by_side(rows: Sequence[dict], side_of: Callable[[dict], str]) -> str:
    """Whose lips lie on which side of zero: "above zero on a, b; around zero on c"."""
    groups = {name: [_name(row) for row in rows if side_of(row) == name] for name in (ABOVE, BELOW, AROUND, WITHOUT)}
    return "; ".join(f"{name} on {', '.join(names)}" for name, names in groups.items() if names)


def _opening_line(rows: list[dict]) -> list[str]:
    """Whether the side of zero depends on words that open a sentence. Nothing without such words."""
    sides = {(_name(row), row["points"], row["opening"]): side(row["difference"]) for row in rows}
    pairs = [
        (f"{points} on {lips}", sides[lips, points, INCLUDED], without)
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
        f"{_kind(row)}, on {_name(row)}"
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
    """For each reader and kind of row, whether the words lie further apart on guided than on baseline lips."""
    lines = []
    for reader in dict.fromkeys(row["reader"] for row in differences):
        rows = [row for row in differences if row["reader"] == reader]
        found = [
            f"{kind}, {by_side([row for row in rows if _kind(row) == kind], side)}"
            for kind in dict.fromkeys(map(_kind, rows))
        ]
        lines.append(f"**Guidance, {reader} reader.** Silhouette on guided minus baseline lips: {'; '.join(found)}.")
    return lines
