"""One pre-training for each training seed: where it is, and what it shares with the run's own."""

import pytest

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.training import pretraining
from avlib.training.replication import pretraining_key, pretraining_of, pretraining_run, pretraining_runs


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return Run("main", load("smoke", pretrain_each_seed=True))


def test_without_the_setting_all_seeds_share_one_pretraining(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    plain = Run("plain", load("smoke"))
    assert all(pretraining_run(plain, seed) is plain for seed in range(3)) and pretraining_runs(plain, [0, 1]) == [
        plain
    ]


def test_each_seed_but_the_runs_own_has_a_pretraining_of_its_own(run):
    assert pretraining_run(run, 0) is run
    other = pretraining_run(run, 2)
    assert other.config.seed == 2 and other.folder == run.folder / "variants" / "pretraining-2"
    assert other.config.corpus == run.config.corpus and other.variant_of is run
    assert [r.folder.name for r in pretraining_runs(run, [0, 2, 2, 1])] == ["main", "pretraining-2", "pretraining-1"]


def test_a_variant_builds_on_the_pretraining_of_the_seed_where_it_changes_nothing(run):
    variant = Run("no-rlv", load("smoke", pretrain_each_seed=True, **{"joint.lambda_rlv": 0.0}), run)
    base = pretraining_run(variant, 2)
    assert base.config.seed == 2 and base.config.joint.lambda_rlv == 0 and pretraining_run(variant, 0) is variant
    run.finish("expert", "k0", seed=0)
    assert base.record("expert")["seed"] == 0
    pretraining_run(run, 2).finish("expert", "k2", seed=2)
    assert base.record("expert")["seed"] == 2 and variant.record("expert")["seed"] == 0


def test_a_models_pretraining_is_that_of_its_seed(run):
    run.finish("faceformer-guided-s2", "k", seed=2)
    assert pretraining_of(run, "faceformer-guided-s2").config.seed == 2
    assert pretraining_of(run, "truth") is run, "no model"


def test_a_training_never_builds_on_the_pretraining_of_another_seed(run):
    """A variant shares what its run has, so a pre-training that is missing would be replaced by that of the run."""
    run.finish("speech", "of seed 0")
    variant = Run("no-rlv", load("smoke", pretrain_each_seed=True, **{"joint.lambda_rlv": 0.0}), run)
    assert [pretraining_key(pretraining_run(r, 0), "speech") for r in (run, variant)] == ["of seed 0"] * 2
    for place in (run, variant):
        with pytest.raises(ValueError, match="main: stage 'speech' has not run for seed 2, and pretrain_each_seed"):
            pretraining_key(pretraining_run(place, 2), "speech")
    pretraining_run(run, 2).finish("speech", "of seed 2")
    assert [pretraining_key(pretraining_run(r, 2), "speech") for r in (run, variant)] == ["of seed 2"] * 2


def test_pretraining_trains_what_animators_need_for_each_seed_and_what_scores_once(run, monkeypatch):
    trained = []
    monkeypatch.setattr(pretraining, "run_parallel", lambda jobs, *_: [trained.append(job) for job in jobs])
    pretraining.pretrain(run, None, [0, 1])
    by_run = {}
    for function, place, *rest in trained:
        by_run.setdefault(place.folder.name, set()).add((function.__name__, *(r for r in rest if isinstance(r, str))))
    guides = {("pretrain_reader", "expert"), ("pretrain_speech",)}
    guides |= {("train_motion_vqvae", animator) for animator in run.config.animators}
    scores = {("pretrain_reader", "reader"), ("pretrain_judge",), ("train_sync_encoder",)}
    assert by_run == {"main": guides | scores, "pretraining-1": guides}
