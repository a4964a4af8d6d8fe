"""The paper's tables from made-up records, in every format, with published figures beside them."""

import csv
import io
import json
import re

import pytest

from avlib.evaluation import tables
from avlib.evaluation.floor import ABOVE_FLOOR, FLOOR_NOTE
from avlib.evaluation.labels import FLOOR, REFERENCE_LABELS

MASKS = {"lip": {"hash": "3f2a1b", "vertices": 384}}


def record(lves: dict[str, float], unit: str = "m", styles: str = "xy", more: float = 0.0) -> dict:
    """An evaluation: the LVE of each utterance under every style, all of ten frames."""
    rows = [
        {
            "utterance": u,
            "subject": "a",
            "style": s,
            "loudness": 1.0,
            "scores": {
                "largest(lip, power=2)": [10 * (lve + more), 10],
                "edits(of=characters)": [3e2, 10],
                "edits(of=visemes)": [2e2, 10],
            },
        }
        for s in styles
        for u, lve in lves.items()
    ]
    return {"unit": unit, "split": "test", "masks": MASKS, "corpus_name": "biwi", "rows": rows}


def spread(offset: float = 0.0) -> dict[str, float]:
    return {f"u{i}": (i + 1) * 1e-5 + offset for i in range(8)}


@pytest.fixture
def written(tmp_path):
    records = {
        "Still_face": [record(spread())],
        "FaceFormer, + L_rlv + guidance": [record(spread()), record(spread(2e-5))],
    }
    table = tables.methods(records, "Made up, 100 %", ["LVE", "CER"], published=["BIWI LVE"])
    table.write(tmp_path, "one", seeds=[0, 1])
    return table, tmp_path


@pytest.mark.parametrize("rate, is_warned", [(30, False), (65, False), (70, True), (95, True)])
def test_a_reader_that_hardly_tells_the_scans_from_a_still_face_is_pointed_out(rate, is_warned):
    def read(percent: int) -> list[dict]:
        one = record(spread())
        for row in one["rows"]:
            row["scores"]["edits(of=characters)"] = [10 * percent, 10]
        return [one]

    table = tables.methods({"Ground truth": read(rate), "Still face": read(90), "mine": read(50)}, "Made up", ["CER"])
    warning = f"CER: {rate} % on the scans, 90 % on a still face. This reader can hardly read"
    assert any(note.startswith(warning) for note in table.notes) == is_warned
    assert not any("hardly read" in n for n in tables.methods({"mine": read(95)}, "Made up", ["CER", "LVE"]).notes)


def test_the_caption_says_how_often_the_split_was_looked_at():
    def notes(*looks: int) -> list[str]:
        same = [record(spread()) | {"looks": n} for n in looks]
        return tables.methods({"one": same}, "Made up").notes

    assert "The test split has been scored once in this run" in notes(1, 1)
    assert "The test split has been scored 3 times in this run" in notes(1, 3, 2)


def test_cells_are_mean_and_standard_deviation_beside_published_figures(written):
    _, folder = written
    markdown = (folder / "one.md").read_text()
    assert "| Still_face | 4.500 | 30.000 | – |" in markdown
    assert "| FaceFormer, baseline (L_mse) | – | – | 6.0449 |" in markdown, "published, but not measured"
    assert "| FaceFormer, + L_rlv | – | – | 6.0976 |" in markdown
    assert "| FaceFormer, + L_rlv + guidance | 5.500 ± 1.414 | 30.000 ± 0.000 | 5.5061 |" in markdown
    assert "| Method | LVE (1e-5 m²) | CER (%) | BIWI LVE (1e-4), quoted |" in markdown
    assert "quoted second-hand" in markdown and "Baseline: as published, trained with L_mse alone" in markdown
    assert "protocol avlib; mask lip 3f2a1b (384 vertices); split test" in markdown


def test_the_excess_is_the_lve_minus_that_of_the_floor():
    records = {
        REFERENCE_LABELS[FLOOR]: [record(spread())],
        "FaceFormer, + L_rlv": [record(spread(1e-5)), record(spread(3e-5))],
        "Luck": [record(spread(-0.5e-5))],
    }
    table = tables.methods(records, "Made up", ["CER", "LVE", "VER"], published=["BIWI LVE"])
    assert table.heads[:5] == ["Method", "CER (%)", "LVE (1e-5 m²)", "LVE above floor (1e-5 m²)", "VER (%)"]
    cells = {row[0]: row[3] for row in table.rows}
    assert cells[REFERENCE_LABELS[FLOOR]] == "0.000" and cells["Luck"] == "−0.500"
    assert cells["FaceFormer, + L_rlv"] == "2.000 ± 1.414"
    assert cells["FaceFormer, baseline (L_mse)"] == "–", "published, but not measured"
    data = {row["method"]: row["metrics"][ABOVE_FLOOR] for row in table.data}
    assert data["FaceFormer, + L_rlv"]["values"] == [pytest.approx(1e-5), pytest.approx(3e-5)]
    assert data["Luck"]["unit"] == "m²" and FLOOR_NOTE in table.notes
    for table in (tables.methods(records, "No LVE", ["CER"]), tables.methods({"A": records["Luck"]}, "No floor")):
        assert not any("floor" in text for text in (*table.heads, *table.notes))


def test_csv_and_json_keep_the_source_with_every_row(written):
    table, folder = written
    body = list(csv.DictReader(io.StringIO((folder / "one.csv").read_text())))
    methods = [f"FaceFormer, {objective}" for objective in ("baseline (L_mse)", "+ L_rlv", "+ L_rlv + guidance")]
    assert [r["Method"] for r in body] == ["Still_face", *methods]
    assert all((r["protocol"], r["mask"], r["split"]) == ("avlib", "lip 3f2a1b (384 vertices)", "test") for r in body)
    data = json.loads((folder / "one.json").read_text())
    assert data["split"] == "test" and data["seeds"] == [0, 1]
    assert data["rows"][3]["metrics"]["LVE"]["values"] == [pytest.approx(4.5e-5), pytest.approx(6.5e-5)]


def test_latex_is_complete_and_escaped(written):
    table, folder = written
    text = (folder / "one.tex").read_text()
    assert re.findall(r"\\(\w+rule|begin|end)", text) == [
        "begin",
        "begin",
        "toprule",
        "midrule",
        "bottomrule",
        "end",
        "end",
    ]
    assert r"\begin{tabular}{lrrr}" in text and r"Still\_face" in text and r"100 \%" in text and r"$\pm$" in text
    assert r"m\textsuperscript{2}" in text and not re.search(r"(?<!\\)[%_#&](?! |\n)|[²±–−]", text)
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 3 + 4 and all(line.count(" & ") == 3 for line in lines)


def test_a_difference_is_of_utterances_not_of_styles():
    """The same sentence under twice as many styles is no new evidence: neither interval nor p changes."""
    score = tables.read_protocols()["avlib"].scores["LVE"]
    better = {u: v - 1e-6 * (i + 1) * (-1) ** (i == 1) for i, (u, v) in enumerate(spread().items())}
    few, many = (
        tables.difference([record(better, styles=s)], [record(spread(), styles=s)], score) for s in ("x", "xyzw")
    )
    assert few == pytest.approx(many) and few["utterances"] == 8
    assert few["difference"] == pytest.approx(-4e-6) and few["p"] < 0.05
    assert few["low"] < few["difference"] < few["high"] < 0
    seeds = tables.difference(
        [record(better), record(better, more=1e-5)], [record(spread()), record(spread(), more=1e-5)], score
    )
    assert seeds["difference"] == pytest.approx(few["difference"]) and (few["seeds"], seeds["seeds"]) == (1, 2)


def test_a_score_without_interval_is_a_dash():
    scores = tables.read_protocols()["avlib"].scores
    one = [record({"u": 1e-5})]
    assert tables.difference(one, one, scores["LVE"]) is None and tables.difference(one, one, scores["SLCC"]) is None
    lines = tables.differences({"A": (one, one)}, "Few", ["LVE", "SLCC"]).markdown().splitlines()
    assert lines[-1] == "| A | – | – |" and lines[-3] == "| Method | LVE (1e-5 m²) | SLCC |"
    with pytest.raises(ValueError, match="rows of 2 seeds beside rows of 1"):
        tables.difference(one * 2, one, scores["LVE"])


def test_small_p_are_not_rounded_to_zero():
    many = {f"{u}{i}": v for i in range(3) for u, v in spread().items()}
    better = {u: v - 1e-6 for u, v in many.items()}
    table = tables.differences({"A": ([record(better)], [record(many)])}, "Small", ["LVE"])
    cell = table.rows[0][1]
    assert cell.startswith("−0.100 [−0.100, −0.100] (−2.2 % [−2.") and cell.endswith("]), p < 0.001")
    assert table.notes[0].endswith("It holds the training fixed: one seed and the subject fixed: one subject")


def test_cells_give_percent_of_the_baseline_unless_it_is_zero():
    small, still = ([record(dict.fromkeys(spread(), value))] for value in (1e-6, 0.0))
    pairs = {"fall": (small, [record(spread())]), "rise": ([record(spread())], small), "zero": (small, still)}
    fall, rise, zero = (row[1] for row in tables.differences(pairs, "Percent", ["LVE"]).rows)
    assert re.search(r" \(−98 % \[−9\d, −9\d\]\), p < 0.001$", fall), "no digits after the second"
    assert re.search(r" \(\+4400 % \[\+\d{4}, \+\d{4}\]\), p < 0.001$", rise)
    assert zero == "+0.100 [+0.100, +0.100], p < 0.001"


def test_verdicts_have_a_column_for_each_judge_and_say_which_gains_count():
    def read(edits: float, by_judge: float, lves: dict[str, float]) -> list[dict]:
        records = [record(lves), record(lves)]
        for row in (row for r in records for row in r["rows"]):
            row["scores"]["edits(of=characters)"] = [edits, 10]
            row["scores"]["edits(of=characters, by=judge)"] = [by_judge, 10]
            row["scores"]["closure(upper_lip_middle, lower_lip_middle)"] = [edits / 1e5, 1]
        return records

    low, high = spread(), {u: v * (1.1 if u < "u4" else 0.9) for u, v in spread().items()}
    other = read(400, 400, high)
    pairs = {"A": (read(300, 500, low), other), "B": (read(300, 200, low), other)}
    table = tables.verdicts(pairs, "Verdicts", ["LVE", "CER", "CER_judge", "closure", "FDD"])
    assert table.heads == ["Method", "LVE", "CER", "CER_judge", "closure", "FDD", "gains that count"]
    [[_, lve, *rest], [_, _, *agreed]] = table.rows
    assert lve.startswith("undecided, +") and rest == ["better, −25 %", "worse, +25 %", "better, −25 %", "–", "none"]
    assert agreed == ["better, −25 %", "better, −50 %", "better, −25 %", "–", "CER"], (
        "both judges and the closure agree"
    )
    assert table.data[0]["metrics"]["CER_judge"]["verdict"] == "worse" and table.data[0]["counted_gains"] == []
    assert "2 seeds, 1 subject and 8 utterances" in table.caption and "subject fixed" in table.caption


def test_the_ablation_has_a_row_for_each_part_and_both_animators():
    rows = {
        name: {"FaceFormer": [record(spread(k * 1e-5)), record(spread(k * 1e-5))], "CodeTalker": [record(spread())]}
        for k, name in enumerate(tables.PUBLISHED_ABLATION)
    }
    del rows["without speech"]["CodeTalker"]
    table = tables.ablation(rows, "Ablation")
    lines = dict(
        (line.split(" | ")[0].removeprefix("| "), line)
        for line in table.markdown().splitlines()
        if line.startswith("| ")
    )
    assert list(lines)[1:] == list(tables.PUBLISHED_ABLATION)
    assert lines["full method"] == "| full method | 4.500 ± 0.000 | – | 5.5061 | 4.500 | – | 4.8403 |"
    assert lines["without L_rlv"].startswith("| without L_rlv | 6.500 ± 0.000 | +2.000 [+2.000, +2.000] (+44 % [+")
    assert lines["without speech"].endswith("| 6.0352 | – | – | 5.3155 |")
    assert "quoted second-hand" in table.caption and "split test" in table.caption
    assert table.heads[2:4] == ["minus full method", "FaceFormer, quoted (BIWI LVE, 1e-4)"]
    assert table.data[1]["animators"]["FaceFormer"]["difference"]["difference"] == pytest.approx(1e-5)


def test_units_of_other_corpora():
    table = tables.methods({"A": [record(spread(), unit="normalised")]}, "Other", ["LVE"])
    assert table.heads == ["Method", "LVE (1e-4 normalised²)"] and table.rows == [["A", "0.450"]]
