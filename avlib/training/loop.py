"""One training loop for every model: seeded step by step, checkpointed every minute, and resumed bit by bit."""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from ..core.distributed import is_distributed, share_batch_statistics, uncounted
from ..core.files import read_weights, write_weights
from ..core.progress import log, progress_bar
from ..core.run import Run
from ..core.tensors import seeded_generator

CHECKPOINT_EVERY_S = float(os.environ.get("AVLIB_CHECKPOINT_S", 40))


@dataclass
class TrainingState:
    """What a resumed training needs besides the weights and Adam's state."""

    step: int = 0  # optimizer steps taken
    history: list[dict] = field(default_factory=list)  # one dictionary of mean terms for each finished epoch
    sums: dict[str, float] = field(default_factory=dict)  # of each loss term over the steps of the current epoch
    counted: int = 0  # steps in `sums`
    average: dict[str, Tensor] = field(default_factory=dict)  # running mean of the state dict over the last epochs
    seconds: float = 0.0  # that these steps took, over all resumes; no result depends on it

    def add_step(self, terms: dict[str, Tensor], began_s: float) -> None:
        """Counts one step, its loss terms (scalars) and its duration since `began_s`, on the monotonic clock."""
        self.step, self.counted = self.step + 1, self.counted + 1
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(term.detach())  # waits for the device
        self.seconds += time.monotonic() - began_s

    def finish_epoch(self, accelerator: Accelerator, stage: str) -> dict[str, Any]:
        """The mean of each loss term over the epoch and over all processes; the sums start again at zero.

        ValueError, with the name of the stage, if the loss is not finite.
        """
        means = {name: value / self.counted for name, value in mean_over_processes(accelerator, self.sums).items()}
        if not math.isfinite(loss := means["loss"]):
            raise ValueError(
                f"{stage}: the loss is {loss} in epoch {len(self.history) + 1}; try a smaller learning rate"
            )
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
    """The checkpoint that an interrupted training continues from; only the stage key it was written with can use it."""

    path: Path
    key: str
    saved_s: float = field(default_factory=time.monotonic)  # time of the last save

    def is_due(self) -> bool:
        """Whether the last save is older than `CHECKPOINT_EVERY_S`."""
        return time.monotonic() - self.saved_s > CHECKPOINT_EVERY_S

    def save(self, task: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
        """Replaces the checkpoint."""
        adam = optimizer.state_dict()["state"]
        tensors = {f"task.{k}": v for k, v in task.state_dict().items()}
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
        task.load_state_dict(_with_prefix(tensors, "task."))
        adam: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _with_prefix(tensors, "adam.").items():
            parameter, name = name.split(".")
            adam.setdefault(int(parameter), {})[name] = tensor
        optimizer.load_state_dict({"state": adam, "param_groups": optimizer.state_dict()["param_groups"]})
        device = next(task.parameters()).device
        average = {k: v.to(device) for k, v in _with_prefix(tensors, "average.").items()}
        return TrainingState(**about, average=average)


def fit(
    run: Run,
    stage: str,
    key: str,
    task: nn.Module,
    groups: list[dict],
    epochs: int,
    batches: Callable[[torch.Generator], list[list[int]]],
    collate: Callable[[list[int]], Any],
    seed: int,
    schedule: Callable[[float], float] = lambda progress: 1.0,
    validate: Callable[[], dict] | None = None,
    max_gradient_norm: float = 1.0,
    averaged_epochs: int = 1,
    length: Callable[[list[dict], int], int] = lambda history, epochs: epochs,
) -> TrainingState:
    """Trains `task` with Adam. The result has the history: one dictionary of mean terms for each epoch.

    task(batch, draws, progress) -> named scalar terms; Adam minimises "loss". progress is in [0, 1].
    groups: Adam's parameter groups, each with its "lr". batches(generator) -> the lists of indices of one epoch.
    collate(indices) -> batch. schedule(progress) -> learning-rate factor. validate() -> numbers, which are logged, and
    texts, which are only kept. averaged_epochs: the result is the mean of the weights at the end of the last so many
    epochs, and the last held-out figures are the mean's. length(history, epochs) -> epochs of the whole training, as
    far as its finished epochs tell; at most `epochs`. ValueError if the loss of an epoch is not finite.

    Example n of step k has its own generator, draws[n], seeded by (seed, k, n) alone; (seed, k) seeds dropout. An
    interrupted training therefore continues from its last checkpoint, at most a minute old, to bit-identical weights,
    and processes that share a batch (`accelerate launch`) draw the same numbers as a single process.
    """
    accelerator = _accelerator(run)
    if is_distributed():
        share_batch_statistics(task)
    optimizer = torch.optim.AdamW(groups, fused=True, betas=(0.9, 0.98), weight_decay=0.0)
    peak_rates = [group["lr"] for group in optimizer.param_groups]
    resume_file = ResumeFile(run.folder / "weights" / f"{stage}.resume.safetensors", key)
    state = resume_file.restore(task, optimizer)
    prepared, optimizer = accelerator.prepare(task, optimizer)
    plan = [batches(seeded_generator(seed, epoch, -1)) for epoch in range(epochs)]
    if state.step:
        log(f"{stage}: resumes at step {state.step}")
    while (epoch := len(state.history)) < (in_all := length(state.history, epochs)):
        total = sum(map(len, plan[:in_all]))
        task.train()
        taken = state.step - sum(map(len, plan[:epoch]))  # steps of this epoch that were taken before an interruption
        for indices in progress_bar(plan[epoch][taken:], f"{stage} {epoch + 1}/{in_all}"):
            began_s, progress = time.monotonic(), state.step / total
            _set_learning_rates(optimizer, peak_rates, schedule(progress))
            terms = _loss_terms(accelerator, prepared, collate, indices, seed, state.step, progress)
            _descend(accelerator, optimizer, terms["loss"], max_gradient_norm)
            state.add_step(terms, began_s)
            if resume_file.is_due() and accelerator.is_main_process:
                resume_file.save(task, optimizer, state)
        row = state.finish_epoch(accelerator, stage)
        _average_last_epochs(task, state, in_all - epoch, min(averaged_epochs, in_all))
        state.history.append(row | _validated(task, validate))
        if accelerator.is_main_process:
            _log_epoch(f"{stage} {epoch + 1}/{in_all}", state.history[-1], state.seconds)
    task.eval()
    return state


def _accelerator(run: Run) -> Accelerator:
    find_unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=run.device.type == "cpu", kwargs_handlers=[find_unused])


def mean_over_processes(accelerator: Accelerator, sums: dict[str, float]) -> dict[str, float]:
    """The sums of each process -> their means over all processes."""
    if accelerator.num_processes == 1:
        return sums
    means = accelerator.reduce(torch.tensor(list(sums.values()), device=accelerator.device), "mean")
    assert isinstance(means, Tensor)
    return dict(zip(sums, means.tolist()))


def finish_fit(
    run: Run,
    stage: str,
    key: str,
    modules: dict[str, nn.Module],
    state: TrainingState,
    files: Sequence[Path] = (),
    **record,
) -> dict:
    """Writes the trained modules and the stage's record, and removes the resume file. files: others of the stage."""
    if PartialState().is_main_process:
        tensors = {f"{name}.{k}": v for name, m in modules.items() for k, v in m.state_dict().items()}
        path = write_weights(run.folder / "weights" / f"{stage}.safetensors", tensors, {"stage": stage, "key": key})
        effort = {"epochs": len(state.history), "steps": state.step, "seconds": round(state.seconds, 3)}
        run.finish(stage, key, [path, *files], history=state.history, **effort, **record)
        (run.folder / "weights" / f"{stage}.resume.safetensors").unlink(missing_ok=True)
    PartialState().wait_for_everyone()
    return run.record(stage)


def _set_learning_rates(optimizer: torch.optim.Optimizer, peak_rates: list[float], factor: float) -> None:
    for group, peak in zip(optimizer.param_groups, peak_rates):
        group["lr"] = peak * factor


def _loss_terms(
    accelerator: Accelerator,
    prepared: nn.Module,
    collate: Callable[[list[int]], Any],
    indices: list[int],
    seed: int,
    step: int,
    progress: float,
) -> dict[str, Tensor]:
    """The named loss terms of this process's part of a batch, with the step's random draws."""
    rank = accelerator.process_index
    positions = range(len(indices))[rank :: accelerator.num_processes] or range(1)
    is_spare = rank >= len(indices)  # the batch has fewer examples than there are processes
    draws = [seeded_generator(seed, step, n) for n in positions]
    # dropout uses the global generator; each process must drop other elements of its part of the batch
    torch.manual_seed(seeded_generator(seed, step, -1, rank).initial_seed())
    with uncounted(is_spare):
        return prepared(collate([indices[n] for n in positions]), draws, progress)


def _descend(
    accelerator: Accelerator, optimizer: torch.optim.Optimizer, loss: Tensor, max_gradient_norm: float
) -> None:
    optimizer.zero_grad()
    accelerator.backward(loss)
    for group in optimizer.param_groups:  # separate norms: one model's steps do not shrink another's
        accelerator.clip_grad_norm_(group["params"], max_gradient_norm)
    optimizer.step()


def _average_last_epochs(task: nn.Module, state: TrainingState, epochs_left: int, averaged_epochs: int) -> None:
    """Adds the weights of one of the last epochs to the running mean; the task has the mean after the very last.

    epochs_left: including this one.
    """
    if not epochs_left <= averaged_epochs > 1:
        return
    state.average_weights(task, 1 / (averaged_epochs - epochs_left + 1))
    if epochs_left == 1:
        task.load_state_dict(state.average)


def _validated(task: nn.Module, validate: Callable[[], dict] | None) -> dict:
    """The main process's figures, in all processes: they must agree on the length of the training."""
    if validate is None:
        return {}
    task.eval()
    with torch.no_grad():
        (figures,) = broadcast_object_list([validate()])
    return figures


def _log_epoch(label: str, row: dict, seconds: float) -> None:
    terms = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if not isinstance(value, str))
    log(f"{label}  {terms}  {seconds:.0f} s")


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
