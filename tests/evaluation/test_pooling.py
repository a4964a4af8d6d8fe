"""Runs with other seeds, pooled: the tables are those of one run over all seeds."""

import pytest

from avlib.core import files
from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import results, variants
from avlib.evaluation.evaluate import evaluation_stage
from avlib.evaluation.pooling import pool
from avlib.evaluation.variant_results import variant_tables
from avlib.evaluation.variants import variant_models
from avlib.training.objectives import OBJECTIVES, model_names
from tests.evaluation.variant_records import TRAINED, record, train_own

SMOKE = {"animators": "faceformer"}


@pytest.fixture(autouse=True)
def results_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    monkeypatch.setattr(runs, "commit", lambda: "a commit")


def scored_run(name: str, seeds: list[int], corpus: str = "c0ffee", **settings) -> Run:
    """A run and its variants, trained and scored by hand: numbers depend on model and seed."""
    run = Run(name, load("smoke", **SMOKE | settings))
    train_own(run, seeds)
    for n, model in enumerate(model_names(run, [0, 1])):
        if int(model[-1]) in seeds:
            record(run, f"evaluation-{model}", 10.0 + n)
    for objective in OBJECTIVES:
        record(run, f"judged-faceformer-{objective}-s{seeds[0]}", 3.0)
    for stage in ("evaluation-truth", "evaluation-still"):
        record(run, stage, 1.0)
    path = run.folder / "records" / "evaluation-truth.json"
    files.write_json(path, files.read_json(path) | {"corpus": corpus})
    for variant in variants.chosen_variants(run.config):
        for model in variant_models(run, variant, seeds):
            if model.run is not run:
                trained = {k: v for k, v in run.record(model.name).items() if k in TRAINED}
                model.run.finish(model.name, "k", **trained)
                record(model.run, evaluation_stage(model.name, model.split), 20.0 + len(variant) + model.seed)
    results.results_table(run, seeds, "embedded corpus")
    return run


def test_tables_of_pooled_runs_are_those_of_one_run_over_all_seeds():
    whole = scored_run("whole", [0, 1], variants="ablation")
    parts = [scored_run("b", [1], "beef", variants="ablation"), scored_run("a", [0], variants="ablation")]
    pooled = pool([part.folder for part in parts], "pooled")
    assert (pooled.seeds, pooled.corpus, pooled.corpus_hashes) == ([0, 1], "embedded corpus", ["beef", "c0ffee"])
    assert pooled.readings == ["CER 1.5 %, by the judge 2.0 %"], "by the same readers"
    text = results.results_table(pooled.run, pooled.seeds, pooled.corpus)
    assert text == results.results_table(whole, [0, 1], "embedded corpus") and "±" in text
    text = variant_tables(pooled.run, pooled.seeds, pooled.corpus)
    assert text == variant_tables(whole, [0, 1], "embedded corpus") and "without L_rlv" in text


def test_variants_of_the_first_seeds_stand_beside_models_of_all(monkeypatch):
    monkeypatch.setattr(variants, "VARIANT_SEEDS", 1)
    parts = [scored_run("b", [1]), scored_run("a", [0], variants="ablation")]
    pooled = pool([part.folder for part in parts], "pooled")
    assert pooled.run.config.variants == ("ablation",)
    assert "seeds 0, 1" in results.results_table(pooled.run, pooled.seeds, pooled.corpus)
    assert "Ablation on the embedded corpus, preset smoke, method avlib, seed 0;" in variant_tables(
        pooled.run, pooled.seeds, "embedded corpus"
    )


def test_what_cannot_be_pooled_is_refused_and_nothing_is_written(tmp_path):
    a, same, other = scored_run("a", [0]), scored_run("b", [0]), scored_run("c", [1], **{"joint.epochs": 3})
    with pytest.raises(ValueError, match="c: made with other settings than .*a .joint.epochs: 2 there, 3 requested"):
        pool([a.folder, other.folder], "pooled")
    with pytest.raises(ValueError, match="b: has seed 0, as .*a has; expected other seeds"):
        pool([a.folder, same.folder], "pooled")
    with pytest.raises(ValueError, match="table.json: no such file; expected the folder of a run that has finished"):
        pool([a.folder, tmp_path / "nowhere"], "pooled")
    assert not (tmp_path / "pooled").exists()
    with pytest.raises(ValueError, match="c: exists; choose another --run name"):
        pool([a.folder], "c")
