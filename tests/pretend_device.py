"""A pretend accelerator, for machines without one.

Its tensors say that they are on "pretend:0" and are computed on the CPU. As on a GPU, they cannot be combined with
tensors on the CPU nor turned into numpy arrays; `WAITS` counts how often the host waits for one of their values.

PyTorch's support for devices that are written in Python is experimental and holds for the whole process, so tests use
it in processes of their own.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("pretend")
DEVICE = torch.device("pretend:0")
WAITS: Counter[str] = Counter()

_ops: Any = torch.ops.aten
# Operations that take tensors of both devices on a GPU, too: copies, and CTC and packing with lengths on the CPU.
MIXED = (
    _ops.copy_.default,
    _ops._to_copy.default,
    _ops._ctc_loss.Tensor,
    _ops._ctc_loss_backward.Tensor,
    _ops._pack_padded_sequence.default,
    _ops._pack_padded_sequence_backward.default,
)
# An index may be on the CPU where the indexed tensor is on the device.
INDEXED = (_ops.index.Tensor, _ops.index_put_.default, _ops.index_put.default, _ops._index_put_impl_.default)
TO_HOST = (_ops._local_scalar_dense.default, _ops.equal.default)  # return values, not tensors
# The shape of what these return depends on values.
SHAPED_BY_VALUES = (_ops.nonzero.default, _ops.masked_select.default, _ops.unique_consecutive.default)


def gru_cell(input_gates, hidden_gates, hidden, input_bias=None, hidden_bias=None):
    """A step of a GRU, of which PyTorch has this operation on accelerators alone; with what its gradient needs."""
    of_input = (input_gates if input_bias is None else input_gates + input_bias).chunk(3, 1)
    of_hidden = (hidden_gates if hidden_bias is None else hidden_gates + hidden_bias).chunk(3, 1)
    reset, update = ((a + b).sigmoid() for a, b in zip(of_input[:2], of_hidden[:2]))
    new = (of_input[2] + reset * of_hidden[2]).tanh()
    return new + update * (hidden - new), torch.cat((reset, update, new, hidden, of_hidden[2]), 1)


def gru_cell_backward(grad, workspace, has_bias):
    """The gradients of the arguments of `gru_cell`."""
    reset, update, new, hidden, of_hidden = workspace.chunk(5, 1)
    grad_new = grad * (1 - update) * (1 - new**2)
    grad_update = grad * (hidden - new) * update * (1 - update)
    grad_reset = grad_new * of_hidden * reset * (1 - reset)
    of_input = torch.cat((grad_reset, grad_update, grad_new), 1)
    of_hidden = torch.cat((grad_reset, grad_update, grad_new * reset), 1)
    biases = (of_input.sum(0), of_hidden.sum(0)) if has_bias else (None, None)
    return of_input, of_hidden, grad * update, *biases


ON_ACCELERATORS = {
    _ops._thnn_fused_gru_cell.default: gru_cell,
    _ops._thnn_fused_gru_cell_backward.default: gru_cell_backward,
}


class Pretend(torch.Tensor):
    """A tensor on the pretend device. inner: the same on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        made = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"Pretend({self.inner})"

    def tolist(self):
        WAITS["tolist"] += 1
        return self.inner.tolist()

    def numpy(self, *, force: bool = False):
        raise TypeError("a tensor on the pretend device has no numpy array; use Tensor.cpu() first")

    def __array__(self, *_):
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func: Callable, args: tuple, kwargs: dict) -> Any:
    """An operation on the inner tensors. RuntimeError if its tensors are on both devices."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    there = [x for x in tensors if isinstance(x, Pretend)]
    here = [tuple(x.shape) for x in tensors if not isinstance(x, Pretend) and x.dim()]
    is_indexed = func in INDEXED and isinstance(args[0], Pretend)
    if there and here and func not in MIXED and not is_indexed:
        raise RuntimeError(f"{func}: some tensors are on the pretend device, others on the CPU, of shapes {here}")
    on_device = bool(there)
    if (device := kwargs.get("device")) is not None:
        on_device = torch.device(device).type == "pretend"
        kwargs = kwargs | {"device": torch.device("cpu")}
        WAITS["copy to the CPU"] += bool(there) and not on_device
    if func is _ops.copy_.default:
        on_device = isinstance(args[0], Pretend)
        WAITS["copy to the CPU"] += bool(there) and not on_device
    kwargs = {k: v for k, v in kwargs.items() if k != "pin_memory"}
    result = ON_ACCELERATORS.get(func, func)(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if func in SHAPED_BY_VALUES or (func in INDEXED and any(map(_is_mask, args[1])) and not _fills(args)):
        WAITS["shaped by values"] += on_device
    if func in TO_HOST:
        WAITS[str(func)] += bool(there)
        return result

    if func is _ops._pack_padded_sequence.default:  # the numbers of items in each step stay on the CPU
        return Pretend(result[0]), result[1]

    def outer(x: Any) -> Any:
        if not (on_device and isinstance(x, torch.Tensor)):
            return x
        changed = [t for t in there if t.inner is x]  # in place
        return changed[0] if changed else Pretend(x)

    return tree_map(outer, result)


def _is_mask(index: Any) -> bool:
    """Whether an index is a mask on the device, of which the host has to know how many elements it selects."""
    return isinstance(index, Pretend) and index.dtype == torch.bool


def _fills(args: tuple) -> bool:
    """Whether an assignment to masked elements assigns a single value, for which PyTorch need not know how many."""
    return len(args) > 2 and args[2].numel() == 1


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, Pretend) else x


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


@contextmanager
def pretend_device() -> Iterator[torch.device]:
    """Within it, tensors can be on the device."""
    made = torch.tensor, torch.as_tensor
    torch.tensor, torch.as_tensor = map(_moved, made)  # they pass the dispatcher by
    try:
        with _Mode():
            yield DEVICE
    finally:
        torch.tensor, torch.as_tensor = made


def _moved(make: Callable) -> Callable:
    """A function that makes a tensor on the CPU first."""

    def make_here(*args, device=None, **kwargs):
        tensor = make(*args, **kwargs)
        return tensor if device is None else tensor.to(device)

    return make_here
