"""Arrays that may be larger than the memory."""

import tempfile

import numpy as np


def scratch_array(shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array of zeros in a temporary file without a name, which vanishes with the array."""
    return np.memmap(tempfile.TemporaryFile(), np.float32, "w+", shape=shape)
