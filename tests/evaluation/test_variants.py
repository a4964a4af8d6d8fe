"""Variants share with their run what they do not change, and every one changes something real."""

import pytest
import torch

from avlib.core import files
from avlib.core import run as runs
from avlib.core.files import write_weights
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import report, variants
from avlib.evaluation.tables import PUBLISHED_ABLATION
from avlib.evaluation.variants import VARIANTS, chosen_variants, variant_models, variant_run
from avlib.metrics.protocols import protocols
from avlib.plots import results

ALL = {"variants": "ablation,weight,expert,audio_condition,gradient_projection,faults"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return Run("s", load("smoke", **ALL))


def test_every_variant_is_a_configuration_of_its_own(run):
    made = {name: variant_run(run, name) for name in chosen_variants(run.config)}
    assert made.keys() == VARIANTS.keys()
    changed = [(r.config, VARIANTS[name].guidance) for name, r in made.items() if r is not run]
    assert (
        len(set(changed)) == len(changed) == len([v for v in VARIANTS.values() if v.settings]) - 1
    )  # a weight is the default
    for name, r in made.items():
        assert (r is run) == (r.config == run.config) and r.folder == (
            run.folder if r is run else run.folder / "variants" / name
        )


def test_groups_are_asked_for_by_name(run):
    assert {v.group for v in chosen_variants(load("smoke", variants="gradient_projection,weight")).values()} == {
        "gradient_projection",
        "weight",
    }
    assert not chosen_variants(load("demo"))
    with pytest.raises(ValueError, match="variants: expected some of ablation, .*, got 'pull'"):
        chosen_variants(load("smoke", variants="pull"))


def test_ablations_have_all_animators_and_seeds_and_sweeps_the_first(run):
    models = lambda name: [t.model for t in variant_models(run, name, [3, 4])]
    assert models("no-rlv") == [f"{a}-guided-s{s}" for a in ("faceformer", "codetalker") for s in (3, 4)]
    assert models("mse-alone")[0] == "faceformer-unguided-s3"
    assert models("released-rate") == ["faceformer-guided-s3"]


def test_a_variant_takes_what_is_made_alike_and_writes_to_its_own_folder(run):
    variant = variant_run(run, "no-rlv")
    run.finish("expert", "k", [write_weights(run.weights("expert"), {"w": torch.ones(2)}, {})], who="run")
    assert variant.finished("expert", "k")["who"] == "run" and variant.weights("expert") == run.weights("expert")
    assert variant.finished("expert", "other") is None
    own = write_weights(variant.folder / "weights" / "expert.safetensors", {"w": torch.zeros(2)}, {})
    variant.finish("expert", "other", [own], who="variant")
    assert variant.record("expert")["who"] == "variant" and variant.weights("expert") == own
    assert variant.finished("expert", "k")["who"] == "run"
    assert run.record("expert")["who"] == "run" and run.weights("expert") != own


def test_scores_of_the_run_are_not_taken_for_those_of_a_variant_that_has_none(run):
    whole, without = (variant_models(run, name, [0])[0] for name in ("full", "no-rlv"))
    run.finish(f"evaluation-{whole.model}", "k", who="run")
    assert variants.variant_record(whole)["who"] == "run"
    with pytest.raises(ValueError, match="no-rlv: faceformer-guided-s0 has not been trained and scored yet"):
        variants.variant_record(without)


def test_each_model_is_trained_and_scored_once_and_an_expert_that_differs_before(run, monkeypatch, capsys):
    did, judges = [], []
    monkeypatch.setattr(variants, "run_parallel", lambda jobs, device: (job[0](*job[1:]) for job in jobs))
    monkeypatch.setattr(variants, "pretrain_reader", lambda r, corpus, stage: did.append((r.folder.name, stage)))
    monkeypatch.setattr(variants, "train_joint", lambda r, corpus, *model: did.append((r.folder.name, *model)))
    scored = {m: {"value": 1.0, "unit": "%"} for m in ("LVE", "CER", "VER")}
    monkeypatch.setattr(
        variants,
        "evaluate",
        lambda r, corpus, model, judge=None: judges.append((model, judge)) or {"model": model, "metrics": scored},
    )
    variants.run_variants(run, None, [0, 1])
    assert did[:2] == [("no-prior", "expert"), ("no-speech", "expert")]
    trained = did[2:]
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith(f"variants {len(trained)}/{len(trained)}: {trained[-1][0]}  ")
    )
    assert len(set(trained)) == len(trained) and ("s", "faceformer", "guided", 0) in trained
    assert ("codetalker-unguided-s0", "codetalker-guided-s0") in judges and len([j for _, j in judges if j]) == 4
    assert (
        sum(folder == "no-prior" for folder, *_ in trained) == 4
        and sum(folder == "all-faults" for folder, *_ in trained) == 1
    )


def record(run: Run, stage: str, cer: float, **more) -> None:
    """As evaluations leave it, of two utterances."""
    score = protocols()["avlib"].scores
    rows = [
        {
            "utterance": f"u{i}",
            "subject": "Kim",
            "style": "-",
            "loudness": 1.0,
            "scores": {
                score[m].measure.key: [100 * v, 100] for m, v in (("LVE", 1e-3), ("CER", cer + i), ("VER", cer / 2))
            },
        }
        for i in range(2)
    ]
    masks = {"lip": ["abc", 3]}
    run.finish(
        stage,
        "k",
        rows=rows,
        masks={k: {"hash": h, "vertices": n} for k, (h, n) in masks.items()},
        unit="m",
        split="test",
        corpus_name="embedded",
        **more,
    )


def test_tables_tell_each_part_of_the_method_each_sweep_and_each_judge(run):
    for name in VARIANTS:
        for n, t in enumerate(variant_models(run, name, [0, 1])):
            t.run.finish(
                t.model, "k", history=[{}, {"share_av": 0.25, "held_out_av": 7.0} if t.guidance == "guided" else {}]
            )
            record(t.run, f"evaluation-{t.model}", 10.0 + len(name) + n)
    for a in ("faceformer", "codetalker"):
        for g in ("unguided", "guided"):
            record(run, f"judged-{a}-{g}-s0", 3.0)
    text = variants.variant_tables(run, [0, 1], "embedded corpus")
    for row in ("full", "without 2D prior", "without L_rlv", "without speech", "L_rlv alone", "baseline"):
        assert f"| {row} |" in text and row in PUBLISHED_ABLATION
    assert "FaceFormer + AV guidance, read by its guide | 3.500" in text
    rows = files.read_json(run.folder / "tables" / "table_audio_condition.json")["rows"]
    assert [r["method"] for r in rows] == [v.name for v in VARIANTS.values() if v.group == "audio_condition"]
    assert rows[0]["share_av"] == 0.25 and rows[1]["metrics"]["CER"]["values"] == [10.0 + len("hears-clean") + 0.5]
    assert [
        "quoted" in (run.folder / "tables" / f"table_ablation_{m}.md").read_text() for m in ("lve", "cer", "ver")
    ] == [True, False, False]
    assert (
        "| λ_av = 0 | 100.000 | 18.500 | 9.000 | 0.00 | – |" in text
    )  # the unguided: what a weight is worth beside none
    assert (run.folder / "tables" / "table_faults_differences.tex").exists()
    for stage in ("evaluation-truth", "evaluation-still"):
        record(run, stage, 1.0)
    report.results_table(run, [0], "embedded corpus")
    found, metrics = variants.effects(run, [0, 1])
    table = lambda name: files.read_json(run.folder / "tables" / f"table_{name}.json")["rows"]
    assert found["guided less unguided"]["CodeTalker"] == table("differences")[1]["metrics"] and metrics["LVE"] == (
        1e-5,
        "1e-5 m²",
    )
    assert (
        found["part left out, less full method"]["CodeTalker, without L_rlv"]["CER"]
        == table("ablation_cer")[2]["animators"]["CodeTalker"]["less full"]
    )
    assert (
        found["audio_condition, less “the expert hears drowned speech, or none”"]["none"]
        == table("audio_condition_differences")[2]["metrics"]
    )
    assert (
        len(found) == 2 + 5
        and [len(axis.lines) for axis in results.effects(found, metrics).axes]
        == [1 + 2 * (2 + 10 + len(VARIANTS) - 6 - 5)] * 3
    )


def test_variants_that_are_not_trained_yet_are_told_and_the_method_is_shown_without_them(run):
    for model in ("truth", "still", *(t.model for name in ("full", "rlv-alone") for t in variant_models(run, name, [0]))):
        record(run, f"evaluation-{model}", 1.0)
    wanted = {(t.run.name, t.model) for name in VARIANTS for t in variant_models(run, name, [0]) if t.run is not run}
    missing = variants.unscored(run, [0])
    assert {tuple(m.split("/")) for m in missing} == wanted
    text = variants.variant_tables(run, [0], "embedded corpus")
    assert text.startswith(f"{len(missing)} models") and "`./run_all.sh --preset smoke --run s --seeds 0`" in text
    assert not (run.folder / "tables").exists()
    report.results_table(run, [0], "embedded corpus")
    assert variants.effects(run, [0])[0].keys() == {"guided less unguided"}


def test_a_run_without_variants_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    assert "preset study" in variants.variant_tables(Run("d", load("demo")), [0], "embedded corpus")
