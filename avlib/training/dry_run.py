"""Measures what a run would cost on this machine: one step of each training at full size, on random data.

    ./run_all.sh --preset paper --dry-run

Needs neither a corpus nor trained weights. Each training runs in its own process, so that its peak memory is its own.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import torch

from ..animators.animator import animator_settings
from ..core.config import Config
from ..core.device import pick_device
from ..core.memory import peak_memory_bytes
from ..core.parallel import begin_worker, cpu_count
from ..core.progress import log
from ..core.published import describe_method
from .dry_run_attempts import Attempt, attempts
from .dry_run_sizes import CorpusSizes, corpus_sizes

TIMED_STEPS = 2  # after one that is not timed
LIBRARIES_GB = 0.5  # memory of a process that has only imported the libraries


@dataclass(frozen=True)
class TrainingCost:
    """What one training takes."""

    stage: str
    parameters: int  # of the models
    trained: int  # parameters that are trained
    memory_gb: float  # peak, of the process or the GPU
    step_s: float  # duration of a step
    steps: int  # of the whole training

    @property
    def hours(self) -> float:
        """Duration of the whole training."""
        return self.step_s * self.steps / 3600


def measure(stage: str, build: Callable[..., Attempt], config: Config, sizes: CorpusSizes, *arguments) -> TrainingCost:
    """Builds an attempt and takes a few steps of forward, backward and Adam. Runs in its own process."""
    device = pick_device(config.device)
    torch.manual_seed(0)
    attempt = build(config, sizes, device, *arguments)
    task, batch = attempt.task.to(device).train(), attempt.batch
    parameters = list(task.parameters())
    trained_parameters = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(trained_parameters, fused=True)
    draws = [torch.Generator().manual_seed(n) for n in range(len(batch))]
    seconds = []
    for _ in range(1 + TIMED_STEPS):
        began_s = time.perf_counter()
        optimizer.zero_grad()
        task(batch, draws, 1.0)["loss"].backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began_s)
    peak_gb = (torch.cuda.max_memory_allocated() if device.type == "cuda" else peak_memory_bytes()) / 1e9
    count, trained = sum(p.numel() for p in parameters), sum(p.numel() for p in trained_parameters)
    # float32 weights; for the trained ones also the gradient and Adam's two moments
    constant_gb = LIBRARIES_GB + (4 * count + 12 * trained) / 1e9
    batch_gb = max(0.0, peak_gb - constant_gb)
    return TrainingCost(
        stage,
        parameters=count,
        trained=trained,
        memory_gb=constant_gb + attempt.batches_per_step * batch_gb,
        step_s=attempt.batches_per_step * min(seconds[1:]),
        steps=attempt.steps,
    )


def measure_trainings(config: Config, sizes: CorpusSizes) -> Iterator[TrainingCost]:
    """The cost of each training of a run, as soon as it is measured."""
    for stage, build, arguments in attempts(config):
        with ProcessPoolExecutor(1, get_context("spawn"), begin_worker, (cpu_count(), os.getpid())) as pool:
            yield pool.submit(measure, stage, build, config, sizes, *arguments).result()


def table(costs: list[TrainingCost], corpus_bytes: int = 0) -> str:
    """The costs as text, with the total duration of all trainings, one after the other, and the disk space of a corpus
    of so many bytes and of the weights of one seed."""
    lines = [f"{'':20}{'weights':>10}{'trained':>10}{'memory':>9}{'a step':>10}{'steps':>9}{'in all':>10}"]
    for cost in costs:
        lines.append(
            f"{cost.stage:20}{cost.parameters / 1e6:>8.1f} M{cost.trained / 1e6:>8.1f} M{cost.memory_gb:>6.1f} GB"
            f"{cost.step_s:>8.2f} s{cost.steps:>9}{cost.hours:>8.1f} h"
        )
    hours, memory_gb = sum(cost.hours for cost in costs), max(cost.memory_gb for cost in costs)
    # of the largest checkpoint, with Adam's two moments, there is an old one while the new one is written
    weights_gb = 4e-9 * (sum(cost.parameters for cost in costs) + 2 * max(c.parameters + 2 * c.trained for c in costs))
    disk = f"disk: {corpus_bytes / 1e9:.1f} GB for the corpus, {weights_gb:.1f} GB for weights and checkpoints"
    return "\n".join([*lines, f"one after the other: {hours:.1f} h; memory: {memory_gb:.1f} GB; {disk}"])


def describe(config: Config, sizes: CorpusSizes) -> str:
    """What would be trained: the method, the numbers of the corpus, and the settings of each animator."""
    lines = [
        describe_method(config),
        f"{config.corpus.name}: {sizes.template.shape[0]} vertices, {sizes.fps:g} frames a second, {sizes.subjects} "
        f"training subjects, {sizes.sentences} training sentences; {sizes.clips} clips to learn reading from",
        f"joint training: {config.joint.epochs} epochs of batches of {config.joint.batch}, learning rate "
        f"{config.joint.lr:g}",
    ]
    for name in config.animators:
        settings = animator_settings(config, name)
        values = asdict(settings) if settings else {}
        lines.append(f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
        if name == "faceformer":
            lines[-1] += f", period {sizes.fps:g} frames"
    return "\n".join(lines)


def main(config: Config) -> None:
    """Measures all trainings of a run and prints their costs."""
    costs, sizes = [], corpus_sizes(config)
    log(describe(config, sizes))
    for cost in measure_trainings(config, sizes):
        log(f"{cost.stage}: {cost.step_s:.2f} s a step")
        costs.append(cost)
    log(table(costs, sizes.disk_bytes))
    if config.joint.patience:
        log("at most: animators are trained until their held-out error stops falling (joint.patience)")
