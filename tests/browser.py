"""Pages in a headless browser, Chromium, where there is one."""

import shutil
import subprocess
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = "no Chromium on the PATH"


def dom(path: Path, *further: str) -> str:
    """The page as a browser has it after two seconds of its scripts. further: options."""
    assert BROWSER
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom", *further]
    done = subprocess.run([BROWSER, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "<html" in done.stdout
    return done.stdout
