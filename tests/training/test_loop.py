"""The training loop: bit-exact resuming, shortening, averaged weights, batches and learning rates."""

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from avlib.core import run as runs
from avlib.core.config import JointConfig
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.core.tensors import seeded_generator
from avlib.training import checkpoints, loop, schedules
from avlib.training.checkpoints import Diverged, SharedStart
from avlib.training.convergence import joint_epochs
from avlib.training.loop import fit
from avlib.training.schedules import constant_then_cosine, length_batches, warmup_cosine


class Regression(nn.Module):
    """A task whose steps depend on all that resuming must restore: dropout, random draws and Adam's state."""

    def __init__(self, interrupt_at: int | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.map, self.drop = nn.Linear(4, 1), nn.Dropout(0.3)
        self.interrupt_at, self.steps = interrupt_at, 0

    def forward(self, batch, draws, progress):
        self.steps += 1
        if self.steps == self.interrupt_at:
            raise KeyboardInterrupt
        noise = 0.1 * torch.stack([torch.randn(4, generator=draw) for draw in draws])
        loss = (self.map(self.drop(batch + noise)).squeeze(1) - batch.sum(1)).square().mean()
        return {"loss": loss, "half": loss / 2}


def train_regression(folder, monkeypatch, interrupt_at=None, key="k", stage="toy", average=1, epochs=4, **options):
    monkeypatch.setattr(runs, "RESULTS", folder)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_EVERY_S", 0.0)
    task, data = Regression(interrupt_at), torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    options = {"schedule": warmup_cosine(0.2)} | options
    state = fit(
        Run("r", load("smoke")),
        stage,
        key,
        task,
        [{"params": task.parameters(), "lr": 0.05}],
        epochs=epochs,
        batches=lambda g: schedules.shuffled_batches(20, 6, g),
        collate=lambda i: data[i],
        seed=3,
        validate=lambda progress: {"v": task.map.bias.item(), "read": "a word", "held_out_lve": 1.0},
        averaged_epochs=average,
        **options,
    )
    return state, task


@pytest.mark.parametrize("interrupt_at, average", [(2, 1), (5, 1), (9, 3), (14, 3), (16, 3)])
def test_an_interrupted_training_resumes_bit_by_bit(tmp_path, monkeypatch, interrupt_at, average):
    whole, task = train_regression(tmp_path / "whole", monkeypatch, average=average)
    with pytest.raises(KeyboardInterrupt):
        train_regression(tmp_path / "killed", monkeypatch, interrupt_at=interrupt_at, average=average)
    resumed_state, resumed = train_regression(tmp_path / "killed", monkeypatch, average=average)
    assert resumed.steps == task.steps - interrupt_at + 1  # continues, does not start again
    assert resumed_state.history == whole.history and torch.equal(resumed.map.weight, task.map.weight)
    assert whole.history[-1]["loss"] < whole.history[0]["loss"] and len(whole.history) == 4 and whole.step == 16


def test_the_time_of_a_training_is_the_sum_over_its_resumes(tmp_path, monkeypatch):
    """On a clock that each forward pass puts on by 1000 s; the interrupted step does not count twice."""
    forward, passes = Regression.forward, []
    monkeypatch.setattr(Regression, "forward", lambda self, *rest: passes.append(1) or forward(self, *rest))
    for module in (loop, checkpoints):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 1000 * len(passes)))
    with pytest.raises(KeyboardInterrupt):
        train_regression(tmp_path, monkeypatch, interrupt_at=7)
    state, _ = train_regression(tmp_path, monkeypatch)
    assert len(passes) == 17 and state.seconds == pytest.approx(16_000, abs=400)


class Guided(Regression):
    """The regression with a second model that changes and enters the loss once half of the training is over."""

    def __init__(self, interrupt_at: int | None = None):
        super().__init__(interrupt_at)
        self.guide = nn.Linear(1, 1)

    def forward(self, batch, draws, progress):
        terms = super().forward(batch, draws, progress)
        if progress >= 0.5:
            guidance = self.guide(self.map(batch)).square().mean()
            terms |= {"loss": terms["loss"] + guidance, "guidance": guidance.detach()}
        return terms


def shared_start(folder, key="start", share=0.5) -> SharedStart:
    return SharedStart([folder / "own.safetensors", folder / "shared.safetensors"], key, "map.", share)


@pytest.mark.parametrize("interrupt_at", [None, 3])
def test_a_training_continues_from_a_start_that_another_has_kept_as_if_it_had_taken_it(
    tmp_path, monkeypatch, interrupt_at
):
    plain, unguided = train_regression(tmp_path / "a", monkeypatch, start=shared_start(tmp_path))
    (tmp_path / "own.safetensors").rename(tmp_path / "shared.safetensors")
    again, repeated = train_regression(tmp_path / "b", monkeypatch, start=shared_start(tmp_path))
    assert again.history == plain.history and torch.equal(repeated.map.weight, unguided.map.weight)
    assert (unguided.steps, repeated.steps, again.step) == (16, 8, 16)
    monkeypatch.setattr(f"{__name__}.Regression", Guided)
    alone, from_nothing = train_regression(tmp_path / "c", monkeypatch)
    if interrupt_at:  # resumes at its own checkpoint, not at the start again
        with pytest.raises(KeyboardInterrupt):
            train_regression(tmp_path / "d", monkeypatch, interrupt_at=interrupt_at, start=shared_start(tmp_path))
    guided, continued = train_regression(tmp_path / "d", monkeypatch, start=shared_start(tmp_path))
    assert (from_nothing.steps, continued.steps) == (16, 9 - (interrupt_at or 1))
    assert guided.history == alone.history and guided.history[:2] == plain.history[:2]
    assert guided.history[2]["loss"] != plain.history[2]["loss"] and not (tmp_path / "own.safetensors").exists()
    for mine, others in zip(continued.parameters(), from_nothing.parameters(), strict=True):
        assert torch.equal(mine, others)


def test_a_start_is_kept_at_the_end_of_its_last_epoch_and_used_with_its_key_alone(tmp_path, monkeypatch):
    for share, kept in (
        (0.0, None),
        (0.18, None),
        (0.25, 4),
        (0.3, 4),
        (0.6, 8),
        (0.93, 12),
        (1.0, None),
    ):  # an epoch has 4 steps
        start = shared_start(tmp_path / str(share), share=share)
        train_regression(tmp_path / f"run{share}", monkeypatch, start=start)
        _, second = train_regression(tmp_path / f"again{share}", monkeypatch, start=start)
        assert start.paths[0].exists() == (kept is not None) and second.steps == 16 - (kept or 0), share
    _, other = train_regression(tmp_path / "c", monkeypatch, start=shared_start(tmp_path / "0.6", "other", 0.6))
    assert other.steps == 16


SHORTENED = JointConfig(epochs=11, patience=2, lr_decay_fraction=0.5, guidance_start=0.5)


def test_a_shortened_training_is_the_training_of_that_length_also_when_resumed(tmp_path, monkeypatch):
    options = {"schedule": constant_then_cosine(SHORTENED.lr_decay_fraction)}
    eight, task = train_regression(tmp_path / "eight", monkeypatch, epochs=8, **options)
    options["length"] = lambda history, epochs: joint_epochs(history, SHORTENED)
    whole, shortened = train_regression(tmp_path / "whole", monkeypatch, epochs=11, **options)
    assert whole.history == eight.history and whole.step == 32 and torch.equal(shortened.map.weight, task.map.weight)
    for interrupt_at in (16, 17, 26):  # an epoch has 4 steps; the plateau is after 16
        folder = tmp_path / f"killed{interrupt_at}"
        with pytest.raises(KeyboardInterrupt):
            train_regression(folder, monkeypatch, interrupt_at=interrupt_at, epochs=11, **options)
        resumed, again = train_regression(folder, monkeypatch, epochs=11, **options)
        assert again.steps == 32 - interrupt_at + 1, "continues, does not start again"
        assert resumed.history == eight.history and torch.equal(again.map.weight, task.map.weight)
    eleven, longer = train_regression(tmp_path / "eleven", monkeypatch, epochs=11, schedule=options["schedule"])
    assert eleven.history[:4] == eight.history[:4] and not torch.equal(longer.map.weight, task.map.weight)


@pytest.mark.parametrize("average", [2, 3, 9])
def test_the_weights_of_the_last_epochs_are_averaged(tmp_path, monkeypatch, average):
    plain, _ = train_regression(tmp_path / "plain", monkeypatch)
    averaged, task = train_regression(tmp_path / "averaged", monkeypatch, average=average)
    plain, averaged = plain.history, averaged.history
    mean = sum(row["v"] for row in plain[-average:]) / len(plain[-average:])
    assert averaged[:-1] == plain[:-1] and averaged[-1]["v"] == task.map.bias.item() == pytest.approx(mean, abs=1e-6)
    assert abs(mean - plain[-1]["v"]) > 1e-3


def test_a_checkpoint_with_another_key_is_ignored(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        train_regression(tmp_path, monkeypatch, interrupt_at=9)
    assert train_regression(tmp_path, monkeypatch, key="other")[1].steps == 16


def test_a_diverging_loss_is_an_error_with_the_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(Regression, "forward", lambda self, b, g, p: {"loss": self.map(b).sum() * torch.inf})
    with pytest.raises(Diverged, match=r"toy, examples \d+, \d+.*: the loss is (-?inf|nan) at step 1, in epoch 1; "):
        train_regression(tmp_path, monkeypatch)


def last_gradient(task: Regression) -> float:
    """Norm of the gradient of the last step."""
    return float(torch.cat([p.grad.flatten() for p in task.parameters()]).norm())


def test_gradients_are_clipped_to_the_norm_that_is_asked_for_or_not_at_all(tmp_path, monkeypatch):
    tasks = {
        norm: train_regression(tmp_path / str(norm), monkeypatch, max_gradient_norm=norm)[1]
        for norm in (0.0, 0.01, 1e9)
    }
    assert last_gradient(tasks[0.01]) == pytest.approx(0.01, rel=1e-3)
    assert torch.equal(tasks[0.0].map.weight, tasks[1e9].map.weight) and last_gradient(tasks[0.0]) > 0.1


def test_adam_is_the_one_with_the_betas_that_are_asked_for(tmp_path, monkeypatch):
    made, adam = [], torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *rest, **named: made.append(adam(*rest, **named)) or made[-1])
    weights = [train_regression(tmp_path / str(b), monkeypatch, betas=(0.9, b))[1].map.weight for b in (0.98, 0.999)]
    assert [optimizer.param_groups[0]["betas"] for optimizer in made] == [(0.9, 0.98), (0.9, 0.999)]
    assert not made[0].param_groups[0]["weight_decay"] and not torch.equal(*weights)


def test_length_batches_hold_every_clip_once_within_the_budget():
    lengths = torch.randint(20, 120, (300,), generator=seeded_generator(0))
    lengths[7] = 5000
    batches = length_batches(lengths, 1000, seeded_generator(1))
    assert sorted(i for b in batches for i in b) == list(range(300))
    for b in batches:
        assert len(b) == 1 or len(b) * int(lengths[b].max()) <= 1000
    padded = sum(len(b) * int(lengths[b].max()) for b in batches)
    assert padded < 1.15 * int(lengths.sum())
    assert (
        batches
        == length_batches(lengths, 1000, seeded_generator(1))
        != length_batches(lengths, 1000, seeded_generator(2))
    )


def test_warmup_cosine_rises_and_falls():
    factor = warmup_cosine(0.1)
    values = [factor(p / 100) for p in range(101)]
    assert values[0] < 0.02 and max(values) == pytest.approx(1, abs=1e-3) and values[-1] < 1e-6
    assert values[:10] == sorted(values[:10]) and values[10:] == sorted(values[10:], reverse=True)
