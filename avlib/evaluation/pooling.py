"""One run out of several that trained other seeds with the same settings, on one machine or on several."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..core import run as runs
from ..core.config import Config
from ..core.files import find_visible, read_json
from ..core.run import Run, differing_settings, stored_config
from ..metrics.protocols import KIT, read_protocols, score_value
from .labels import TRUTH
from .variant_definitions import GROUP_TITLES


class Part(NamedTuple):
    """A finished run that is pooled. corpus: its title in tables; corpus_hash: of the scans that were scored; reading:
    how well its readers read these."""

    folder: Path
    config: Config
    seeds: list[int]
    corpus: str
    corpus_hash: str
    reading: str


class Pool(NamedTuple):
    """The pooled run. corpus: its title in tables; corpus_hashes, readings: those of the parts, without repetition."""

    run: Run
    seeds: list[int]
    corpus: str
    corpus_hashes: list[str]
    readings: list[str]


def pool(folders: Sequence[Path], name: str) -> Pool:
    """Copies the records of finished runs into results/<name>/, from which all tables can be written.

    Where several runs have a record of the same name, as of the readers and of the scans, the first one's is taken.
    Models and clips stay where they are. ValueError for a folder without a finished run, for runs that differ in their
    settings or share a seed, and if results/<name>/ exists.
    """
    parts = [_part(folder) for folder in folders]
    first, destination = parts[0], runs.RESULTS / name
    for n, part in enumerate(parts):
        if differences := differing_settings(first.config, part.config):
            raise ValueError(f"{part.folder}: made with other settings than {first.folder} ({differences[0]})")
        for earlier in parts[:n]:
            if shared := set(earlier.seeds) & set(part.seeds):
                raise ValueError(
                    f"{part.folder}: has seed {min(shared)}, as {earlier.folder} has; expected other seeds"
                )
    if destination.exists():
        raise ValueError(f"{destination}: exists; choose another --run name or delete the folder")
    asked = {group for part in parts for group in part.config.variants}
    groups = tuple(group for group in GROUP_TITLES if group in asked)
    run = Run(name, dataclasses.replace(first.config, variants=groups))
    for part in parts:
        _copy_records(part.folder, run.folder)
    seeds = sorted(seed for part in parts for seed in part.seeds)
    hashes, readings = ([*dict.fromkeys(found)] for found in zip(*((p.corpus_hash, p.reading) for p in parts)))
    return Pool(run, seeds, first.corpus, hashes, readings)


def _part(folder: Path) -> Part:
    """ValueError unless the folder is of a run whose notebook 04 has written its tables."""
    table = folder / "tables" / "table.json"
    if not table.exists():
        raise ValueError(f"{table}: no such file; expected the folder of a run that has finished, results/<run>")
    about = read_json(table)
    truth = read_json(folder / "records" / f"evaluation-{TRUTH}.json")
    rates = [score_value(truth["rows"], read_protocols()[KIT].scores[name]) for name in ("CER", "CER_judge")]
    reading = "CER " + ", by the judge ".join("–" if rate is None else f"{rate:.1f} %" for rate in rates)
    return Part(folder, stored_config(folder), about["seeds"], about["corpus"], truth["corpus"], reading)


def _copy_records(source: Path, destination: Path) -> None:
    """Copies all records of a run and its variants, and the variants' settings, unless they are there already."""
    for path in find_visible(source, "records/*.json") + find_visible(source, "variants/**/*.json"):
        copy = destination / path.relative_to(source)
        if (path.parent.name == "records" or path.name == "config.json") and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
