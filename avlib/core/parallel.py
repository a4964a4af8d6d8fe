"""Runs jobs in parallel processes, each with its share of the cores, or a GPU."""

import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch
from joblib import cpu_count  # of the cores that this process may use: affinity and a container's quota count


def run_parallel(jobs: list[tuple], device: torch.device | None = None, workers: int | None = None) -> Iterator[Any]:
    """Calls each job, (function, *arguments), in its own process, and yields the results as the jobs end.

    device: the CPU unless given. workers: processes at a time; by default AVLIB_WORKERS, the number of GPUs, or the
    number of cores. Each has its share of the cores: small models use two cores better separately than together. With
    one worker, the jobs run in this process, in order. An error in any job is raised here.
    """
    cores, gpus = cpu_count(), torch.cuda.device_count() if device and device.type == "cuda" else 0
    workers = min(len(jobs), workers or int(os.environ.get("AVLIB_WORKERS", gpus or cores)))
    if workers <= 1:
        for function, *arguments in jobs:
            yield function(*arguments)
        return
    spawn, threads = get_context("spawn"), max(1, cores // workers)
    gpu_queue = spawn.SimpleQueue()
    for n in range(workers):
        gpu_queue.put(str(n % gpus) if gpus else None)
    with ProcessPoolExecutor(workers, spawn, begin_worker, (threads, os.getpid(), gpu_queue)) as pool:
        for done in as_completed([pool.submit(_call, _Sent(job)) for job in jobs]):
            yield done.result()


class _Sent:
    """What another process receives as `value`. Its tensors are copied through the pipe; otherwise they would pass
    through /dev/shm, which is small in containers."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return pickle.loads, (pickle.dumps(self.value),)


def _call(job: Any) -> _Sent:
    function, *arguments = job
    return _Sent(function(*arguments))


def begin_worker(threads: int, parent: int, gpu_queue: SimpleQueue | None = None) -> None:
    """Sets up a worker process: its number of threads, and its GPU, taken from `gpu_queue`.

    The worker ends within a second after its parent, which cannot end it when it is killed.
    """
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for the processes that this one starts
    if gpu_queue and (gpu := gpu_queue.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # CUDA reads it when it is initialised, which is later

    def end_after_parent():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=end_after_parent, daemon=True).start()
