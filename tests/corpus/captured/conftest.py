"""The package that takes MediaPipe's place in these tests."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FAKE_MEDIAPIPE = Path(__file__).parent / "fake_mediapipe"  # to be put on PYTHONPATH


@contextmanager
def mediapipe_replaced(folder: Path = FAKE_MEDIAPIPE) -> Iterator[None]:
    """The package `mediapipe` of a folder instead of the real one, which need not be installed."""

    def forget():
        for name in [name for name in sys.modules if name.split(".")[0] == "mediapipe"]:
            del sys.modules[name]

    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "mediapipe"}
    with pytest.MonkeyPatch.context() as patch:
        forget()
        patch.syspath_prepend(str(folder))
        try:
            yield
        finally:
            forget()
            sys.modules.update(kept)


@pytest.fixture(scope="module")
def fake_mediapipe() -> Iterator[None]:
    with mediapipe_replaced():
        yield
