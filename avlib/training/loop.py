"""One training loop for every model: seeded step by step, checkpointed within the minute, resumed to the bit."""

import math
import os
import time
from collections.abc import Callable

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from torch import nn

from ..core.distributed import is_distributed, share_batch_statistics, uncounted
from ..core.files import read_weights, write_weights
from ..core.progress import log, progress_bar
from ..core.run import Run
from ..core.tensors import seeded_generator

CHECKPOINT_EVERY_S = float(os.environ.get("AVLIB_CHECKPOINT_S", 40))


def fit(
    run: Run,
    stage: str,
    key: str,
    task: nn.Module,
    groups: list[dict],
    epochs: int,
    batches: Callable,
    collate: Callable,
    seed: int,
    schedule: Callable[[float], float] = lambda progress: 1.0,
    validate: Callable[[], dict] | None = None,
    clip: float = 1.0,
    average: int = 1,
) -> list[dict]:
    """Trains `task` and returns its history, one dictionary of mean terms an epoch.

    task(batch, draws, progress) -> named scalar terms, of which "loss" is descended with Adam.
    groups: Adam's parameter groups, each with its "lr". batches(generator) -> lists of indices, one epoch.
    collate(indices) -> batch. average: of the weights at the end of so many last epochs, the mean is what remains; the last
    held-out figures are then the mean's. validate() -> what is told of an epoch: numbers, and texts that are only kept.

    The n-th example of step k has a generator of its own, draws[n], seeded by (seed, k, n) alone, and dropout one by (seed, k):
    a run that was killed goes on from its last checkpoint, at most a minute old, exactly as if nothing had happened, and
    processes that share a batch (`accelerate launch`) draw what one alone would.
    """
    accelerator = Accelerator(
        cpu=run.device.type == "cpu", kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)]
    )
    if is_distributed():
        share_batch_statistics(task)
    optimizer = torch.optim.AdamW(groups, fused=True, betas=(0.9, 0.98), weight_decay=0.0)
    peaks = [g["lr"] for g in optimizer.param_groups]
    resume = run.folder / "weights" / f"{stage}.resume.safetensors"
    history, sums, counted, done, mean = [], {}, 0, 0, {}
    if resume.exists():
        history, sums, counted, done, mean = _restore(resume, key, task, optimizer)
    prepared, optimizer = accelerator.prepare(task, optimizer)
    plan = [batches(seeded_generator(seed, epoch, -1)) for epoch in range(epochs)]
    total = sum(map(len, plan))
    if done:
        log(f"{stage}: goes on at step {done} of {total}")

    saved = began = time.monotonic()
    step = 0
    for epoch, epoch_batches in enumerate(plan):
        if step + len(epoch_batches) <= done and epoch < len(history):
            step += len(epoch_batches)
            continue
        task.train()
        for indices in progress_bar(epoch_batches, f"{stage} {epoch + 1}/{epochs}"):
            if step < done:
                step += 1
                continue
            mine = range(len(indices))[accelerator.process_index :: accelerator.num_processes] or range(1)
            spare = accelerator.process_index >= len(indices)  # the batch is too small for it to have a part
            draws = [seeded_generator(seed, step, n) for n in mine]
            # dropout draws from the global generator; processes that share a batch must not drop alike
            torch.manual_seed(seeded_generator(seed, step, -1, accelerator.process_index).initial_seed())
            for group, peak in zip(optimizer.param_groups, peaks):
                group["lr"] = peak * schedule(step / total)
            with uncounted(spare):
                terms = prepared(collate([indices[n] for n in mine]), draws, step / total)
            optimizer.zero_grad()
            accelerator.backward(terms["loss"])
            for group in optimizer.param_groups:  # each its own norm: one model's steps do not shrink another's
                accelerator.clip_grad_norm_(group["params"], clip)
            optimizer.step()
            step, counted = step + 1, counted + 1
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term.detach())
            if time.monotonic() - saved > CHECKPOINT_EVERY_S and accelerator.is_main_process:
                _save(resume, task, optimizer, mean, key=key, step=step, history=history, sums=sums, counted=counted)
                saved = time.monotonic()
        row = {name: value / counted for name, value in together(accelerator, sums).items()}
        if not math.isfinite(row["loss"]):
            raise ValueError(
                f"{stage}: the loss is {row['loss']} in epoch {epoch + 1}; a smaller learning rate may help"
            )
        sums, counted = {}, 0
        if (left := epochs - epoch) <= average > 1:
            share = 1 / (min(average, epochs) - left + 1)
            mean = {
                k: v.clone() if k not in mean or not v.is_floating_point() else mean[k].lerp_(v, share)
                for k, v in task.state_dict().items()
            }
            if left == 1:
                task.load_state_dict(mean)
        if validate is not None:
            task.eval()
            with torch.no_grad():
                row |= validate()
        history.append(row)
        told = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if not isinstance(v, str))
        if accelerator.is_main_process:
            log(f"{stage} {epoch + 1}/{epochs}  {told}  {time.monotonic() - began:.0f} s")
    task.eval()
    return history


def together(accelerator: Accelerator, sums: dict[str, float]) -> dict[str, float]:
    """Sums of each process -> their means over the processes."""
    if accelerator.num_processes == 1:
        return sums
    values = torch.tensor(list(sums.values()), device=accelerator.device)
    return dict(zip(sums, accelerator.reduce(values, "mean").tolist()))


def finish_fit(run: Run, stage: str, key: str, modules: dict[str, nn.Module], history: list[dict], **record) -> dict:
    """Writes the trained modules and the stage's record, and removes the checkpoint that served to resume."""
    if PartialState().is_main_process:
        tensors = {f"{name}.{k}": v for name, m in modules.items() for k, v in m.state_dict().items()}
        path = write_weights(run.folder / "weights" / f"{stage}.safetensors", tensors, {"stage": stage, "key": key})
        run.finish(stage, key, [path], history=history, **record)
        (run.folder / "weights" / f"{stage}.resume.safetensors").unlink(missing_ok=True)
    PartialState().wait_for_everyone()
    return run.record(stage)


def _save(path, task, optimizer, mean, **about):
    state = optimizer.state_dict()["state"]
    tensors = {f"task.{k}": v for k, v in task.state_dict().items()}
    tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for i, s in state.items() for k, v in s.items()}
    tensors |= {f"mean.{k}": v for k, v in mean.items()}
    write_weights(path, tensors, about)


def _restore(path, key, task, optimizer) -> tuple[list[dict], dict, int, int, dict]:
    tensors, about = read_weights(path)
    if about["key"] != key:  # left behind by other settings or other code; the next save replaces it
        return [], {}, 0, 0, {}
    part = lambda name: {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}
    task.load_state_dict(part("task."))
    state: dict = {}
    for name, tensor in part("adam.").items():
        i, field = name.split(".")
        state.setdefault(int(i), {})[field] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    device = next(task.parameters()).device
    return *(about[k] for k in ("history", "sums", "counted", "step")), {
        k: v.to(device) for k, v in part("mean.").items()
    }
