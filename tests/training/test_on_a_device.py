"""Every training takes its steps on an accelerator, here a pretended one: no tensor is left behind on the CPU, and the
host seldom waits for a value. The counts leave out logging and the optimizer."""

import json
import os
import subprocess
import sys

import pytest

from tests.chain import ROOT

# How often the host may wait in a step: for the lengths of sequences and for masks, which shape what is computed, and
# for checks of inputs.
WAITS = {
    "speech": 12,
    "expert": 16,
    "reader": 5,
    "judge": 6,
    "faceformer-baseline": 6,
    "faceformer-rlv": 6,
    "faceformer-guided": 80,
    "codetalker-motion_vqvae": 2,
    "codetalker-baseline": 9,
    "codetalker-rlv": 9,
    "codetalker-guided": 80,
}


@pytest.fixture(scope="module")
def steps() -> dict[str, dict]:
    """Of each training: the loss of its second step, and how often the host waited in it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.device_steps"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["stage"]: line for line in lines}


def test_every_training_takes_its_steps(steps):
    assert steps.keys() == WAITS.keys() and all(0 < step["loss"] < 1e4 for step in steps.values())


@pytest.mark.parametrize("stage", WAITS)
def test_the_host_seldom_waits(steps, stage):
    assert sum(steps[stage]["waits"].values()) <= WAITS[stage], steps[stage]["waits"]
