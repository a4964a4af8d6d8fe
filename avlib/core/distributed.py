"""Sums and batch statistics over processes that share a batch, so that they take the step of a single process.

Each process has a part of the batch, and the mean of their gradients is used (accelerate, PyTorch's
DistributedDataParallel). In a single process, nothing here costs or changes anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

_counted = True  # False within `uncounted`


def is_distributed() -> bool:
    """Whether several processes share each batch."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def process_count() -> int:
    """The number of processes that share a batch."""
    return dist.get_world_size() if is_distributed() else 1


def mean_over(total: Tensor, count: Tensor | int) -> Tensor:
    """total / count, scaled so that its mean over the processes is the sum of totals over the sum of counts.

    0 if the count is 0. total: a scalar.
    """
    if is_distributed():
        count = _counted * torch.as_tensor(count, device=total.device).to(total.dtype, copy=True)
        dist.all_reduce(count)
        return _counted * total * process_count() / count.clamp_min(1)
    return total / (count.clamp_min(1) if torch.is_tensor(count) else max(1, count))


def any_process(which: Tensor, device: torch.device) -> bool:
    """Whether any element of a boolean tensor is true in any process. device: on which the processes exchange it."""
    result = which.any()
    if is_distributed():
        result = result.float().to(device)
        dist.all_reduce(result)
    return bool(result)


@contextmanager
def uncounted(active: bool = True) -> Iterator[None]:
    """Within it, examples count neither in sums nor in batch statistics.

    A process without examples computes with a placeholder, because the other processes wait for its part of each
    collective operation. active: False has no effect.
    """
    global _counted
    _counted, before = _counted and not active, _counted
    try:
        yield
    finally:
        _counted = before


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the rows of all processes, which may have different numbers of rows.

    PyTorch's SyncBatchNorm works on GPUs only and cannot leave rows out.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C, ...)"""
        if not (self.training and is_distributed()):
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None  # batch norms here track statistics
        assert self.num_batches_tracked is not None and self.momentum is not None

        def per_channel(values: Tensor) -> Tensor:
            return values[(None, slice(None)) + (None,) * (x.ndim - 2)]

        wide, other_dims = x if x.dtype == torch.float64 else x.float(), [0, *range(2, x.ndim)]
        # a process whose rows do not count takes part as well: the others wait for it
        sums = all_reduce(_counted * torch.cat([wide.sum(other_dims), wide.new_tensor([x.numel() // x.shape[1]])]))
        rows = sums[-1].detach()
        mean = sums[:-1] / rows
        centred = wide - per_channel(mean)
        variance = all_reduce(_counted * centred.square().sum(other_dims)) / rows
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((variance * rows / (rows - 1)).to(self.running_var), self.momentum)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * per_channel(scale) + per_channel(self.bias)).to(x.dtype)


def share_batch_statistics(module: nn.Module) -> None:
    """Makes every batch norm within a module a `SharedBatchNorm`; weights and names stay the same."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.__class__ = SharedBatchNorm
