"""Tables agree with the records, and the page holds everything that it shows."""

import csv
import json
import re
from pathlib import Path

import pytest

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import report, results
from avlib.evaluation.evaluate import evaluation_stage
from avlib.evaluation.tables import PUBLISHED, PUBLISHED_ABLATION
from avlib.training.objectives import OBJECTIVES, model_name


def rows(lve: float, rate: float, read: str = "") -> list[dict]:
    """Two utterances under two styles, of ten frames and ten characters each."""
    one = {
        "largest(lip, power=2)": [10 * lve, 10],
        "edits(of=characters)": [10 * rate, 10],
        "edits(of=visemes)": [10 * (rate - 5), 10],
    }
    return [
        {
            "utterance": u,
            "subject": "a",
            "style": style,
            "text": "a big bag",
            "read": read,
            "loudness": 1.0,
            "scores": one,
        }
        for style in "xy"
        for u in ("a_1", "a_2")
    ]


def score(run: Run, model: str, lve: float, rate: float, split: str = "test") -> None:
    run.finish(
        evaluation_stage(model, split),
        "key",
        split=split,
        corpus_name="embedded",
        unit="m",
        rows=rows(lve, rate, f"{model} read"),
        masks={"lip": {"hash": "3f2a1b", "vertices": 384}},
    )


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    """A run of two seeds whose evaluation records were written by hand."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("a <b>", load("smoke", animators="faceformer"))
    for model, lve, rate in (
        ("truth", 0.0, 20.0),
        ("still", 8e-5, 70.0),
        ("faceformer-baseline-s0", 4e-5, 60.0),
        ("faceformer-baseline-s1", 4e-5, 62.0),
        ("faceformer-rlv-s0", 3e-5, 50.0),
        ("faceformer-rlv-s1", 1e-5, 52.0),
        ("faceformer-guided-s0", 2e-5, 40.0),
        ("faceformer-guided-s1", 2e-5, 44.0),
    ):
        score(run, model, lve, rate)
    return run


def test_the_table_has_mean_and_standard_deviation_of_the_records(run):
    markdown = results.results_table(run, [0, 1], "embedded corpus")
    assert "| FaceFormer, baseline (L_mse) | 4.000 ± 0.000 | 61.000 ± 1.414 | 56.000 ± 1.414 |" in markdown
    assert "| FaceFormer, + L_rlv | 2.000 ± 1.414 | 51.000 ± 1.414 | 46.000 ± 1.414 |" in markdown
    assert "| FaceFormer, + L_rlv + guidance | 2.000 ± 0.000 | 42.000 ± 2.828 |" in markdown
    assert "| Still face | 8.000 | 70.000 | 65.000 |" in markdown
    assert "embedded corpus" in markdown and "seeds 0, 1" in markdown
    assert "protocol avlib; mask lip 3f2a1b (384 vertices); split test" in markdown and "quoted" not in markdown
    for comparison, lve, cer in (
        ("guided minus baseline", "−2.000", "−19.000"),
        ("guided minus + L_rlv", "+0.000", "−9.000"),
        ("+ L_rlv minus baseline", "−2.000", "−10.000"),
    ):
        assert re.search(
            rf"^\| FaceFormer, {re.escape(comparison)} \| {re.escape(lve)} \[.*?\| {re.escape(cer)} \[", markdown, re.M
        ), comparison
    body = [r for r in csv.reader((run.folder / "tables" / "table.csv").open()) if r]
    assert [r[0] for r in body] == [
        "Method",
        "Ground truth",
        "Still face",
        "FaceFormer, baseline (L_mse)",
        "FaceFormer, + L_rlv",
        "FaceFormer, + L_rlv + guidance",
    ]
    data = json.loads((run.folder / "tables" / "table.json").read_text())
    assert (data["corpus"], data["seeds"]) == ("embedded corpus", [0, 1])
    values = data["rows"][3]["metrics"]["LVE"]["values"]
    assert values == [pytest.approx(3e-5), pytest.approx(1e-5)]
    assert (run.folder / "tables" / "table_differences.tex").exists()
    (verdicts,) = re.findall(r"^\| FaceFormer, guided minus baseline \| better, .*$", markdown, re.M)
    assert verdicts.count("better") == 3 and verdicts.endswith("none |"), "the judge has not read"


def test_the_page_leaves_out_what_a_killed_process_had_begun(run):
    results.results_table(run, [0], "embedded corpus")
    for place, name in (("figures", ".4_lips.12.png"), ("tables", ".table.12.md"), ("notebooks", ".01.12.json")):
        (run.folder / place).mkdir(exist_ok=True)
        (run.folder / place / name).write_text("half")
    assert "Ground truth" in report.write_report(run).read_text()


def test_seen_subjects_have_tables_of_their_own(run):
    for model in ("truth", "still", *(model_name("faceformer", objective, 0) for objective in OBJECTIVES)):
        score(run, model, 1e-5, 30.0, "test_seen")
    markdown = results.results_table(run, [0], "embedded corpus")
    assert markdown.count("| FaceFormer, guided minus baseline |") == 4 and "split test_seen" in markdown
    table = json.loads((run.folder / "tables" / "table_seen.json").read_text())
    assert table["rows"][2]["metrics"]["LVE"]["values"] == [pytest.approx(1e-5)] and table["split"] == "test_seen"


def test_published_figures_stand_beside_their_own_corpus_only(run):
    for path in (run.folder / "records").glob("*.json"):
        path.write_text(path.read_text().replace('"embedded"', '"vocaset"'))
    markdown = results.results_table(run, [0, 1], "vocaset corpus")
    assert (
        "| FaceFormer, baseline (L_mse) | 4.000 ± 0.000 | 61.000 ± 1.414 | 56.000 ± 1.414 | – | – | 3.2496 |"
        in markdown
    )
    assert "| FaceFormer, + L_rlv | 2.000 ± 1.414 | 51.000 ± 1.414 | 46.000 ± 1.414 | – | – | – |" in markdown, (
        "unpublished"
    )
    assert (
        "| FaceFormer, + L_rlv + guidance | 2.000 ± 0.000 | 42.000 ± 2.828 | 37.000 ± 2.828 | – | – | 3.0987 |"
        in markdown
    )
    assert "CodeTalker" not in markdown, "this run has no CodeTalker"
    assert "VOCASET LVE (1e-5 m²), quoted" in markdown and "quoted second-hand" in markdown and "BIWI" not in markdown


def test_every_protocol_has_its_rows(run):
    lines = results.protocols_table(run, [0, 1], "embedded corpus").splitlines()
    assert "| released | LVE | 1e-5 m² | lip 3f2a1b (384 vertices) | – | – | – | – | – |" in lines  # not in these rows
    assert "| codetalker | LVE | 1e-5 m² | lip 3f2a1b (384 vertices) | 0.000 | 8.000 | 4.000 | 2.000 | 2.000 |" in lines
    assert (run.folder / "tables" / "table_protocols.csv").exists()


def test_references_that_were_scored_have_rows_and_the_floor_a_column(run):
    """Without their records, as in runs of older versions, there are the scans and the still face: see above."""
    for name, lve in (("late", 3e-6), ("all-known", 1e-6), ("own-style", 5e-6), ("floor", 1e-5)):
        score(run, name, lve, 30.0)
    lines = results.results_table(run, [0, 1], "embedded corpus").splitlines()
    assert lines[2].startswith("| Method | LVE (1e-5 m²) | LVE above floor (1e-5 m²) | CER (%) |")
    assert [line.split(" | ")[0] for line in lines[4:12]] == [
        "| Ground truth",
        "| Still face",
        "| One frame late",
        "| All known but tracking noise",
        "| Best guess, own style",
        "| Best guess, style unknown (floor)",
        "| FaceFormer, baseline (L_mse)",
        "| FaceFormer, + L_rlv",
    ]
    assert "| FaceFormer, + L_rlv | 2.000 ± 1.414 | 1.000 ± 1.414 | 51.000 ± 1.414 |" in "\n".join(lines)
    heads = results.protocols_table(run, [0, 1], "embedded corpus").splitlines()[2]
    assert "| Ground truth | Still face | Best guess, style unknown (floor) | FaceFormer, baseline (L_mse) |" in heads


def test_a_seed_that_was_not_evaluated_is_named(run):
    with pytest.raises(ValueError, match="evaluation-faceformer-baseline-s2"):
        results.results_table(run, [2], "embedded corpus")


def test_labels_are_those_of_the_published_figures_and_short_ones_have_no_seed():
    labels = [results.method_label(a, o) for a in ("faceformer", "codetalker") for o in OBJECTIVES]
    assert labels == list(PUBLISHED), "published figures stand beside the row of the same label"
    assert PUBLISHED["CodeTalker, + L_rlv"]["BIWI LVE"] == PUBLISHED_ABLATION["+ L_rlv"]["CodeTalker"] == 5.2639
    assert len(results.published_table().splitlines()) == 2 + 2 + len(labels)
    short = [results.model_label(model_name("codetalker", o, 11)) for o in OBJECTIVES]
    assert short == ["CodeTalker, baseline", "CodeTalker, + L_rlv", "CodeTalker, guided"]
    assert results.model_label("my-own-rlv-s0") == "my-own, + L_rlv"
    assert [results.model_label(name) for name in ("scan", "a-b-s0")] == ["scan", "a-b-s0"]


def test_models_of_an_animator_are_in_the_order_of_the_objectives():
    names = ["3_losses_codetalker-guided-s0", "3_losses_codetalker-rlv-s0", "3_losses_codetalker-baseline-s0"]
    paths = [Path(f"{name}.png") for name in [*names, "3_losses_faceformer-rlv-s0", "4_lips"]]
    ordered = [path.stem for path in sorted(paths, key=report.media_order)]
    assert ordered == ["4_lips", *reversed(names), "3_losses_faceformer-rlv-s0"]


def test_the_page_holds_its_pictures_and_escapes_names(run):
    results.results_table(run, [0], "embedded corpus")
    (run.folder / "figures").mkdir()
    for name in ("1_faces", "4_lips", "4_effects", "4_qualitative_frames_codetalker-guided-s0"):
        (run.folder / "figures" / f"{name}.png").write_bytes(b"\x89PNG")
    text = report.write_report(run).read_text()
    captions = re.findall("<figcaption>(.*?)</figcaption>", text)
    assert [c.split(",")[0] for c in captions] == [
        "Effects of L_rlv",
        "Lip crops of the same sentence",
        "The p",
        "1 faces",
    ]
    assert captions[2].endswith("from the scan (codetalker-guided-s0)") and f'alt="{captions[2]}"' in text
    assert "data:image/png;base64,iVBORw==" in text and "http:" not in text and "https:" not in text
    assert "a &lt;b&gt;" in text and "a <b>" not in text
    assert "<td" in text and "40.000" in text and "Data preparation" in text and "Joint training" not in text


def test_the_words_of_the_feature_analysis_are_those_of_its_record(run):
    (run.folder / "figures").mkdir()
    (run.folder / "figures" / "5_tsne_words.png").write_bytes(b"\x89PNG")
    assert "<h2>Feature analysis</h2>" in report.write_report(run).read_text()
    run.finish("tsne", "key", words=["at", "<eight>"])
    assert "<h2>Feature analysis: “at” and “&lt;eight&gt;”</h2>" in report.write_report(run).read_text()


def test_all_figures_of_the_notebooks_have_captions():
    saved = [
        name
        for path in sorted((runs.ROOT / "notebooks").glob("*.ipynb"))
        for name in re.findall(r"([1-6]_[a-z_]+)(?:\{name\})?\.(?:png|mp4)", path.read_text())
    ]
    unknown = [name for name in saved if report.place_and_caption(Path(name))[0] == len(report.FIGURE_CAPTIONS)]
    assert len(saved) > 15 and unknown == []


def test_the_main_tables_are_open_and_others_unfold(run):
    results.results_table(run, [0], "embedded corpus")
    results.protocols_table(run, [0], "embedded corpus")
    text = report.write_report(run).read_text()
    assert text.index("Results on") < text.index(
        "<details><summary>Scores of the same predictions under every protocol"
    )
    assert "<summary>Results" not in text and "<summary>Effect of" not in text


def test_transcripts_show_the_same_sentence_of_each_model(run):
    lines = results.transcripts_table(run, ["truth", "still"]).splitlines()
    assert lines[0] == "| reference | truth | still |" and lines[2] == "| a big bag | truth read | still read |"
