"""How the readers that score search for a text: as the settings say, or as reads true lips best.

Weights from elsewhere say little about the beam, the weight of CTC and the length bonus that suit the corpus's renders.
"""

import itertools
from typing import NamedTuple

import torch

from ..core.rates import SAMPLES_PER_FRAME
from ..core.run import Run
from ..core.tensors import pad, seeded_generator
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..corpus.pictures import lips
from ..corpus.specification import TRUE_RENDERS
from ..lipreading.beam_search import SearchSettings
from ..lipreading.reader import Reader
from ..metrics.error_rates import error_counts
from ..training.clip_batches import ReaderInput
from ..training.readers import load_reader
from ..training.reading import decode, encode_batch, transcribe
from ..training.schedules import length_batches

Texts = list[tuple[str, str]]  # of each clip: what was said, and what was read
BEAM_SHARES, CTC_WEIGHTS, LENGTH_BONUSES = (0.25, 1.0), (0.1, 0.3, 0.5), (0.0, 0.5, 1.0)
STAGE = "search"
FRAME_BUDGET = 2000  # video frames in a batch


class Encoded(NamedTuple):
    """A batch of renders as a reader sees them. texts: what was said. indices: their places among all renders.
    features: (B, T, D). lengths: (B,)."""

    texts: list[str]
    indices: list[int]
    features: torch.Tensor
    lengths: torch.Tensor


def search_settings(run: Run, corpus: Corpus) -> SearchSettings:
    """Of the run's readers: those of `choose_search` if the settings ask for that, else their own."""
    config = run.config.evaluation
    if config.choose_search:
        return SearchSettings(**choose_search(run, corpus)["chosen"])
    return SearchSettings(config.beam, config.ctc_weight, config.length_bonus)


def choose_search(run: Run, corpus: Corpus) -> dict:
    """Record of stage "search": with which settings the reader reads renders of the validation split best.

    Its field "tried" has for each candidate its settings, the character error rate (%) and how many transcripts are
    empty; "chosen" has the settings of the lowest rate among those that leave the fewest transcripts empty.
    """
    beam = run.config.evaluation.beam
    key = run.key(choose_search, beam, corpus.hash, run.finished_key("reader"))
    if record := run.finished(STAGE, key):
        return record
    reader, tried = load_reader(run, "reader"), []
    renders = encode_renders(corpus, reader)
    beams = sorted({max(1, round(share * beam)) for share in BEAM_SHARES})
    for settings in itertools.starmap(SearchSettings, itertools.product(beams, CTC_WEIGHTS, LENGTH_BONUSES)):
        texts = read_encoded(reader, renders, settings)
        empty = sum(bool(said) and not read for said, read in texts)
        tried.append(settings._asdict() | {"cer": 100 * error_rate(texts), "empty": empty})
    best = min(tried, key=lambda row: (row["empty"], row["cer"]))
    chosen = {name: best[name] for name in SearchSettings._fields}
    return run.finish(STAGE, key, corpus=corpus.hash, renders=len(texts), tried=tried, chosen=chosen)


def search_description(run: Run, corpus: Corpus) -> str:
    """A sentence for tables and notebooks."""
    settings = search_settings(run, corpus)
    text = (
        f"Beam search: beam {settings.beam}, weight of CTC {settings.ctc_weight:g}, length bonus "
        f"{settings.length_bonus:g}"
    )
    if not run.config.evaluation.choose_search:
        return f"{text}."
    record = choose_search(run, corpus)
    return (
        f"{text}, the best of {len(record['tried'])} settings on {record['renders']} renders of the validation split."
    )


def error_rate(texts: Texts) -> float:
    """The character error rate, as a fraction."""
    counts = [error_counts(said, read) for said, read in texts]
    return sum(edits for edits, _ in counts) / max(1, sum(length for _, length in counts))


def read_clips(clips: Clips, reader: Reader, settings: SearchSettings) -> Texts:
    """What the reader reads on the clips' lips, without their speech."""
    read = transcribe(reader, clips, settings, streams=("video",))
    return [(u.text, text) for u, text in zip(clips.utterances, read)]


def read_renders(corpus: Corpus, reader: Reader, settings: SearchSettings) -> Texts:
    """What the reader reads on `encode_renders`."""
    return read_encoded(reader, encode_renders(corpus, reader), settings)


@torch.no_grad()
def encode_renders(corpus: Corpus, reader: Reader) -> list[Encoded]:
    """The reader's features of the renders of true motion that the corpus has, else of those of its validation
    split."""
    if corpus.has_clips(TRUE_RENDERS):
        clips = corpus.clips(TRUE_RENDERS)
        videos = ((u.text, clips.video(i)) for i, u in enumerate(clips.utterances))
    else:
        videos = ((u.text, lips(corpus, corpus.motion(u))) for u in corpus.utterances("validation"))
    texts, pixels = zip(*videos)
    frames, encoded = torch.tensor([len(video) for video in pixels]), []
    for indices in length_batches(frames, FRAME_BUDGET, seeded_generator(0)):
        video = pad([pixels[i].float() / 255 for i in indices])
        silence = torch.zeros(len(video), video.shape[1] * SAMPLES_PER_FRAME)
        batch = ReaderInput(samples=silence, frame_lengths=frames[indices], video=video)
        encoded.append(Encoded([texts[i] for i in indices], indices, *encode_batch(reader, batch, ("video",))))
    return encoded


@torch.no_grad()
def read_encoded(reader: Reader, encoded: list[Encoded], settings: SearchSettings) -> Texts:
    """What the reader reads, in the order of the renders."""
    read = [
        (i, (text, guess))
        for e in encoded
        for i, text, guess in zip(e.indices, e.texts, decode(reader, e.features, e.lengths, settings))
    ]
    return [texts for _, texts in sorted(read)]
