"""Variants share with their run the stages that they do not change, and each changes a setting."""

from statistics import mean

import pytest
import torch

from avlib.core import files
from avlib.core import run as runs
from avlib.core.files import write_weights
from avlib.core.overrides import with_settings
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import results, variant_results, variants
from avlib.evaluation.tables import PUBLISHED_ABLATION
from avlib.evaluation.variants import GROUP_TITLES, VARIANTS, chosen_variants, variant_models, variant_run
from avlib.metrics.protocols import read_protocols
from avlib.plots.results import effects as draw_effects
from avlib.training.objectives import OBJECTIVES, model_names

ALL = {"variants": ",".join(GROUP_TITLES)}
OWN = {"joint.epochs": 2, "joint.patience": 0}  # of the run


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return Run("s", load("smoke", **ALL))


EFFORTS = ("its own number of steps", "as many steps as guided", "as long as guided")
SECONDS = {"baseline": 20.0, "rlv": 25.0, "guided": 60.0}  # of two epochs


def train_own(run: Run, seeds: list[int], **epochs: int) -> None:
    """Records of the run's own models, of two epochs unless an objective has another number."""
    for model in model_names(run, seeds):
        objective, count = model.split("-")[1], epochs.get(model.split("-")[1], 2)
        history = [{"held_out_lve": 2e-5}] * (count - 1) + [{"held_out_lve": 1e-5}]
        if objective == "guided":
            history[-1] |= {"share_av": 0.25, "held_out_av": 7.0}
        found = {"plateau": None, "steady_epochs": 1, "change_steady": None, "change": -50.0}
        effort = {"epochs": count, "steps": 3 * count, "seconds": SECONDS[objective] * count / 2}
        run.finish(model, "k", history=history, convergence=found, **effort)


def test_every_variant_is_a_configuration_of_its_own(run):
    variant_runs = {name: variant_run(run, name) for name in chosen_variants(run.config) if not VARIANTS[name].epochs}
    assert variant_runs.keys() == {name for name, v in VARIANTS.items() if not v.epochs}
    changed = [(r.config, VARIANTS[name].objective) for name, r in variant_runs.items() if r is not run]
    with_settings = [v for v in VARIANTS.values() if v.settings]
    assert len(set(changed)) == len(changed) == len(with_settings) - 1, "one weight is the default"
    for name, r in variant_runs.items():
        assert (r is run) == (r.config == run.config)
        assert r.folder == (run.folder if r is run else run.folder / "variants" / name)


def test_each_label_is_unique_within_its_group_and_its_first_is_the_reference():
    labels = [(v.group, v.label) for v in VARIANTS.values()]
    assert len(set(labels)) == len(labels)
    assert {group for group, _ in labels} == GROUP_TITLES.keys()
    first = {v.group: v for v in reversed(VARIANTS.values())}
    assert all(not v.settings for v in first.values()), "the reference is the run itself"


def test_groups_are_chosen_by_name(run):
    chosen = chosen_variants(load("smoke", variants="gradient_projection,weight"))
    assert {v.group for v in chosen.values()} == {"gradient_projection", "weight"}
    assert not chosen_variants(load("demo"))
    for unknown in ("pull", "baseline"):  # every run has a baseline
        with pytest.raises(ValueError, match=f"variants: expected some of ablation, .*, got '{unknown}'"):
            chosen_variants(load("smoke", variants=unknown))


def test_ablations_have_all_animators_and_seeds_and_sweeps_the_first(run):
    def names(variant: str) -> list[str]:
        return [model.name for model in variant_models(run, variant, [3, 4])]

    assert names("no-rlv") == [f"{a}-guided-s{s}" for a in ("faceformer", "codetalker") for s in (3, 4)]
    assert [names(name)[0] for name in ("rlv", "baseline")] == ["faceformer-rlv-s3", "faceformer-baseline-s3"]
    assert all(variant_run(run, name) is run for name in ("rlv", "baseline")), "the run's own models"
    assert names("fault-rate") == ["faceformer-guided-s3"]


def test_trainings_of_equal_effort_have_epochs_from_the_records_of_the_same_animator_and_seed(run):
    train_own(run, [3, 4], guided=6, rlv=6)
    record = run.record("codetalker-guided-s4")
    run.finish("codetalker-guided-s4", "k", **{k: record[k] for k in ("history", "steps")}, epochs=6, seconds=360.0)

    def epochs(variant: str) -> dict[str, int]:
        """The epochs of each of the variant's models that the run does not have itself."""
        models = [model for model in variant_models(run, variant, [3, 4]) if model.run is not run]
        assert all(model.run.name == f"epochs-{model.run.config.joint.epochs}" for model in models)
        assert all(with_settings(model.run.config, OWN) == run.config for model in models), "nothing else is changed"
        return {model.name: model.run.config.joint.epochs for model in models}

    everywhere = [f"{animator}-baseline-s{seed}" for animator in ("faceformer", "codetalker") for seed in (3, 4)]
    assert epochs("budget-baseline-steps") == dict.fromkeys(everywhere, 6)
    assert epochs("budget-baseline-time") == dict.fromkeys(everywhere, 18) | {"codetalker-baseline-s4": 36}
    assert epochs("budget-rlv-steps") == {}, "the run's own models have as many steps"
    assert list(epochs("budget-rlv-time").values()) == [14, 14, 14, 29], "180 s or 360 s at 12.5 s an epoch"
    assert [model.run for model in variant_models(run, "budget-guided", [3, 4])] == [run] * 4
    assert [model.run for model in variant_models(run, "budget-baseline", [3, 4])] == [run] * 4


def test_trainings_of_equal_effort_need_the_models_of_the_run(run):
    with pytest.raises(ValueError, match="faceformer-guided-s3.json: stage 'faceformer-guided-s3' has not run yet"):
        variant_models(run, "budget-baseline-time", [3])


def test_trainings_of_a_set_length_have_no_patience(run):
    patient = Run("p", load("smoke", **ALL, **{"joint.patience": 3}))
    train_own(patient, [0])
    assert {m.run.config.joint.patience for m in variant_models(patient, "budget-rlv-time", [0])} == {0}


def test_a_variant_shares_stages_of_equal_key_and_writes_to_its_own_folder(run):
    variant = variant_run(run, "no-rlv")
    run.finish("expert", "k", [write_weights(run.weights("expert"), {"w": torch.ones(2)}, {})], who="run")
    assert variant.finished("expert", "k")["who"] == "run" and variant.weights("expert") == run.weights("expert")
    assert variant.finished("expert", "other") is None
    weights = write_weights(variant.folder / "weights" / "expert.safetensors", {"w": torch.zeros(2)}, {})
    variant.finish("expert", "other", [weights], who="variant")
    assert variant.record("expert")["who"] == "variant" and variant.weights("expert") == weights
    assert variant.finished("expert", "k")["who"] == "run"
    assert run.record("expert")["who"] == "run" and run.weights("expert") != weights


def test_scores_of_the_run_are_not_taken_for_scores_of_a_variant(run):
    full, without = (variant_models(run, name, [0])[0] for name in ("full", "no-rlv"))
    run.finish(f"evaluation-{full.name}", "k", who="run")
    assert variants.variant_record(full)["who"] == "run"
    with pytest.raises(ValueError, match="no-rlv: faceformer-guided-s0 is not trained and scored"):
        variants.variant_record(without)


def test_each_model_is_trained_and_scored_once_after_its_own_expert(run, monkeypatch, capsys):
    calls, judges = [], []
    metrics = {m: {"value": 1.0, "unit": "%"} for m in ("LVE", "CER", "VER", "CER_judge")}

    def evaluate(r, corpus, model, guide=None):
        judges.append((model, guide))
        return {"model": model, "metrics": metrics}

    monkeypatch.setattr(variants, "run_parallel", lambda jobs, device: (job[0](*job[1:]) for job in jobs))
    monkeypatch.setattr(variants, "pretrain_reader", lambda r, corpus, stage: calls.append((r.folder.name, stage)))
    monkeypatch.setattr(variants, "train_joint", lambda r, corpus, *model: calls.append((r.folder.name, *model)))
    monkeypatch.setattr(variants, "evaluate", evaluate)
    train_own(run, [0, 1])
    variants.run_variants(run, None, [0, 1])
    assert calls[:2] == [("no-prior", "expert"), ("no-speech", "expert")]
    trained = calls[2:]
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert last_line.startswith(f"variants {len(trained)}/{len(trained)}: {trained[-1][0]}  ")
    assert len(set(trained)) == len(trained) and ("s", "faceformer", "guided", 0) in trained
    assert ("codetalker-baseline-s0", "codetalker-guided-s0") in judges and len([j for _, j in judges if j]) == 6
    folders = [folder for folder, *_ in trained]
    assert folders.count("no-prior") == 4 and folders.count("naive-all-faults") == 1
    assert folders.count("epochs-6") == folders.count("epochs-5") == 4, "baseline and rlv for as long as guided"


def record(run: Run, stage: str, cer: float, **more) -> None:
    """A hand-written evaluation record of two utterances."""
    scores = read_protocols()["avlib"].scores
    rates = {"CER": cer, "VER": cer / 2, "CER_judge": 2 * cer, "VER_judge": cer}
    rows = [
        {
            "utterance": f"u{i}",
            "subject": "Kim",
            "style": "-",
            "loudness": 1.0,
            "scores": {
                scores[m].measure.key: [100 * v, 100] for m, v in (rates | {"LVE": 1e-3, "CER": cer + i}).items()
            },
        }
        for i in range(2)
    ]
    masks = {"lip": {"hash": "abc", "vertices": 3}}
    run.finish(stage, "k", rows=rows, masks=masks, unit="m", split="test", corpus_name="embedded", **more)


TRAINED = ("history", "epochs", "steps", "seconds", "convergence")


def written_rows(run: Run, name: str) -> list[dict]:
    return files.read_json(run.folder / "tables" / f"table_{name}.json")["rows"]


@pytest.fixture
def scored_run(run) -> Run:
    """All variants over seeds 0 and 1, trained and scored by hand."""
    train_own(run, [0, 1])
    for name in VARIANTS:
        for n, model in enumerate(variant_models(run, name, [0, 1])):
            if model.run is not run:
                model.run.finish(model.name, "k", **{k: v for k, v in run.record(model.name).items() if k in TRAINED})
            record(model.run, f"evaluation-{model.name}", 10.0 + len(name) + n)
    for animator in ("faceformer", "codetalker"):
        for objective in OBJECTIVES:
            record(run, f"judged-{animator}-{objective}-s0", 3.0)
    for stage in ("evaluation-truth", "evaluation-still"):
        record(run, stage, 1.0)
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
    audio = groups["Speech input of the guiding expert, minus “speech in babble at -10 to 0 dB, or absent (method)”"]
    assert audio["no speech"] == written_rows(scored_run, "audio_condition_differences")[2]["metrics"]
    equal = groups["Equal steps and equal time, minus “+ L_rlv + guidance”"]
    budget_row = written_rows(scored_run, "budget_ver")[3]["animators"]["FaceFormer"]["difference"]
    assert equal["FaceFormer, baseline (L_mse), as long as guided"]["VER"] == budget_row
    assert len(groups) == 3 + 2 + 5
    lines = 1 + 2 * (
        6 + 10 + 12 + len(VARIANTS) - 6 - 7 - 5
    )  # a zero line, and an interval and a dot for each difference
    assert [len(axis.lines) for axis in draw_effects(groups, units).axes] == [lines] * 5


def test_untrained_variants_are_reported_and_objectives_are_compared_without_them(run):
    for model in ("truth", "still", *model_names(run, [0])):
        record(run, f"evaluation-{model}", 1.0)
    assert variants.unscored(run, [0]) == [f"s/{model}" for model in model_names(run, [0])], "not trained yet"
    train_own(run, [0])
    models = [model for name in VARIANTS for model in variant_models(run, name, [0])]
    expected = {f"{model.run.name}/{model.name}" for model in models if model.run is not run}
    missing = variants.unscored(run, [0])
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
