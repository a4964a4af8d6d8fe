"""In the place of MediaPipe: its names that the package uses. It sees the synthetic face in films of the tests.

The folder above this one is put on PYTHONPATH, before the real package.
"""

import enum
from typing import NamedTuple

import numpy as np

from . import tasks as tasks

__version__ = "0 (of the tests)"


class ImageFormat(enum.Enum):
    SRGB = 1


class Image(NamedTuple):
    image_format: ImageFormat
    data: np.ndarray
