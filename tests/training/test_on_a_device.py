"""Every training takes its steps on an accelerator, here a pretended one: no tensor is left behind on the CPU, and the
host seldom waits for a value. The counts leave out logging and the optimizer."""

import json
import os
import subprocess
import sys

import pytest

from tests.chain import ROOT

# How often the host may wait in a step: transformers looks whether a batch has padding; packed sequences have their
# order on the CPU; and the renderer has to know how many faces the crop shows, how many of them cover a pixel, in boxes
# of which sizes, how many pixels are covered, and how many may lie, and lie, at a silhouette.
WAITS = {
    "speech": 1,
    "expert": 0,
    "reader": 0,
    "judge": 1,
    "sync_encoder": 0,
    "faceformer-baseline": 1,
    "faceformer-rlv": 1,
    "faceformer-guided": 7,
    "codetalker-motion_vqvae": 0,
    "codetalker-baseline": 1,
    "codetalker-rlv": 1,
    "codetalker-guided": 7,
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
