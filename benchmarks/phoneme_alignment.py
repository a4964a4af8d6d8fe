"""Accuracy of the phoneme alignment of recordings, on speech with known times.

    python benchmarks/phoneme_alignment.py [--sentences 40]

The speech comes from espeak-ng's voices that the aligner does not use itself, at 100 to 200 words a minute, clean and
degraded. Also shows how many recordings are excluded with their own text and with another text.
"""

import argparse
import platform
import time

import numpy as np
import torch
from torch import Tensor
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
SILENCE_S = 1.0  # before and after, in one of the conditions


def clean(samples: Tensor, generator: torch.Generator) -> Tensor:
    return samples


def noisy(samples: Tensor, generator: torch.Generator, snr_db: float = 20) -> Tensor:
    noise = torch.randn(samples.shape, generator=generator)
    return samples + 10 ** (-snr_db / 20) * samples.square().mean().sqrt() * noise


def reverberant(samples: Tensor, generator: torch.Generator, rt60_s: float = 0.4) -> Tensor:
    """In a room with this reverberation time."""
    count = round(0.75 * rt60_s * SPEECH_HZ)
    response = torch.randn(count, generator=generator) * 10 ** (-3 * torch.arange(count) / rt60_s / SPEECH_HZ)
    response[0] = 3
    return conv1d(pad(samples, (count - 1, 0))[None, None], response.flip(0)[None, None])[0, 0]


def narrowband(samples: Tensor, generator: torch.Generator) -> Tensor:
    return resample(resample(samples, SPEECH_HZ, 8000), 8000, SPEECH_HZ)


def with_silence(samples: Tensor, generator: torch.Generator) -> Tensor:
    return pad(samples, (round(SILENCE_S * SPEECH_HZ),) * 2)


CONDITIONS = {
    "clean": clean,
    "noise, 20 dB below the speech": noisy,
    "reverberation of 0.4 s": reverberant,
    "resampled to 8 kHz and back": narrowband,
    "one second of silence before and after": with_silence,
}
COLUMNS = ("", "median, ms", "90th percentile, ms", "cost, range", "excluded", "excluded with another text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sentences", type=int, default=40)
    generator, began, aligned_s = seeded_generator(0), time.process_time(), 0.0
    texts = sentences(parser.parse_args().sentences, generator, set())
    machine = platform.processor() or platform.machine()
    print(f"{len(texts)} sentences, {machine}, torch {torch.__version__}, commit {commit()}\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for name, degrade in CONDITIONS.items():
        errors_s, costs, other_costs = [], [], []
        offset_s = SILENCE_S if degrade is with_silence else 0.0
        for i, text in enumerate(texts):
            pace = int(100 + 100 * torch.rand((), generator=generator))
            pitch = int(20 + 60 * torch.rand((), generator=generator))
            speech = speak(text, variant=VOICES[i % len(VOICES)], words_per_minute=pace, pitch=pitch)
            samples = degrade(resample(torch.from_numpy(speech.samples), speech.rate_hz, SPEECH_HZ), generator)
            alignment = align(samples, text)
            true = [p for p in speech.phonemes if p.label]
            aligned = [p for p in alignment.phonemes if p.label]
            if [p.label for p in true] == [p.label for p in aligned]:  # a sound may depend on the pace
                errors_s += [abs(a.start_s - t.start_s - offset_s) for a, t in zip(aligned, true)]
            costs.append(alignment.cost)
            other_costs.append(align(samples, texts[i - 1]).cost)
            aligned_s += 2 * len(samples) / SPEECH_HZ
        median, percentile = 1000 * np.percentile(errors_s, (50, 90))
        excluded, other_excluded = (100 * np.mean(np.array(c) > MAX_ALIGNMENT_COST) for c in (costs, other_costs))
        print(
            f"| {name} | {median:.0f} | {percentile:.0f} | {min(costs):.2f} to {max(costs):.2f} "
            f"| {excluded:.0f} % | {other_excluded:.0f} % |",
            flush=True,
        )
    per_second = (time.process_time() - began) / aligned_s
    print(f"\n{per_second:.3f} s of one core for each second of speech, with its synthesis and degradation")


if __name__ == "__main__":
    main()
