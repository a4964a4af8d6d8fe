"""Streaming beside hearing all at once: how far the face is off, how late it comes, what it costs; and a long session.

    python benchmarks/live.py --run demo [--threads 1] [--minutes 5]

Sound comes in pieces of 40 ms. The distance is the mean over lip vertices and frames of held-out sentences, of which every fourth is taken;
beside it stands how far those vertices are from rest. The processor's time says more than the clock's where other work goes on.
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
from avlib.training import joint

SETTINGS = [
    (2.0, 0.2, 0.2),
    (2.0, 0.4, 0.2),
    (live.WINDOW_S, live.LOOKAHEAD_S, live.HOP_S),
    (4.0, 0.4, 0.2),
    (4.0, 0.3, 0.1),
    (10.0, 1.0, 0.2),
    (60.0, 30.0, 0.2),
]


def row(
    speaker: Speaker, sounds: list[torch.Tensor], whole: list[torch.Tensor], settings: tuple[float, float, float]
) -> str:
    lip, apart, spent, began, worked = speaker.corpus.regions["lip"], [], [], time.perf_counter(), time.process_time()
    for sound, want in zip(sounds, whole):
        stream = live.Stream(speaker, SPEECH_HZ, *settings)
        made = torch.cat([*map(stream.feed, sound.split(640)), stream.end()])
        apart.append((made - want)[:, lip].norm(dim=-1).flatten())
        spent += stream.spent
    seconds = sum(map(len, sounds)) / SPEECH_HZ
    clock, worked, hop = (
        (time.perf_counter() - began) / seconds,
        (time.process_time() - worked) / seconds,
        median(spent),
    )
    cells = [
        *(f"{s:g}" for s in settings),
        f"{1000 * float(torch.cat(apart).mean()):.3f}",
        f"{1000 * hop:.0f}",
        f"{1000 * max(spent):.0f}",
        f"{worked:.3f}",
        f"{clock:.3f}",
        f"{settings[1] + settings[2] + hop:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def long_session(speaker: Speaker, sounds: list[torch.Tensor], minutes: float) -> None:
    """Resident memory as a session goes on."""
    stream, sound, page = live.Stream(speaker), torch.cat(sounds), resource.getpagesize()
    for minute in range(int(minutes) + 1):
        with open("/proc/self/statm") as f:
            print(
                f"  after {minute} min: {int(f.read().split()[1]) * page / 1e6:.0f} MB, hop {1000 * median(stream.spent or [0]):.0f} ms",
                flush=True,
            )
        fed = 0
        while minute < minutes and fed < 60 * SPEECH_HZ:
            fed += len(sound)
            for piece in sound.split(640):
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
        f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {platform.machine()}, load {os.getloadavg()[0]:.1f} before"
    )
    for _, guided in joint.model_pairs(run, 0):
        speaker = Speaker(run, guided)
        sounds = [speaker.corpus.speech(u) for u in speaker.corpus.utterances("test")[::4]]
        whole = [torch.cat(list(speaker(load_sound(sound)))) for sound in sounds]
        rest = torch.cat(
            [(w - speaker.template)[:, speaker.corpus.regions["lip"]].norm(dim=-1).flatten() for w in whole]
        ).mean()
        print(f"\n{guided}: lips {1000 * float(rest):.2f} thousandths of a {speaker.corpus.unit} from rest\n")
        print(
            "| window, s | lookahead, s | hop, s | off | a hop, ms | at most, ms | processor, s a second | clock, s a second | latency, s |"
        )
        print("|---" * 9 + "|")
        for settings in SETTINGS:
            print(row(speaker, sounds, whole, settings), flush=True)
        if args.minutes:
            long_session(speaker, sounds, args.minutes)


if __name__ == "__main__":
    main()
