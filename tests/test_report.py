"""Tables say what the records say, and the page holds all it shows."""
import csv
import json

import pytest

from avlib import report
from avlib import run as runs
from avlib.config import load
from avlib.evaluate import summary
from avlib.run import Run


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    """A run of two seeds whose evaluation records were written by hand."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("a <b>", load("smoke", animators="faceformer"))
    for model, lve, rate in (("truth", 0.0, 20.0), ("still", 8e-5, 70.0), ("faceformer-baseline-s0", 3e-5, 50.0),
                             ("faceformer-baseline-s1", 1e-5, 52.0), ("faceformer-guided-s0", 2e-5, 40.0),
                             ("faceformer-guided-s1", 2e-5, 44.0)):
        metrics = {"LVE": {"value": lve, "unit": "m²", "about": ""}, "CER": {"value": rate, "unit": "%", "about": ""},
                   "VER": {"value": rate - 5, "unit": "%", "about": ""}}
        rows = [{"text": "a big bag", "read": f"{model} read"}]
        run.finish(f"evaluation-{model}", "key", metrics=metrics, rows=rows)
    return run


def test_summary_by_hand():
    rows = [{"text": "just", "read": "must", "frames": 10, "lve": 1e-5},
            {"text": "a bag of", "read": "", "frames": 30, "lve": 3e-5}]
    got = summary(rows, "m")
    assert got["LVE"] | {"about": ""} == {"value": pytest.approx(2.5e-5), "unit": "m²", "about": ""}   # frames count alike
    assert got["CER"]["value"] == pytest.approx(100 * 9 / 12)
    assert got["CER_mean"]["value"] == pytest.approx(100 * (1 / 4 + 1) / 2)
    assert 0 < got["VER"]["value"] < 100


def test_the_table_has_mean_and_spread_of_the_records(run):
    markdown = report.table(run, [0, 1], "embedded corpus")
    assert "| FaceFormer | 2.000 ± 1.414 | 51.000 ± 1.414 | 46.000 ± 1.414 |" in markdown
    assert "| FaceFormer + AV guidance | 2.000 ± 0.000 | 42.000 ± 2.828 |" in markdown
    assert "| Still face | 8.000 | 70.000 | 65.000 |" in markdown
    assert "embedded corpus" in markdown and "seeds 0, 1" in markdown
    body = [r for r in csv.reader((run.folder / "tables" / "table.csv").open()) if r]
    assert [r[0] for r in body] == ["Method", "Ground truth", "Still face", "FaceFormer", "FaceFormer + AV guidance"]
    values = json.loads((run.folder / "tables" / "table.json").read_text())["rows"][2]["metrics"]["LVE"]["values"]
    assert values == [3e-5, 1e-5]


def test_a_seed_that_was_not_evaluated_is_named(run):
    with pytest.raises(ValueError, match="evaluation-faceformer-baseline-s2"):
        report.table(run, [2], "embedded corpus")


def test_the_page_holds_its_pictures_and_escapes_names(run):
    report.table(run, [0], "embedded corpus")
    (run.folder / "figures").mkdir()
    (run.folder / "figures" / "1_faces.png").write_bytes(b"\x89PNG")
    text = report.page(run).read_text()
    assert "data:image/png;base64,iVBORw==" in text and "http" not in text
    assert "a &lt;b&gt;" in text and "a <b>" not in text
    assert "<td" in text and "40.000" in text


def test_transcripts_show_the_same_sentence_of_each_model(run):
    lines = report.transcripts(run, ["truth", "still"]).splitlines()
    assert lines[0] == "| said | truth | still |" and lines[2] == "| a big bag | truth read | still read |"
