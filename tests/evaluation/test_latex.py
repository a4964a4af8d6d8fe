"""Tables as LaTeX: texts stay texts, all rows have the same columns, and a TeX accepts every table."""

import re
import shutil
import subprocess

import pytest

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import convergence, results, variant_results
from avlib.evaluation.latex import ESCAPES, escape, latex_table
from tests.evaluation.variant_records import ALL, score_variants

HOSTILE = (
    r"\input{/etc/passwd}",
    r"\write18{ls} $x^2$ 50 % # & ~ _",
    "}{ \\end{tabular} \\",
    "[2em] an option",
    "* a star",
    'a_method & b <i>, "quoted", -1 | 2² m³ ± −3 – 4 λ_av “so”, Zoe\u0308, M\u00fcller\'s',
    "% a comment\n\nand a paragraph",
)
SPECIAL = r"\{}&%$#_^~"


def bare(text: str) -> str:
    """LaTeX without what `escape` writes for special characters."""
    written = sorted(filter(None, [*ESCAPES.values(), "{}"]), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, written)), "", text)


@pytest.fixture
def hostile_table() -> str:
    rows = [[name, *HOSTILE[::-1][:3], f"FaceFormer, {name} (a)"] for name in HOSTILE]
    return latex_table(HOSTILE[0] + HOSTILE[1], ["Method", *HOSTILE[:4]], rows, "x}y_\\z")


@pytest.mark.parametrize("text", [*HOSTILE, *SPECIAL, "".join(map(chr, range(32, 127)))])
def test_no_character_of_a_text_is_a_command(text):
    escaped = escape(text)
    assert not set(bare(escaped)) & set(SPECIAL) and "\n" not in escaped
    assert not escaped.startswith(("[", "*")), "the end of the row before would take it as its option"
    assert all(letter in escaped for letter in re.findall("[a-zA-Z0-9]", text))


def test_accents_are_composed_as_pdflatex_needs_them():
    assert escape("Zoe\u0308") == "Zo\u00eb"


def body(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.endswith(r" \\")]


def test_rows_have_the_same_columns_and_braces_are_balanced(hostile_table):
    lines = body(hostile_table)
    assert len(lines) > len(HOSTILE) and all(len(re.findall(r"(?<!\\)&", line)) == 4 for line in lines)
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", hostile_table):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0 and r"\label{tab:x-y_-z}" in hostile_table


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.removesuffix(r"\\").split("&")]


def test_long_cells_are_divided_and_short_heads_stand_at_the_bottom():
    """Not within an interval, and not in the first column."""
    difference = "−0.038 [−0.199, +0.130] (−1.0 % [−5.4, +4.2]), p 0.63"
    rows = [["FaceFormer, guided (a)", difference, "0.1"], ["b", "0.2, 0.3, 0.4, 0.5", "0.2"]]
    table = latex_table("Made up", ["Method", "LVE above floor (m)", "CER (%)"], rows, "x")
    assert list(map(cells, body(table))) == [
        ["", "LVE above floor", ""],
        ["Method", "(m)", r"CER (\%)"],
        ["FaceFormer, guided (a)", "$-$0.038 [$-$0.199, +0.130]", "0.1"],
        ["", r"($-$1.0 \% [$-$5.4, +4.2]),", ""],
        ["", "p 0.63", ""],
        ["b", "0.2, 0.3, 0.4, 0.5", "0.2"],
    ]
    assert table.count(r"\addlinespace") == 1, "between the two rows"


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> list[str]:
    """The tables of a run with several groups of variants, and names that users may give."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", tmp_path_factory.mktemp("results"))
        patch.setattr(runs, "commit", lambda: "a commit")  # asks git, once for each of the many records
        run = Run("a_run 50 %", load("smoke", **ALL | {"variants": "ablation,weight"}))
        score_variants(run)
        for write in (results.results_table, results.protocols_table, convergence.convergence_table):
            write(run, [0], r"corpus of M\"uller & S_n, 100 %")
        variant_results.variant_tables(run, [0], "embedded corpus")
    written = sorted((run.folder / "tables").glob("*.tex"))
    assert len(written) > 10
    return [path.read_text() for path in written]


def test_tables_without_names_of_users_have_characters_of_any_tex(tables):
    """ASCII, and the é of Fréchet."""
    assert [table for table in tables if not table.replace("é", "").isascii()] == []


@pytest.mark.parametrize("engine", ["pdflatex", "lualatex"])
def test_a_tex_accepts_every_table_and_fits_it_to_the_line(tmp_path, tables, hostile_table, engine):
    if shutil.which(engine) is None:
        pytest.skip(f"no {engine} on the PATH (Debian: texlive-latex-recommended and texlive-luatex)")
    document = [r"\documentclass{article}", r"\usepackage{booktabs, graphicx}", r"\begin{document}"]
    (tmp_path / "all.tex").write_text(
        "\n".join([*document, r"\clearpage ".join([hostile_table, *tables]), r"\end{document}"])
    )
    command = [engine, "-no-shell-escape", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert "Overfull" not in log and "Missing character" not in log and "passwd" not in re.sub(r"\s", "", log)
