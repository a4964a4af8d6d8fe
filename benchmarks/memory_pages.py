"""Times training steps on a large mesh with glibc's usual memory settings, and with those that run_all.sh sets.

    python benchmarks/memory_pages.py

The mesh has as many vertices as the part of ICT-FaceKit that captured corpora use; batches, sizes of the animators and
length of sentences are those of preset demo on films of 3 s. One thread.
"""

import dataclasses
import os
import subprocess
import sys
import time

import torch

from avlib.core.memory import peak_memory_bytes
from avlib.core.presets import load
from avlib.training.dry_run_attempts import attempts
from avlib.training.dry_run_sizes import corpus_sizes, ellipsoid_head

VERTICES, LIPS, MOUTH, SENTENCE_S, FPS = 11899, 484, 3000, 3.0, 25
STAGES = ("faceformer-rlv", "faceformer-guided", "codetalker-rlv", "codetalker-guided")
STEPS = 5  # after one that is not timed
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"}


def measure(stage: str) -> None:
    """Prints the seconds of a step and the process's peak memory in GB."""
    torch.set_num_threads(1)
    config = load("demo")
    (template,), faces = ellipsoid_head(VERTICES, 2 * VERTICES, 1)
    sizes = dataclasses.replace(
        corpus_sizes(config),
        template=0.1 * template,
        faces=faces,
        lip_vertices=torch.arange(LIPS),
        mouth_vertices=torch.arange(MOUTH),
        sentence_s=SENTENCE_S,
        fps=FPS,
    )
    build, arguments = next((build, arguments) for name, build, arguments in attempts(config) if name == stage)
    torch.manual_seed(0)
    attempt = build(config, sizes, torch.device("cpu"), *arguments)
    task = attempt.task.train()
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad])
    seconds = []
    for _ in range(1 + STEPS):
        began_s = time.perf_counter()
        optimizer.zero_grad()
        draws = [torch.Generator().manual_seed(n) for n in range(len(attempt.batch))]
        task(attempt.batch, draws, 1.0)["loss"].backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began_s)
    print(min(seconds[1:]), peak_memory_bytes() / 1e9)


def main() -> None:
    usual = {name: value for name, value in os.environ.items() if name not in KEPT}
    print(f"{'':20}{'usual':>18}{'kept':>18}{'ratio':>8}")
    for stage in STAGES:
        runs = []
        for environment in (usual, usual | KEPT):
            command = [sys.executable, __file__, stage]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            runs.append([float(word) for word in done.stdout.split()])
        (usual_s, usual_gb), (kept_s, kept_gb) = runs
        print(
            f"{stage:20}{usual_s:>7.2f} s {usual_gb:>5.2f} GB{kept_s:>8.2f} s {kept_gb:>5.2f} GB"
            f"{usual_s / kept_s:>8.2f}"
        )


if __name__ == "__main__":
    measure(sys.argv[1]) if sys.argv[1:] else main()
