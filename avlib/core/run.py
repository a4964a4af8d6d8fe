"""A run on disk: a folder with its configuration, and the records of its finished stages."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .config import Config, as_dict
from .device import pick_device
from .digest import digest
from .files import read_json, remove_unfinished, write_json
from .overrides import restored, unknown_settings
from .progress import log
from .sources import source_digest

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = Path(os.environ.get("AVLIB_RESULTS", ROOT / "results"))
DATA = Path(os.environ.get("AVLIB_DATA", ROOT / "data"))


def commit() -> str:
    """The commit of the checked-out code, with a `+` if files differ from it; "unknown" without git or a checkout.

    OSError if git fails for another reason, such as want of memory: a record must not be wrong about its origin.
    """

    def git(*args) -> str | None:
        done = subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True)
        if done.returncode not in (0, 128):  # 128: there is no checkout, or it belongs to another user
            raise OSError(f"git {args[0]} ended with code {done.returncode}: {done.stderr.strip()}")
        return None if done.returncode else done.stdout.strip()

    head = git("rev-parse", "--short=12", "HEAD") if shutil.which("git") else None
    if head is None:
        return "unknown"
    return head + ("+" if git("status", "--porcelain", "--", "avlib", "notebooks") else "")


MUTABLE_SETTINGS = ("device", "variants")  # may change between two uses of a run's folder


def stored_config(folder: Path) -> Config:
    """The configuration in a run's folder. ValueError if it was written by a version with other settings."""
    values = read_json(folder / "config.json")
    if unknown := list(unknown_settings(values)):
        raise ValueError(
            f"{folder}: made by an earlier avlib (its setting {unknown[0]} is unknown to this one); choose "
            "another --run name or delete the folder"
        )
    return restored(values)


class Run:
    """A folder of results, results/<name>/, that belongs to one configuration.

    It has the subfolders records (JSON), weights (safetensors), tables, figures, clips and notebooks. A variant of a
    run has a folder inside that run's, and uses the run's stages that have the same inputs. ValueError if the folder
    belongs to another configuration (`MUTABLE_SETTINGS` may differ) or to an earlier version.
    """

    def __init__(self, name: str, config: Config, variant_of: "Run | None" = None):
        if not name or name.startswith(".") or "/" in name:
            raise ValueError(f"run: expected a plain folder name, got {name!r}")
        self.name, self.config, self.variant_of = name, config, variant_of
        self.folder = variant_of.folder / "variants" / name if variant_of else RESULTS / name
        self.device = pick_device(config.device)
        path = self.folder / "config.json"
        stored = stored_config(self.folder) if path.exists() else None
        if stored and (differences := differing_settings(stored, config)):
            raise ValueError(
                f"{self.folder}: made with another configuration ({differences[0]}); choose another --run "
                "name or delete the folder"
            )
        if not stored or stored.variants != config.variants:
            write_json(path, {k: v for k, v in as_dict(config).items() if k != "device"})

    def key(self, function: Callable, *inputs) -> str:
        """A digest of what a stage's result depends on: the code that `function` reaches by import, and its inputs."""
        return digest(source_digest(function.__module__), *inputs)

    def finished(self, stage: str, key: str) -> dict | None:
        """The stage's record, if it has this key and its files exist. A variant looks in the run it belongs to, too."""
        run = self
        while run:
            path = run.folder / "records" / f"{stage}.json"
            if path.exists():
                record = read_json(path)
                if record["key"] == key and all((run.folder / f).exists() for f in record["files"]):
                    return record
            run = run.variant_of
        if (self.folder / "records" / f"{stage}.json").exists():
            log(f"{stage}: recomputed, because settings, data or code have changed")
        return None

    def record(self, stage: str) -> dict:
        """A finished stage's record. ValueError, with the command to run, if the stage has not finished."""
        path = self.home(stage) / "records" / f"{stage}.json"
        if not path.exists():
            raise ValueError(
                f"{path}: stage {stage!r} has not run yet; run its notebook or ./run_all.sh --run {self.name}"
            )
        return read_json(path)

    def home(self, stage: str) -> Path:
        """The folder with a stage's record and weights: this run's, or for a variant without the stage its run's."""
        exists = (self.folder / "records" / f"{stage}.json").exists()
        return self.folder if exists or not self.variant_of else self.variant_of.home(stage)

    def finished_key(self, stage: str) -> str:
        """The key of a finished stage, which the keys of the stages that use its results contain."""
        return self.record(stage)["key"]

    def finish(self, stage: str, key: str, files: Sequence[Path] = (), **record) -> dict:
        """Writes a stage's record. Call it after writing the stage's files: the record marks the stage as complete."""
        record = {
            "stage": stage,
            "key": key,
            "commit": commit(),
            "preset": self.config.preset,
            "files": [str(Path(f).relative_to(self.folder)) for f in files],
            **record,
        }
        write_json(self.folder / "records" / f"{stage}.json", record)
        return record

    def weights(self, stage: str) -> Path:
        """The weights file of a finished stage."""
        return self.home(stage) / "weights" / f"{stage}.safetensors"


@contextmanager
def exclusive(run: Run) -> Iterator[None]:
    """Holds the run's lock, so that no second process computes the same stages, and clears away what a killed process
    had begun to write. ValueError if another process holds it.

    The lock ends with its process, even if that is killed; the lock file is removed at a normal end.
    """
    path = run.folder / "run.lock"
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"{run.folder}: another run_all.sh uses this run; wait for it to end, or choose another --run name"
        ) from None
    try:
        remove_unfinished(run.folder)
        yield
    finally:
        with suppress(OSError):  # on Windows, which cannot delete an open file, releasing the lock does it
            path.unlink()
        lock.release()


def differing_settings(stored: Config, requested: Config) -> list[str]:
    """One line for each setting that differs and may not (`MUTABLE_SETTINGS` may)."""
    differences = _differences(as_dict(stored), as_dict(requested))
    return [d for d in differences if d.split(":")[0] not in MUTABLE_SETTINGS]


def _differences(stored, requested, key: str = "") -> list[str]:
    """One line for each setting that differs, by its dotted key."""
    if isinstance(stored, dict) and isinstance(requested, dict):
        return [
            difference
            for name in sorted(stored.keys() | requested.keys())
            for difference in _differences(stored.get(name), requested.get(name), f"{key}.{name}" if key else name)
        ]
    return [] if stored == requested else [f"{key}: {stored} there, {requested} requested"]
