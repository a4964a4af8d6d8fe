"""The trained model that comes with the kit and speaks right after set-up: a small run with one animator.

shipped_model.tar.xz holds a run's folder: settings, the record and the weights of one animator, and the faces of its
corpus without its sentences. `python -m avlib.cli.pack` makes it from a finished run.
"""

import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from ..core import run as runs
from ..core.config import as_dict
from ..core.digest import digest
from ..core.files import read_json, read_weights, write_atomic, write_json, write_weights
from ..core.opening import open_run
from ..core.progress import log
from ..core.run import Run
from ..corpus.run_corpus import open_corpus
from ..training.trained_models import trained_record
from .speaker import trained_models

ARCHIVE = Path(__file__).with_name("shipped_model.tar.xz")
NAME, DEMO = "shipped", "demo"  # of runs in results/
VERSION = "archive.txt"  # in the run's folder: the digest of the archive that it comes from
CORPUS = "corpus"  # in the run's folder
# Weights are numbers of two bytes: the compression is told, which makes the archive 5 % smaller.
COMPRESSION = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 1, "lp": 1, "pb": 1}]
SCORES = ("LVE", "CER", "VER", "CER_judge", "VER_judge")  # that the record keeps


def speaking_run(name: str | None = None, device: str = "auto") -> Run:
    """The run whose models speak: the named one, by default the demo or, if none of its models is trained, the run that
    comes with the kit. ValueError for an unknown run."""
    if name or (runs.RESULTS / DEMO / "config.json").is_file():
        run = open_run(name or DEMO, device=device)
        if name or trained_models(run):
            return run
    run = shipped_run(device)
    record = run.record(trained_models(run)[0])
    log(
        f"{record['stage']} speaks, which comes with avlib (preset {record['preset']}, commit {record['commit']}); "
        "./run_all.sh trains one of your own"
    )
    return run


def shipped_run(device: str = "auto") -> Run:
    """The run results/shipped/, unpacked unless it is. ValueError where it cannot be written."""
    folder, version = runs.RESULTS / NAME, digest(ARCHIVE)
    stored = folder / VERSION
    if not stored.is_file() or stored.read_text().strip() != version:
        _unpack(ARCHIVE, folder)
        write_atomic(stored, lambda p: p.write_text(version + "\n"))
    return open_run(NAME, device=device)


def _unpack(archive: Path, folder: Path) -> None:
    """Puts the archive's files into a folder, each atomically; other files there stay."""
    with tempfile.TemporaryDirectory() as temporary, tarfile.open(archive) as packed:
        packed.extractall(temporary, filter="data")
        for path in sorted(Path(temporary).rglob("*")):
            if path.is_file():
                write_atomic(folder / path.relative_to(temporary), lambda p, path=path: shutil.copyfile(path, p))


def pack_model(run: Run, model: str, archive: Path) -> Path:
    """Writes a trained animator of a run on the embedded corpus as such an archive; its weights become bfloat16.

    ValueError for a run on another corpus, whose faces are not the kit's to give away, and for an unknown model.
    """
    if run.config.corpus.name != "embedded" or run.config.corpus.recordings:
        raise ValueError(f"{run.folder}: expected a run on the embedded corpus alone, got {run.config.corpus.name}")
    record = trained_record(run, model)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = as_dict(run.config) | {
            "animators": [record["animator"]],
            "variants": [],
            "pretrain_each_seed": False,
        }
        write_json(folder / "config.json", {name: value for name, value in settings.items() if name != "device"})
        _write_records(run, model, record, folder)
        _write_corpus(run, folder / CORPUS)
        tensors, about = read_weights(run.weights(model), "animator.")
        weights = {f"animator.{name}": _halved(tensor) for name, tensor in tensors.items()}
        write_weights(folder / "weights" / f"{model}.safetensors", weights, about)
        return write_atomic(archive, lambda path: _pack(folder, path))


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor


def _write_records(run: Run, model: str, record: dict, folder: Path) -> None:
    """The records of the model, without its history and with its scores, and of the corpus."""
    kept = {name: value for name, value in record.items() if name not in ("history", "files")}
    metrics = run.record(f"evaluation-{model}")["metrics"]
    kept |= {"files": [f"weights/{model}.safetensors"], "scores": {name: metrics[name] for name in SCORES}}
    write_json(folder / "records" / f"{model}.json", kept)
    corpus = run.record("corpus") | {"folder": CORPUS, "clips_folder": f"{CORPUS}/2d", "files": []}
    write_json(folder / "records" / "corpus.json", corpus)


def _write_corpus(run: Run, folder: Path) -> None:
    """The corpus's faces: its files without utterances."""
    source = open_corpus(run).folder
    write_json(folder / "corpus.json", read_json(source / "corpus.json") | {"utterances": []})
    shutil.copyfile(source / "mesh.npz", folder / "mesh.npz")


def _pack(folder: Path, path: Path) -> None:
    """Writes a folder's files as a compressed archive, equal for equal files."""
    with lzma.open(path, "wb", filters=COMPRESSION) as file, tarfile.open(fileobj=file, mode="w") as packed:
        for name, source in _files(folder):
            entry = tarfile.TarInfo(name)  # without owner and times
            entry.size = source.stat().st_size
            with open(source, "rb") as content:
                packed.addfile(entry, content)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    return ((path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file())
