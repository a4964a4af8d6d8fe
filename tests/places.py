"""Runs the notebooks in awkward places: a read-only checkout, a full disk, strange names, no home, a second user.

    sudo python -m tests.places --folder FOLDER

Linux alone: places are mounted in a namespace of their own (`unshare`). A run has to end with exit code 0; on a full
disk, and where nobody may write, in one line that names the file, and it has to go on once that is mended.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = {"corpus.clips_2d": 32, "corpus.validation_clips_2d": 12, "corpus.judge_clips_2d": 12, "animators": "faceformer"}
SETTINGS = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
STRANGER = 12345  # a user whom this machine has no name for


def run(folder: Path, before: str = "", name: str = "run", **variables: str | None) -> tuple[int, str]:
    """Exit code and last line of a run whose results and data lie in the folder.

    before: shell commands to give in a namespace of its own before. variables: of the environment; None: not set.
    """
    places = {"AVLIB_RESULTS": str(folder / "results"), "AVLIB_DATA": str(folder / "data")}
    places |= {"AVLIB_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    environment = {k: v for k, v in (os.environ | places | variables).items() if v is not None}
    script = f'set -e; {before or ":"}; exec "$@"'
    command = ["bash", str(ROOT / "run_all.sh"), "--preset", "smoke", f"--run={name}", *SETTINGS]
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "bash", *command],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    said = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return done.returncode, said[-1] if said else ""


def whole(folder: Path, **options) -> str:
    """Runs to the end. Returns how it ended. AssertionError unless it ended well and left no unfinished file."""
    code, line = run(folder, **options)
    assert code == 0, f"exit code {code}: {line}"
    left = [str(p) for p in folder.rglob(".*") if p.is_file()]
    assert not left, f"left {left}"
    return line


def refused(folder: Path, reason: str, **options) -> str:
    """Runs where it cannot end. Returns its last line. AssertionError unless that gives the reason."""
    code, line = run(folder, **options)
    assert code and reason in line, f"exit code {code}: {line}"
    return line


def names(folder: Path) -> str:
    place = folder / '-it\'s a "place" für $alle; `x` *'
    return whole(place, before="umask 077", name="-läuft \"so\" & 'so'", LANG="C", LC_ALL="C")


def no_home(folder: Path) -> str:
    return whole(folder, HOME=None, USER=None, LOGNAME=None, TMPDIR=str(folder / "nowhere"), XDG_RUNTIME_DIR=None)


def linked_results(folder: Path) -> str:
    (folder / "elsewhere").mkdir()
    (folder / "results").symlink_to("elsewhere")
    return whole(folder)


def read_only_checkout(folder: Path) -> str:
    environment = Path(sys.prefix)
    mounts = [f"mount --bind -o ro '{place}' '{place}'" for place in (ROOT, environment)]
    return whole(folder, before="; ".join(mounts), HOME=str(ROOT))  # a home that is read-only, too


def full_disk(folder: Path) -> str:
    """Of the results. First there is no room for the corpus's record and pictures, then none for all weights, then for
    all; and no room for the corpus, which is refused before it is made."""
    image, place = folder / "image", folder / "place"
    place.mkdir()
    lines = []
    for megabytes in (1, 6, 400):
        kept = f"[ ! -e '{image}' ] || cp -a '{image}'/. '{place}'"
        before = f"mount -t tmpfs -o size={megabytes}m none '{place}'; {kept}"
        # what the small disk holds is kept for the next one
        keep = f"trap \"rm -rf '{image}'; cp -a '{place}' '{image}'\" EXIT; set +e; \"$@\"; exit"
        code, line = run(place, before=f"{before}; {keep}", AVLIB_DATA=str(folder / "data"))
        lines.append(line)
        wanted = code == 0 if megabytes == 400 else code and "No space left on device" in line
        assert wanted, f"{megabytes} MB, exit code {code}: {line}"
    small = folder / "small"
    small.mkdir()
    lines.append(refused(small, "make room", before=f"mount -t tmpfs -o size=12m none '{small}'"))
    return " | ".join(lines)


def another_user(folder: Path) -> str:
    """Who may read the checkout, and write nowhere but in a place of the user's own."""
    own = folder / "own"
    own.mkdir()
    os.chown(own, STRANGER, STRANGER)
    as_stranger = f'exec setpriv --reuid {STRANGER} --regid {STRANGER} --clear-groups -- "$@"'
    line = refused(folder / "of root", "cannot be written", before=as_stranger, HOME=None)
    whole(own, before=as_stranger, HOME=None)
    return line


PLACES: tuple[Callable[[Path], str], ...] = (
    names,
    no_home,
    linked_results,
    read_only_checkout,
    full_disk,
    another_user,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("places", nargs="*", help="some of " + ", ".join(place.__name__ for place in PLACES))
    arguments = parser.parse_args()
    faults = 0
    for place in PLACES:
        if arguments.places and place.__name__ not in arguments.places:
            continue
        folder = arguments.folder / place.__name__
        folder.mkdir(parents=True)
        try:
            said = place(folder)
        except AssertionError as error:
            faults, said = faults + 1, f"FAULT: {error}"
        print(f"{place.__name__:20}{said}", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
