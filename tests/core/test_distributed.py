"""Two processes that share a batch take the same step as a single process with the whole batch."""

import dataclasses
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import nn

from avlib.core import files
from avlib.core import run as runs
from avlib.core.distributed import (
    SharedBatchNorm,
    any_process,
    is_distributed,
    mean_over,
    process_count,
    share_batch_statistics,
    uncounted,
)
from avlib.core.files import read_weights
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.core.tensors import pad
from avlib.training import loop
from avlib.training.clip_batches import IGNORED, ClipBatch
from avlib.training.readers import ReaderTask, build_reader


class Voices:
    """Synthetic clips that babble is mixed from."""

    def __len__(self) -> int:
        return 2

    def speech(self, i: int) -> torch.Tensor:
        return torch.sin(torch.arange(3200) * (0.1 + 0.2 * i))


def clips(indices: list[int]) -> ClipBatch:
    """A batch in double precision: each clip depends on its index alone, the padding on the longest clip."""

    def draw(i: int) -> torch.Generator:
        return torch.Generator().manual_seed(i)

    frames = torch.tensor([6 + i % 4 for i in indices])
    phonemes = [torch.randint(1, 9, (int(n) - i % 2,), generator=draw(i)) for i, n in zip(indices, frames)]
    frame_phonemes = nn.utils.rnn.pad_sequence(phonemes, True, IGNORED)
    return ClipBatch(
        samples=pad([torch.randn(int(n) * 640, generator=draw(i)) for i, n in zip(indices, frames)]).double(),
        video=pad([torch.rand(int(n), 24, 24, generator=draw(i)) for i, n in zip(indices, frames)]).double(),
        frame_lengths=frames,
        tokens=pad([torch.randint(1, 9, (1 + i % 3,), generator=draw(i)) for i in indices]),
        token_lengths=torch.tensor([1 + i % 3 for i in indices]),
        frame_phonemes=frame_phonemes,
        feature_phonemes=frame_phonemes,
    )


def train_reader(folder: str, name: str) -> list[dict]:
    """Two steps of an audio-visual reader in double precision: on five clips, then on a single clip."""
    runs.RESULTS = Path(folder)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    config = dataclasses.replace(
        load("smoke").expert,
        width=16,
        feedforward=32,
        fusion=64,
        decoder_layers=1,
        frontend_width=4,
        audio_frontend_width=4,
        time_mask=0.4,
        audio_only_fraction=0.0,
        drop_audio=0.5,
        drop_video=0.3,
    )
    task = ReaderTask(build_reader(config), config, Voices(), torch.device("cpu"))
    run = Run(name, load("smoke"))
    # plain gradient descent: Adam's first steps are signs, which rounding decides where a gradient is almost zero
    torch.optim.AdamW = lambda groups, **_: torch.optim.SGD(groups)
    state = loop.fit(
        run,
        "toy",
        "k",
        task,
        [{"params": task.parameters(), "lr": 0.01}],
        1,
        lambda generator: [[3, 1, 4, 0, 2], [6]],
        clips,
        1,
        validate=lambda progress: {"told_by": PartialState().process_index},
        averaged_epochs=1,
    )
    loop.finish_fit(run, "toy", "k", {"task": task}, state, processes=process_count())
    return state.history


def worker(rank: int, port: int, folder: str):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    history = train_reader(folder, "two")
    assert is_distributed() and [row["told_by"] for row in history] == [0], "both have the same held-out figures"
    rows = torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    mine = rows[:2] if rank == 0 else rows[2:]
    plain, split = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    share_batch_statistics(split)
    wanted = plain(rows)[:2] if rank == 0 else plain(rows)[2:]
    assert torch.allclose(split(mine), wanted) and torch.allclose(split.running_var, plain.running_var)
    with uncounted(rank == 1):  # only the rows of rank 0 count
        assert torch.allclose(split(mine)[:1], plain(rows[:2])[:1]) or rank == 1
        assert float(mean_over(torch.tensor(6.0), 2)) == (6.0 if rank == 0 else 0.0)  # their mean is 3
    cpu = torch.device("cpu")
    assert any_process(torch.tensor([rank == 1]), cpu) and not any_process(torch.tensor([False]), cpu)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> dict:
    """Weights and records after training in one process and in two."""
    folder = str(tmp_path_factory.mktemp("results"))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = torch.multiprocessing.start_processes(train_alone, (folder,), 1, join=False, start_method="spawn")
    torch.multiprocessing.start_processes(worker, (port, folder), 2, start_method="spawn")
    context.join()
    root = Path(folder)
    return {
        name: (
            read_weights(root / name / "weights" / "toy.safetensors")[0],
            files.read_json(root / name / "records" / "toy.json"),
        )
        for name in ("one", "two")
    }


def train_alone(rank: int, folder: str):
    train_reader(folder, "one")


@pytest.mark.slow
def test_two_processes_take_the_same_steps_as_one(both):
    (one, alone), (two, together) = both["one"], both["two"]
    assert (alone["processes"], together["processes"]) == (1, 2) and one.keys() == two.keys()
    for name, weight in one.items():
        assert (weight - two[name]).abs().max() < 1e-10, name
    for term, value in alone["history"][0].items():
        assert together["history"][0][term] == pytest.approx(value, rel=1e-6), term


def test_a_single_process_shares_nothing():
    assert not is_distributed() and process_count() == 1 and float(mean_over(torch.tensor(6.0), 4)) == 1.5
    assert float(mean_over(torch.tensor(0.0), torch.tensor(0))) == 0
    rows = torch.randn(5, 3)
    norm = nn.BatchNorm1d(3)
    share_batch_statistics(norm)
    assert type(norm) is SharedBatchNorm and torch.equal(norm(rows), nn.BatchNorm1d(3)(rows))
