"""Variants share with their run what they do not change, and every one changes something real."""
import pytest
import torch

from avlib import run as runs
from avlib import study
from avlib.config import load
from avlib.run import Run, write_weights
from avlib.study import VARIANTS, Trial, chosen, trials, variant_run

ALL = {"variants": "ablation,weight,expert,hearing,push,released"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return Run("s", load("smoke", **ALL))


def test_every_variant_is_a_configuration_of_its_own(run):
    made = {name: variant_run(run, name) for name in chosen(run.config)}
    assert made.keys() == VARIANTS.keys()
    changed = [(r.config, VARIANTS[name].guidance) for name, r in made.items() if r is not run]
    assert len(set(changed)) == len(changed) == len([v for v in VARIANTS.values() if v.settings]) - 1   # a weight is the default
    for name, r in made.items():
        assert (r is run) == (r.config == run.config) and r.folder == (run.folder if r is run else run.folder / "variants" / name)


def test_groups_are_asked_for_by_name(run):
    assert {v.group for v in chosen(load("smoke", variants="push,weight")).values()} == {"push", "weight"}
    assert not chosen(load("demo"))
    with pytest.raises(ValueError, match="variants: expected some of ablation, .*, got 'pull'"):
        chosen(load("smoke", variants="pull"))


def test_ablations_have_all_animators_and_seeds_and_sweeps_the_first(run):
    models = lambda name: [t.model for t in trials(run, name, [3, 4])]
    assert models("no-rlv") == [f"{a}-guided-s{s}" for a in ("faceformer", "codetalker") for s in (3, 4)]
    assert models("mse-alone")[0] == "faceformer-baseline-s3"
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


def test_each_model_is_trained_and_scored_once_and_an_expert_that_differs_before(run, monkeypatch):
    did = []
    monkeypatch.setattr(study, "side_by_side", lambda jobs, device: (job[0](*job[1:]) for job in jobs))
    monkeypatch.setattr(study, "pretrain_reader", lambda r, corpus, stage: did.append((r.folder.name, stage)))
    monkeypatch.setattr(study, "train_joint", lambda r, corpus, *model: did.append((r.folder.name, *model)))
    monkeypatch.setattr(study, "evaluate", lambda r, corpus, model: {"model": model, "metrics": {}})
    study.run_all(run, None, [0, 1])
    assert did[:2] == [("no-prior", "expert"), ("no-speech", "expert")]
    trained = did[2:]
    assert len(set(trained)) == len(trained) and ("s", "faceformer", "guided", 0) in trained
    assert sum(folder == "no-prior" for folder, *_ in trained) == 4 and sum(folder == "released" for folder, *_ in trained) == 1


def test_a_sweep_tells_scores_and_how_strongly_was_guided(run):
    for n, name in enumerate(k for k, v in VARIANTS.items() if v.group == "hearing"):
        trial, = trials(run, name, [0])
        assert isinstance(trial, Trial)
        trial.run.finish(trial.model, "k", history=[{}, {"share_av": 0.1 * n, "held_out_av": float(n)}])
        trial.run.finish(f"evaluation-{trial.model}", "k", metrics={"CER": {"value": 10.0 + n}})
    rows = study.sweep(run, "hearing", 0)
    assert [r["metrics"]["CER"]["value"] for r in rows] == [10, 11, 12, 13] and rows[3]["held_out_av"] == 3
    assert rows[0]["variant"] == VARIANTS["hears-drowned"].name
