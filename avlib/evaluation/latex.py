"""A table as LaTeX. It needs the packages booktabs and graphicx, and compiles with pdfLaTeX, LuaLaTeX and XeLaTeX.

Texts come from users as well (methods, words, corpora): they are escaped and run no command.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

LONGEST_CELL = 12  # characters; longer cells are divided into lines, except in the first column
HEAD_BREAKS = re.compile(r" (?=\()|(?<=,) ")  # before units, after commas
CELL_BREAKS = re.compile(r" (?=\([+−])|(?<=[a-z)],) ")  # before signed percentages, after commas except between numbers
# A table that is wider than its line is scaled to it.
SCALED = r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
ESCAPES = {
    "\\": r"\textbackslash{}",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "λ": r"$\lambda$",
    "“": "``",
    "”": "''",
    '"': "''",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def latex_table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> str:
    """A table environment with the label "tab:<name>"."""
    body = [_row_lines(row) for row in rows]
    if any(len(lines) > 1 for lines in body):
        body = [[*lines, r"    \addlinespace"] for lines in body[:-1]] + body[-1:]
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(caption)}}}",
        rf"  \label{{tab:{re.sub(r'[^A-Za-z0-9_-]', '-', name)}}}",
        SCALED,
        rf"  \begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"    \toprule",
        *_head_lines(heads),
        r"    \midrule",
        *(line for row in body for line in row),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """A text in one line, in which no character is a command. Accents are composed, as pdfLaTeX needs them."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    escaped = re.sub("|".join(map(re.escape, ESCAPES)), lambda match: ESCAPES[match[0]], text)
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped  # the end of the row before would take these


def _head_lines(heads: Sequence[str]) -> list[str]:
    """The heads as lines of the table; those with fewer stand at the bottom."""
    columns = [_divide(head, HEAD_BREAKS)[::-1] for head in heads]
    return [_line(cells) for cells in zip_longest(*columns, fillvalue="")][::-1]


def _row_lines(cells: Sequence[str]) -> list[str]:
    first, *others = cells
    columns = [[first], *(_divide(cell, CELL_BREAKS) for cell in others)]
    return [_line(cells) for cells in zip_longest(*columns, fillvalue="")]


def _divide(cell: str, breaks: re.Pattern) -> list[str]:
    return breaks.split(cell) if len(cell) > LONGEST_CELL else [cell]


def _line(cells: Sequence[str]) -> str:
    return "    " + " & ".join(map(escape, cells)) + r" \\"
