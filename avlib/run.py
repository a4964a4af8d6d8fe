"""A run on disk: one folder that knows its configuration, and stages that are done once and describe themselves."""
import fcntl
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .config import Config, as_dict, digest, load, restored

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(os.environ.get("AVLIB_RESULTS", ROOT / "results"))
DATA = Path(os.environ.get("AVLIB_DATA", ROOT / "data"))


def write_atomic(path: Path, write: Callable[[Path], None]) -> Path:
    """`write` fills a temporary file beside `path`, which is renamed when whole: a kill leaves the old file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, value) -> Path:
    return write_atomic(path, lambda p: p.write_text(json.dumps(value, indent=1) + "\n"))


def read_json(path: Path):
    """ValueError, naming the file, if it is cut short or no JSON."""
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a whole JSON file ({error}); delete it and run again") from None


def write_weights(path: Path, tensors: dict[str, torch.Tensor], about: dict) -> Path:
    """Tensors as safetensors; `about` travels in the header as JSON."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    return write_atomic(path, lambda p: save_file(tensors, p, metadata={"about": json.dumps(about)}))


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors and their header. ValueError, naming the file, if it is missing or cut short."""
    if not path.exists():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, json.loads((f.metadata() or {}).get("about", "{}"))
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); delete it and run again") from None


def fill_weights(module: torch.nn.Module, weights: dict[str, torch.Tensor], source: str = "checkpoint"):
    """Copies `weights` into `module`; ValueError names the first that is missing, unknown, misshapen or not finite."""
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own if name not in weights]
    faults += [f"{name} is not a weight of {type(module).__name__}" for name in weights if name not in own]
    for name in (name for name in own if name in weights):
        if weights[name].shape != own[name].shape:
            faults.append(f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}")
        elif not weights[name].isfinite().all():
            faults.append(f"{name} holds values that are not finite")
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise ValueError(f"{source}: {faults[0]}{more}")
    module.load_state_dict(weights)


def load_weights(module: torch.nn.Module, path: Path) -> dict:
    """Fills `module` from a checkpoint; returns its header."""
    tensors, about = read_weights(path)
    fill_weights(module, tensors, str(path))
    return about


def commit() -> str:
    """The commit the code stands at, `+` appended where the tree differs from it; "unknown" outside a checkout."""
    def git(*args):
        return subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True)
    head = git("rev-parse", "--short=12", "HEAD")
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if git("status", "--porcelain", "--", "avlib", "notebooks").stdout else "")


def pick_device(name: str) -> torch.device:
    """"auto" is a GPU where there is one. ValueError for a device that this machine lacks."""
    cuda = torch.cuda.is_available()
    known = {"auto": "cuda" if cuda else "cpu", "cpu": "cpu"} | ({"cuda": "cuda"} if cuda else {})
    if name not in known:
        raise ValueError(f"device: expected one of {', '.join(known)} on this machine, got {name!r}")
    return torch.device(known[name], int(os.environ.get("LOCAL_RANK", 0)) if known[name] == "cuda" else None)


PASSING = ("device", "variants")         # where a run is computed, and what is tried beside it, are no part of what it is


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
        made_with = as_dict(restored(read_json(path))) if path.exists() else settings      # settings of today, all of them
        if changed := [d for d in _differences(made_with, settings) if d.split(":")[0] not in PASSING]:
            raise ValueError(f"{self.folder}: made with another configuration ({changed[0]}); choose another --run "
                             "name or delete the folder")
        if not path.exists() or made_with["variants"] != config.variants:
            write_json(path, settings)

    def key(self, modules: str, *inputs) -> str:
        """What a stage's result depends on: the source of the modules it runs, and its inputs."""
        sources = [ROOT / "avlib" / f"{m}.py" for m in modules.split()]
        return digest(*sources, *inputs)

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
            raise ValueError(f"{path}: stage {stage!r} has not run yet; run its notebook, or ./run_all.sh --run {self.name}")
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
        record = {"stage": stage, "key": key, "commit": commit(), "preset": self.config.preset,
                  "files": [str(Path(f).relative_to(self.folder)) for f in files], **record}
        write_json(self.folder / "records" / f"{stage}.json", record)
        return record

    def weights(self, stage: str) -> Path:
        """Of a finished stage."""
        return self.home(stage) / "weights" / f"{stage}.safetensors"


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Within it nobody else is: two at once would train everything twice, each waiting for the other's cores. ValueError if somebody
    is. The folder itself is locked, not a file in it: neither an end nor a kill leaves anything."""
    folder = os.open(run.folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{run.folder}: another run_all.sh is at work there; wait for it, or choose another --run name") from None
        yield
    finally:
        os.close(folder)


def side_by_side(jobs: list[tuple], device: torch.device = torch.device("cpu"), workers: int | None = None) -> Iterator[None]:
    """Calls function, *arguments of every job in a process of its own, as many at once as there are cores or GPUs (or `workers`, or
    AVLIB_WORKERS), each with its share of the cores and a GPU: small models use two cores better apart than together. One after
    the other, in this process, where that is one. Yields as jobs end; an error of any job is raised here."""
    cores, gpus = os.cpu_count() or 1, torch.cuda.device_count() if device.type == "cuda" else 0
    workers = min(len(jobs), workers or int(os.environ.get("AVLIB_WORKERS", gpus or cores)))
    if workers <= 1:
        for function, *arguments in jobs:
            yield function(*arguments)
        return
    spawn, threads = get_context("spawn"), max(1, cores // workers)
    seats = spawn.SimpleQueue()
    for n in range(workers):
        seats.put(str(n % gpus) if gpus else None)
    with ProcessPoolExecutor(workers, spawn, begin_worker, (threads, os.getpid(), seats)) as pool:
        for done in as_completed([pool.submit(*job) for job in jobs]):
            yield done.result()


def begin_worker(threads: int, parent: int, seats: SimpleQueue | None = None) -> None:
    """Gives a worker its share of the cores, and of the GPUs the next in `seats`; and ends it soon after its parent: nobody else
    would once that is killed."""
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)        # for processes that this one starts
    if seats and (gpu := seats.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu        # read when CUDA begins, which it has not yet

    def follow():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)
    threading.Thread(target=follow, daemon=True).start()


def _differences(a, b, where="") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for k in sorted(a.keys() | b.keys())
                for d in _differences(a.get(k), b.get(k), f"{where}.{k}" if where else k)]
    return [] if a == b else [f"{where}: {a} there, {b} asked for"]


def open_run(run: str = "demo", preset: str = "demo", device: str = "auto", overrides: dict | None = None) -> Run:
    """The run that a notebook works on; its four arguments are the notebook's parameters."""
    return Run(run, load(preset, device=device, **(overrides or {})))


def open_finished(name: str, device: str = "auto") -> Run:
    """A run that is there, with the configuration it was made with. ValueError if there is none."""
    path = RESULTS / name / "config.json"
    if not path.is_file():
        raise ValueError(f"{path.parent}: no finished run; ./run_all.sh makes one (--preset, --run)")
    return Run(name, restored(read_json(path) | {"device": device}))
