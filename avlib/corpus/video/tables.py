"""Tables of films and transcripts, with or without the times of words."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ...core.files import find_visible
from ...speech.languages import ENGLISH
from ...speech.segment import Segment
from ...speech.text import normalise_text, read_text
from .folders import VIDEO_SUFFIXES
from .source import SPLITS, Source, split_long
from .transcripts import timed_word

PAUSES = ("sil", "sp")  # labels of silence among words
WORD_TABLES = ("words.tsv", "words.csv")


def find_tables(folder: Path) -> list[Path]:
    """The tables of films in a folder."""
    return [path for path in find_visible(folder, "*.csv") if path.name not in WORD_TABLES]


def read_tables(tables: list[Path], language: str = ENGLISH) -> Iterator[Source]:
    """The recordings of tables in one folder, with the times of words if a table beside them has these.

    ValueError names a table that cannot be read.
    """
    sources = [source for table in tables for source in read_table(table, language)]
    word_table = next((p for name in WORD_TABLES if (p := tables[0].parent / name).is_file()), None)
    for source in sources if word_table is None else _with_words(sources, word_table, language):
        yield from split_long(source)


def read_table(table: Path, language: str) -> Iterator[Source]:
    """A table with columns path (relative to its folder), text, and optionally split and subject."""
    for line, row in _rows(table, ("path", "text")):
        split = row.get("split") or "train"
        if split not in SPLITS or not row["path"]:
            raise ValueError(
                f"{table}, line {line}: path {row['path']!r} and split {split!r}, expected a file "
                f"and one of {', '.join(SPLITS)}"
            )
        name, text = str(Path(row["path"]).with_suffix("")), normalise_text(row["text"] or "", language)
        yield Source(name, split, table.parent / row["path"], text, subject=(row.get("subject") or "").strip())


def _with_words(sources: list[Source], table: Path, language: str) -> Iterator[Source]:
    """The sources with the words of a table with columns clip, start_s, end_s and word.

    clip is the path or the file name of a recording, with or without suffix.
    """
    words: dict[str, list[Segment]] = {}
    for line, row in _rows(table, ("clip", "start_s", "end_s", "word")):
        clip, label = Path(row["clip"] or ""), normalise_text(row["word"] or "", language)
        key = str(clip.with_suffix("") if clip.suffix.lower() in VIDEO_SUFFIXES else clip)
        if label and label not in PAUSES:
            word = timed_word(label, row["start_s"] or "", row["end_s"] or "", f"{table.name}, line {line}")
            words.setdefault(key, []).append(word)
    counts = Counter(Path(source.name).name for source in sources)
    matched = 0
    for source in sources:
        stem = Path(source.name).name
        timed = words.get(source.name, [])
        if not timed and stem in words:
            if counts[stem] > 1:
                raise ValueError(f"{table}: clip {stem!r} is {counts[stem]} recordings; give their paths")
            timed = words[stem]
        matched += bool(timed)
        timed = sorted(timed, key=lambda word: word.start_s)
        said = " ".join(word.label for word in timed)
        fault = f"'{table.name}' has the words '{said}', its text is '{source.text}'" if timed else ""
        yield replace(source, words=tuple(timed), fault="" if said == source.text else fault)
    if words and not matched:
        raise ValueError(f"{table}: clip {min(words)!r} and the others are no recordings of the tables beside it")


def _rows(table: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The rows of a table and their line numbers. ValueError for missing columns."""
    try:
        text = read_text(table)
    except ValueError as error:
        raise ValueError(f"{table}: {error}") from None
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if table.suffix == ".tsv" else ",")
    if not set(columns) <= set(rows.fieldnames or ()):
        expected = f"{', '.join(columns[:-1])} and {columns[-1]}"
        raise ValueError(f"{table}: columns {', '.join(rows.fieldnames or ())}, expected {expected}")
    for row in rows:
        yield rows.line_num, row
