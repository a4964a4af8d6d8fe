"""What processes that share a batch have to agree on, so that they take the step that one with the whole batch would take.

Each has a part of the batch; the mean of their gradients is descended (accelerate, PyTorch's DistributedDataParallel).
A process that is alone agrees with itself: nothing here then costs or changes anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

_counted = True


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def process_count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if is_distributed() else 1


def mean_over(total: Tensor, count: Tensor | int) -> Tensor:
    """total / count, such that the mean over all processes is the sum of their totals over the sum of their counts; 0 where
    there is nothing to count."""
    if is_distributed():
        count = _counted * torch.as_tensor(count, device=total.device).to(total.dtype, copy=True)
        dist.all_reduce(count)
        return _counted * total * process_count() / count.clamp_min(1)
    return total / (count.clamp_min(1) if torch.is_tensor(count) else max(1, count))


def any_process(which: Tensor) -> bool:
    """Whether any of a boolean tensor is true, in any process."""
    some = which.any()
    if is_distributed():
        some = some.float()
        dist.all_reduce(some)
    return bool(some)


@contextmanager
def uncounted(really: bool = True) -> Iterator[None]:
    """What passes here counts for nothing, in sums and batch statistics: a process that lacks what the others have passes
    something all the same, or they would wait for it for ever."""
    global _counted
    _counted, before = _counted and not really, _counted
    try:
        yield
    finally:
        _counted = before


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the rows of all processes, which may have different numbers of them. PyTorch's own is for GPUs alone and
    counts every row."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same"""
        if not (self.training and is_distributed()):
            return super().forward(x)
        wide, others = x if x.dtype == torch.float64 else x.float(), [0, *range(2, x.ndim)]
        across = lambda values: values[(None, slice(None)) + (None,) * (x.ndim - 2)]
        # what one process counts as 0 rows still takes part: the others wait for it
        sums = all_reduce(_counted * torch.cat([wide.sum(others), wide.new_tensor([x.numel() // x.shape[1]])]))
        rows = sums[-1].detach()
        mean = sums[:-1] / rows
        centred = wide - across(mean)
        variance = all_reduce(_counted * centred.square().sum(others)) / rows
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((variance * rows / (rows - 1)).to(self.running_var), self.momentum)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * across(scale) + across(self.bias)).to(x.dtype)


def share_batch_statistics(module: nn.Module) -> None:
    """Every batch norm of a module becomes a shared one, weights and names as they were."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.__class__ = SharedBatchNorm
