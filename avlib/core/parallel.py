"""Jobs in parallel, each in a process of its own with its share of the cores or a GPU."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue

import torch


def run_parallel(
    jobs: list[tuple], device: torch.device = torch.device("cpu"), workers: int | None = None
) -> Iterator[None]:
    """Calls function, *arguments of every job in a process of its own, as many at once as there are cores or GPUs (or `workers`, or
    AVLIB_WORKERS), each with its share of the cores and a GPU: small models use two cores better apart than together. One after
    the other, in this process, where that is one. Yields as jobs end; an error of any job is raised here."""
    cores, gpus = os.cpu_count() or 1, torch.cuda.device_count() if device.type == "cuda" else 0
    workers = min(len(jobs), workers or int(os.environ.get("AVLIB_WORKERS", gpus or cores)))
    if workers <= 1:
        for function, *arguments in jobs:
            yield function(*arguments)
        return
    spawn, threads = get_context("spawn"), max(1, cores // workers)
    seats = spawn.SimpleQueue()
    for n in range(workers):
        seats.put(str(n % gpus) if gpus else None)
    with ProcessPoolExecutor(workers, spawn, begin_worker, (threads, os.getpid(), seats)) as pool:
        for done in as_completed([pool.submit(*job) for job in jobs]):
            yield done.result()


def begin_worker(threads: int, parent: int, seats: SimpleQueue | None = None) -> None:
    """Gives a worker its share of the cores, and of the GPUs the next in `seats`; and ends it soon after its parent: nobody else
    would once that is killed."""
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for processes that this one starts
    if seats and (gpu := seats.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA begins, which it has not yet

    def follow():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
