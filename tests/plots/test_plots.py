"""Figures show the data they receive."""

from types import SimpleNamespace

import numpy as np

from avlib.evaluation.labels import VISEME_PHONEMES
from avlib.plots import readers, training


def is_placeholder(figure) -> bool:
    """Whether the figure is a line of text that says why there is no plot."""
    (axis,) = figure.axes
    return axis.texts[0].get_text().startswith("No ") and not axis.axison


def test_curves_leave_out_fields_that_no_history_has():
    figure = training.learning_curves({"a": [{"loss": 2.0}, {"loss": 1.0, "cer": 0.5}]}, ["loss", "cer", "other"])
    assert [axis.get_title() for axis in figure.axes] == ["loss", "cer"]
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[2.0, 0.5]]
    assert is_placeholder(training.learning_curves({}, ["loss"]))


READERS = {"expert": SimpleNamespace(modalities=("audio", "video")), "reader": SimpleNamespace(modalities=("video",))}


def drawn(axis) -> dict[str, list]:
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


def test_error_rates_are_labelled_with_the_streams_of_each_reader():
    expert = [{"cer": 0.9, "cer_audio": 1.0, "cer_video": 0.8}, {"cer": 0.5, "cer_audio": 0.6}]
    (axis,) = readers.error_rate_curves({"expert": expert, "reader": [{"cer": 0.75, "read": "a"}]}, READERS).axes
    assert drawn(axis) == {
        "expert, speech and lips": [[1, 90], [2, 50]],
        "expert, speech alone": [[1, 100], [2, 60]],
        "expert, lips alone": [[1, 80]],
        "reader, lips alone": [[1, 75]],
    }
    assert is_placeholder(
        readers.error_rate_curves({"expert": [], "reader": [{"loss": 1.0}]}, READERS)
    )  # published readers have no history


def test_noise_grows_to_the_right_and_does_not_change_lip_reading():
    record = {
        "levels_db": [None, 20, -5],
        "accuracy": {
            "reader": {"video": [40.0]},
            "expert": {"video": [30.0], "audio": [90.0, 80.0, -2.0], "audio and video": [95.0, 90.0, 35.0]},
        },
    }
    (axis,) = readers.noise_curves(record).axes
    assert drawn(axis) == {
        "reader, lips alone": [[30, 40], [20, 40], [-5, 40]],
        "expert, lips alone": [[30, 30], [20, 30], [-5, 30]],
        "expert, speech alone": [[30, 90], [20, 80], [-5, -2]],
        "expert, speech and lips": [[30, 95], [20, 90], [-5, 35]],
    }
    assert [t.get_text() for t in axis.get_xticklabels()] == ["no babble", "20", "-5"]
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    assert left > 30 > -5 > right and low < -2 < high == 100


def test_every_row_of_a_confusion_matrix_is_in_per_cent_of_its_sum():
    counts = np.zeros((len(VISEME_PHONEMES) + 1, len(VISEME_PHONEMES) + 1), int)
    counts[0, 0], counts[0, 2], counts[0, -1], counts[-1, 3] = 6, 1, 1, 5  # no other viseme is spoken
    better = np.zeros_like(counts)
    better[0, 0], better[-1, 3] = 8, 10
    left, right = readers.confusion_matrices({"counts": {"reader": counts.tolist(), "expert": better.tolist()}}).axes
    shown = {t.get_position(): t.get_text() for t in left.texts}
    assert shown == {(0, 0): "75", (2, 0): "12", (len(VISEME_PHONEMES), 0): "12", (3, len(VISEME_PHONEMES)): "100"}
    assert (
        left.get_title() == "reader: 75 % of 8 visemes read correctly"
        and right.get_xlabel() == "read; 10 more inserted"
    )
    rows, columns = ([t.get_text() for t in labels] for labels in (left.get_yticklabels(), left.get_xticklabels()))
    assert rows[:2] == ["p b m  (8)", "f v  (0)"] and rows[-1] == "inserted" and columns[-1] == "deleted"
    assert left.images[0].get_array()[0, 0] == 75 and left.images[0].get_array()[1].sum() == 0


def test_a_plateau_is_marked_in_the_panel_of_the_held_out_lve_alone():
    history = [{"mse": 2.0, "held_out_lve": 3.0}, {"mse": 1.0, "held_out_lve": 2.0}]
    left, right = training.learning_curves({"a": history}, ["mse", "held_out_lve"], plateau=2).axes
    assert list(drawn(left)) == ["a"] and drawn(right)["plateau"] == [[2, 0], [2, 1]]
    _, right = training.learning_curves({"a": history}, ["mse", "held_out_lve"]).axes
    assert list(drawn(right)) == ["a"]


def joint_record(lves: list[float], steps: int, plateau: int | None = None) -> dict:
    """lves: held-out LVE of each epoch, in 1e-5 m²."""
    history = [{"held_out_lve": value * 1e-5} for value in lves]
    return {"history": history, "epochs": len(lves), "steps": steps, "convergence": {"plateau": plateau}}


def test_held_out_curves_run_over_steps_and_have_a_dot_at_the_plateau():
    found = {"One": {"baseline": [joint_record([4, 2], 10), joint_record([3, 1, 1], 15, 2)]}, "Two": {}}
    figure = training.held_out_curves(found, "m")
    first, second, dot = (line.get_xydata().tolist() for line in figure.axes[0].lines)
    assert np.allclose(first, [[5, 4], [10, 2]]) and np.allclose(second, [[5, 3], [10, 1], [15, 1]])
    assert np.allclose(dot, [[10, 1]]) and figure.axes[0].get_ylabel() == "held-out LVE (1e-5 m²)"
    assert [axis.get_title() for axis in figure.axes] == ["One", "Two"] and not figure.axes[1].lines
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["baseline"]


def test_held_out_curves_of_the_animator_with_the_largest_errors_are_inside_its_panel():
    found = {animator: {"baseline": [joint_record([worst, 1], 10)]} for animator, worst in (("One", 2), ("Two", 7))}
    for axis in training.held_out_curves(found, "m").axes:
        low, high = axis.get_ylim()
        assert low == 0 and high > 7
