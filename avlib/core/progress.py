"""Lines of a log, and progress bars where somebody watches."""

import os

from tqdm.auto import tqdm

# under papermill a bar would print a line a tick, and of several processes one is watched
HEADLESS = "AVLIB_HEADLESS" in os.environ or os.environ.get("RANK", "0") != "0"


def log(line: str) -> None:
    print(line, flush=True)


def progress_bar(things, text: str, total: int | None = None):
    """A progress bar with the time left where somebody watches; nothing where a log is written."""
    return tqdm(things, desc=text, total=total, leave=False, disable=HEADLESS)
