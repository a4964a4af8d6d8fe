"""How long it takes to score predictions under every protocol, lip reading apart.

    python benchmarks/score.py [--sequences 1000] [--workers 2]

Sequences of 120 frames and VOCASET's 5,023 vertices, moved at random, with its lip and an upper face of its size, and the
phonemes of a sentence; made one after the other and never held together, shared among processes of one thread each, as
evaluation does. What is timed is `protocols.score`, from vertices to row, and then all protocols' numbers from the rows.
"""

import argparse
import platform
import resource
import time

import torch

from avlib.core.parallel import run_parallel
from avlib.core.run import commit
from avlib.corpus.specification import read_specification, scan_specification
from avlib.metrics import protocols
from avlib.speech.segment import Segment

FRAMES, FPS, UPPER_FACE = 120, 30, 900
PHONEMES = [Segment(label, i * 0.1, (i + 1) * 0.1) for i, label in enumerate("hələʊmaɪbɪgmæppəl" * 2)]


def stream(count: int, vertices: int, generator: torch.Generator):
    """(prediction, truth, template) of each sequence; lips move slowly enough to have extrema."""
    for _ in range(count):
        template = 0.1 * torch.randn(vertices, 3, generator=generator)
        sway = 1e-4 * torch.randn(FRAMES, 1, 3, generator=generator).cumsum(0)
        truth = template + sway * torch.randn(vertices, 3, generator=generator)
        yield truth + 1e-3 * torch.randn(vertices, 3, generator=generator), truth, template


def share(count: int, seed: int) -> tuple[list[dict], float, float, float]:
    """Rows of so many sequences, the seconds that scoring them took, those of the processor, and the process's memory in MB."""
    facts = scan_specification(read_specification("vocaset"))
    regions = {name: torch.tensor(index) for name, index in facts.regions.items()}
    regions["upper_face"] = (
        torch.randperm(facts.vertices, generator=torch.Generator().manual_seed(1))[:UPPER_FACE].sort().values
    )
    rows, seconds, processor = [], 0.0, 0.0
    for i, sequence in enumerate(stream(count, facts.vertices, torch.Generator().manual_seed(seed))):
        began, busy = time.perf_counter(), time.process_time()
        scores = protocols.score(protocols.Comparison(*sequence, regions, FPS, PHONEMES))
        seconds, processor = seconds + time.perf_counter() - began, processor + time.process_time() - busy
        rows.append(
            {
                "utterance": f"{seed}_{i}",
                "subject": str(i % 10),
                "style": "-",
                "loudness": float(i % 7),
                "scores": scores,
            }
        )
    return rows, seconds, processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    jobs = [(share, args.sequences // args.workers, seed) for seed in range(args.workers)]
    done = list(run_parallel(jobs, torch.device("cpu"), args.workers))
    rows, processor = sum((d[0] for d in done), []), sum(d[2] for d in done)
    seconds, memory_mb = max(d[1] for d in done), max(d[3] for d in done)
    began = time.perf_counter()
    for name in protocols.protocols():
        protocols.summary(rows, "m", name)
    summed = time.perf_counter() - began
    print(
        f"{len(rows)} sequences, {FRAMES} frames, {len(protocols.protocols())} protocols, {len(protocols.measures())} measures: "
        f"{seconds:.1f} s ({processor:.1f} s of the processor), and {summed:.2f} s to sum up; {memory_mb:.0f} MB a process at most"
    )
    print(f"{args.workers} processes, {platform.machine()}, torch {torch.__version__}, commit {commit()}")


if __name__ == "__main__":
    main()
