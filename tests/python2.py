"""Writes pickles byte by byte as Python 2 does (cPickle, protocol 2).

Its strings are bytes without an encoding, and its arrays name the modules of NumPy 1.
"""

import struct

import numpy as np

PROTOCOL, STOP = b"\x80\x02", b"."


def dumps(thing) -> bytes:
    """thing: of plain types and NumPy arrays; str stands for unicode, bytes for str. TypeError for other types."""
    return PROTOCOL + _value(thing) + STOP


def _value(thing) -> bytes:
    if thing is None or isinstance(thing, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[thing]
    if isinstance(thing, int):
        return b"K" + bytes([thing]) if 0 <= thing < 256 else b"J" + struct.pack("<i", thing)
    if isinstance(thing, float):
        return b"G" + struct.pack(">d", thing)
    if isinstance(thing, str):  # unicode
        data = thing.encode()
        return b"X" + struct.pack("<I", len(data)) + data
    if isinstance(thing, bytes):  # str
        return (b"U" + bytes([len(thing)]) if len(thing) < 256 else b"T" + struct.pack("<i", len(thing))) + thing
    if isinstance(thing, dict):
        return b"}(" + b"".join(_value(k) + _value(v) for k, v in thing.items()) + b"u"
    if isinstance(thing, list):
        return b"](" + b"".join(map(_value, thing)) + b"e"
    if isinstance(thing, tuple):
        return b"(" + b"".join(map(_value, thing)) + b"t"
    if isinstance(thing, np.generic):
        return b"cnumpy.core.multiarray\nscalar\n" + _type(thing.dtype) + _value(thing.tobytes()) + b"\x86R"
    if isinstance(thing, np.ndarray):
        fortran = thing.flags.f_contiguous and not thing.flags.c_contiguous
        start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _value((0,)) + _value(b"b") + b"\x87R"
        data = thing.tobytes("F" if fortran else "C")
        return (
            start
            + b"("
            + _value(1)
            + _value(thing.shape)
            + _type(thing.dtype)
            + _value(bool(fortran))
            + _value(data)
            + b"tb"
        )
    raise TypeError(type(thing))


def _type(dtype: np.dtype) -> bytes:
    state = _value((3, (dtype.byteorder.replace("=", "<")).encode(), None, None, None, -1, -1, 0))
    return b"cnumpy\ndtype\n" + _value(dtype.str[1:].encode()) + _value(0) + _value(1) + b"\x87R" + state + b"b"
