"""Jobs in parallel processes, on one device or several."""

import os
import subprocess
import sys
import time

import pytest
import torch

from avlib.core import parallel
from avlib.core.parallel import run_parallel
from tests.chain import ROOT


def _double(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return 2 * x


def _environment(_: int) -> tuple[str, int]:
    time.sleep(0.5)  # so that no worker takes all jobs
    return os.environ["CUDA_VISIBLE_DEVICES"], torch.get_num_threads()


def test_workers_are_distributed_over_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(parallel, "cpu_count", lambda: 8)
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


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin processes to cores")
def test_only_the_cores_that_a_process_may_use_count():
    """A scheduler that gives a job two cores of a large machine does not want a worker for each core."""
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from avlib.core.parallel import cpu_count; print(cpu_count())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


def test_tensors_need_no_shared_memory(tmp_path):
    """Containers have little of it. Files that may not grow stand for a full one."""
    code = """
import resource, torch
from avlib.core.parallel import run_parallel
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
    jobs = [(torch.neg, torch.full((100000,), float(k))) for k in range(4)]
    print(sorted(float(x[-1]) for x in run_parallel(jobs, workers=2)))
"""
    path = tmp_path / "large.py"
    path.write_text(code)
    done = subprocess.run([sys.executable, path], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[-3.0, -2.0, -1.0, -0.0]", done.stderr
