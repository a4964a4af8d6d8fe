"""A table of results and the formats it is written in: Markdown, CSV, LaTeX and JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.files import write_atomic, write_json
from .latex import latex_table


@dataclass
class Table:
    """Rows of cells under heads.

    source: what all numbers of the table have in common (protocol, mask, split), by name. notes: sentences of the
    caption. data: the same rows with unrounded numbers, for the JSON file.
    """

    title: str
    heads: list[str]
    rows: list[list[str]]
    source: dict[str, str]
    notes: list[str] = field(default_factory=list)
    data: list = field(default_factory=list)

    @property
    def caption(self) -> str:
        source = [f"{name} {content}" for name, content in self.source.items()]
        return ". ".join(["; ".join([self.title, *source]), *self.notes]) + "."

    def markdown(self) -> str:
        lines = [self.caption, "", _markdown_row(self.heads), "|---" * len(self.heads) + "|"]
        return "\n".join([*lines, *map(_markdown_row, self.rows)]) + "\n"

    def csv(self) -> str:
        """Each row ends with the table's source, so that no row loses it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*self.heads, *self.source])
        writer.writerows([*row, *self.source.values()] for row in self.rows)
        return text.getvalue()

    def write(self, folder: Path, name: str, **about) -> str:
        """Writes <name>.md, .csv, .tex and .json; returns the Markdown. about: more fields of the JSON file."""
        latex = latex_table(self.caption, self.heads, self.rows, name)
        for suffix, text in (("md", self.markdown()), ("csv", self.csv()), ("tex", latex)):
            _write_text(folder / f"{name}.{suffix}", text)
        fields = {"title": self.title, **about, **self.source, "notes": self.notes, "rows": self.data}
        write_json(folder / f"{name}.json", fields)
        return self.markdown()


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without a caption."""
    lines = [_markdown_row(heads), "|---" * len(heads) + "|", *map(_markdown_row, rows)]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _write_text(path: Path, text: str) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text)

    write_atomic(path, write)
