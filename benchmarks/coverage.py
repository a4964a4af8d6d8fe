"""How often 95 % intervals contain the true difference between two methods.

    python benchmarks/coverage.py [--simulations 1000] [--resamples 1000] [--utterances 64]

Normal scores of trainings (seeds), subjects and their utterances are made with a true difference of 0. Each simulation
makes new trainings, people and sentences. The benchmark counts how often the hierarchical interval of the tables
contains 0, and how often an interval over utterances alone does, which holds trainings and subjects fixed. A world's
standard deviations are those of the difference: between trainings, subjects, utterances, and single scores.
"""

import argparse
import platform
import time
from typing import NamedTuple

import numpy as np

from avlib.core.run import commit
from avlib.evaluation.hierarchical_bootstrap import hierarchical_interval

SEEDS, SUBJECTS = (3, 5, 10), (2, 4, 8)


class World(NamedTuple):
    """Standard deviations of what a difference between two methods consists of."""

    seed: float
    subject: float
    utterance: float
    score: float


WORLDS = {
    "utterances vary most": World(1, 1, 7, 7),
    "trainings vary most": World(3, 0, 3, 3),
    "subjects vary most": World(0, 3, 3, 3),
    "trainings and subjects vary most": World(3, 3, 3, 3),
}


def simulated_differences(world: World, seeds: int, subjects: int, utterances: int, rng: np.random.Generator):
    """Sums and counts (seeds, subjects * utterances, 2) around 0. utterances: of each subject."""
    values = rng.normal(0, world.score, (seeds, subjects, utterances))
    values += rng.normal(0, world.seed, (seeds, 1, 1)) + rng.normal(0, world.subject, (1, subjects, 1))
    values += rng.normal(0, world.utterance, (1, subjects, utterances))
    return np.stack((values, np.ones_like(values)), -1).reshape(seeds, -1, 2)


def coverage(world: World, seeds: int, subjects: int, utterances: int, simulations: int, resamples: int) -> np.ndarray:
    """Shares of simulations in which the interval contains 0: the hierarchical one, and that over utterances alone."""
    rng, covered = np.random.default_rng(0), np.zeros(2)
    names = [str(n) for n in range(subjects) for _ in range(utterances)]
    for n in range(simulations):
        a = simulated_differences(world, seeds, subjects, utterances, rng)
        b = np.zeros_like(a) + [0, 1]
        whole = hierarchical_interval(a, b, names, n, resamples=resamples)
        alone = hierarchical_interval(a.sum(0)[None], b.sum(0)[None], ["all"] * len(names), n, resamples=resamples)
        covered += [interval.low <= 0 <= interval.high for interval in (whole, alone)]
    return covered / simulations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--utterances", type=int, default=64, help="of all subjects together")
    args = parser.parse_args()
    began = time.process_time()
    for name, world in WORLDS.items():
        print(f"{name} ({', '.join(f'{k} {v}' for k, v in world._asdict().items())})")
        print(
            "| seeds | " + " | ".join(f"{n} subjects" for n in SUBJECTS) + " |\n" + "|---" * (1 + len(SUBJECTS)) + "|"
        )
        for seeds in SEEDS:
            shares = [
                coverage(world, seeds, subjects, args.utterances // subjects, args.simulations, args.resamples)
                for subjects in SUBJECTS
            ]
            cells = [f"{100 * whole:.0f} % ({100 * alone:.0f} %)" for whole, alone in shares]
            print(f"| {seeds} | " + " | ".join(cells) + " |", flush=True)
    print("Coverage of 95 % intervals over all levels, and in brackets over utterances alone")
    print(f"{args.simulations} simulations of {args.resamples} resamples and {args.utterances} utterances, seed 0")
    print(f"{time.process_time() - began:.0f} s of processor time, {platform.machine()}, commit {commit()}")


if __name__ == "__main__":
    main()
