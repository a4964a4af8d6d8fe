"""Accuracy of the phoneme alignment of recordings, and how many are excluded with their own text and with another text.

    python benchmarks/phoneme_alignment.py [--sentences 40]
    python benchmarks/phoneme_alignment.py --recordings FOLDER

Without recordings, the speech comes from espeak-ng's voices that the aligner does not use itself, at 100 to 200 words a
minute, clean and degraded. FOLDER has table.csv with the columns path and text and, if word times are known, words.tsv
with the columns clip (the name of the file), start_s, end_s and word.
"""

import argparse
import csv
import platform
import random
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad
from torchaudio.functional import resample

from avlib.core.rates import SPEECH_HZ
from avlib.core.run import commit
from avlib.core.tensors import seeded_generator
from avlib.corpus.embedded.sentences import sentences
from avlib.corpus.media import read_sound
from avlib.speech.espeak import speak
from avlib.speech.phoneme_alignment import MAX_MISMATCH, align

VOICES = ("m1", "m2", "m4", "m5", "m7", "m8", "f1", "f3", "f4", "f5")
MACHINE = platform.processor() or platform.machine()
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
COLUMNS = ("", "median, ms", "90th percentile, ms", "mismatch, range", "excluded", "excluded with another text")


def other_texts(text: str, texts: list[str], draw: random.Random) -> dict[str, str]:
    """Texts that a recording of this text does not say, by their kind."""
    words = text.split()
    strangers = [t for t in texts if sum(a == b for a, b in zip(t.split(), words)) < 2]
    shuffled = draw.sample(words, len(words))
    return {
        "of another recording": draw.choice([t for t in texts if t != text]),
        "of another recording, with one word at most in the same place": draw.choice(strangers or texts),
        "from the embedded corpus": sentences(1, seeded_generator(draw.getrandbits(30)), set())[0],
        "its words shuffled": " ".join(shuffled if shuffled != words else words[::-1]),
        "its first half": " ".join(words[: len(words) // 2]),
    }


def measure_recordings(folder: Path) -> None:
    """Tables of word boundary errors, and of exclusions on either half of the recordings."""
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    words, draw, errors_s = defaultdict(list), random.Random(0), []
    if (folder / "words.tsv").is_file():
        with (folder / "words.tsv").open() as file:
            for row in csv.DictReader(file, delimiter="\t"):
                words[row["clip"]].append((row["word"], float(row["start_s"]), float(row["end_s"])))
    texts = [row["text"] for row in rows]
    mismatches: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        samples, _ = read_sound(folder / row["path"])
        alignment = align(samples.float() / 32768, row["text"])
        mismatches["its own"].append(alignment.mismatch)
        for kind, text in other_texts(row["text"], texts, draw).items():
            mismatches[kind].append(align(samples.float() / 32768, text).mismatch)
        known = [word for word in words[Path(row["path"]).stem] if word[0] not in ("sil", "sp")]
        if [word.label for word in alignment.words] == [label for label, *_ in known]:
            errors_s += [abs(a.start_s - start) for a, (_, start, _) in zip(alignment.words, known)]
            errors_s += [abs(a.end_s - end) for a, (_, _, end) in zip(alignment.words, known)]
    if errors_s:
        median, ninetieth = 1000 * np.percentile(errors_s, (50, 90))
        print(f"{len(errors_s)} word boundaries: median error {median:.0f} ms, 90th percentile {ninetieth:.0f} ms\n")
    print("| text | mismatch, median | excluded of even recordings | of odd ones |\n|---|---|---|---|")
    for kind, values in mismatches.items():
        excluded = [f"{100 * np.mean(np.array(values[half::2]) > MAX_MISMATCH):.1f} %" for half in (0, 1)]
        print(f"| {kind} | {np.median(values):.2f} | {' | '.join(excluded)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sentences", type=int, default=40)
    parser.add_argument("--recordings", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    if args.recordings:
        print(f"{args.recordings}, {MACHINE}, torch {torch.__version__}, commit {commit()}\n")
        measure_recordings(args.recordings)
    else:
        measure_synthetic(args.sentences)


def measure_synthetic(count: int) -> None:
    """A table of phoneme errors and exclusions, for each condition of espeak-ng's speech."""
    generator, began, aligned_s = seeded_generator(0), time.process_time(), 0.0
    texts = sentences(count, generator, set())
    print(f"{len(texts)} sentences, {MACHINE}, torch {torch.__version__}, commit {commit()}\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for name, degrade in CONDITIONS.items():
        errors_s, mismatches, others = [], [], []
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
            mismatches.append(alignment.mismatch)
            others.append(align(samples, texts[i - 1]).mismatch)
            aligned_s += 2 * len(samples) / SPEECH_HZ
        median, percentile = 1000 * np.percentile(errors_s, (50, 90))
        excluded, other_excluded = (100 * np.mean(np.array(m) > MAX_MISMATCH) for m in (mismatches, others))
        print(
            f"| {name} | {median:.0f} | {percentile:.0f} | {min(mismatches):.2f} to {max(mismatches):.2f} "
            f"| {excluded:.0f} % | {other_excluded:.0f} % |",
            flush=True,
        )
    per_second = (time.process_time() - began) / aligned_s
    print(f"\n{per_second:.3f} s of one core for each second of speech, with its synthesis and degradation")


if __name__ == "__main__":
    main()
