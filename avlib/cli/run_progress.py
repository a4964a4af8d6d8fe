"""How much of a run of notebooks is done, and how long the rest will take."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..core import run as runs
from ..core.files import find_visible, read_json
from ..core.progress import log
from ..core.run import Run

# Seconds of each notebook on two cores (docs/timings.md), for the first run of a preset on a machine.
SHIPPED_S = {
    "smoke": {
        "01_data_prep": 22,
        "02_expert_pretraining": 30,
        "03_joint_training": 15,
        "04_evaluation": 45,
        "05_tsne_analysis": 22,
        "06_guidance": 10,
    },
    "demo": {
        "01_data_prep": 91,
        "02_expert_pretraining": 617,
        "03_joint_training": 135,
        "04_evaluation": 130,
        "05_tsne_analysis": 50,
        "06_guidance": 20,
    },
    "study": {  # of one seed
        "01_data_prep": 226,
        "02_expert_pretraining": 2012,
        "03_joint_training": 368,
        "04_evaluation": 335,
        "05_tsne_analysis": 129,
        "06_guidance": 20,
    },
}
INTERVAL_S = 60.0  # between two lines while a notebook runs
NEARLY = 0.95  # the most that counts of a part that has not ended


class RunProgress:
    """Logs one line after each part of a run, and each minute: what runs, the share of the run done, the time left.

    A part is a notebook, or all variants. Parts count by the seconds that the notebooks took when a run of the same
    preset last executed them on this machine, or else by `SHIPPED_S`, of another preset by those of the demo. The time
    left also depends on how fast the parts of this run have been so far.
    """

    def __init__(
        self,
        run: Run,
        notebooks: Sequence[str],
        variant_trainings: int = 0,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """notebooks: names of the executed notebooks. variant_trainings: how many models the part "variants" trains.
        workers: how many trainings run at a time."""
        preset = run.config.preset
        known = SHIPPED_S.get(preset, SHIPPED_S["demo"]) | (measured := measured_seconds(preset))
        self.is_guess = not measured and preset not in SHIPPED_S
        self.seconds = {part: expected_seconds(part, known) for part in notebooks}
        if variant_trainings:
            self.seconds["variants"] = variant_trainings * expected_seconds("03_joint_training", known)
        self.workers = {part: workers if part[:3] in ("03_", "var") else 1 for part in self.seconds}
        self.clock, self.began_s = clock, clock()
        self.skipped: set[str] = set()
        self.ended: set[str] = set()
        self.running: dict[str, float] = {}  # part -> when it began
        self.lock = threading.Lock()

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Logs a line each minute."""
        stopped = threading.Event()

        def tick() -> None:
            while not stopped.wait(INTERVAL_S):
                log(self.line())

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield
        finally:
            stopped.set()
            ticker.join()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """While a part is executed. One that fails does not count as done."""
        if not self.running and not self.ended:
            log(self.line())
        with self.lock:
            self.running[name] = self.clock()
        try:
            yield
        except BaseException:
            with self.lock:
                del self.running[name]
            raise
        with self.lock:
            del self.running[name]
            self.ended.add(name)
        log(self.line())

    def skip(self, name: str) -> None:
        """For a part that an earlier run of the same command has finished."""
        with self.lock:
            self.skipped.add(name)

    def line(self) -> str:
        """For example "run: 42 % done, about 11 min left; 02_expert_pretraining for 3 min"."""
        with self.lock:
            now = self.clock()
            begun_s = sum(
                min(now - began_s, NEARLY * self.seconds[part]) / self.workers[part]
                for part, began_s in self.running.items()
            )
            executed_s = self._seconds_of(self.ended) + begun_s
            all_s = self._seconds_of(set(self.seconds))
            left_s = all_s - self._seconds_of(self.skipped) - executed_s
            # the first minute says little about the pace
            has_pace = executed_s >= INTERVAL_S
            pace = (now - self.began_s) / executed_s if has_pace else 1.0
            now_running = [f"{part} for {_duration(now - began_s)}" for part, began_s in self.running.items()]
        percent = 100 if left_s < 1 else min(99, round(100 * (1 - left_s / all_s)))
        text = f"run: {percent} % done"
        if left_s >= 1 and (has_pace or not self.is_guess):
            text += f", about {_duration(pace * left_s)} left"
        return "; ".join([text, *now_running])

    def _seconds_of(self, parts: set[str]) -> float:
        """Of a machine's time: parts that run beside each other share it."""
        return sum(self.seconds[part] / self.workers[part] for part in parts if part in self.seconds)


def measured_seconds(preset: str) -> dict[str, float]:
    """Of each part, without its seed, as the last run of a preset took them; of a training also of any model.

    What cannot be read of other runs is passed over: it concerns them alone.
    """
    seconds: dict[str, float] = {}
    records = find_visible(runs.RESULTS, "*/notebooks/*.json")
    for path in sorted(records, key=lambda path: path.stat().st_mtime):
        try:
            settings, record = read_json(path.parents[1] / "config.json"), read_json(path)
            if settings["preset"] == preset:
                part = _without_seed(path.stem)
                seconds[part] = seconds[part.split("-")[0]] = float(record["seconds"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return seconds


def expected_seconds(part: str, known: dict[str, float]) -> float:
    """known: seconds of parts without seeds, and of notebooks, for models that have not been trained before."""
    return known.get(_without_seed(part), known[part.split("-")[0]])


def _without_seed(part: str) -> str:
    return re.sub(r"-s\d+$", "", part)


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
