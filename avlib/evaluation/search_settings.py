"""How the readers that score search for a text: as the settings say, or as reads true lips best.

Weights from elsewhere say little about the beam, the weight of CTC and the length bonus that suit the corpus's renders.
"""

import itertools

import torch

from ..core.rates import SAMPLES_PER_FRAME
from ..core.run import Run
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

Texts = list[tuple[str, str]]  # of each clip: what was said, and what was read
BEAM_SHARES, CTC_WEIGHTS, LENGTH_BONUSES = (0.25, 1.0), (0.1, 0.3, 0.5), (0.0, 0.5, 1.0)
STAGE = "search"


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
    beams = sorted({max(1, round(share * beam)) for share in BEAM_SHARES})
    for settings in itertools.starmap(SearchSettings, itertools.product(beams, CTC_WEIGHTS, LENGTH_BONUSES)):
        texts = read_renders(corpus, reader, settings)
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


@torch.no_grad()
def read_renders(corpus: Corpus, reader: Reader, settings: SearchSettings) -> Texts:
    """What it reads on the renders of true motion that the corpus has, else on those of its validation split."""
    if corpus.has_clips(TRUE_RENDERS):
        return read_clips(corpus.clips(TRUE_RENDERS), reader, settings)
    texts = []
    for utterance in corpus.utterances("validation"):
        video = lips(corpus, corpus.motion(utterance)).float()[None] / 255
        lengths = torch.tensor([video.shape[1]])
        silence = torch.zeros(1, int(lengths) * SAMPLES_PER_FRAME)
        batch = ReaderInput(samples=silence, frame_lengths=lengths, video=video)
        features, lengths = encode_batch(reader, batch, ("video",))
        texts.append((utterance.text, decode(reader, features, lengths, settings)[0]))
    return texts
