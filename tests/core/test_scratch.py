"""Arrays in temporary files: as they would be in memory, without staying there."""

import os
import resource

import numpy as np
import pytest

from avlib.core import scratch
from avlib.core.scratch import gathered, row_blocks, scratch_array, spaced_rows


@pytest.mark.parametrize("in_memory", [1 << 26, 100])
def test_pieces_become_one_array(monkeypatch, in_memory):
    monkeypatch.setattr(scratch, "IN_MEMORY", in_memory)
    rows = np.arange(60.0).reshape(10, 3, 2)
    array = gathered(iter([rows[:4], rows[4:4], rows[4:]]))
    assert array.dtype == np.float32 and isinstance(array, np.memmap) == (in_memory == 100)
    np.testing.assert_array_equal(array, rows)
    assert [len(block) for block in row_blocks(array, 4)] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(list(row_blocks(array, 4))), rows)
    array[0] = 7  # as in memory
    assert (array[0] == 7).all() and len(gathered(iter([]))) == 0


def resident() -> int:
    """Bytes of the process's memory, those of mapped files among them."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_lies_in_a_file_leaves_the_memory_again():
    array = scratch_array((400, 1 << 18))  # 400 MB
    before = resident()
    for block in row_blocks(array):
        block += 1
        assert resident() - before < 100 << 20
    assert array[:, 0].sum() == 400, "it is kept"


@pytest.mark.parametrize("rows, step", [(10, 1), (10, 3), (9, 3), (2, 5)])
def test_spaced_rows_are_those_of_a_slice(monkeypatch, rows, step):
    monkeypatch.setattr(scratch, "IN_MEMORY", 100)
    array = np.arange(rows * 30.0, dtype=np.float32).reshape(rows, 30)
    np.testing.assert_array_equal(spaced_rows(gathered([array]), step), array[::step])


def test_of_spaced_rows_only_the_copy_stays_in_memory():
    array = scratch_array((1600, 1 << 16))  # 400 MB
    for block in row_blocks(array):
        block += 1
    before = resident()
    rows = spaced_rows(array, 8)
    assert (rows == 1).all() and resident() - before < 1.5 * rows.nbytes


def test_a_full_folder_of_temporary_files_is_named(monkeypatch):
    """The largest file that the process may write stands for a full disk."""
    monkeypatch.setattr(scratch, "IN_MEMORY", 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(ValueError, match="cannot be written: File too large"):
            gathered(np.zeros((1000, 100)) for _ in range(9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
