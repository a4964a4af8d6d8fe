"""Log lines, and progress bars on interactive terminals."""

import os
from collections.abc import Iterable
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")

# no bars under papermill, which prints a line at each update, nor in any but the first of several processes
HEADLESS = "AVLIB_HEADLESS" in os.environ or os.environ.get("RANK", "0") != "0"


def log(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def progress_bar(items: Iterable[Item], label: str, total: int | None = None) -> Iterable[Item]:
    """Iterates over the items and shows a progress bar with the remaining time, unless `HEADLESS`."""
    return tqdm(items, desc=label, total=total, leave=False, disable=HEADLESS)
