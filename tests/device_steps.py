"""Takes steps of every training on the pretend device; prints a line of JSON for each: how often the host waited.

A process of its own, see tests/pretend_device.py.
"""

import dataclasses
import json

import torch

from avlib.core.presets import load
from avlib.training.dry_run_attempts import attempts
from avlib.training.dry_run_sizes import corpus_sizes
from tests.pretend_device import WAITS, pretend_device

SMALL = {
    "speech.batch": 2,
    "reader.batch_frames": 80,
    "expert.batch_frames": 80,
    "judge.batch_frames": 80,
    "joint.batch": 2,
}


def main() -> None:
    config = load("smoke", **SMALL)
    sizes = dataclasses.replace(corpus_sizes(config), clip_s=0.4, sentence_s=0.4)
    for stage, build, arguments in attempts(config):
        torch.manual_seed(0)
        with pretend_device() as device:
            attempt = build(config, sizes, device, *arguments)
            task = attempt.task.to(device).train()
            optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-4)
            waits = []
            for _ in range(2):
                WAITS.clear()
                draws = [torch.Generator().manual_seed(n) for n in range(len(attempt.batch))]
                terms = task(attempt.batch, draws, 1.0)
                terms["loss"].backward()
                waits.append(dict(WAITS))
                optimizer.step()
                optimizer.zero_grad()
            loss = float(terms["loss"].detach())
        print(json.dumps({"stage": stage, "waits": waits[1], "loss": loss}), flush=True)


if __name__ == "__main__":
    main()
