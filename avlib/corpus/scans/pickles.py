"""Reads pickled data, of Python 2 or 3, without executing code.

A pickle is a program that names functions and calls them. Here, every allowed name is replaced by a class of this
module, which stores and checks its arguments; all other names are refused. Allowed are dicts, lists, tuples, sets,
strings, numbers and NumPy arrays of numbers; also the two classes of FLAME's files that hold such an array, chumpy's Ch
and SciPy's csc_matrix, which become arrays.
"""

import math
import pickle
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

MAX_SPARSE = 10**8  # numbers of a sparse matrix, with its zeros
FAULTS = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def load_pickle(path: str | Path) -> Any:
    """The content of a pickle in plain containers.

    ValueError names the file and what it requests that is not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with path.open("rb") as f:
            return _plain(_Unpickler(f, encoding="latin1").load(), {})
    except FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not loaded: {reason}") from None


class _Refused(pickle.UnpicklingError):
    """The pickle contains something that is not allowed."""


class _StandIn:
    """Replaces a class or function that a pickle may name. value: the data that the pickle builds with it."""

    __slots__ = ("value",)

    def __setstate__(self, state):
        raise _Refused(f"it sets the state of a {type(self).__name__.strip('_').lower()}")


class _ArrayClass(_StandIn):
    """numpy.ndarray, as the first argument of `_Array`."""

    __slots__ = ()

    def __init__(self, *arguments):
        raise _Refused("it calls numpy.ndarray")


class _NumberType(_StandIn):
    """numpy.dtype, of numbers."""

    __slots__ = ()

    def __init__(self, code: str, *flags):
        if not isinstance(code, str) or not re.fullmatch("b1|[iu][1248]|f[248]", code):
            raise _Refused(f"it contains an array of type {code!r}, expected numbers")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple):
        _, order, *more = state
        if order not in ("<", ">", "|", "=") or any(m is not None for m in more[:3]):
            raise _Refused(f"it contains an array of type {state!r}, expected numbers")
        self.value = self.value.newbyteorder(order)


def _values(data: bytes | str, kind: _NumberType, shape: tuple, order: Literal["C", "F"]) -> np.ndarray:
    """The array of a shape in those bytes; those of Python 2 are a string."""
    data = data.encode("latin1") if isinstance(data, str) else bytes(data)
    if not isinstance(kind, _NumberType) or len(data) != math.prod(shape) * kind.value.itemsize:
        raise _Refused(f"it has {len(data)} bytes for an array of shape {shape}")
    return np.frombuffer(data, kind.value).reshape(shape, order=order)


class _Array(_StandIn):
    """numpy's _reconstruct: an array whose state sets its shape, type and bytes."""

    __slots__ = ()

    def __init__(self, kind: type, *empty):
        if kind is not _ArrayClass:
            raise _Refused("it contains an array of another class than numpy.ndarray")

    def __setstate__(self, state: tuple):
        _, shape, kind, fortran, data = state
        if not isinstance(data, (bytes, str)):
            raise _Refused("it contains an array of objects, expected numbers")
        self.value = _values(data, kind, shape, "F" if fortran else "C")


class _Buffer(_StandIn):
    """numpy's _frombuffer, of protocol 5."""

    __slots__ = ()

    def __init__(self, data: bytes, kind: _NumberType, shape: tuple, order: Literal["C", "F"]):
        self.value = _values(data, kind, shape, order)


class _Number(_StandIn):
    """numpy's scalar."""

    __slots__ = ()

    def __init__(self, kind: _NumberType, data: bytes | str):
        self.value = _values(data, kind, (), "C").item()


class _Bytes(_StandIn):
    """_codecs.encode: how Python 3 writes bytes in the protocols of Python 2."""

    __slots__ = ()

    def __new__(cls, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
            raise _Refused(f"it encodes text as {encoding!r}")
        return text.encode("latin1")


class _Set(_StandIn):
    """set, read as a list."""

    __slots__ = ()

    def __init__(self, members: list):
        if not isinstance(members, list) or not all(isinstance(m, (int, float, str, bytes)) for m in members):
            raise _Refused("it contains a set of objects, expected numbers or strings")
        self.value = list(members)


class _Ch(_StandIn):
    """chumpy.ch.Ch: an array, the item "x" of its state, with what chumpy needs to differentiate it."""

    __slots__ = ()

    def __setstate__(self, state: dict):
        self.value = _array_of(state, "x")


class _SparseMatrix(_StandIn):
    """scipy.sparse.csc_matrix, read as an array (R, C)."""

    __slots__ = ()

    def __setstate__(self, state: dict):
        rows, columns = state["_shape"]
        if rows * columns > MAX_SPARSE:
            raise _Refused(f"it contains a sparse matrix of shape {rows} x {columns}")
        data, indices, starts = (_array_of(state, name) for name in ("data", "indices", "indptr"))
        self.value = np.zeros((rows, columns), data.dtype)
        self.value[indices, np.repeat(np.arange(columns), np.diff(starts))] = data  # NumPy checks the indices


def _array_of(state: dict, name: str) -> np.ndarray:
    array = state[name]
    if not isinstance(array, (_Array, _Buffer)):
        raise _Refused(f"{name}: expected an array of numbers")
    return array.value


class _Object(_StandIn):
    """object, as the second argument of `_Reconstructed`."""

    __slots__ = ()


class _Reconstructed(_StandIn):
    """copyreg's _reconstructor: an object whose state is set afterwards."""

    __slots__ = ()

    def __new__(cls, kind: type, base: type, state: None):
        if kind not in (_Ch, _SparseMatrix) or base is not _Object or state is not None:
            raise _Refused("it constructs an object that is no array")
        return kind()


class _OrderedDict(dict):
    """collections.OrderedDict, read as a dict."""

    def __setstate__(self, state):
        raise _Refused("it sets the state of a dict")


ALLOWED: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): _OrderedDict,
    ("_codecs", "encode"): _Bytes,
    ("chumpy.ch", "Ch"): _Ch,
    **{(module, "_reconstructor"): _Reconstructed for module in ("copy_reg", "copyreg")},
    **{(module, "object"): _Object for module in ("__builtin__", "builtins")},
    **{(module, "set"): _Set for module in ("__builtin__", "builtins")},
    **{(f"scipy.sparse.{module}", "csc_matrix"): _SparseMatrix for module in ("csc", "_csc")},
    ("numpy", "ndarray"): _ArrayClass,
    ("numpy", "dtype"): _NumberType,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Number),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in ALLOWED:
            raise _Refused(
                f"it requests {module}.{name}; expected only dicts, lists, strings, numbers and arrays of numbers"
            )
        return ALLOWED[module, name]


def _plain(thing: Any, converted: dict[int, Any]) -> Any:
    """The same with the values of stand-ins in their place.

    converted: results for the containers visited so far, by their id; None while a container is being converted.
    """
    if thing is None or isinstance(thing, (int, float, str, bytes)):
        return thing
    if id(thing) in converted:
        if converted[id(thing)] is None:
            raise _Refused("it contains a container that contains itself")
        return converted[id(thing)]
    converted[id(thing)] = None
    if isinstance(thing, dict):
        plain = {_plain(k, converted): _plain(v, converted) for k, v in thing.items()}
    elif isinstance(thing, (list, tuple)):
        plain = type(thing)(_plain(v, converted) for v in thing)
    elif isinstance(thing, _StandIn):
        plain = thing.value
    else:
        name = getattr(thing, "__name__", type(thing).__name__).strip("_").lower()
        raise _Refused(f"it contains a {name}, expected dicts, lists, strings, numbers and arrays of numbers")
    converted[id(thing)] = plain
    return plain
