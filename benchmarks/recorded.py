"""How far off the phonemes of own recordings are found, where they are known: in speech of espeak-ng's voices that the aligner does
not use itself, at paces from 100 to 200 words a minute, clean and degraded; and how well wrong texts are told from right ones.

    python benchmarks/recorded.py [--sentences 40]
"""

import argparse
import platform
import time

import numpy as np
import torch
from torch.nn.functional import conv1d, pad
from torchaudio.functional import resample

from avlib.core.rates import SPEECH_HZ
from avlib.core.run import commit
from avlib.core.tensors import seeded_generator
from avlib.corpus.embedded.recordings import MAX_ALIGNMENT_COST
from avlib.corpus.embedded.sentences import sentences
from avlib.speech.espeak import speak
from avlib.speech.phoneme_alignment import align

VOICES = ("m1", "m2", "m4", "m5", "m7", "m8", "f1", "f3", "f4", "f5")
LEAD_S = 1.0


def noisy(x, draw, below_db=20):
    return x + 10 ** (-below_db / 20) * x.square().mean().sqrt() * torch.randn(x.shape, generator=draw)


def echoing(x, draw, seconds=0.4):
    """In a room with so long a reverberation, RT60."""
    count = round(0.75 * seconds * SPEECH_HZ)
    room = torch.randn(count, generator=draw) * 10 ** (-3 * torch.arange(count) / seconds / SPEECH_HZ)
    room[0] = 3
    return conv1d(pad(x, (count - 1, 0))[None, None], room.flip(0)[None, None])[0, 0]


WAYS = {
    "clean": lambda x, draw: x,
    "noise 20 dB below": noisy,
    "reverberation of 0.4 s": echoing,
    "through 8 kHz": lambda x, draw: resample(resample(x, SPEECH_HZ, 8000), 8000, SPEECH_HZ),
    "a second of silence before and after": lambda x, draw: pad(x, (round(LEAD_S * SPEECH_HZ),) * 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sentences", type=int, default=40)
    draw, began, heard_s = seeded_generator(0), time.process_time(), 0.0
    texts = sentences(parser.parse_args().sentences, draw, set())
    print(
        f"{len(texts)} sentences, {platform.processor() or platform.machine()}, torch {torch.__version__}, commit {commit()}\n"
    )
    print(
        "| | median, ms | 90th percentile, ms | cost, least to most | set aside | set aside with another text |\n"
        + "|---" * 6
        + "|"
    )
    for name, way in WAYS.items():
        errors, costs, others = [], [], []
        for i, text in enumerate(texts):
            pace, pitch = (int(low + high * torch.rand((), generator=draw)) for low, high in ((100, 100), (20, 60)))
            said = speak(text, variant=VOICES[i % len(VOICES)], words_per_minute=pace, pitch=pitch)
            x = way(resample(torch.from_numpy(said.samples), said.rate_hz, SPEECH_HZ), draw)
            _, phonemes, cost = align(x, text)
            truth, found = ([p for p in ps if p.label] for ps in (said.phonemes, phonemes))
            late = LEAD_S if "before" in name else 0.0
            if [p.label for p in truth] == [p.label for p in found]:  # a pace may change a sound
                errors += [abs(f.start_s - t.start_s - late) for f, t in zip(found, truth)]
            costs.append(cost)
            others.append(align(x, texts[i - 1])[2])
            heard_s += 2 * len(x) / SPEECH_HZ
        median, most = 1000 * np.percentile(errors, (50, 90))
        aside, other = (100 * np.mean(np.array(c) > MAX_ALIGNMENT_COST) for c in (costs, others))
        print(
            f"| {name} | {median:.0f} | {most:.0f} | {min(costs):.2f} to {max(costs):.2f} | {aside:.0f} % | {other:.0f} % |",
            flush=True,
        )
    print(
        f"\n{(time.process_time() - began) / heard_s:.3f} s of one core for a second of speech, its synthesis and degradation included"
    )


if __name__ == "__main__":
    main()
