"""The report is usable by keyboard, by those who do not see its pictures, in the dark, and on a telephone.

What only a browser can tell is tested where there is one.
"""

import html
import json
import re

import matplotlib.pyplot as plt
import pytest

from avlib.core import run as runs
from avlib.core.files import write_json
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import report
from avlib.evaluation.table_formats import Table
from avlib.plots.figures import save_figure
from tests.browser import BROWSER, MISSING, dom

HEADS = ["Method", *(f"metric {n} (1e-5 m²)" for n in range(30))]
WIDTH = 390  # of a telephone, CSS pixels


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    """A run with two tables that are wider than a screen, a figure and a clip."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("a & <b>", load("smoke"))
    rows = [[f"a method with the name <i>{n}</i>", *["0.123 ± 0.456"] * 30] for n in range(3)]
    for name in ("table", "table_protocols"):
        table = Table(f"Results “{name}” &lt; more", HEADS, rows, {"split": "test"}, ["A </textarea> note"], rows)
        table.write(run.folder / "tables", name)
    figure, axis = plt.subplots(figsize=(11, 2))
    axis.plot([0, 1])
    plt.close(save_figure(figure, run.folder / "figures" / "4_tracks.png"))
    (run.folder / "clips").mkdir()
    (run.folder / "clips" / "4_faces.mp4").write_bytes(b"no film")
    write_json(run.folder / "notebooks" / "01_data_prep.json", {"seconds": 1, "peak_mb": 1})
    for model in ("baseline", "guided"):
        write_json(run.folder / "records" / f"evaluation-faceformer-{model}-s3.json", {})
    return run


def test_the_foot_says_where_the_time_went(run):
    write_json(run.folder / "notebooks" / "02_expert_pretraining.json", {"seconds": 3, "peak_mb": 2})
    page = report.write_report(run).read_text()
    rows = [
        re.findall(r"<td>([^<\n]*)", row) for row in page.split("<tbody>")[-1].split("</table>")[0].split("<tr>")[1:]
    ]
    assert rows == [
        ["01_data_prep", "1", "25", "1"],
        ["02_expert_pretraining", "3", "75", "2"],
        ["all", "4", "100", "2"],
    ]


def tags(page: str, name: str) -> list[str]:
    return re.findall(rf"<{name}\b[^>]*>", page)


def test_everything_has_a_name_and_scrolls_by_keyboard(run):
    page = report.write_report(run).read_text()
    assert all(re.search(r' alt="[^"]', tag) for tag in tags(page, "img")) and tags(page, "img")
    for name in ("video", "button", "textarea", "nav"):
        assert tags(page, name) and all(re.search(r' aria-label="[^"]', tag) for tag in tags(page, name))
    boxes = re.findall(r'<div class="scroll"[^>]*>', page)
    assert len(boxes) == page.count("<table>") == 3
    assert all('tabindex="0"' in box and 'role="region"' in box and 'aria-label="' in box for box in boxes)
    targets = set(re.findall(r'href="#([^"]*)"', page))
    assert targets <= set(re.findall(r' id="([^"]*)"', page)) and "main" in targets
    assert page.startswith("<!doctype html>")


def test_each_table_has_its_latex(run):
    page = report.write_report(run).read_text()
    texts = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.S)
    files = [(run.folder / "tables" / f"{name}.tex").read_text() for name in ("table", "table_protocols")]
    assert list(map(html.unescape, texts)) == files and page.count("Copy LaTeX</button>") == 2
    (run.folder / "tables" / "table.tex").unlink()  # as of a run of an older version
    assert report.write_report(run).read_text().count("Copy LaTeX</button>") == 1


def test_a_figure_links_its_pdf_and_does_not_hold_it(run):
    page = report.write_report(run).read_text()
    assert 'href="figures/4_tracks.pdf"' in page and "application/pdf" not in page
    (run.folder / "figures" / "4_tracks.pdf").unlink()
    assert ".pdf" not in report.write_report(run).read_text()


def test_the_page_of_a_preference_study_is_linked_or_the_command_that_makes_it_is_told(run):
    page = html.unescape(report.write_report(run).read_text())
    models = "--a 'a & <b>/faceformer-baseline-s3' --b 'a & <b>/faceformer-guided-s3'"
    assert f"./run_all.sh preference {models} --out preference_study" in page and 'href="preference/' not in page
    (run.folder / "preference").mkdir()
    (run.folder / "preference" / "study-12ab.html").write_text("")
    page = report.write_report(run).read_text()
    assert 'href="preference/study-12ab.html"' in page and "run_all.sh preference" not in page


PROBE = """
<iframe style="width: %dpx; height: 800px; border: 0" srcdoc="%s"></iframe>
<script>
onload = async () => {
  const view = frames[0], page = view.document, style = element => view.getComputedStyle(element);
  for (const details of page.querySelectorAll("details")) details.open = true;
  const scrolls = element => element.scrollWidth > element.clientWidth && style(element).overflowX === "auto";
  const button = page.querySelector("button"), latex = page.querySelector("textarea"), copied = [];
  const click = async clipboard => {
    Object.defineProperty(view.navigator, "clipboard", { value: clipboard, configurable: true });
    button.click();
    await new Promise(done => setTimeout(done, 50));
    return [page.querySelector("[role=status]").textContent, latex.hidden, latex.selectionEnd - latex.selectionStart];
  };
  const offered = await click({ writeText: async text => copied.push(text) });
  page.execCommand = () => false;
  const refused = await click(undefined);
  page.execCommand = () => true;
  const old = await click(undefined);
  document.documentElement.dataset.found = JSON.stringify({
    beyond: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    ground: style(page.body).backgroundColor, offered, refused, old,
    indices: [...page.querySelectorAll("*")].filter(scrolls).map(element => element.tabIndex), copied: copied[0],
    focused: page.activeElement === button, length: latex.value.length,
  });
};
</script>
"""


def probe(folder, page: str, *options: str) -> dict:
    """What a browser finds on a page on a telephone."""
    path = folder / "probe.html"
    path.write_text("<!doctype html><meta charset=utf-8>" + PROBE % (WIDTH, html.escape(page)))
    found = re.search(r'data-found="([^"]*)"', dom(path, *options))
    assert found
    return json.loads(html.unescape(found[1]))


@pytest.mark.skipif(BROWSER is None, reason=MISSING)
def test_a_browser_fits_the_page_to_a_telephone_and_copies_latex(tmp_path, run):
    page = report.write_report(run).read_text()
    found = probe(tmp_path, page)
    assert found["beyond"] == 0, "the page itself does not scroll sideways"
    assert len(found["indices"]) >= 2 and set(found["indices"]) == {0}, "what does is reached by keyboard"
    assert found["copied"] == (run.folder / "tables" / "table.tex").read_text()
    assert found["offered"][:2] == ["Copied", True]
    assert found["refused"][0].startswith("Selected") and found["refused"][1:] == [False, found["length"]]
    assert found["old"][:2] == ["Copied", True] and found["focused"]


@pytest.mark.skipif(BROWSER is None, reason=MISSING)
def test_the_page_is_dark_where_the_system_is(tmp_path, run):
    page = report.write_report(run).read_text()
    light, dark = (probe(tmp_path, page, f"--blink-settings=preferredColorScheme={n}")["ground"] for n in (1, 0))
    assert light == "rgb(255, 255, 255)" and dark == "rgb(24, 24, 24)"
