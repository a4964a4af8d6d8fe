"""run_all.sh from any folder, and two set-ups of one checkout at a time, which do not disturb each other."""

import os
import shutil
import subprocess
import sys

import pytest

from avlib.cli.arguments import parse_arguments, whole_path
from tests.chain import ROOT

CREATE = """create_environment() {
  [ ! -e busy ] || { echo "two at a time"; exit 1; }
  touch busy; sleep 1; rm busy
  mkdir -p "$home/bin"; printf '#!/bin/sh\\necho version\\n' >"$python"; chmod +x "$python"; echo "made"
}
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="there is no flock here")
def test_a_second_setup_waits_for_the_first_and_uses_its_environment(tmp_path):
    script = (ROOT / "run_all.sh").read_text()
    start = script.index("create_environment() {")
    (tmp_path / "run_all.sh").write_text(script[:start] + CREATE + script[script.index("command=run\n") :])
    for name in ("pyproject.toml", "constraints.txt", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["bash", str(tmp_path / "run_all.sh"), "setup"]
    environment = {k: v for k, v in os.environ.items() if k != "AVLIB_PYTHON"}
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    texts = [run.communicate(timeout=60)[0] for run in runs]
    assert all(run.returncode == 0 for run in runs) and all("environment: ready" in text for text in texts), texts
    assert sum("made" in text for text in texts) == 1 and sum("waiting" in text for text in texts) == 2
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert again.returncode == 0 and "setting up" not in again.stdout


def test_paths_are_those_of_the_caller(tmp_path):
    (tmp_path / "plug in.py").write_text("raise ValueError('run from here')")
    arguments = ["--preset", "smoke", "--run", "none", "--set", "plugins=plug in.py"]
    done = subprocess.run(
        ["bash", str(ROOT / "run_all.sh"), *arguments],
        cwd=tmp_path,
        env=os.environ | {"AVLIB_PYTHON": sys.executable, "AVLIB_RESULTS": str(tmp_path / "results")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.endswith("avlib: run from here\n"), done.stderr


def test_only_settings_that_name_files_become_whole_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data", "captured", "a.py", "b,c.py"):
        (tmp_path / name).mkdir()
    arguments = ["--corpus", "captured", "--data", "data", "--set", "plugins=a.py,none.py", "--set", "joint.epochs=3"]
    settings = parse_arguments([*arguments, "--set", "speech.pretrained=facebook/wav2vec2", "--speech", "x.wav"])
    assert settings.speech == tmp_path / "x.wav"
    assert settings.overrides == {
        "corpus.name": "captured",
        "corpus.data": str(tmp_path / "data"),
        "plugins": f"{tmp_path / 'a.py'},none.py",
        "joint.epochs": "3",
        "speech.pretrained": "facebook/wav2vec2",
    }
    assert whole_path("b,c.py") == str(tmp_path / "b,c.py")
