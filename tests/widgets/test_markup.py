"""Names and texts from data do not become markup: in the report, in executed notebooks, and on the page for people.

Every page is opened in a browser, Chromium, where there is one.
"""

import json
import re

import nbconvert
import nbformat
import pytest

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import report
from avlib.evaluation.table_formats import Table
from avlib.widgets.cell_output import Markdown
from avlib.widgets.preference_study import render_page
from tests.browser import BROWSER, MISSING, dom

RUN = "document.documentElement.dataset.ran = 1"
HOSTILE = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"<img src=x onerror='{RUN}'>",
    f'"><svg onload="{RUN}">',
    f"</td></table><iframe srcdoc='<script>parent.{RUN}</script>'>",
    f"![x](x){{onerror={RUN}}}",
    f"<style>@import 'x'</style><body onload='{RUN}'>",
)


@pytest.fixture
def hostile_table():
    rows = [[name, f"`{name}`"] for name in HOSTILE]
    return Table(HOSTILE[0], ["Subject", HOSTILE[2]], rows, {"corpus": HOSTILE[3]}, [HOSTILE[4]], rows)


def write_notebook_page(path, text: str) -> None:
    """An executed notebook that shows a text, as nbconvert writes it: that passes on the HTML in Markdown, as Jupyter
    does in what a cell shows."""
    output = nbformat.v4.new_output("display_data", {"text/markdown": text})
    cell = nbformat.v4.new_code_cell("", outputs=[output])
    page, _ = nbconvert.HTMLExporter(template_name="basic").from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    path.write_text(f"<!doctype html><html><body>{page}</body></html>")


def elements(page: str) -> list[str]:
    """The elements of a page that could run something."""
    return re.findall(r"<(?:script|img|svg|iframe|style|body onload|a)\b", page)


def test_jupyter_shows_names_as_text(tmp_path, hostile_table):
    shown = Markdown(hostile_table.markdown())
    write_notebook_page(tmp_path / "page.html", shown.data)
    page = (tmp_path / "page.html").read_text()
    assert not elements(page) and page.count("&lt;script&gt;") >= 4


@pytest.mark.parametrize("link", ["[x](javascript:alert(1))", "![x](https://example.org/x.png)"])
def test_names_become_neither_pictures_nor_links_that_run(tmp_path, link):
    write_notebook_page(tmp_path / "page.html", Markdown(f"| a |\n|---|\n| {link} |\n").data)
    page = (tmp_path / "page.html").read_text()
    assert "<img" not in page and 'href="javascript' not in page and "](" in page, "a plain address may become a link"


@pytest.fixture
def run(tmp_path, monkeypatch, hostile_table):
    """A run whose settings, tables, figures and notebooks have hostile names."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    run = Run("<b onclick=x>&", load("smoke"))
    hostile_table.write(run.folder / "tables", "table")
    settings = json.loads((run.folder / "config.json").read_text())
    settings["evaluation"]["words"] = list(HOSTILE)
    (run.folder / "config.json").write_text(json.dumps(settings))
    for place, name in (("figures", "4_faces<img src=x onerror=alert(1)>.png"), ("notebooks", "<svg onload=x>.json")):
        (run.folder / place).mkdir(exist_ok=True)
        (run.folder / place / name).write_text(json.dumps({"seconds": 1, "peak_mb": 1}))
    return run


def test_the_report_shows_names_as_text(run):
    page = report.write_report(run).read_text()
    assert RUN in page and f"<script>{RUN}" not in page and "<img src=x" not in page and "<svg onload" not in page


def test_nothing_runs_in_a_browser(tmp_path, run, hostile_table):
    if BROWSER is None:
        pytest.skip(MISSING)
    write_notebook_page(tmp_path / "trusting.html", hostile_table.markdown())
    assert "data-ran" in dom(tmp_path / "trusting.html"), "the names are hostile where nothing is done about them"
    write_notebook_page(tmp_path / "notebook.html", Markdown(hostile_table.markdown()).data)
    (tmp_path / "people.html").write_text(render_page({name: HOSTILE for name in HOSTILE}))
    for path in (tmp_path / "notebook.html", tmp_path / "people.html", report.write_report(run)):
        assert "data-ran" not in dom(path), path.name
