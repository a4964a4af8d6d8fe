"""The status of a run: finished stages, the notebook that must run first, and training of missing models."""

import pickle

import pytest
from IPython.core.interactiveshell import InteractiveShell

from avlib.cli.notebooks import NOTEBOOKS
from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.training.objectives import model_names
from avlib.widgets import status

ALL = [f"{animator}-{o}-s0" for animator in ("faceformer", "codetalker") for o in ("baseline", "rlv", "guided")]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    Run("other", load("demo"))
    return Run("one", load("smoke"))


def test_notebooks_are_those_of_the_folder():
    assert [*status.NOTEBOOKS, "06_guidance"] == sorted(p.stem for p in NOTEBOOKS.glob("*.ipynb"))


def test_an_empty_run_allows_only_the_first_two_notebooks(run):
    for name in status.NOTEBOOKS[:2]:
        text = status.run_status(run, name)
        assert f"| **{name}** | not run |" in text and text.count("not run") == 5 and "`other` (preset demo)" in text
    for name in (*status.NOTEBOOKS[2:], "06_guidance"):
        message = "reader, judge, sync_encoder not finished. Run notebook 02_expert_pretraining first"
        with pytest.raises(ValueError, match=f"speech, expert, {message}"):
            status.run_status(run, name)


def test_finished_and_missing_stages_are_listed(run):
    for stage in ("corpus", "speech", "expert", "reader", "judge", "sync_encoder", ALL[0]):
        run.finish(stage, "key")
    rows = {
        line.split(" | ")[0].strip("| *"): line
        for line in status.run_status(run, "04_evaluation").splitlines()
        if line.startswith("|")
    }
    assert "| finished |" in rows["01_data_prep"] and "| finished |" in rows["02_expert_pretraining"]
    assert f"missing: {', '.join(ALL[1:])} |" in rows["03_joint_training"]
    assert "not run" in rows["04_evaluation"] and "not run" in rows["05_tsne_analysis"]


def test_a_notebook_shows_the_error_in_one_line(run, capsys):
    shell = InteractiveShell()
    shell.user_ns.update(status=status, run=run)
    result = shell.run_cell("status.run_status(run, '03_joint_training')")
    assert isinstance(result.error_in_exec, status.MissingStages)
    shown = capsys.readouterr().out
    assert "Run notebook 02_expert_pretraining first" in shown and len(shown.strip().splitlines()) == 1


def test_only_missing_models_are_trained(run, monkeypatch):
    trained = []

    def transfer(value):
        """As from one process to another."""
        return pickle.loads(pickle.dumps(value))

    def run_in_turn(jobs, device):
        for function, *arguments in jobs:
            yield transfer(transfer(function)(*transfer(arguments)))

    monkeypatch.setattr(status, "run_parallel", run_in_turn)
    monkeypatch.setattr(status, "train_joint", lambda r, corpus, *model: trained.append(model) or (lambda: "a model"))
    run.finish(ALL[1], "key")
    assert model_names(run, [0]) == ALL
    status.train_missing(run, None, model_names(run, [0, 3])[:8])
    assert trained == [
        ("codetalker", "rlv", 0),
        ("faceformer", "guided", 0),
        ("codetalker", "guided", 0),
        ("faceformer", "baseline", 0),
        ("codetalker", "baseline", 0),
        ("faceformer", "rlv", 3),
        ("faceformer", "baseline", 3),
    ], "guided after rlv, whose start it shares"
    trained.clear()
    for model in ALL:
        run.finish(model, "key")
    status.train_missing(run, None, ALL)
    assert not trained


def test_a_recomputed_stage_gives_the_reason(run, capsys):
    run.finish("speech", "old")
    assert run.finished("speech", "new") is None and "recomputed" in capsys.readouterr().out
    assert run.finished("speech", "old") and not capsys.readouterr().out
    assert run.finished("expert", "new") is None and not capsys.readouterr().out
