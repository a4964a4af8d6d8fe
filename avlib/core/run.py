"""A run on disk: one folder that knows its configuration, and stages that are done once and describe themselves."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .config import Config, as_dict, digest, restored
from .device import pick_device
from .files import read_json, write_json
from .sources import source_digest

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = Path(os.environ.get("AVLIB_RESULTS", ROOT / "results"))
DATA = Path(os.environ.get("AVLIB_DATA", ROOT / "data"))


def commit() -> str:
    """The commit the code stands at, `+` appended where the tree differs from it; "unknown" outside a checkout."""

    def git(*args):
        return subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True)

    head = git("rev-parse", "--short=12", "HEAD")
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if git("status", "--porcelain", "--", "avlib", "notebooks").stdout else "")


PASSING = ("device", "variants")  # where a run is computed, and what is tried beside it, are no part of what it is


class Run:
    """`results/<name>/`, opened with the configuration it was made with; another one is an error, but for what is `PASSING`.

    folder: records/ (JSON), weights/ (safetensors), tables/, figures/, clips/, notebooks/. A variant of a run, in a folder of
    its own inside that run's, takes from it what is made from the same inputs.
    """

    def __init__(self, name: str, config: Config, variant_of: "Run | None" = None):
        if not name or name.startswith(".") or "/" in name:
            raise ValueError(f"run: expected a plain folder name, got {name!r}")
        self.name, self.config, self.variant_of = name, config, variant_of
        self.folder = variant_of.folder / "variants" / name if variant_of else RESULTS / name
        self.device = pick_device(config.device)
        settings = {k: v for k, v in as_dict(config).items() if k != "device"}
        path = self.folder / "config.json"
        made_with = as_dict(restored(read_json(path))) if path.exists() else settings  # settings of today, all of them
        if changed := [d for d in _differences(made_with, settings) if d.split(":")[0] not in PASSING]:
            raise ValueError(
                f"{self.folder}: made with another configuration ({changed[0]}); choose another --run "
                "name or delete the folder"
            )
        if not path.exists() or made_with["variants"] != config.variants:
            write_json(path, settings)

    def key(self, function: Callable, *inputs) -> str:
        """What a stage's result depends on: the code that `function` can reach by import, and its inputs."""
        return digest(source_digest(function.__module__), *inputs)

    def finished(self, stage: str, key: str) -> dict | None:
        """The stage's record, if it was made from just these inputs and its weights, if it has any, are there."""
        run = self
        while run:
            path = run.folder / "records" / f"{stage}.json"
            if path.exists():
                record = read_json(path)
                if record["key"] == key and all((run.folder / f).exists() for f in record["files"]):
                    return record
            run = run.variant_of
        if (self.folder / "records" / f"{stage}.json").exists():
            print(f"{stage}: made before, but from other settings, data or code; made anew", flush=True)
        return None

    def record(self, stage: str) -> dict:
        """A finished stage's record. ValueError says which stage has to run first."""
        path = self.home(stage) / "records" / f"{stage}.json"
        if not path.exists():
            raise ValueError(
                f"{path}: stage {stage!r} has not run yet; run its notebook, or ./run_all.sh --run {self.name}"
            )
        return read_json(path)

    def home(self, stage: str) -> Path:
        """The folder of the run that a stage's record and weights are taken from: this one, unless it is a variant without."""
        own = (self.folder / "records" / f"{stage}.json").exists()
        return self.folder if own or not self.variant_of else self.variant_of.home(stage)

    def finished_key(self, stage: str) -> str:
        """Stands for all that a finished stage was made from, in the keys of the stages that build on it."""
        return self.record(stage)["key"]

    def finish(self, stage: str, key: str, files: list[Path] = (), **record) -> dict:
        """Writes a stage's record, last of all its files, so that a record means that the stage is whole."""
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
        """Of a finished stage."""
        return self.home(stage) / "weights" / f"{stage}.safetensors"


@contextmanager
def exclusive(run: Run) -> Iterator[None]:
    """Within it nobody else is: two at once would train everything twice, each waiting for the other's cores. ValueError if somebody
    is. The folder itself is locked, not a file in it: neither an end nor a kill leaves anything."""
    folder = os.open(run.folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{run.folder}: another run_all.sh is at work there; wait for it, or choose another --run name"
            ) from None
        yield
    finally:
        os.close(folder)


def _differences(a, b, where="") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            d
            for k in sorted(a.keys() | b.keys())
            for d in _differences(a.get(k), b.get(k), f"{where}.{k}" if where else k)
        ]
    return [] if a == b else [f"{where}: {a} there, {b} asked for"]
