"""What the lip-sync scores say of true lips that are late, weak, of another sentence, or still.

    python benchmarks/lip_sync.py [--preset demo] [--run lip-sync]

The encoder is trained on the training scans of the preset's corpus, which is prepared if it is missing, and scores
changed scans of the test split, whose speakers it does not know. The run holds nothing else.
"""

import argparse
import platform
import time
from collections.abc import Callable
from statistics import mean

import torch
from torch import Tensor

from avlib.core.opening import open_run
from avlib.core.run import commit
from avlib.corpus.corpus import Corpus
from avlib.corpus.prepare import prepare_corpus
from avlib.corpus.utterance import Utterance
from avlib.training.sync_encoder import SyncScorer, load_sync_scorer, train_sync_encoder


def delayed(motion: Tensor, seconds: float, fps: float) -> Tensor:
    """Vertices (T, V, 3) that begin to move so much later."""
    frames = round(seconds * fps)
    return torch.cat([motion[:1].expand(frames, -1, -1), motion[: len(motion) - frames]])


def changes(corpus: Corpus) -> dict[str, Callable[[Utterance, Tensor, Tensor], Tensor]]:
    """What is done to the vertices of each utterance, given the face at rest."""
    utterances = corpus.utterances("test")
    following = dict(zip((u.name for u in utterances), utterances[1:] + utterances[:1]))

    def another(u: Utterance, motion: Tensor, rest: Tensor) -> Tensor:
        other = following[u.name]
        moved = corpus.motion(other) - corpus.templates[other.subject]
        return rest + moved[torch.arange(len(motion)) % len(moved)]

    return {
        "as scanned": lambda u, motion, rest: motion,
        "40 ms late": lambda u, motion, rest: delayed(motion, 0.04, corpus.fps),
        "160 ms late": lambda u, motion, rest: delayed(motion, 0.16, corpus.fps),
        "half as far open": lambda u, motion, rest: rest + 0.5 * (motion - rest),
        "of another sentence": another,
        "still": lambda u, motion, rest: rest.expand_as(motion),
    }


def scored(scorer: SyncScorer, change: Callable[[Utterance, Tensor, Tensor], Tensor]) -> str:
    """A row of the table: means over the test split."""
    corpus = scorer.corpus
    utterances = corpus.utterances("test")
    motions = [change(u, corpus.motion(u), corpus.templates[u.subject]) for u in utterances]
    scores = [s for s in scorer.score(utterances, motions) if s]
    near, exact = (100 * mean(abs(s.offset) <= most for s in scores) for most in (1, 0))
    means = [mean(getattr(s, name) for s in scores) for name in ("agreement", "distance", "confidence")]
    return " | ".join([*(f"{value:.2f}" for value in means), f"{near:.0f} %", f"{exact:.0f} %"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--run", default="lip-sync")
    args = parser.parse_args()
    torch.set_num_threads(1)
    run = open_run(args.run, args.preset, "cpu")
    corpus, began = prepare_corpus(run), time.process_time()
    train_sync_encoder(run, corpus)
    seconds, scorer = time.process_time() - began, load_sync_scorer(run, corpus)
    trained, held_out = (len(corpus.utterances(split)) for split in ("train", "test"))
    print(f"commit {commit()}, {platform.processor() or platform.machine()}, torch {torch.__version__}")
    print(f"encoder of {trained} scans in {seconds:.0f} s of processor time; {held_out} test sentences\n")
    print("| lips | agreement | distance | confidence | offset within 40 ms | offset 0 |")
    print("|---|---|---|---|---|---|")
    for label, change in changes(corpus).items():
        print(f"| {label} | {scored(scorer, change)} |", flush=True)


if __name__ == "__main__":  # workers that build the corpus import this module
    main()
