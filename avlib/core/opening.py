"""Opens a run by its name: a new one from a preset, or an existing one with its configuration."""

import dataclasses

from . import run as runs
from .presets import load
from .run import Run, stored_config


def open_run(name: str = "demo", preset: str | None = None, device: str = "auto", overrides: dict | None = None) -> Run:
    """The run in results/<name>/.

    With a preset, or with overrides such as {"joint.epochs": 3}, the run is created with that configuration; a run that
    exists must have the same. Without either, the run is opened with the configuration in its folder. ValueError if
    there is none, if the configurations differ, or if an earlier version made the folder.
    """
    if preset or overrides:
        return Run(name, load(preset or "demo", device=device, **(overrides or {})))
    folder = runs.RESULTS / name
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder}: no such run; create one with ./run_all.sh (--preset, --run) or with open_run and a preset"
        )
    return Run(name, dataclasses.replace(stored_config(folder), device=device))
