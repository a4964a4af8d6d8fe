"""Jobs in parallel processes, on one device or several."""

import os
import time

import pytest
import torch

from avlib.core.parallel import run_parallel


def _double(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return 2 * x


def _environment(_: int) -> tuple[str, int]:
    time.sleep(0.5)  # so that no worker takes all jobs
    return os.environ["CUDA_VISIBLE_DEVICES"], torch.get_num_threads()


def test_workers_are_distributed_over_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    visible_before = os.environ.get("CUDA_VISIBLE_DEVICES")
    jobs, cuda = [(_environment, k) for k in range(6)], torch.device("cuda")
    assert set(run_parallel(jobs, cuda)) == {("0", 4), ("1", 4)}
    monkeypatch.setenv("AVLIB_WORKERS", "4")
    assert (
        set(run_parallel(jobs, cuda)) == {("0", 2), ("1", 2)}
        and os.environ.get("CUDA_VISIBLE_DEVICES") == visible_before
    )
    monkeypatch.setenv("AVLIB_WORKERS", "1")
    assert list(run_parallel([(os.getpid,)] * 2, cuda)) == [os.getpid()] * 2


def test_parallel_jobs_all_run_and_raise_their_errors():
    assert sorted(run_parallel([(_double, k) for k in range(4)])) == [0, 2, 4, 6]
    with pytest.raises(ValueError, match="-1 is negative"):
        list(run_parallel([(_double, 1), (_double, -1)]))
