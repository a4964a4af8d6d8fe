"""The line that says how much of a run is done."""

import json
import time

import pytest

from avlib.cli.notebooks import NOTEBOOKS
from avlib.cli.run_progress import SHIPPED_S, RunProgress, expected_seconds, measured_seconds
from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run

NAMES = ["01_data_prep", "03_joint_training-a-rlv-s0", "03_joint_training-a-guided-s0", "04_evaluation"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return tmp_path


def write_run(results, name: str, preset: str, **seconds: float) -> None:
    folder = results / name / "notebooks"
    folder.mkdir(parents=True)
    (results / name / "config.json").write_text(json.dumps({"preset": preset}))
    for notebook, value in seconds.items():
        (folder / f"{notebook}.json").write_text(json.dumps({"key": "k", "seconds": value, "peak_mb": 1.0}))


def measured(results) -> None:
    """100 s, two trainings of 200 s beside each other, 100 s."""
    write_run(results, "earlier", "smoke", **dict(zip(NAMES, (100, 200, 200, 100))))


def test_parts_count_by_what_they_took_before(results, capsys):
    measured(results)
    clock = Clock()
    progress = RunProgress(Run("one", load("smoke")), NAMES, workers=2, clock=clock)
    with progress.part(NAMES[0]):
        assert capsys.readouterr().out == "run: 0 % done, about 7 min left\n"
        clock.now = 50.0
        assert progress.line() == "run: 12 % done, about 6 min left; 01_data_prep for 1 min"
        clock.now = 200.0
    assert capsys.readouterr().out == "run: 25 % done, about 10 min left\n", "twice as slow as before"
    for name in NAMES[1:3]:
        with progress.part(name):
            clock.now += 100
    assert capsys.readouterr().out.splitlines()[-1] == "run: 75 % done, about 2 min left"
    with progress.part(NAMES[3]):
        clock.now += 1000
        assert "run: 99 % done" in progress.line(), "at most so much before it has ended"
        progress.seconds["01_data_prep"] = 1e6  # so that little is left
        assert "run: 99 % done" in progress.line() and "left" in progress.line()
        progress.seconds["01_data_prep"] = 100.0
    assert capsys.readouterr().out == "run: 100 % done\n"


def test_what_had_finished_before_says_nothing_about_the_pace(results, capsys):
    measured(results)
    clock = Clock()
    progress = RunProgress(Run("one", load("smoke")), NAMES, workers=2, clock=clock)
    progress.skip(NAMES[0])
    progress.skip(NAMES[1])
    with progress.part(NAMES[2]):
        clock.now = 400.0
    assert capsys.readouterr().out == "run: 50 % done, about 3 min left\nrun: 75 % done, about 7 min left\n"


def test_a_part_that_fails_is_not_done(results):
    progress = RunProgress(Run("one", load("smoke")), NAMES)
    with pytest.raises(ValueError), progress.part(NAMES[0]):
        raise ValueError
    assert progress.line().startswith("run: 0 % done") and ";" not in progress.line()


def test_the_last_run_of_the_preset_counts_and_then_the_shipped_figures(results):
    write_run(results, "other", "demo", **{"01_data_prep": 7.0})
    measured(results)
    (results / "earlier" / "notebooks" / "._04_evaluation.json").write_bytes(b"\0Mac OS X")
    seconds = measured_seconds("smoke")
    assert seconds["01_data_prep"] == 100 and "03_joint_training-a-rlv" in seconds
    assert expected_seconds("03_joint_training-a-rlv-s7", seconds) == 200, "whatever the seed"
    assert expected_seconds("03_joint_training-mine-rlv-s0", seconds) == 200, "as other animators"
    assert RunProgress(Run("one", load("smoke")), ["05_tsne_analysis"]).seconds["05_tsne_analysis"] > 0


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"seconds": "long"}', b'{"seconds": null}', b"\xff"])
def test_a_damaged_record_of_another_run_is_passed_over(results, content):
    measured(results)
    write_run(results, "damaged", "smoke", **{"04_evaluation": 9.0})
    (results / "damaged" / "notebooks" / "04_evaluation.json").write_bytes(content)
    (results / "without settings" / "notebooks").mkdir(parents=True)
    (results / "without settings" / "notebooks" / "04_evaluation.json").write_text('{"seconds": 3}')
    assert measured_seconds("smoke")["04_evaluation"] == 100


def test_before_anything_is_measured_a_long_preset_names_no_time(results):
    clock = Clock()
    progress = RunProgress(Run("one", load("paper")), NAMES, clock=clock)
    assert progress.line() == "run: 0 % done"
    assert "left" in RunProgress(Run("two", load("demo")), NAMES).line()
    with progress.part(NAMES[0]):
        clock.now = 2000.0
    assert progress.line().endswith(" h left")


def test_every_notebook_has_a_shipped_figure():
    names = {path.stem for path in NOTEBOOKS.glob("0*.ipynb")}
    assert all(names == seconds.keys() for seconds in SHIPPED_S.values())


def test_variants_count_as_trainings(results):
    measured(results)
    progress = RunProgress(Run("one", load("smoke")), NAMES, variant_trainings=6, workers=2)
    assert progress.line() == "run: 0 % done, about 17 min left", "400 s and 6 x 200 / 2 s"


def test_a_line_appears_while_a_notebook_runs(results, monkeypatch, capsys):
    monkeypatch.setattr("avlib.cli.run_progress.INTERVAL_S", 0.01)
    progress = RunProgress(Run("one", load("smoke")), NAMES)
    with progress.logged(), progress.part(NAMES[0]):
        for _ in range(500):
            if "01_data_prep for" in capsys.readouterr().out:
                break
            time.sleep(0.01)
        else:
            raise AssertionError("no line in five seconds")
