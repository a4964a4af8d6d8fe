import os
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
    Run("a", load("smoke", device="auto"))  # the device may change
    stored = files.read_json(results / "a" / "config.json")
    files.write_json(results / "a" / "config.json", {k: v for k, v in stored.items() if k != "variants"})
    Run("a", load("smoke"))  # a setting that the file lacks has its default
    Run("a", load("smoke", variants="weight"))  # variants may be added later
    assert open_run("a").config.variants == ("weight",)
    with pytest.raises(ValueError, match="joint.epochs: 2 there, 7 requested"):
        Run("a", load("smoke", variants="gradient_projection", **{"joint.epochs": 7}))
    assert open_run("a").config.variants == ("weight",)
    with pytest.raises(ValueError, match="folder name"):
        Run("../a", load("smoke"))


def stored_by_an_earlier_version(folder, change):
    """Writes the settings of a run as version 0.1 named some of them."""
    settings = files.read_json(folder / "config.json")
    change(settings)
    files.write_json(folder / "config.json", settings)


@pytest.mark.parametrize(
    "change, setting",
    [
        (lambda s: s["joint"].update(read=s["joint"].pop("guided_per_batch")), "joint.read"),
        (lambda s: s.update(wave2vec={"width": 1}), "wave2vec"),
        (lambda s: s.update(variants=["weight", "hearing"]), "variants=hearing"),
    ],
)
def test_a_folder_of_an_earlier_version_is_refused(results, change, setting):
    folder = Run("a", load("smoke")).folder
    stored_by_an_earlier_version(folder, change)
    for use in (lambda: Run("a", load("smoke")), lambda: open_run("a"), lambda: open_run("a", "smoke")):
        with pytest.raises(ValueError, match=f"a: made by an earlier avlib .*{setting} .*delete the folder") as error:
            use()
        assert "\n" not in str(error.value) and str(folder) in str(error.value)


LOCK_AND_WAIT = """
import sys, time
from pathlib import Path
from avlib.core import run as runs
from avlib.core.opening import open_run

runs.RESULTS = Path(sys.argv[1])
with runs.exclusive(open_run("a")):
    print("locked", flush=True)
    time.sleep(99)
"""


def test_two_processes_cannot_use_a_run_at_once(results):
    """The lock of a killed process does not block others, and a normal end leaves no file behind."""
    run = Run("a", load("smoke"))
    before = sorted(run.folder.iterdir())
    message = "a: another run_all.sh uses this run; wait for it to end, or choose another --run name"
    with runs.exclusive(run), runs.exclusive(Run("b", load("smoke"))):
        with pytest.raises(ValueError, match=message):
            runs.exclusive(run).__enter__()
    assert sorted(run.folder.iterdir()) == before
    with subprocess.Popen([sys.executable, "-c", LOCK_AND_WAIT, results], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match=message):
            runs.exclusive(run).__enter__()
        other.kill()
    with runs.exclusive(run):
        pass
    assert sorted(run.folder.iterdir()) == before


AS_ON_WINDOWS = """
import importlib, os, pkgutil, sys
sys.modules.update(dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios")))
for name in ("fork", "forkpty", "getuid", "sched_getaffinity", "setsid", "killpg"):
    delattr(os, name)
import avlib
for module in pkgutil.walk_packages(avlib.__path__, "avlib."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from avlib.core.memory import peak_memory_bytes
print(peak_memory_bytes())
"""


def test_no_module_needs_at_import_what_windows_lacks():
    environment = {**os.environ, "USERNAME": "ada"}  # which Windows sets
    done = subprocess.run([sys.executable, "-c", AS_ON_WINDOWS], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("nan\n", 0), done.stderr


def test_a_stage_is_finished_only_with_its_inputs_and_files(results):
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


def test_a_failed_write_leaves_only_the_old_file(tmp_path):
    path = tmp_path / "f.txt"
    write_atomic(path, lambda p: p.write_text("old"))

    def fail(p):
        p.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_disk_has_a_file_before_it_gets_its_name(tmp_path, monkeypatch):
    """Else a power cut could leave a record, and the name of the weights that it speaks of, without these."""
    flushed, named = [], []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino) or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: named.append((os.stat(a).st_ino, list(flushed))) or replace(a, b))
    path = write_weights(tmp_path / "w.safetensors", {"w": torch.zeros(9)}, {})
    ((inode, before),) = named
    assert inode == path.stat().st_ino and before == [inode]


def test_what_a_killed_process_had_begun_to_write_is_cleared_away(results):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    run = Run("a", load("smoke"))
    begun = [run.folder / "figures" / f".4_lips.{dead.pid}.png", run.folder / f".weights.{dead.pid}.safetensors"]
    kept = [run.folder / "figures" / f".4_lips.{os.getpid()}.png", run.folder / ".note", run.folder / "a.12.png"]
    for path in begun + kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    with runs.exclusive(run):
        pass
    assert not [path for path in begun if path.exists()] and all(path.exists() for path in kept)


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_permissions_of_new_files(tmp_path, umask, mode):
    """Also where a library writes them by way of a private file, or over one that others may not read."""
    previous = os.umask(umask)
    try:
        weights = write_weights(tmp_path / "w.safetensors", {"w": torch.zeros(1)}, {})
        text = write_atomic(tmp_path / "t.txt", lambda p: p.write_text("text"))
        text.chmod(0o600)
        again = write_atomic(tmp_path / "t.txt", lambda p: p.write_text("text"))
    finally:
        os.umask(previous)
    assert [path.stat().st_mode & 0o777 for path in (weights, again)] == [mode, mode]


def test_damaged_files_are_named(tmp_path):
    path = write_weights(tmp_path / "w.safetensors", {"w": torch.randn(100)}, {"a": 1})
    assert read_weights(path)[1] == {"a": 1}
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="w.safetensors: not a complete"):
        read_weights(path)
    (tmp_path / "r.json").write_text('{"a": [1, 2')
    with pytest.raises(ValueError, match="r.json: not a complete"):
        read_json(tmp_path / "r.json")
    with pytest.raises(ValueError, match="no such checkpoint"):
        read_weights(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "change, fault",
    [
        (lambda t: t.pop("bias"), "bias"),
        (lambda t: t.update(more=torch.ones(1)), "more"),
        (lambda t: t.update(weight=torch.ones(2, 2)), "weight has shape"),
        (lambda t: t["bias"].fill_(torch.nan), "bias holds values that are not finite"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path, change, fault):
    tensors = nn.Linear(3, 2).state_dict()
    change(tensors)
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(ValueError, match=f"w.safetensors: .*{fault}"):
        load_weights(module, write_weights(tmp_path / "w.safetensors", tensors, {}))
    assert torch.equal(module.weight, before)


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from avlib.core.files import write_atomic, write_json, write_weights
from avlib.render.clips import write_clip
from avlib.speech.sound import write_speech
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))  # larger files fail, as on a full disk
for write in (
    lambda: write_speech(folder / "a.wav", torch.randn(100000)),
    lambda: write_weights(folder / "a.safetensors", {"w": torch.randn(100000)}, {}),
    lambda: write_json(folder / "a.json", list(range(10000))),
    lambda: write_atomic(folder / "a.npy", lambda path: np.save(path, np.zeros(100000))),
    lambda: write_clip(folder / "a.mp4", torch.randint(0, 255, (50, 200, 200), dtype=torch.uint8), 25, torch.zeros(9)),
    lambda: write_json(folder / "blocked" / "a.json", 1),
):
    try:
        write()
    except ValueError as error:
        print(error)
"""


def test_what_cannot_be_written_is_named_in_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "blocked").write_text("a file in the place of a folder")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True)
    names = ("a.wav", "a.safetensors", "a.json", "a.npy", "a.mp4", "blocked/a.json")
    lines = done.stdout.splitlines()
    assert len(lines) == len(names), done.stdout + done.stderr
    for line, name in zip(lines, names):
        assert line.startswith(f"{tmp_path / name}: cannot be written: "), line
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]
