"""Live animation compared with offline animation: deviation, latency and computing time; memory of a long session.

    python benchmarks/live.py --run demo [--threads 1] [--minutes 5]

Sound arrives in pieces of 40 ms. The deviation is the mean over lip vertices and frames of every fourth test sentence.
The mean distance of the lip vertices from rest is printed for comparison. Processor time is affected less by other
processes than elapsed time.
"""

import argparse
import os
import platform
import resource
import time
from statistics import median

import torch

from avlib.core.opening import open_run
from avlib.core.rates import SPEECH_HZ
from avlib.core.run import commit
from avlib.export import live
from avlib.export.speaker import Speaker, load_sound
from avlib.training.objectives import models_by_animator

PIECE = 640  # samples, 40 ms
SETTINGS = [  # window, lookahead, hop, seconds
    (2.0, 0.2, 0.2),
    (2.0, 0.4, 0.2),
    (live.WINDOW_S, live.LOOKAHEAD_S, live.HOP_S),
    (4.0, 0.4, 0.2),
    (4.0, 0.3, 0.1),
    (10.0, 1.0, 0.2),
    (60.0, 30.0, 0.2),
]


def table_row(
    speaker: Speaker, sounds: list[torch.Tensor], offline: list[torch.Tensor], settings: tuple[float, float, float]
) -> str:
    """settings: window, lookahead and hop, seconds; offline: vertices (T, V, 3) of each sound."""
    lip, deviations, hop_seconds = speaker.corpus.regions["lip"], [], []
    elapsed, processor = time.perf_counter(), time.process_time()
    for sound, expected in zip(sounds, offline):
        stream = live.Stream(speaker, SPEECH_HZ, *settings)
        vertices = torch.cat([*map(stream.feed, sound.split(PIECE)), stream.end()])
        deviations.append((vertices - expected)[:, lip].norm(dim=-1).flatten())
        hop_seconds += stream.hop_seconds
    seconds = sum(map(len, sounds)) / SPEECH_HZ
    elapsed, processor = (time.perf_counter() - elapsed) / seconds, (time.process_time() - processor) / seconds
    hop = median(hop_seconds)
    cells = [
        *(f"{s:g}" for s in settings),
        f"{1000 * float(torch.cat(deviations).mean()):.3f}",
        f"{1000 * hop:.0f}",
        f"{1000 * max(hop_seconds):.0f}",
        f"{processor:.3f}",
        f"{elapsed:.3f}",
        f"{settings[1] + settings[2] + hop:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def long_session(speaker: Speaker, sounds: list[torch.Tensor], minutes: float) -> None:
    """Prints the resident memory after every minute of sound."""
    stream, sound, page_size = live.Stream(speaker), torch.cat(sounds), resource.getpagesize()
    for minute in range(int(minutes) + 1):
        with open("/proc/self/statm") as f:
            megabytes = int(f.read().split()[1]) * page_size / 1e6
        hop = 1000 * median(stream.hop_seconds or [0])
        print(f"  after {minute} min: {megabytes:.0f} MB, hop {hop:.0f} ms", flush=True)
        samples = 0
        while minute < minutes and samples < 60 * SPEECH_HZ:
            samples += len(sound)
            for piece in sound.split(PIECE):
                stream.feed(piece)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="demo")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = open_run(args.run)
    print(
        f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {platform.machine()}, "
        f"load {os.getloadavg()[0]:.1f} before"
    )
    for *_, guided in models_by_animator(run, 0):
        speaker = Speaker(run, guided)
        corpus, lip = speaker.corpus, speaker.corpus.regions["lip"]
        sounds = [corpus.speech(u) for u in corpus.utterances("test")[::4]]
        offline = [torch.cat(list(speaker(load_sound(sound)))) for sound in sounds]
        from_rest = torch.cat([(v - speaker.template)[:, lip].norm(dim=-1).flatten() for v in offline]).mean()
        print(f"\n{guided}: lips {1000 * float(from_rest):.2f}e-3 {corpus.unit} from rest\n")
        print("| window, s | lookahead, s | hop, s | deviation | hop median, ms | hop maximum, ms ", end="")
        print("| processor, s per s | elapsed, s per s | latency, s |")
        print("|---" * 9 + "|")
        for settings in SETTINGS:
            print(table_row(speaker, sounds, offline, settings), flush=True)
        if args.minutes:
            long_session(speaker, sounds, args.minutes)


if __name__ == "__main__":
    main()
