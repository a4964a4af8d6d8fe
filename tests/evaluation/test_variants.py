"""Variants share with their run the stages that they do not change, and each changes a setting."""

from dataclasses import replace

import pytest
import torch

from avlib.core import run as runs
from avlib.core.files import write_weights
from avlib.core.overrides import with_settings
from avlib.core.presets import load
from avlib.core.published import FAULTS
from avlib.core.run import Run
from avlib.evaluation import variants
from avlib.evaluation.variants import (
    GROUP_TITLES,
    VARIANTS,
    chosen_variants,
    pretraining_jobs,
    variant_models,
    variant_run,
)
from avlib.training.checkpoints import Diverged
from avlib.training.motion_vqvae import train_motion_vqvae
from avlib.training.readers import pretrain_reader
from tests.evaluation.variant_records import ALL, train_own

OWN = {"joint.epochs": 2, "joint.patience": 0}  # of the run


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return Run("s", load("smoke", **ALL))


def test_every_variant_is_a_configuration_of_its_own(run):
    variant_runs = {name: variant_run(run, name) for name in chosen_variants(run.config)}
    assert variant_runs.keys() == VARIANTS.keys()
    with_changes = [v for v in VARIANTS.values() if v.settings]
    changed = [
        (r.config, VARIANTS[name].objective)
        for name, r in variant_runs.items()
        if r is not run and VARIANTS[name].settings
    ]
    assert len(set(changed)) == len(changed) == len(with_changes) - 1, "one weight is the default"
    for name, r in variant_runs.items():
        assert (r is run) == (r.config == run.config)
        parent = variant_runs[VARIANTS[name].base].folder if VARIANTS[name].base else run.folder
        assert r.folder == (parent / "variants" / name if VARIANTS[name].settings and r is not run else parent)


def test_the_rows_of_the_paper_and_of_the_released_code_differ_from_the_method_in_all_that_is_known(run):
    published, paper, released = (
        variant_run(run, name).config for name in ("published-baseline", "paper-text", "as-released")
    )
    for config in (published, paper, released):
        joint = config.joint
        assert joint.betas == (0.9, 0.999) and joint.max_gradient_norm == joint.lr_decay_fraction == 0
        assert (joint.lr, joint.batch, joint.lambda_mse, joint.lambda_rlv) == (1e-3, 8, 1.0, 1.0)
    assert published.joint.lambda_av_unscaled == 0 and published.expert == run.config.expert
    for config in (paper, released):
        joint = config.joint
        assert joint.guidance_start == 0 and joint.lambda_av_unscaled == 1e-7
        assert min(joint.babble_db) >= 50 and joint.drop_audio == 0 and joint.expert_learns_from == "prediction"
        assert joint.guidance_components == 0 and not joint.soft_silhouettes
        assert config.expert == replace(run.config.expert, time_mask=0.4)
    assert paper.joint.as_released == () and set(released.joint.as_released) == set(FAULTS)
    assert with_settings(released, {"joint.as_released": []}) == paper


@pytest.mark.parametrize(
    "settings, epochs",
    [
        ({"expert.epochs": 5}, 2),  # lips alone in half of what follows the first fifth
        ({"expert.epochs": 5, "expert.drop_audio": 0.25}, 1),
        ({"expert.epochs": 50, "expert.audio_only_fraction": 0.0}, 25),
        ({"expert.epochs": 1}, 1),
        ({"expert.epochs": 10, "expert.drop_audio": 0.0, "expert.drop_video": 0.25}, 6),  # never lips alone
    ],
)
def test_a_guide_without_speech_has_lips_alone_as_often_as_the_full_method(tmp_path, monkeypatch, settings, epochs):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("s", load("smoke", **settings))
    expert = variant_run(run, "no-speech").config.expert
    assert expert == replace(run.config.expert, modalities=("video",), epochs=epochs)


def test_each_label_is_unique_within_its_group_and_its_first_is_the_reference():
    labels = [(v.group, v.label) for v in VARIANTS.values()]
    assert len(set(labels)) == len(labels)
    assert {group for group, _ in labels} == GROUP_TITLES.keys()
    first = {v.group: v for v in reversed(VARIANTS.values())}
    assert not any(v.settings or v.epochs or v.further for v in first.values()), "the run itself"
    assert {v.base for v in first.values()} == {"", "scans-4-baseline"}, "or that of few scans"
    assert all(v.is_sweep == variants.is_sweep(v.group) for v in VARIANTS.values()), "a group has one kind of variants"


def test_a_group_without_variants_for_the_corpus_is_refused():
    assert chosen_variants(load("smoke", variants="guiding", **{"corpus.sentences_train": 5}))
    with pytest.raises(ValueError, match="^variants guiding: there are no more than 4 sentences of a training subject"):
        chosen_variants(load("smoke", variants="guiding", **{"corpus.sentences_train": 4}))


def test_numbers_of_scans_are_chosen():
    few = load("smoke", variants="scans", few_scans="4", **{"corpus.sentences_train": 32})
    assert {variants.scans_of(name) for name in chosen_variants(few)} == {0, 4}
    with pytest.raises(ValueError, match="^few_scans: expected some of 2, 4, 8, 16, got 3$"):
        chosen_variants(load("smoke", few_scans="3,4"))


def test_motion_to_imitate_is_made_before_it_is_imitated(run, calls):
    train_own(run, [0])
    variants.run_variants(run, None, [0])
    trained = [c for c in calls if len(c) == 4]
    teacher = ("scans-4-baseline", "faceformer", "rlv", 0)
    assert trained[-1] == ("guiding-motion", "faceformer", "guided", 0) and teacher in trained


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
    assert [m.seed for m in variant_models(run, "no-rlv", [5, 4, 3, 2, 1])] == [5, 4, 3] * 2, "at most three seeds"


def test_sweeps_are_scored_on_the_validation_split_and_the_others_on_test(run):
    train_own(run, [3])
    for name, variant in VARIANTS.items():
        (split,) = {model.split for model in variant_models(run, name, [3])}
        assert split == ("validation" if variant.is_sweep else "test")
    sweep, report = (variant_models(run, name, [3])[0] for name in ("weight-0.005", "full"))
    assert sweep.run is report.run and sweep.name == report.name, "one training"
    run.finish(f"evaluation-{report.name}", "k", who="test")
    assert report.is_finished and not sweep.is_finished
    run.finish(f"evaluation-validation-{report.name}", "k", who="validation")
    assert [variants.variant_record(model)["who"] for model in (report, sweep)] == ["test", "validation"]


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


def test_rows_trained_as_published_have_as_many_steps_as_the_method_and_the_last_two_share_an_expert(run):
    train_own(run, [3], guided=6, baseline=4)
    for name in ("published-baseline", "paper-text", "as-released"):
        for model in variant_models(run, name, [3]):
            assert (model.run.config.joint.epochs, model.run.config.joint.patience) == (6, 0)
            assert model.run.variant_of.config == variant_run(run, name).config
    models = [m for name in chosen_variants(run.config) for m in variant_models(run, name, [3])]
    places = [job[1].folder.name for job in pretraining_jobs(run, None, models) if job[0] is pretrain_reader]
    assert sorted(places) == ["no-prior", "no-speech", "paper-text"]
    released = variant_models(run, "as-released", [3])[0].run
    paper = variant_run(run, "paper-text")
    weights = write_weights(paper.folder / "weights" / "expert.safetensors", {"w": torch.ones(1)}, {})
    paper.finish("expert", "k", [weights])
    assert released.weights("expert") == weights and released.finished("expert", "k")
    assert variants.variant_experts(run).keys() == {"expert, guided as the paper reads"}


def test_each_seed_has_an_expert_of_its_own_where_each_has_a_pretraining(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("s", load("smoke", variants="published", pretrain_each_seed=True))
    train_own(run, [0, 1])
    models = [m for name in chosen_variants(run.config) for m in variant_models(run, name, [0, 1])]
    places = [job[1].folder.relative_to(run.folder) for job in pretraining_jobs(run, None, models)]
    assert set(map(str, places)) == {"variants/paper-text", "variants/pretraining-1/variants/paper-text"}


def test_variants_of_few_scans_have_motion_models_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("s", load("smoke", variants="scans", **{"corpus.sentences_train": 12}))
    models = [m for name in chosen_variants(run.config) for m in variant_models(run, name, [0])]
    assert {m.run.config.joint.scans for m in models} == {0, 2, 4, 8}, "not 16 of 12"
    jobs = pretraining_jobs(run, None, models)
    motion_models = {(job[3], job[1].config.joint.scans) for job in jobs if job[0] is train_motion_vqvae}
    assert motion_models == {(a, n) for a in ("faceformer", "codetalker") for n in (2, 4, 8)}
    unscanned = {m.run.name for m in models if m.run.config.joint.unscanned}
    assert unscanned == {"scans-unscanned", *(f"scans-{n}-unscanned" for n in (2, 4, 8))}


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


@pytest.fixture
def calls(monkeypatch) -> list[tuple]:
    """What `run_variants` does: (folder, "expert"), (folder, animator, objective, seed), (model, split, guide)."""
    done = []
    metrics = {m: {"value": 1.0, "unit": "%"} for m in ("LVE", "CER", "VER", "CER_judge")}

    def evaluate(r, corpus, model, split="test", guide=None):
        done.append((model, split, guide))
        return {"model": model, "metrics": metrics}

    monkeypatch.setattr(variants, "run_parallel", lambda jobs, device: (job[0](*job[1:]) for job in jobs))
    monkeypatch.setattr(variants, "pretrain_reader", lambda r, corpus, stage: done.append((r.folder.name, stage)))
    monkeypatch.setattr(
        variants, "train_motion_vqvae", lambda r, corpus, animator: done.append((r.folder.name, animator))
    )
    monkeypatch.setattr(variants, "train_mesh_reader", lambda r, corpus: done.append((r.folder.name, "mesh")))
    monkeypatch.setattr(variants, "train_joint", lambda r, corpus, *model: done.append((r.folder.name, *model)))
    monkeypatch.setattr(variants, "evaluate", evaluate)
    return done


def test_each_model_is_trained_once_after_its_own_expert_and_scored_on_each_split_once(run, calls, capsys):
    train_own(run, [0, 1])
    variants.run_variants(run, None, [0, 1])
    pretrained = [c for c in calls if len(c) == 2]
    assert calls[: len(pretrained)] == pretrained and len(set(pretrained)) == len(pretrained)
    assert [r for r, what in pretrained if what == "expert"] == ["no-prior", "no-speech", "paper-text"]
    few = [f"scans-{n}-baseline" for n in (2, 4, 8, 16)]
    assert [r for r, what in pretrained if what == "codetalker"] == few, "one for each number of scans"
    assert [r for r, what in pretrained if what == "mesh"] == ["scans-4-baseline"], "one for two variants"
    trained, scored = [c for c in calls if len(c) == 4], [c for c in calls if len(c) == 3]
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert last_line.startswith(f"variants {len(trained)}/{len(trained)}: {trained[-1][0]}  ")
    assert len(set(trained)) == len(trained) and ("s", "faceformer", "guided", 0) in trained
    own = calls.index(("s", "faceformer", "guided", 0))
    assert calls[own + 1 : own + 3] == [
        ("faceformer-guided-s0", "test", None),
        ("faceformer-guided-s0", "validation", None),
    ]
    judged = [(model, guide) for model, _, guide in scored if guide]
    assert ("codetalker-baseline-s0", "codetalker-guided-s0") in judged and len(judged) == 6
    folders = [folder for folder, *_ in trained]
    assert folders.count("no-prior") == 4 and folders.count("as-released-epochs-2") == 4
    assert folders.count("fault-rate") == 1
    assert folders.count("epochs-6") == folders.count("epochs-5") == 4, "baseline and rlv for as long as guided"


def test_a_diverged_training_is_reported_and_forgotten_once_it_succeeds(run, calls, monkeypatch, capsys):
    def train(r, corpus, animator, objective, seed):
        if r.folder.name == "no-rlv" and seed == 1:
            raise Diverged(f"{animator}-{objective}-s{seed}: the loss is nan in epoch 3")

    monkeypatch.setattr(variants, "train_joint", train)
    train_own(run, [0, 1])
    variants.run_variants(run, None, [0, 1])
    assert "no-rlv  codetalker-guided-s1: the loss is nan in epoch 3" in capsys.readouterr().out
    whole, diverged = variant_models(run, "no-rlv", [0, 1])[:2]
    assert diverged.divergence == "faceformer-guided-s1: the loss is nan in epoch 3" and diverged.is_finished
    assert variants.variant_record(diverged) is None and not (whole.is_finished or whole.divergence)
    monkeypatch.setattr(variants, "train_joint", lambda *_: None)
    variants.run_variants(run, None, [0, 1])
    assert diverged.divergence is None and not diverged.is_finished, "these stubs write no scores"
