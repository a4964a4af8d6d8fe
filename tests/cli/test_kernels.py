"""The kernels of notebooks: this Python whatever a user has installed, and one line when one dies."""

import errno
import json
import os
import subprocess
import sys

import pytest

from avlib.cli import notebooks
from avlib.cli.arguments import parse_arguments
from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run, commit
from avlib.evaluation import report
from tests.chain import ROOT

PARAMETERS = {"preset": "smoke", "overrides": {}}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Results and notebooks in a folder of their own, and an environment that a test may change."""
    monkeypatch.setattr(os, "environ", os.environ)
    for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "AVLIB_HEADLESS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    return tmp_path


def write_notebook(path, code: str) -> None:
    def cell(source: str, *tags: str) -> dict:
        metadata = {"tags": list(tags)}
        return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}

    parameters = "\n".join(f"{name} = {value!r}" for name, value in PARAMETERS.items())
    cells = [cell(parameters, "parameters"), cell(code)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}))


def test_the_kernel_is_this_python(desk, monkeypatch):
    """Also where a kernel of the same name is installed for the user, and where nobody can write to the home."""
    home = desk / "home"
    for place in (home / ".local" / "share" / "jupyter", desk / "elsewhere"):
        (place / "kernels" / "python3").mkdir(parents=True)
        foreign = {"argv": ["/bin/false"], "display_name": "foreign", "language": "python"}
        (place / "kernels" / "python3" / "kernel.json").write_text(json.dumps(foreign))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("JUPYTER_PATH", str(desk / "elsewhere"))
    (home / ".local" / "share" / "jupyter" / "runtime").write_text("no folder, so that none can be made")
    write_notebook(desk / "which.ipynb", "import sys; print(sys.executable)")
    run = Run("one", load("smoke"))
    with notebooks.kernel_environment():
        notebooks.execute(run, "which", PARAMETERS)
    executed = json.loads((run.folder / "notebooks" / "which.ipynb").read_text())
    assert "".join(executed["cells"][-1]["outputs"][0]["text"]).strip() == sys.executable


def test_the_last_of_several_notebooks_has_as_many_threads_as_all(desk, monkeypatch):
    """Else a training that is resumed last would end with other bits."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(notebooks, "cpu_count", lambda: 3)
    write_notebook(desk / "threads.ipynb", "import os; print(os.environ.get('OMP_NUM_THREADS'))")
    run, jobs = Run("one", load("smoke", device="cpu")), [("threads", PARAMETERS, name) for name in "abc"]

    def printed(name: str) -> str:
        executed = json.loads((run.folder / "notebooks" / f"{name}.ipynb").read_text())
        return "".join(executed["cells"][-1]["outputs"][0]["text"]).strip()

    with notebooks.kernel_environment():
        notebooks.execute_parallel(run, jobs)
        assert [printed(name) for name in "abc"] == ["1"] * 3
        (run.folder / "notebooks" / "c.json").unlink()
        notebooks.execute_parallel(run, jobs)
    assert printed("c") == "1" and "OMP_NUM_THREADS" not in os.environ


def test_trainings_that_have_finished_count_too(desk, monkeypatch):
    """They decide how many threads the others have."""
    given = []
    monkeypatch.setattr(notebooks, "is_finished", lambda run, notebook, *rest: True)
    monkeypatch.setattr(notebooks, "execute_parallel", lambda run, jobs, progress: given.extend(jobs))
    monkeypatch.setattr(report, "write_report", lambda run: "nowhere")
    arguments = parse_arguments(["--preset", "smoke", "--seeds", "0,1"])
    notebooks.run_notebooks(Run("one", load("smoke")), arguments, [])
    assert len(given) == 12


def test_a_killed_kernel_is_reported_in_one_line(desk):
    write_notebook(desk / "heavy.ipynb", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    run = Run("one", load("smoke"))
    with (
        notebooks.kernel_environment(),
        pytest.raises(ValueError, match="heavy: its process ended .*memory ran") as error,
    ):
        notebooks.execute(run, "heavy", PARAMETERS)
    assert "\n" not in str(error.value) and not (run.folder / "notebooks" / "heavy.json").exists()


@pytest.mark.parametrize("setting", ["joint.backend=opengl", "joint.conflict=all", "joint.share=2"])
def test_wrong_settings_of_the_joint_training_are_refused_before_the_run(desk, setting):
    with pytest.raises(ValueError, match=setting.split("=")[0]):
        notebooks.main(parse_arguments(["--preset", "smoke", "--set", setting]))
    assert not (desk / "results").exists()


def test_a_full_disk_names_the_executed_notebook(desk, monkeypatch):
    def fill(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as of a file that is written, without its name

    monkeypatch.setattr("papermill.execute_notebook", fill)
    write_notebook(desk / "heavy.ipynb", "")
    run = Run("one", load("smoke"))
    with pytest.raises(OSError) as error:
        notebooks.execute(run, "heavy", PARAMETERS)
    assert error.value.errno == errno.ENOSPC and error.value.filename.endswith("notebooks/heavy.ipynb")


def test_a_user_without_a_name_can_import_everything():
    """As in a container that was started with `docker run -u 12345`."""
    code = """
import pwd
def unknown(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
import avlib, getpass, jupyter_core.paths
getpass.getuser()
"""
    names = ("USER", "LOGNAME", "LNAME", "USERNAME", "HOME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_git_need_not_be_installed(monkeypatch):
    assert commit() != ""
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit() == "unknown"


@pytest.mark.parametrize("code, known", [(128, True), (127, False), (137, False)])
def test_a_git_that_fails_is_no_missing_checkout(tmp_path, monkeypatch, code, known):
    """A process without memory could not start git, and its records said that their commit was unknown."""
    (tmp_path / "git").write_text(f"#!/bin/sh\necho no memory >&2\nexit {code}\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if known:
        assert commit() == "unknown"
    else:
        with pytest.raises(OSError, match=f"git rev-parse ended with code {code}: no memory"):
            commit()
