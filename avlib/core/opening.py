"""Opening a run by its name: a new one from a preset, or a finished one with the configuration it was made with."""

from . import run as runs
from .config import restored
from .files import read_json
from .presets import load
from .run import Run


def open_run(name: str = "demo", preset: str | None = None, device: str = "auto", overrides: dict | None = None) -> Run:
    """The run of that name, in results/<name>/.

    With a preset, or with overrides as {"joint.epochs": 3}, the run is made with that configuration; one that exists must
    have been made with the same. Without either it is opened as it was made. ValueError where there is none, or where the
    configurations differ.
    """
    if preset or overrides:
        return Run(name, load(preset or "demo", device=device, **(overrides or {})))
    path = runs.RESULTS / name / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{path.parent}: no such run; ./run_all.sh makes one (--preset, --run), and open_run with a preset begins one"
        )
    return Run(name, restored(read_json(path) | {"device": device}))
