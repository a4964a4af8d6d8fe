"""Two set-ups of one checkout at a time do not disturb each other."""

import shutil
import subprocess

import pytest

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
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    texts = [run.communicate(timeout=60)[0] for run in runs]
    assert all(run.returncode == 0 for run in runs) and all("environment: ready" in text for text in texts), texts
    assert sum("made" in text for text in texts) == 1 and sum("waiting" in text for text in texts) == 2
    again = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and "setting up" not in again.stdout
