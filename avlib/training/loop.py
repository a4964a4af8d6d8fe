"""One training loop for every model: seeded step by step, checkpointed every minute, and resumed bit by bit."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from ..core.distributed import is_distributed, share_batch_statistics, uncounted
from ..core.files import write_weights
from ..core.progress import log, progress_bar
from ..core.run import Run
from ..core.tensors import seeded_generator
from .checkpoints import ResumeFile, SharedStart, TrainingState


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
    validate: Callable[[float], dict] | None = None,
    max_gradient_norm: float = 1.0,
    betas: tuple[float, float] = (0.9, 0.98),
    averaged_epochs: int = 1,
    length: Callable[[list[dict], int], int] = lambda history, epochs: epochs,
    start: SharedStart | None = None,
    names: Sequence[str] = (),
) -> TrainingState:
    """Trains `task` with Adam. The result has the history: one dictionary of mean terms for each epoch.

    task(batch, draws, progress) -> named scalar terms; Adam minimises "loss". progress is in [0, 1]. groups: Adam's
    parameter groups, each with its "lr"; the gradient of each is clipped to the norm `max_gradient_norm`, unless that
    is 0. batches(generator) -> the lists of indices of one epoch. collate(indices) -> batch. schedule(progress) ->
    learning-rate factor. validate(progress) -> numbers, which are logged, and texts, which are only kept.
    averaged_epochs: the result is the mean over the last so many. length(history, epochs) -> epochs of the whole
    training, at most `epochs`. start: a part that others share. names: of examples, for `Diverged`.

    Example n of step k has its own generator, draws[n], seeded by (seed, k, n) alone; (seed, k) seeds dropout. An
    interrupted training therefore continues from its last checkpoint, at most a minute old, to bit-identical weights,
    and processes that share a batch (`accelerate launch`) draw the same numbers as a single process.
    """
    accelerator = _accelerator(run, task)
    optimizer = torch.optim.AdamW(groups, fused=True, betas=betas, weight_decay=0.0)
    resume_file = ResumeFile(run.folder / "weights" / f"{stage}.resume.safetensors", key)
    state = _restored(stage, resume_file, start, task, optimizer)
    prepared, optimizer = accelerator.prepare(task, optimizer)
    plan = [batches(seeded_generator(seed, epoch, -1)) for epoch in range(epochs)]
    steps = list(map(len, plan))
    while (epoch := len(state.history)) < (in_all := length(state.history, epochs)):
        total = sum(steps[:in_all])
        task.train()
        left = plan[epoch][state.step - sum(steps[:epoch]) :]  # some may have been taken before an interruption
        for indices in progress_bar(left, f"{stage} {epoch + 1}/{in_all}"):
            began_s, progress = time.monotonic(), state.step / total
            _set_learning_rates(optimizer, schedule(progress))
            terms = _loss_terms(accelerator, prepared, collate, indices, seed, state.step, progress)
            _descend(accelerator, optimizer, terms["loss"], max_gradient_norm)
            state.add_step(terms, began_s, f"{stage}, {_named(indices, names)}")
            if resume_file.is_due() and accelerator.is_main_process:
                resume_file.save(task, optimizer, state)
        row = state.finish_epoch(accelerator)
        _average_last_epochs(task, state, in_all - epoch, min(averaged_epochs, in_all))
        state.history.append(row | _validated(task, validate, state.step / total))
        if accelerator.is_main_process:
            if start:
                start.save_if_last(task, optimizer, state, steps[: length(state.history, epochs)])
            _log_epoch(f"{stage} {epoch + 1}/{in_all}", state.history[-1], state.seconds)
    task.eval()
    return state


def _named(indices: list[int], names: Sequence[str]) -> str:
    """The examples of a batch: their names, or else their numbers."""
    return ", ".join(names[i] for i in indices) if names else f"examples {', '.join(map(str, indices))}"


def _accelerator(run: Run, task: nn.Module) -> Accelerator:
    find_unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=run.device.type == "cpu", kwargs_handlers=[find_unused])
    if is_distributed():  # known from here on
        share_batch_statistics(task)
    return accelerator


def _restored(
    stage: str, resume_file: ResumeFile, start: SharedStart | None, task: nn.Module, optimizer: torch.optim.Optimizer
) -> TrainingState:
    """Fills task and optimizer from the checkpoint of an interruption, else from the start, if these exist."""
    state = resume_file.restore(task, optimizer)
    if start and not state.step:
        state = start.restore(task, optimizer)
    if state.step:
        log(f"{stage}: resumes at step {state.step}")
    return state


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


def _set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = factor * group.setdefault("peak_lr", group["lr"])


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
    if max_gradient_norm:
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


def _validated(task: nn.Module, validate: Callable[[float], dict] | None, progress: float) -> dict:
    """The main process's figures, in all processes: they must agree on the length of the training."""
    if validate is None:
        return {}
    task.eval()
    with torch.no_grad():
        (figures,) = broadcast_object_list([validate(progress)])
    return figures


def _log_epoch(label: str, row: dict, seconds: float) -> None:
    terms = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if not isinstance(value, str))
    log(f"{label}  {terms}  {seconds:.0f} s")
