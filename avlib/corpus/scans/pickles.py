"""Pickled data of others, Python 2's too, read without running anything: dicts, lists, tuples, strings, numbers and NumPy arrays
of numbers are admitted, all else is an error.

A pickle is a program that names functions and calls them. Here every name it may say stands for a class of this module, which
keeps what it is given and looks it over; no other name is ever looked up.
"""

import math
import pickle
import re
from pathlib import Path

import numpy as np

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


def load_pickle(path: str | Path):
    """What the file holds, in plain containers. ValueError names the file, and what it asks for that is not admitted."""
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
    pass


class _Known:
    """Stands for something that a pickle may name. Every subclass says what becomes of it."""

    __slots__ = ("value",)

    def __setstate__(self, state):
        raise _Refused(f"it sets the state of a {type(self).__name__.strip('_').lower()}")


class _Class(_Known):
    """numpy.ndarray, as the first argument of `_Array`."""

    __slots__ = ()

    def __init__(self, *arguments):
        raise _Refused("it calls numpy.ndarray")


class _Kind(_Known):
    """numpy.dtype of plain numbers."""

    __slots__ = ()

    def __init__(self, code: str, *flags):
        if not isinstance(code, str) or not re.fullmatch("b1|[iu][1248]|f[248]", code):
            raise _Refused(f"it holds an array of type {code!r}, expected numbers")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple):
        _, order, *more = state
        if order not in ("<", ">", "|", "=") or any(m is not None for m in more[:3]):
            raise _Refused(f"it holds an array of type {state!r}, expected numbers")
        self.value = self.value.newbyteorder(order)


def _values(data: bytes | str, kind: _Kind, shape: tuple, order: str) -> np.ndarray:
    """(*shape,) of those bytes; Python 2's come as a string."""
    data = data.encode("latin1") if isinstance(data, str) else bytes(data)
    if not isinstance(kind, _Kind) or len(data) != math.prod(shape) * kind.value.itemsize:
        raise _Refused(f"it holds {len(data)} bytes for an array of shape {shape}")
    return np.frombuffer(data, kind.value).reshape(shape, order=order)


class _Array(_Known):
    """numpy's _reconstruct: an array that is told its shape, type and bytes by its state."""

    __slots__ = ()

    def __init__(self, kind: type, *empty):
        if kind is not _Class:
            raise _Refused("it holds an array of another class than numpy.ndarray")

    def __setstate__(self, state: tuple):
        _, shape, kind, fortran, data = state
        if not isinstance(data, (bytes, str)):
            raise _Refused("it holds an array of objects, expected numbers")
        self.value = _values(data, kind, shape, "F" if fortran else "C")


class _Buffer(_Known):
    """numpy's _frombuffer, of protocol 5."""

    __slots__ = ()

    def __init__(self, data: bytes, kind: _Kind, shape: tuple, order: str):
        self.value = _values(data, kind, shape, order)


class _Number(_Known):
    """numpy's scalar."""

    __slots__ = ()

    def __init__(self, kind: _Kind, data: bytes | str):
        self.value = _values(data, kind, (), "C").item()


class _Bytes(_Known):
    """_codecs.encode: how Python 3 writes bytes in Python 2's protocols."""

    __slots__ = ()

    def __new__(cls, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
            raise _Refused(f"it encodes text as {encoding!r}")
        return text.encode("latin1")


class _Ordered(dict):
    """collections.OrderedDict, read as a dict."""

    def __setstate__(self, state):
        raise _Refused("it sets the state of a dict")


KNOWN = {
    ("collections", "OrderedDict"): _Ordered,
    ("_codecs", "encode"): _Bytes,
    ("numpy", "ndarray"): _Class,
    ("numpy", "dtype"): _Kind,
    **{
        (f"numpy.{core}.{module}", name): known
        for core in ("core", "_core")
        for module, name, known in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Number),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in KNOWN:
            raise _Refused(
                f"it asks for {module}.{name}; expected dicts, lists, strings, numbers and arrays of numbers alone"
            )
        return KNOWN[module, name]


def _plain(thing, seen: dict):
    """The same with arrays for what stands for them. seen: what was made of the containers met so far, by their id."""
    if thing is None or isinstance(thing, (int, float, str, bytes)):
        return thing
    if id(thing) in seen:
        if seen[id(thing)] is None:
            raise _Refused("it holds a container that contains itself")
        return seen[id(thing)]
    seen[id(thing)] = None
    if isinstance(thing, dict):
        made = {_plain(k, seen): _plain(v, seen) for k, v in thing.items()}
    elif isinstance(thing, (list, tuple)):
        made = type(thing)(_plain(v, seen) for v in thing)
    elif isinstance(thing, _Known):
        made = thing.value
    else:
        name = getattr(thing, "__name__", type(thing).__name__).strip("_").lower()
        raise _Refused(f"it holds a {name}, expected dicts, lists, strings, numbers and arrays of numbers")
    seen[id(thing)] = made
    return made
