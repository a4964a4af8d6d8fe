"""The quality of a capture is recorded once, with units, and its table names the corpus."""

import pytest

from avlib.core import run as runs
from avlib.core.files import read_json
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation.capture_quality import NOT_CAPTURED, describe_capture
from tests.captured_corpora import QUALITY, write_captured

REASONS = {"x": "no face for 1.3 s from 0.0 s on", "y": "no face for 2.0 s from 1.0 s on", "z": "two faces in 9 of 9"}


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    return Run("one", load("smoke"))


def cells(markdown: str) -> list[list[str]]:
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    assert all(len(row) == 3 for row in rows)
    return rows[1:]


def test_the_record_has_the_numbers_of_the_capture_with_units(run, tmp_path):
    describe_capture(run, write_captured(tmp_path / "corpus", excluded=REASONS))
    record = run.record("capture")
    metrics = {name: (m["value"], m["unit"]) for name, m in record["metrics"].items()}
    assert metrics == {
        "closures": (20, "sounds"),
        "closures_median": (0.5, "mm"),
        "closures_quantile_90": (1.25, "mm"),
        "closures_within_1_mm": (85, "%"),
        "word_initial_closures": (12, "sounds"),
        "word_initial_closures_median": (0.4, "mm"),
        "word_initial_closures_quantile_90": (1.0, "mm"),
        "word_initial_closures_within_1_mm": (90, "%"),
        "jitter": (0.125, "mm per frame"),
        "reprojection": (1.5, "pixels"),
        "lip_reprojection": (0.75, "pixels"),
        "resolution": (0.5, "pixels per mm"),
    }
    assert (record["films"], record["face"], record["fps"]) == (4, "facekit", 30)
    assert sorted(record["excluded"].values()) == [1, 2] and record["corpus"] == "of the motion"


def test_the_table_states_each_number_and_the_corpus(run, tmp_path):
    corpus = write_captured(tmp_path / "corpus", excluded=REASONS)
    markdown = describe_capture(run, corpus)
    rows = {measure: value for measure, value, _ in cells(markdown)}
    assert list(rows.values()) == [
        "4",
        "3",
        "0.50 mm, 1.25 mm",
        "90.0 %",
        "0.12 mm per frame",
        "1.50 pixels (3.0 mm)",
        "0.75 pixels (1.5 mm)",
        "0.50 pixels per mm",
    ]
    assert any("20 p, b and m" in measure for measure in rows) and any("(12)" in measure for measure in rows)
    assert corpus.title in markdown and "frames per second 30" in markdown
    assert "by construction" not in markdown, "the mesh is not that of the landmarks"
    assert (run.folder / "tables" / "capture.md").read_text() == markdown
    assert read_json(run.folder / "tables" / "capture.json")["corpus"] == corpus.hash


def test_a_capture_is_recorded_again_only_if_it_has_changed(run, tmp_path):
    corpus, path = write_captured(tmp_path / "corpus"), run.folder / "records" / "capture.json"
    first = describe_capture(run, corpus)
    written = path.stat().st_mtime_ns
    assert describe_capture(run, corpus) == first and path.stat().st_mtime_ns == written
    corpus.capture["excluded"] = {"x": "silent"}
    assert "silent" in describe_capture(run, corpus) and run.record("capture")["excluded"] == {"silent": 1}


def test_what_could_not_be_measured_is_a_dash(run, tmp_path):
    quality = QUALITY | {"closures": {"sounds": 0}, "word_initial_closures": {"sounds": 0}, "jitter_mm": None}
    markdown = describe_capture(run, write_captured(tmp_path / "a", quality=quality, face="landmarks"))
    assert [value for _, value, _ in cells(markdown)][2:5] == ["–", "–", "–"]
    assert "0 by construction" in markdown and "MediaPipe's mesh" in markdown
    pictures = {"reprojection_px": None, "lip_reprojection_px": None, "pixels_per_mm": None}
    markdown = describe_capture(run, write_captured(tmp_path / "b", quality=QUALITY | pictures))
    assert [value for _, value, _ in cells(markdown)][4:] == ["0.12 mm per frame", "–", "–", "–"]


def test_other_corpora_have_one_line_and_no_stage(run, tmp_path):
    corpus = write_captured(tmp_path / "corpus")
    corpus.capture = {}
    assert describe_capture(run, corpus) == NOT_CAPTURED and "\n" not in NOT_CAPTURED
    assert not (run.folder / "records" / "capture.json").exists() and not (run.folder / "tables").exists()
