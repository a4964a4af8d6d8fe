"""The kernels of notebooks: this Python whatever a user has installed, and one line when one dies."""

import json
import os
import subprocess
import sys

import pytest

from avlib.cli import notebooks
from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run, commit
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


def test_a_killed_kernel_is_reported_in_one_line(desk):
    write_notebook(desk / "heavy.ipynb", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    run = Run("one", load("smoke"))
    with (
        notebooks.kernel_environment(),
        pytest.raises(ValueError, match="heavy: its process ended .*memory ran") as error,
    ):
        notebooks.execute(run, "heavy", PARAMETERS)
    assert "\n" not in str(error.value) and not (run.folder / "notebooks" / "heavy.json").exists()


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
