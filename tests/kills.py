"""Interrupts runs at moments spread over all stages, resumes them, and compares them with one that nothing interrupted.

    python -m tests.kills --kills 20 --each 2 --folder FOLDER

Each run is interrupted so many times, at moments as far from each other as the number allows.
Every run begins from nothing: it builds its corpus, too. The ways of interrupting take turns: SIGKILL, SIGTERM and
SIGINT to all processes, memory that runs out, and a power cut, after which files that nobody had written to the disk
are cut. A run has to end with exit code 0 and with the same records, weights and tables to the byte, except for
durations. Runs that have ended are kept, and the same command continues.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from avlib.core.files import read_weights

ROOT = Path(__file__).parent.parent
WAYS = ("SIGKILL", "SIGTERM", "SIGINT", "memory", "power")
TINY = {
    "animators": "codetalker",
    "corpus.clips_2d": 32,
    "corpus.validation_clips_2d": 12,
    "corpus.judge_clips_2d": 12,
    "evaluation.styles": 1,
}
ARGUMENTS = ["--preset", "smoke", "--run", "run", *(w for k, v in TINY.items() for w in ("--set", f"{k}={v}"))]
STUCK_S = 60.0  # a run that is told to end, or has no memory, and has not ended by then is killed
DURATIONS = ("seconds", "peak_mb", "minutes")  # which no two runs have in common


def command(folder: Path) -> dict:
    """What starts a run, for subprocess. Checkpoints are taken often, so that most moments lie after one."""
    places = {"AVLIB_RESULTS": str(folder / "results"), "AVLIB_DATA": str(folder / "data"), "AVLIB_CHECKPOINT_S": "2"}
    environment = os.environ | places | {"AVLIB_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    return dict(args=["bash", str(ROOT / "run_all.sh"), *ARGUMENTS], env=environment)


def finish(folder: Path) -> float:
    """Runs until the end, or until the end of what was interrupted. Returns the seconds that it took.

    RuntimeError if it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    with open(folder / "log", "a") as log:
        code = subprocess.run(**command(folder), stdout=log, stderr=log).returncode
    if code:
        raise RuntimeError(f"{folder}: exit code {code}: {(folder / 'log').read_text()[-1000:]}")
    return time.monotonic() - began_s


def interrupt(folder: Path, way: str, after_s: float, rng: random.Random) -> str:
    """Begins a run and interrupts it after so many seconds. Returns what it was doing: its last line."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log", "a") as log:
        main = psutil.Process(subprocess.Popen(**command(folder), stdout=log, stderr=log, start_new_session=True).pid)
        time.sleep(after_s)
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            stop(process, way)
        gone, alive = psutil.wait_procs(processes, STUCK_S if way in ("SIGTERM", "SIGINT", "memory") else 5)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive)
    if way == "power":
        cut_files(folder, rng)
    return (folder / "log").read_text().strip().splitlines()[-1][:100]


def stop(process: psutil.Process, way: str) -> None:
    """Kills a process, tells it to end, or lets it have no more memory."""
    try:
        if way == "memory":
            resource.prlimit(process.pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))
        else:
            process.send_signal(signal.SIGKILL if way == "power" else signal.Signals[way])
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass


def cut_files(folder: Path, rng: random.Random) -> None:
    """Cuts what the disk may not have yet: unfinished files, which are hidden, and copies of notebooks without a
    record."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        unfinished = path.name.startswith(".") or (path.suffix == ".ipynb" and not path.with_suffix(".json").exists())
        if unfinished:
            os.truncate(path, rng.randrange(path.stat().st_size + 1))


def contents(folder: Path) -> dict[str, object]:
    """Records, weights and tables of a run, and its corpus, by name; without durations and the folder's own name."""
    run = folder / "results" / "run"
    places = ("results/run/records/*", "results/run/weights/*", "results/run/tables/*", "data/**/*")
    paths = [path for place in places for path in sorted(folder.glob(place)) if path.is_file()]
    return {
        str(path.relative_to(folder)): content(path, folder)
        for path in paths
        if path.parent != run / "tables" or "convergence" not in path.name
    }


def content(path: Path, folder: Path) -> object:
    """What has to be equal of a file."""
    if path.suffix == ".json":
        return without_durations(json.loads(path.read_text().replace(str(folder), "")))
    if path.suffix == ".safetensors" and path.parent.name == "weights":
        tensors, about = read_weights(path)
        return {k: (v.dtype, v.shape, v.numpy().tobytes()) for k, v in tensors.items()}, without_durations(about)
    return path.read_bytes()


def without_durations(value):
    """A JSON value without what tells how long something took."""
    if isinstance(value, dict):
        return {k: without_durations(v) for k, v in value.items() if k not in DURATIONS}
    return [without_durations(v) for v in value] if isinstance(value, list) else value


def differences(whole: dict, resumed: dict) -> list[str]:
    """The names of files that only one of two runs has, or that differ."""
    return sorted(name for name in whole.keys() | resumed.keys() if whole.get(name) != resumed.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--each", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    duration_file, faults = arguments.folder / "whole" / "seconds", 0
    if not duration_file.exists():
        duration_s = finish(arguments.folder / "whole")
        duration_file.write_text(str(duration_s))
    whole, duration_s = contents(arguments.folder / "whole"), float(duration_file.read_text())
    print(f"{len(whole)} files of a run of {duration_s:.0f} s")
    runs = arguments.kills // arguments.each
    for n in range(runs):
        folder, told = arguments.folder / f"{n:02d}", []
        if not folder.exists():
            for k in range(arguments.each):
                way, moment_s = WAYS[(n + 3 * k) % len(WAYS)], duration_s * (n + 0.5 + k * runs) / arguments.kills
                after_s = duration_s / arguments.each if k else moment_s
                doing = interrupt(folder, way, after_s, random.Random(n + k * runs))
                told.append(f"{way} at {moment_s:.0f} s: {doing}")
        finish(folder)
        wrong = differences(whole, contents(folder))
        faults += bool(wrong)
        print(f"{'FAULT: ' + ', '.join(wrong[:5]) if wrong else 'equal'}  {' | '.join(told)}", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
