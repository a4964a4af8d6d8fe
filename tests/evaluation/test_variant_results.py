"""Tables of the variants: their splits, seeds and references, diverged trainings, and the effects of the figure."""

from statistics import mean

import pytest

from avlib.core import files
from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import results, variant_results, variants
from avlib.evaluation.labels import METRICS
from avlib.evaluation.tables import PUBLISHED_ABLATION
from avlib.evaluation.variants import GROUP_TITLES, VARIANTS, variant_models
from avlib.plots.results import effects as draw_effects
from avlib.training.checkpoints import Diverged
from avlib.training.objectives import model_names
from tests.evaluation.variant_records import ALL, record, score_variants, train_own, written_rows

EFFORTS = ("its own number of steps", "as many steps as guided", "as long as guided")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    monkeypatch.setattr(runs, "commit", lambda: "a commit")  # asks git, once for each of the many records
    return Run("s", load("smoke", **ALL))


@pytest.fixture
def scored_run(run) -> Run:
    """All variants over seeds 0 and 1, trained and scored by hand."""
    score_variants(run)
    return run


def test_tables_show_each_part_of_the_method_each_sweep_and_each_judge(scored_run):
    text = variant_results.variant_tables(scored_run, [0, 1], "embedded corpus")
    for label in (v.label for v in VARIANTS.values() if v.group == "ablation"):
        assert f"| {label} |" in text and label in PUBLISHED_ABLATION
    assert "FaceFormer, + L_rlv + guidance, read by the guiding expert | 3.500" in text
    rows = written_rows(scored_run, "audio_condition")
    assert [row["method"] for row in rows] == [v.label for v in VARIANTS.values() if v.group == "audio_condition"]
    assert rows[0]["share_av"] == 0.25 and rows[1]["metrics"]["CER"]["values"] == [10.0 + len("audio-clean") + 0.5]
    folder = scored_run.folder / "tables"
    quoted = ["quoted" in (folder / f"table_ablation_{m}.md").read_text() for m in ("lve", "cer", "ver")]
    assert quoted == [True, False, False]
    row = "| λ_av = 0 | 100.000 | 18.500 | 9.000 | 36.000 | 18.000 | 0.00 | – |"
    assert row in text, "the model of + L_rlv is the row of λ_av = 0"
    assert (folder / "table_faults_differences.tex").exists()
    splits = {path.stem: files.read_json(path)["split"] for path in folder.glob("table_*.json")}
    for group in GROUP_TITLES:
        names = [name for name in splits if name.startswith(f"table_{group}") and not name.endswith("trainings")]
        assert {splits[name] for name in names} == {"validation" if variants.is_sweep(group) else "test"}
    assert {f"table_ablation_{metric.lower()}" for metric in METRICS} < splits.keys(), "both judges"
    assert "without speech: the expert sees the lips" in (folder / "table_ablation_cer_judge.md").read_text().lower()


def test_the_ablation_states_whether_the_expert_of_the_scans_has_come_to_rest(scored_run):
    rates = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.11, 0.1]
    history = [{"cer": 0.0, "cer_video": rate} for rate in rates]
    variants.variant_run(scored_run, "no-prior").finish("expert", "k", history=history)
    variant_results.variant_tables(scored_run, [0, 1], "embedded corpus")
    text = (scored_run.folder / "tables" / "table_ablation_cer.md").read_text()
    assert "at 10.5 % CER in the last fifth of its 10 epochs, 25.0 % in the fifth before" in text
    assert "fifth" not in (scored_run.folder / "tables" / "table_budget_cer.md").read_text()


def test_published_rows_are_compared_with_the_method_and_with_the_baseline_trained_like_them(scored_run):
    text = variant_results.variant_tables(scored_run, [0, 1], "embedded corpus")
    labels = [v.label for v in VARIANTS.values() if v.group == "published"]
    assert not set(labels) & PUBLISHED_ABLATION.keys(), "published figures are not of these rows"
    assert [row["method"] for row in written_rows(scored_run, "published_lve")] == labels
    cer = {row["method"]: row["animators"]["CodeTalker"]["values"] for row in written_rows(scored_run, "published_cer")}
    rows = {row["method"]: row["metrics"] for row in written_rows(scored_run, "published_differences")}
    assert rows.keys() == {f"{a}, {x}" for a in ("FaceFormer", "CodeTalker") for x in labels if x != labels[2]}
    expected = mean(cer["guided as the paper reads"]) - mean(cer["baseline, trained as published"])
    found = rows["CodeTalker, guided as the paper reads"]["CER"]["difference"]
    assert found == pytest.approx(expected) and "0.03 (guided as the paper reads)" in text


def test_a_row_with_a_diverged_training_has_no_numbers_and_a_reason(scored_run):
    for name, seed in (("as-released", 1), ("fault-rate", 0)):
        for model in variant_models(scored_run, name, [0, 1]):
            if model.seed == seed and model.animator == "faceformer":
                model.note_divergence(Diverged("the loss is inf in epoch 2"))
    text = variant_results.variant_tables(scored_run, [0, 1], "embedded corpus")
    reason = "Diverged: FaceFormer, guided as released, seed 1 (the loss is inf in epoch 2)"
    folder = scored_run.folder / "tables"
    for name in ("published_lve", "published_cer_judge", "published_trainings", "published_differences"):
        assert reason in (folder / f"table_{name}.md").read_text()
    trained = [row["training"] for row in written_rows(scored_run, "published_trainings")]
    assert [f"FaceFormer, guided as released, seed {seed}" in trained for seed in (0, 1)] == [True, False]
    row = next(row for row in written_rows(scored_run, "published_cer") if row["method"] == "guided as released")
    assert row["animators"]["FaceFormer"] == {"values": [], "difference": None}
    assert len(row["animators"]["CodeTalker"]["values"]) == 2, "the other animator's did not diverge"
    compared = [row["method"] for row in written_rows(scored_run, "published_differences")]
    assert "CodeTalker, guided as released" in compared and "FaceFormer, guided as released" not in compared
    assert "| lip video slower than the speech | – | – | – | – | – | – | – |" in text
    results.results_table(scored_run, [0], "embedded corpus")
    groups, units = variant_results.effects(scored_run, [0, 1])
    faults = groups["Faults of the released code (validation), minus “none of the faults (method)”"]
    assert faults.keys() == {"no gradient through the renderer", "lip crops normalised unlike in pre-training"}
    draw_effects(groups, units)


def test_models_of_equal_steps_and_time_stand_beside_the_guided_one(scored_run):
    text = variant_results.variant_tables(scored_run, [0, 1], "embedded corpus")
    rows = written_rows(scored_run, "budget_cer")
    assert [row["method"] for row in rows] == [
        "+ L_rlv + guidance",
        *(f"{label}, {what}" for label in ("baseline (L_mse)", "+ L_rlv") for what in EFFORTS),
    ]
    for row in rows[1:]:
        difference = row["animators"]["CodeTalker"]["difference"]
        expected = mean(row["animators"]["CodeTalker"]["values"]) - mean(rows[0]["animators"]["CodeTalker"]["values"])
        assert difference["difference"] == pytest.approx(expected)
    assert "quoted" not in (scored_run.folder / "tables" / "table_budget_lve.md").read_text()
    assert "| CodeTalker, baseline (L_mse), as long as guided, seed 1 | 2 | 6 | 0.3 | 1.000 | – | −50.0 | not" in text
    assert len(written_rows(scored_run, "budget_trainings")) == 7 * 2 * 2
    assert files.read_json(scored_run.folder / "tables" / "table_budget_cer.json")["seeds"] == [0, 1]
    assert files.read_json(scored_run.folder / "tables" / "table_weight.json")["seeds"] == [0]


def test_effects_are_those_of_the_written_tables(scored_run):
    variant_results.variant_tables(scored_run, [0, 1], "embedded corpus")
    results.results_table(scored_run, [0], "embedded corpus")
    groups, units = variant_results.effects(scored_run, [0, 1])
    differences = written_rows(scored_run, "differences")
    assert list(groups)[:3] == ["guided minus baseline", "guided minus + L_rlv", "+ L_rlv minus baseline"]
    for comparison in list(groups)[:3]:
        for animator in ("FaceFormer", "CodeTalker"):
            (row,) = [r["metrics"] for r in differences if r["method"] == f"{animator}, {comparison}"]
            assert groups[comparison][animator] == row
    assert units["LVE"] == (1e-5, "1e-5 m²")
    without_rlv = written_rows(scored_run, "ablation_cer")[2]["animators"]["CodeTalker"]
    assert groups["Ablation, minus “full method”"]["CodeTalker, without L_rlv"]["CER"] == without_rlv["difference"]
    reference = "speech in babble at -10 to 0 dB, or absent (method)"
    audio = groups[f"Speech input of the guiding expert (validation), minus “{reference}”"]
    assert audio["no speech"] == written_rows(scored_run, "audio_condition_differences")[1]["metrics"]
    equal = groups["Equal steps and equal time, minus “+ L_rlv + guidance”"]
    budget_row = written_rows(scored_run, "budget_ver")[3]["animators"]["FaceFormer"]["difference"]
    assert equal["FaceFormer, baseline (L_mse), as long as guided"]["VER"] == budget_row
    sweeps = [v for v in VARIANTS.values() if v.is_sweep]
    assert len(groups) == 3 + 4 + len({v.group for v in sweeps})
    differences_shown = 3 * 2 + 2 * (len(VARIANTS) - len(sweeps) - 4) + len(sweeps) - len({v.group for v in sweeps})
    lines = 1 + 2 * differences_shown  # a zero line, and an interval and a dot for each difference
    assert [len(axis.lines) for axis in draw_effects(groups, units).axes] == [lines] * 5


def test_untrained_variants_are_reported_and_objectives_are_compared_without_them(run):
    for model in ("truth", "still", *model_names(run, [0])):
        record(run, f"evaluation-{model}", 1.0)
    assert variants.unfinished(run, [0]) == [f"s/{model}" for model in model_names(run, [0])], "not trained yet"
    train_own(run, [0])
    models = [model for name in VARIANTS for model in variant_models(run, name, [0])]
    expected = {f"{m.run.name}/{m.name}" for m in models if m.run is not run or m.split == "validation"}
    missing = variants.unfinished(run, [0])
    assert set(missing) == expected
    text = variant_results.variant_tables(run, [0], "embedded corpus")
    assert text.startswith(f"{len(missing)} models") and "`./run_all.sh --preset smoke --run s --seeds 0`" in text
    assert not (run.folder / "tables").exists()
    results.results_table(run, [0], "embedded corpus")
    assert variant_results.effects(run, [0]).groups.keys() == {
        "guided minus baseline",
        "guided minus + L_rlv",
        "+ L_rlv minus baseline",
    }


def test_a_run_without_variants_has_no_tables_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    assert "preset study" in variant_results.variant_tables(Run("d", load("demo")), [0], "embedded corpus")
