"""The chain of notebooks as a command, with the animator of docs/own_animator.md in a file of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (  # whose commands and Python snippets are run by tests/cli/test_readme.py
    "README.md",
    *(
        f"docs/{page}.md"
        for page in (
            "export",
            "languages",
            "metrics",
            "own_data",
            "own_animator",
            "paper",
            "preference_study",
            "published_weights",
            "scaling",
            "troubleshooting",
            "video_corpus",
            "your_face",
        )
    ),
)
USER_DOCS = "\n".join((ROOT / page).read_text() for page in PAGES)
SNIPPETS = re.findall(r"^```python\n(.*?)^```", USER_DOCS, re.S | re.M)
OWN = next(snippet for snippet in SNIPPETS if "@register" in snippet)
ANIMATORS = ("faceformer", "codetalker", "mine")
ROLLED_OUT = tuple(f"evaluation-{animator}-" for animator in ANIMATORS)  # stages that score models


def command(folder: Path, *arguments: str, **variables: str) -> dict:
    """What starts the chain, for subprocess."""
    places = {"AVLIB_RESULTS": str(folder / "results"), "AVLIB_DATA": str(folder / "data")}
    with_own = ["--set", f"plugins={folder / 'mine.py'}", "--set", f"animators={','.join(ANIMATORS)}"]
    return dict(
        args=[sys.executable, "-m", "avlib", *with_own, *arguments],
        cwd=ROOT,
        env=os.environ | places | variables,
        text=True,
    )


def avlib(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(**command(folder, *arguments, **variables), capture_output=True)
