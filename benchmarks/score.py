"""How long scoring predictions under every protocol takes, without lip reading.

    python benchmarks/score.py [--sequences 1000] [--workers 2]

Random sequences of 120 frames and VOCASET's 5,023 vertices, with its lip vertices, an upper face of a realistic size,
and the phonemes of a sentence. Each sequence is made when it is needed. Processes of one thread each share them, as in
an evaluation. The benchmark times `protocols.sums_and_counts`, from vertices to a row, and then all protocols' scores.
"""

import argparse
import platform
import resource
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch

from avlib.core.parallel import run_parallel
from avlib.core.run import commit
from avlib.corpus.specification import read_specification, scan_specification
from avlib.metrics.measures import Comparison
from avlib.metrics.protocols import all_measures, read_protocols, summary, sums_and_counts
from avlib.speech.segment import Segment

FRAMES, FPS, UPPER_FACE = 120, 30, 900
PHONEMES = [Segment(label, i * 0.1, (i + 1) * 0.1) for i, label in enumerate("hələʊmaɪbɪgmæppəl" * 2)]


def random_sequences(count: int, vertices: int, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
    """Prediction, truth and template of each sequence; lips move slowly enough to have extrema."""
    for _ in range(count):
        template = 0.1 * torch.randn(vertices, 3, generator=generator)
        sway = 1e-4 * torch.randn(FRAMES, 1, 3, generator=generator).cumsum(0)
        truth = template + sway * torch.randn(vertices, 3, generator=generator)
        yield truth + 1e-3 * torch.randn(vertices, 3, generator=generator), truth, template


class Timing(NamedTuple):
    """rows: of the sequences. seconds, processor_seconds: that scoring took. memory_mb: peak of the process."""

    rows: list[dict]
    seconds: float
    processor_seconds: float
    memory_mb: float


def time_scoring(count: int, seed: int) -> Timing:
    """Scores `count` sequences in this process."""
    spec = scan_specification(read_specification("vocaset"))
    regions = {name: torch.tensor(index) for name, index in spec.regions.items()}
    regions["upper_face"] = (
        torch.randperm(spec.vertices, generator=torch.Generator().manual_seed(1))[:UPPER_FACE].sort().values
    )
    rows, seconds, processor_seconds = [], 0.0, 0.0
    generator = torch.Generator().manual_seed(seed)
    for i, (prediction, truth, template) in enumerate(random_sequences(count, spec.vertices, generator)):
        began, processor_began = time.perf_counter(), time.process_time()
        scores = sums_and_counts(Comparison(prediction, truth, template, regions, FPS, PHONEMES))
        seconds += time.perf_counter() - began
        processor_seconds += time.process_time() - processor_began
        row = {"utterance": f"{seed}_{i}", "subject": str(i % 10), "style": "-", "loudness": float(i % 7)}
        rows.append(row | {"scores": scores})
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Timing(rows, seconds, processor_seconds, memory_mb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    jobs = [(time_scoring, args.sequences // args.workers, seed) for seed in range(args.workers)]
    timings = list(run_parallel(jobs, torch.device("cpu"), args.workers))
    rows = [row for timing in timings for row in timing.rows]
    began = time.perf_counter()
    for name in read_protocols():
        summary(rows, "m", name)
    summary_seconds = time.perf_counter() - began
    print(
        f"{len(rows)} sequences, {FRAMES} frames, {len(read_protocols())} protocols, {len(all_measures())} measures: "
        f"{max(t.seconds for t in timings):.1f} s ({sum(t.processor_seconds for t in timings):.1f} s of processor "
        f"time), and {summary_seconds:.2f} s to sum up; at most {max(t.memory_mb for t in timings):.0f} MB a process"
    )
    print(f"{args.workers} processes, {platform.machine()}, torch {torch.__version__}, commit {commit()}")


if __name__ == "__main__":
    main()
