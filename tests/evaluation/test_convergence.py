"""The table of trainings says how long each was and how far from convergence it ended."""

import pytest

from avlib.core import run as runs
from avlib.core.files import read_json
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation.convergence import convergence_table, distance, trainings
from avlib.training.objectives import model_names


def finish(run: Run, model: str, plateau: int | None, steady: float | None, whole: float | None) -> None:
    """A training of four epochs of five steps each, in a minute and a half."""
    found = {"plateau": plateau, "steady_epochs": 2, "change_steady": steady, "change": whole}
    weights = {"lambda_av": 0.005 if "guided" in model else 0.0, "lambda_av_published": 0.0312}
    history = [{"held_out_lve": value * 1e-5} for value in (8, 4, 3, 2.5)]
    run.finish(model, "k", history=history, epochs=4, steps=20, seconds=90.0, convergence=found, **weights)


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    """A run with two seeds; of the first, all but the baseline have reached a plateau."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("r", load("smoke", animators="faceformer"))
    run.finish("evaluation-truth", "k", unit="m")
    for n, model in enumerate(model_names(run, [0, 1])):
        finish(run, model, 2 if n in (1, 2) else None, steady=-0.5 - n, whole=n / 10)
    return run


def test_each_training_has_a_row_and_the_sentence_sums_them_up(run):
    text = convergence_table(run, [0, 1], "embedded corpus")
    assert "| FaceFormer, baseline (L_mse), seed 0 | 4 | 20 | 1.5 | 2.500 | −0.5 | +0.0 | not reached |" in text
    assert "| FaceFormer, + L_rlv + guidance, seed 0 | 4 | 20 | 1.5 | 2.500 | −2.5 | +0.2 | epoch 2 |" in text
    assert "held-out LVE (1e-5 m²)" in text and "the mean of 4 epochs is less than 1 % below" in text
    assert text.startswith(
        "Convergence on the embedded corpus, preset smoke, method avlib, seeds 0, 1; split validation. Held-out LVE "
        "reached a plateau in 2 of 6 trainings; it still changed by −5.5 to −0.5 % in the last fifth of the "
        "steady part and by +0.0 to +0.5 % in the last fifth of the whole training. Those without one have not "
        "converged: give them more epochs (joint.epochs, joint.patience). Held-out LVE: at the end"
    )
    assert "λ_av: 0.005; the published 1e-07 amounts to 0.0312 here" in text
    rows = read_json(run.folder / "tables" / "table_convergence.json")["rows"]
    assert len(rows) == 6 and rows[0]["held_out_lve"] == 2.5e-5 and rows[0]["seconds"] == 90.0


def test_the_sentence_fits_trainings_that_have_converged_and_those_too_short_to_tell(run):
    finish(run, "done", 3, 0.25, 0.125)
    finish(run, "short", None, None, None)
    done, short = run.record("done"), run.record("short")
    assert distance([done, done]).startswith(
        "Held-out LVE reached a plateau in 2 of 2 trainings; it still changed by +0.2 %"
    )
    assert "not converged" not in distance([done])
    assert distance([short]).startswith("Held-out LVE reached a plateau in 0 of 1 trainings. Those without one have")


def test_trainings_are_grouped_by_animator_and_objective(run):
    found = trainings(run, [0, 1])
    assert list(found) == ["FaceFormer"] and list(found["FaceFormer"]) == ["baseline", "+ L_rlv", "guided"]
    assert [r["stage"] for r in found["FaceFormer"]["guided"]] == ["faceformer-guided-s0", "faceformer-guided-s1"]
