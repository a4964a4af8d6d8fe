"""Arrays that may be larger than the memory."""

import math
import mmap
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

IN_MEMORY = 1 << 26  # bytes that `gathered` keeps in memory
BLOCK = 1 << 25  # bytes of rows that are read at a time


def scratch_array(shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array of zeros in a temporary file without a name, which vanishes with the array."""
    return np.memmap(tempfile.TemporaryFile(), np.float32, "w+", shape=shape)


def gathered(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """All rows of some float32 arrays in one, which lies in a temporary file if it is large.

    ValueError, naming the folder of temporary files, if there is no room in it.
    """
    rows, shape = 0, ()
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
        for piece in pieces:
            try:
                file.write(np.ascontiguousarray(piece, np.float32).tobytes())
            except OSError as error:
                raise ValueError(f"{tempfile.gettempdir()}: cannot be written: {error.strerror}") from error
            rows, shape = rows + len(piece), piece.shape[1:]
        file.seek(0)
        if 4 * rows * math.prod(shape) <= IN_MEMORY:
            return np.frombuffer(bytearray(file.read()), np.float32).reshape(rows, *shape)
        return np.memmap(file, np.float32, "r+", shape=(rows, *shape))


def row_blocks(array: np.ndarray, rows: int = 0) -> Iterator[np.ndarray]:
    """The rows of an array, so many at a time, by default as many as `BLOCK` holds.

    Rows of an array in a temporary file are not kept in memory after their turn.
    """
    rows = rows or max(1, BLOCK // max(1, array[:1].nbytes))
    mapped = getattr(array, "_mmap", None)
    for first in range(0, len(array), rows):
        yield array[first : first + rows]
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):  # Windows lacks it
            mapped.madvise(mmap.MADV_DONTNEED)


def spaced_rows(array: np.ndarray, step: int) -> np.ndarray:
    """A copy of the rows 0, step, 2 step and so on.

    Of an array in a temporary file, `array[::step]` may map the file whole: a page that is read brings its neighbours.
    """
    rows = np.empty((-(-len(array) // step), *array.shape[1:]), array.dtype)
    for number, block in enumerate(row_blocks(array, step)):
        rows[number] = block[0]
    return rows
