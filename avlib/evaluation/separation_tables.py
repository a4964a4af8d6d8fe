"""Tables of the feature analysis: every combination of conditions, raw inputs, and guided beside baseline lips."""

from ..core.run import Run
from .separation_conclusions import conclusions, lips_label
from .separation_conditions import CLIPS, MIN_FOR_INTERVAL, READERS, RESAMPLES
from .table_formats import Table

RAW_INPUTS = ("pixels", "spectrum")
INTERVALS = (
    f"95 % intervals of {RESAMPLES:,} bootstrap resamples: utterances are redrawn, and silhouettes computed within the "
    f"redrawn clouds; none with fewer than {MIN_FOR_INTERVAL} utterances of a word. They hold networks and voices "
    "fixed, and are not adjusted for their number"
)
# What the authors of the kit had seen before they chose how to analyse.
DECIDED_AFTER_LOOKING = (
    "Decided after looking: whole words were added after single frames of the embedded corpus had shown no advantage "
    "of the audio-visual reader, and words that open a sentence were first left out after maps of the embedded corpus "
    "had shown “just” in two places. Rows of all combinations stand side by side for this reason"
)


def word_separation_tables(run: Run, record: dict, corpus: str) -> str:
    """Writes the tables of a record of `tsne.tsne_record` to the run's tables/; returns their Markdown.

    What follows from the first table stands below it. corpus: its description. Without any row, nothing is written,
    and the Markdown is the reasons.
    """
    if not record["rows"]:
        return "\n\n".join(dict.fromkeys(choice["reason"] for choice in record["choices"])) + "\n"
    folder, source = run.folder / "tables", {"corpus": corpus, "words": compared_words(record)}
    lines = conclusions(record)
    parts = [rows_table(record, source).write(folder, "table_tsne", choices=record["choices"], conclusions=lines)]
    parts.append("\n".join(f"* {line}" for line in lines) + "\n")
    if record["guidance"]:
        parts.append(guidance_table(record, source).write(folder, "table_tsne_guidance"))
    if any(RAW_INPUTS[0] in row["silhouette"] for row in record["rows"]):
        parts.append(inputs_table(record, source).write(folder, "table_tsne_inputs"))
    return "\n".join(parts)


def compared_words(record: dict) -> str:
    """ "just and must"; where clips and test sentences have different words, both pairs."""
    words = {
        "clips" if row["lips"] == CLIPS else "test sentences": " and ".join(row["words"]) for row in record["rows"]
    }
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{pair} ({where})" for where, pair in words.items())


def rows_table(record: dict, source: dict[str, str]) -> Table:
    """A row for each combination of conditions, with both readers and the difference between them."""
    heads = ["lips", "points", "words that open a sentence", "number of points", "utterances of each word"]
    heads += [f"silhouette, {reader}" for reader in READERS] + ["difference"]
    heads += [f"linear probe, {reader} (%)" for reader in READERS] + [f"four maps, {reader}" for reader in READERS]
    rows = []
    for row in record["rows"]:
        cells = [*_conditions(row), str(row["count"]), ", ".join(map(str, row["utterances"].values()))]
        if row["reason"]:
            rows.append(cells + ["–"] * (len(heads) - len(cells)))
            continue
        cells += [_number(row["silhouette"][reader]) for reader in READERS] + [_interval(row["difference"])]
        cells += [f"{100 * row['probe'][reader]:.0f}" for reader in READERS]
        rows.append(
            cells + [", ".join(f"{s:z.2f}".replace("-", "−") for s in row["maps"][reader]) for reader in READERS]
        )
    notes = [
        "Difference: silhouette of the audio-visual minus that of the visual-only reader, with " + INTERVALS,
        "Linear probe: balanced accuracy on utterances it was not fitted to, 50 at chance",
        DECIDED_AFTER_LOOKING,
    ]
    notes += without_numbers(record["rows"])
    return Table("How far apart two words lie in the readers' features", heads, rows, source, notes, record["rows"])


def without_numbers(rows: list[dict]) -> list[str]:
    """A sentence for each reason why rows have no numbers, with the lips that it holds for."""
    lips_by_reason: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        if row["reason"]:
            lips_by_reason.setdefault((row["opening"], row["reason"]), {})[lips_label(row["lips"])] = None
    return [
        f"No numbers with words that open a sentence {opening} on {'; '.join(lips)}: {reason}"
        for (opening, reason), lips in lips_by_reason.items()
    ]


def guidance_table(record: dict, source: dict[str, str]) -> Table:
    """For each animator and combination, silhouettes on guided minus those on baseline lips."""
    heads = ["guided lips", "points", "words that open a sentence", *READERS]
    cells: dict[tuple, list[str]] = {}
    for row in record["guidance"]:
        conditions = _conditions(row)
        cells.setdefault(tuple(conditions), conditions).append(_interval(row))
    note = (
        "Silhouette on guided minus that on baseline lips of the same animator, seed and sentences, with " + INTERVALS
    )
    title = "Do the words lie further apart on guided lips"
    return Table(title, heads, list(cells.values()), source, [note], record["guidance"])


def inputs_table(record: dict, source: dict[str, str]) -> Table:
    """The same measures of what the readers receive."""
    rows = [row for row in record["rows"] if RAW_INPUTS[0] in row["silhouette"]]
    heads = ["lips", "points", "words that open a sentence"]
    heads += [f"{measure}, {kind}" for kind in RAW_INPUTS for measure in ("silhouette", "linear probe (%)")]
    cells = [
        [*_conditions(row)]
        + [
            cell
            for kind in RAW_INPUTS
            for cell in (_number(row["silhouette"][kind]), f"{100 * row['probe'][kind]:.0f}")
        ]
        for row in rows
    ]
    note = "Pixels of the lip crop, and power spectrum of the speech in dB, at the same points"
    return Table("How far apart the words lie in the readers' inputs", heads, cells, source, [note], rows)


def _conditions(row: dict) -> list[str]:
    return [lips_label(row["lips"]), row["points"], row["opening"]]


def _number(value: float) -> str:
    return f"{value:z.3f}".replace("-", "−")


def _interval(difference: dict) -> str:
    """ "+0.098 [+0.077, +0.120]", or the difference alone where it has no interval."""
    middle, low, high = (difference[name] for name in ("difference", "low", "high"))
    text = f"{middle:+z.3f}" if low is None else f"{middle:+z.3f} [{low:+z.3f}, {high:+z.3f}]"
    return text.replace("-", "−")
