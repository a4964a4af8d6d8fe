"""Learning curves over the number of scans, from hand-written records."""

import pytest

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.evaluation import few_scans
from avlib.evaluation.evaluate import evaluation_stage
from avlib.evaluation.few_scans import Point, few_scans_run, scan_curves, scan_table, worth_in_scans
from avlib.evaluation.variants import chosen_variants, variant_models
from avlib.plots.few_scans import scan_curves as draw
from tests.evaluation.variant_records import TRAINED, record, train_own, written_rows


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    """The CER falls by 8 points whenever the scans double, and by as much with guidance; half of that on its own."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    monkeypatch.setattr(runs, "commit", lambda: "a commit")
    run = Run("s", load("smoke", variants="scans", **{"corpus.sentences_train": 32}))
    train_own(run, [0, 1])
    for name in chosen_variants(run.config):
        for model in variant_models(run, name, [0, 1]):
            doublings = (model.run.config.joint.scans or 32).bit_length() - 1
            gain = {"baseline": -4.0, "rlv": 0.0, "guided": 4.0}[model.objective] + 4.0 * bool(
                model.run.config.joint.unscanned
            )
            if model.run is not run:
                trained = {k: v for k, v in run.record(model.name).items() if k in TRAINED}
                model.run.finish(model.name, "k", **trained | {"scans": float(model.run.config.joint.scans or 32)})
            record(model.run, evaluation_stage(model.name), 90.0 - 8.0 * doublings - gain + model.seed)
    record(run, "evaluation-truth", 1.0)
    return run


def test_a_curve_has_a_point_for_each_number_of_scans_with_a_value_a_seed(run):
    curves = scan_curves(run, [0, 1])
    assert curves.keys() == {"FaceFormer", "CodeTalker"} and len(curves["CodeTalker"]) == 4
    for points in curves["CodeTalker"].values():
        assert [point.scans for point in points] == [2, 4, 8, 16, 32]
        assert [len(point.values["CER"]) for point in points] == [2] * 5
    assert curves["FaceFormer"]["+ L_rlv"][0].values["CER"] == [82.5, 83.5]
    figure = draw(curves, "m")
    assert len(figure.axes) == 6 and figure.axes[1].get_title() == "FaceFormer: CER (%)"
    assert [len(axis.containers) for axis in figure.axes] == [4] * 6


def test_guidance_is_worth_the_scans_with_which_the_reference_reaches_as_much(run):
    text = scan_table(run, [0, 1], "embedded corpus")
    rows = {(row["method"], row["scans"]): row["worth"]["CER"] for row in written_rows(run, "scans_worth")}
    both = "CodeTalker, + L_rlv + guidance, also on speech without scans"
    assert rows[both, 2] == pytest.approx(4) and rows[both, 8] == pytest.approx(16)
    assert rows["FaceFormer, + L_rlv + guidance", 4] == pytest.approx(4 * 2**0.5)
    assert rows[both, 32] is None and f"| {both} | 32 | " in text, "no number of scans reaches it"


def test_worth_is_undefined_outside_the_reference():
    reference = [Point(2, {"CER": [50.0]}), Point(8, {"CER": [30.0]}), Point(16, {"CER": [30.0]})]
    points = [Point(n, {"CER": [value]}) for n, value in ((1, 60.0), (2, 50.0), (4, 40.0), (8, 30.0), (16, 20.0))]
    assert worth_in_scans(points, reference, "CER") == [
        (1, None),
        (2, pytest.approx(2)),
        (4, pytest.approx(4)),
        (8, pytest.approx(8)),
        (16, None),
    ]


def test_a_run_without_them_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = Run("s", load("smoke"))
    assert scan_curves(run, [0]) == {} and "--set variants=scans" in scan_table(run, [0], "embedded corpus")
    assert not (run.folder / "tables").exists() and draw({}, "m").axes


def test_models_of_few_scans_have_one_run(run):
    """The guided model is that with speech without scans; the others are found from it."""
    few = few_scans_run(run, 4)
    assert few.config.joint.scans == 4 and few.config.joint.unscanned > 0
    assert few.home("faceformer-guided-s0") == few.folder and few.home("faceformer-rlv-s0") != run.folder
    assert few.home("faceformer-rlv-s0") == few.home("codetalker-baseline-s1")
    with pytest.raises(ValueError, match="scans: expected one of 0, 2, 4, 8, 16, got 3"):
        few_scans_run(run, 3)
    assert few_scans_run(run, 0).config.joint.scans == 2, "the fewest"


def test_a_method_whose_trainings_all_diverged_has_no_points(run, monkeypatch):
    record_of = few_scans.variant_record
    diverged = ("guided", "codetalker")

    def without_codetalkers(model):
        return None if (model.objective, model.animator) == diverged else record_of(model)

    monkeypatch.setattr(few_scans, "variant_record", without_codetalkers)
    curves = scan_curves(run, [0, 1])
    assert curves["CodeTalker"].keys() == {"baseline (L_mse)", "+ L_rlv"} and len(curves["FaceFormer"]) == 4
    assert [len(axis.containers) for axis in draw(curves, "m").axes] == [4] * 3 + [2] * 3
    text = scan_table(run, [0, 1], "embedded corpus")
    assert "| FaceFormer, + L_rlv + guidance | 2 |" in text and "| CodeTalker" not in text
