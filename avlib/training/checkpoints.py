"""What a training is continued from: its state, the checkpoint of an interruption, and a start shared with others."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..core.files import read_weights, write_weights

CHECKPOINT_EVERY_S = float(os.environ.get("AVLIB_CHECKPOINT_S", 40))


class Diverged(ValueError):
    """The loss of a training is not finite any more."""


@dataclass
class TrainingState:
    """What a resumed training needs besides the weights and Adam's state."""

    step: int = 0  # optimizer steps taken
    history: list[dict] = field(default_factory=list)  # one dictionary of mean terms for each finished epoch
    sums: dict[str, float] = field(default_factory=dict)  # of each loss term over the steps of the current epoch
    counted: int = 0  # steps in `sums`
    average: dict[str, Tensor] = field(default_factory=dict)  # running mean of the state dict over the last epochs
    seconds: float = 0.0  # that these steps took, over all resumes; no result depends on it

    def add_step(self, terms: dict[str, Tensor], began_s: float, what: str) -> None:
        """Counts one step, its loss terms (scalars) and its duration since `began_s`, on the monotonic clock.

        what: stage and examples, for `Diverged`, if the loss is not finite.
        """
        self.step, self.counted = self.step + 1, self.counted + 1
        values = {name: float(term.detach()) for name, term in terms.items()}  # waits for the device
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.seconds += time.monotonic() - began_s
        if not math.isfinite(loss := values["loss"]):
            where = f"the loss is {loss} at step {self.step}, in epoch {len(self.history) + 1}"
            raise Diverged(f"{what}: {where}; try a smaller learning rate")

    def finish_epoch(self, accelerator: Accelerator) -> dict[str, Any]:
        """The mean of each loss term over the epoch and over all processes; the sums start again at zero."""
        means = {name: value / self.counted for name, value in mean_over_processes(accelerator, self.sums).items()}
        self.sums, self.counted = {}, 0
        return means

    def average_weights(self, task: nn.Module, share: float) -> None:
        """Moves the running mean by `share` towards the task's weights; whole numbers (step counts) are replaced."""
        self.average = {
            k: v.clone() if k not in self.average or not v.is_floating_point() else self.average[k].lerp_(v, share)
            for k, v in task.state_dict().items()
        }


@dataclass
class ResumeFile:
    """The checkpoint that an interrupted training continues from; only the stage key it was written with can use it.

    part: the beginning of the names of the task's weights that it holds; the others keep those that they begin with.
    """

    path: Path
    key: str
    part: str = ""
    saved_s: float = field(default_factory=time.monotonic)  # time of the last save

    def is_due(self) -> bool:
        """Whether the last save is older than `CHECKPOINT_EVERY_S`."""
        return time.monotonic() - self.saved_s > CHECKPOINT_EVERY_S

    def save(self, task: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
        """Replaces the checkpoint."""
        adam = optimizer.state_dict()["state"]
        tensors = {f"task.{k}": v for k, v in task.state_dict().items() if k.startswith(self.part)}
        tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for i, s in adam.items() for k, v in s.items()}
        tensors |= {f"average.{k}": v for k, v in state.average.items()}
        numbers = {name: getattr(state, name) for name in ("step", "history", "sums", "counted", "seconds")}
        write_weights(self.path, tensors, {"key": self.key, **numbers})
        self.saved_s = time.monotonic()

    def restore(self, task: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Fills the task and the optimizer; a new state where no checkpoint with this key exists."""
        if not self.path.exists():
            return TrainingState()
        tensors, about = read_weights(self.path)
        if about.pop("key") != self.key:  # of other settings or other code; the next save replaces it
            return TrainingState()
        task.load_state_dict(_with_prefix(tensors, "task."), strict=not self.part)
        adam: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _with_prefix(tensors, "adam.").items():
            parameter, name = name.split(".")
            adam.setdefault(int(parameter), {})[name] = tensor
        optimizer.load_state_dict({"state": adam, "param_groups": optimizer.state_dict()["param_groups"]})
        device = next(task.parameters()).device
        average = {k: v.to(device) for k, v in _with_prefix(tensors, "average.").items()}
        return TrainingState(**about, average=average)


@dataclass(frozen=True)
class SharedStart:
    """The first part of a training that other trainings take as well: the first of them keeps it for the others.

    paths: where a kept start may be; this training's own is written to the first. key: of all that the start depends
    on. part: see `ResumeFile`; nothing else may be trained in it. share: of the training, after which they differ.
    """

    paths: Sequence[Path]
    key: str
    part: str
    share: float

    def restore(self, task: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Fills the task and the optimizer from a start that was kept; a new state if there is none."""
        for path in self.paths:
            state = ResumeFile(path, self.key, self.part).restore(task, optimizer)
            if state.step:
                return state
        return TrainingState()

    def save_if_last(
        self, task: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState, steps: Sequence[int]
    ) -> None:
        """Keeps the start at the end of the last epoch that belongs to it. steps: of each epoch of the training."""
        total = sum(steps)
        shared = sum(step / total < self.share for step in range(total))
        if state.step <= shared < sum(steps[: len(state.history) + 1]):
            ResumeFile(self.paths[0], self.key, self.part).save(task, optimizer, state)


def mean_over_processes(accelerator: Accelerator, sums: dict[str, float]) -> dict[str, float]:
    """The sums of each process -> their means over all processes."""
    if accelerator.num_processes == 1:
        return sums
    means = accelerator.reduce(torch.tensor(list(sums.values()), device=accelerator.device), "mean")
    assert isinstance(means, Tensor)
    return dict(zip(sums, means.tolist()))


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
