import subprocess
import sys

import pytest
import torch
from torch import nn

from avlib.core import files
from avlib.core import run as runs
from avlib.core.files import load_weights, read_json, read_weights, write_atomic, write_weights
from avlib.core.opening import open_run
from avlib.core.presets import load
from avlib.core.run import Run


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return tmp_path


def test_a_folder_belongs_to_one_configuration(results):
    Run("a", load("smoke"))
    Run("a", load("smoke", device="auto"))  # where it runs is no part of what it is
    made = files.read_json(results / "a" / "config.json")
    files.write_json(results / "a" / "config.json", {k: v for k, v in made.items() if k != "variants"})
    Run("a", load("smoke"))  # made before there was such a setting: it has the default
    Run("a", load("smoke", variants="weight"))  # nor what is tried beside it: a variant is asked for later as well
    assert open_run("a").config.variants == ("weight",)
    with pytest.raises(ValueError, match="joint.epochs: 2 there, 7 asked for"):
        Run("a", load("smoke", variants="gradient_projection", **{"joint.epochs": 7}))
    assert open_run("a").config.variants == ("weight",)
    with pytest.raises(ValueError, match="folder name"):
        Run("../a", load("smoke"))


def test_two_are_not_at_work_on_a_run_at_once_and_a_killed_one_is_none(results):
    run = Run("a", load("smoke"))
    before = sorted(run.folder.iterdir())
    with runs.exclusive(run), runs.exclusive(Run("b", load("smoke"))):
        with pytest.raises(
            ValueError, match="a: another run_all.sh is at work there; wait for it, or choose another --run name"
        ):
            runs.exclusive(run).__enter__()
    killed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); "
            "print(flush=True); time.sleep(99)",
            run.folder,
        ],
        stdout=subprocess.PIPE,
    )
    killed.stdout.readline()
    with pytest.raises(ValueError, match="another"):
        runs.exclusive(run).__enter__()
    killed.kill()
    killed.wait()
    with runs.exclusive(run):
        pass
    assert sorted(run.folder.iterdir()) == before  # nothing stays that a user would wonder about


def test_a_stage_is_finished_for_its_own_inputs_and_files_alone(results):
    run = Run("a", load("smoke"))
    key, other = run.key(load, 1), run.key(load, 2)
    weights = write_weights(run.weights("x"), {"w": torch.ones(2)}, {})
    assert run.finished("x", key) is None
    run.finish("x", key, [weights], value=3)
    assert run.finished("x", key)["value"] == 3 and run.finished("x", other) is None
    weights.unlink()
    assert run.finished("x", key) is None
    with pytest.raises(ValueError, match="has not run yet"):
        run.record("y")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "f.txt"
    write_atomic(path, lambda p: p.write_text("old"))

    def fail(p):
        p.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_damaged_files_are_named(tmp_path):
    path = write_weights(tmp_path / "w.safetensors", {"w": torch.randn(100)}, {"a": 1})
    assert read_weights(path)[1] == {"a": 1}
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="w.safetensors: not a whole"):
        read_weights(path)
    (tmp_path / "r.json").write_text('{"a": [1, 2')
    with pytest.raises(ValueError, match="r.json: not a whole"):
        read_json(tmp_path / "r.json")
    with pytest.raises(ValueError, match="no such checkpoint"):
        read_weights(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda t: t.pop("bias"), "bias"),
        (lambda t: t.update(more=torch.ones(1)), "more"),
        (lambda t: t.update(weight=torch.ones(2, 2)), "weight has shape"),
        (lambda t: t["bias"].fill_(torch.nan), "bias holds values that are not finite"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path, change, told):
    tensors = nn.Linear(3, 2).state_dict()
    change(tensors)
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(ValueError, match=f"w.safetensors: .*{told}"):
        load_weights(module, write_weights(tmp_path / "w.safetensors", tensors, {}))
    assert torch.equal(module.weight, before)
