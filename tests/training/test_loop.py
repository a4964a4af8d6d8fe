import pytest
import torch
from torch import nn

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.core.tensors import seeded_generator
from avlib.training import loop, schedules
from avlib.training.loop import fit
from avlib.training.schedules import length_batches, warmup_cosine


class Regression(nn.Module):
    """A task whose steps depend on everything a resumed run has to bring back: dropout, draws, Adam's state."""

    def __init__(self, die_at: int | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.map, self.drop = nn.Linear(4, 1), nn.Dropout(0.3)
        self.die_at, self.steps = die_at, 0

    def forward(self, batch, draws, progress):
        self.steps += 1
        if self.steps == self.die_at:
            raise KeyboardInterrupt
        noise = 0.1 * torch.stack([torch.randn(4, generator=draw) for draw in draws])
        loss = (self.map(self.drop(batch + noise)).squeeze(1) - batch.sum(1)).square().mean()
        return {"loss": loss, "half": loss / 2}


def learn(folder, monkeypatch, die_at=None, key="k", stage="toy", average=1):
    monkeypatch.setattr(runs, "RESULTS", folder)
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    task, data = Regression(die_at), torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    history = fit(
        Run("r", load("smoke")),
        stage,
        key,
        task,
        [{"params": task.parameters(), "lr": 0.05}],
        epochs=4,
        batches=lambda g: schedules.shuffled_batches(20, 6, g),
        collate=lambda i: data[i],
        seed=3,
        schedule=warmup_cosine(0.2),
        validate=lambda: {"v": task.map.bias.item(), "read": "a word"},
        averaged_epochs=average,
    )
    return history, task


@pytest.mark.parametrize("die_at, average", [(2, 1), (5, 1), (9, 3), (14, 3), (16, 3)])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch, die_at, average):
    history, task = learn(tmp_path / "whole", monkeypatch, average=average)
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "killed", monkeypatch, die_at=die_at, average=average)
    resumed_history, resumed = learn(tmp_path / "killed", monkeypatch, average=average)
    assert resumed.steps == task.steps - die_at + 1  # continues, does not start again
    assert resumed_history == history and torch.equal(resumed.map.weight, task.map.weight)
    assert history[-1]["loss"] < history[0]["loss"] and len(history) == 4


@pytest.mark.parametrize("average", [2, 3, 9])
def test_the_weights_of_the_last_epochs_are_averaged(tmp_path, monkeypatch, average):
    plain, _ = learn(tmp_path / "plain", monkeypatch)
    averaged, task = learn(tmp_path / "averaged", monkeypatch, average=average)
    mean = sum(row["v"] for row in plain[-average:]) / len(plain[-average:])
    assert averaged[:-1] == plain[:-1] and averaged[-1]["v"] == task.map.bias.item() == pytest.approx(mean, abs=1e-6)
    assert abs(mean - plain[-1]["v"]) > 1e-3


def test_a_checkpoint_of_other_settings_is_not_taken_up(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path, monkeypatch, die_at=9)
    assert learn(tmp_path, monkeypatch, key="other")[1].steps == 16


def test_a_diverging_loss_stops_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(Regression, "forward", lambda self, b, g, p: {"loss": self.map(b).sum() * torch.inf})
    with pytest.raises(ValueError, match="toy: the loss is"):
        learn(tmp_path, monkeypatch)


def test_buckets_hold_every_clip_once_within_the_budget():
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


def test_schedule_rises_and_falls():
    factor = warmup_cosine(0.1)
    values = [factor(p / 100) for p in range(101)]
    assert values[0] < 0.02 and max(values) == pytest.approx(1, abs=1e-3) and values[-1] < 1e-6
    assert values[:10] == sorted(values[:10]) and values[10:] == sorted(values[10:], reverse=True)
