"""How well trained readers read: error rates, transcripts during training, accuracy in noise, viseme confusions."""

import math
from collections.abc import Mapping
from itertools import zip_longest

import jiwer
import torch
from torch import Tensor

from ..core.rates import SAMPLES_PER_FRAME
from ..core.run import Run
from ..core.tensors import pad, seeded_generator
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..lipreading.augmentation import Babble, add_babble, crop_and_normalise, normalise_speech
from ..lipreading.expert import Expert
from ..lipreading.reader import Reader
from ..metrics.error_rates import corpus_rate
from ..speech.languages import ENGLISH
from ..speech.visemes import text_to_visemes
from ..training.clip_batches import collate_clips
from ..training.reading import GREEDY, decode, transcribe
from ..training.schedules import length_batches
from .labels import VISEME_PHONEMES
from .search_settings import search_settings
from .table_formats import markdown_table

LEVELS_DB = (None, 20, 10, 5, 0, -5, -10)  # signal-to-noise ratios of speech in babble; None: no babble
MAX_CLIPS = 200  # read in noise: enough for the first digits of the curves


def score_readers(run: Run, corpus: Corpus, readers: Mapping[str, Reader], examples: int = 4) -> str:
    """Stage "readers": character error rates on held-out clips by beam search. Returns Markdown with some transcripts.

    readers: stage -> reader. examples: transcripts shown, if there are so many.
    """
    clips, settings = corpus.clips("validation"), search_settings(run, corpus)
    references = [u.text for u in clips.utterances]
    key = run.key(score_readers, settings, corpus.hash, [run.finished_key(stage) for stage in readers])
    record = run.finished("readers", key)
    if not record:
        transcripts = {stage: transcribe(reader, clips, settings) for stage, reader in readers.items()}
        rates = {
            stage: {"value": 100 * corpus_rate(references, texts), "unit": "%"} for stage, texts in transcripts.items()
        }
        record = run.finish("readers", key, metrics=rates, read=transcripts, corpus=corpus.hash)
    rates = ", ".join(f"{stage} **{m['value']:.1f} %**" for stage, m in record["metrics"].items())
    read = [references, *(record["read"][stage] for stage in readers)]
    rows = list(zip(*read))[:examples]
    data = f"{len(references)} held-out clips, clean speech, preset {run.config.preset}"
    return f"Character error rate on {data}: {rates}.\n\n{markdown_table(['reference', *readers], rows)}"


def transcripts_by_epoch(records: dict[str, dict], max_rows: int = 12) -> str:
    """Markdown: each reader's transcript of one held-out clip after each epoch, or some evenly spaced ones.

    records: stage -> its record.
    """
    if not any("read" in row for record in records.values() for row in record["history"]):
        return "No transcripts from the training: the readers were not trained in this run."
    transcripts = {stage: [row.get("read", "") for row in record["history"]] for stage, record in records.items()}
    epochs = max(map(len, transcripts.values()))
    shown = sorted({round(k * (epochs - 1) / (max_rows - 1)) for k in range(max_rows)})
    rows = [["reference", *(record.get("said", "") for record in records.values())]]
    for epoch in shown:
        rows.append([str(epoch + 1), *(t[epoch] if epoch < len(t) else "" for t in transcripts.values())])
    return markdown_table(["epoch", *records], rows)


def mix_babble(samples: Tensor, noise: list[Tensor], level_db: float | None) -> Tensor:
    """Padded speech (B, S) with babble at a signal-to-noise ratio that is taken over each clip without its padding.

    noise: of each clip, (1, its samples). level_db: None leaves the speech as it is.
    """
    level = torch.tensor([math.inf if level_db is None else level_db])
    return pad([add_babble(s[None, : n.shape[1]], n, level)[0] for s, n in zip(samples, noise)])


@torch.no_grad()
def transcribe_in_noise(
    reader: Expert, clips: Clips, indices: list[int], babble: Babble, seed: int, budget: int = 2000
) -> dict[str, list[list[str]]]:
    """Transcripts by greedy CTC from all of a reader's streams and from each alone: {streams: [level][clip]}.

    The babble of a clip depends on the seed and the clip only: it is the same for all readers and levels. Streams
    without audio have only the first of `LEVELS_DB`. budget: video frames in a batch, padding included.
    """
    names, device = tuple(reader.encoders), next(reader.parameters()).device
    levels = LEVELS_DB if "audio" in names else LEVELS_DB[:1]
    choices = {" and ".join(sorted(c)): c for c in (names, *((name,) for name in names))}
    transcripts = {
        streams: [[""] * len(indices) for _ in (levels if "audio" in choice else levels[:1])]
        for streams, choice in choices.items()
    }
    for places in length_batches(clips.frames[indices], budget, torch.Generator().manual_seed(0)):
        chosen = [indices[k] for k in places]
        batch = collate_clips(clips, chosen, video="video" in names, tokenizer=reader.tokenizer)
        lengths = batch.frame_lengths
        video = None if batch.video is None else crop_and_normalise(batch.video).to(device)
        noise = [babble(clips.utterances[i].frames * SAMPLES_PER_FRAME, [seeded_generator(seed, i)]) for i in chosen]
        encoded, audio = {}, None
        for k, level in enumerate(levels):
            if "audio" in names:
                audio = normalise_speech(mix_babble(batch.samples, noise, level).to(device), lengths)
            for name in names if k == 0 else ("audio",):  # noise does not change the video
                only = {m: torch.full_like(lengths, m == name, dtype=torch.bool) for m in names}
                features, packing = reader.encode_streams(video, audio, lengths, present=only)
                encoded[name] = features[name]
            for streams, choice in choices.items():
                if k < len(transcripts[streams]):
                    present = {m: encoded[m] if m in choice else torch.zeros_like(encoded[m]) for m in names}
                    texts = decode(reader, reader.fuse(present, packing), lengths, GREEDY)
                    for place, text in zip(places, texts):
                        transcripts[streams][k][place] = text
    return transcripts


def readers_in_noise(run: Run, corpus: Corpus, readers: dict[str, Expert]) -> dict:
    """Record of stage "noise": 100 - CER (%) of held-out clips in babble of training clips.

    Its field "accuracy" is {stage: {streams: [level]}}.
    """
    key = run.key(readers_in_noise, run.config.seed, corpus.hash, [run.finished_key(s) for s in readers])
    if record := run.finished("noise", key):
        return record
    clips, babble = corpus.clips("validation"), Babble(corpus.clips("train"))
    indices = list(range(0, len(clips), -(-len(clips) // MAX_CLIPS)))
    references, accuracy = [clips.utterances[i].text for i in indices], {}
    for stage, reader in readers.items():
        transcripts = transcribe_in_noise(reader, clips, indices, babble, run.config.seed)
        accuracy[stage] = {
            streams: [100 * (1 - corpus_rate(references, texts)) for texts in levels]
            for streams, levels in transcripts.items()
        }
    return run.finish(
        "noise", key, unit="%", levels_db=LEVELS_DB, accuracy=accuracy, clips=len(indices), corpus=corpus.hash
    )


def viseme_counts(references: list[str], transcripts: list[str], language: str = ENGLISH) -> list[list[int]]:
    """Viseme confusions of texts, aligned with the fewest edits, without word boundaries.

    Rows: spoken visemes in the order of `VISEME_PHONEMES`, then insertions. Columns: read visemes, then deletions.
    """
    index: dict[str | None, int] = {viseme: i for i, viseme in enumerate(VISEME_PHONEMES)}
    index[None] = len(VISEME_PHONEMES)
    counts = [[0] * len(index) for _ in index]
    spoken, read = (
        [text_to_visemes(text, language).replace(" ", "") for text in texts] for texts in (references, transcripts)
    )
    for s, r, chunks in zip(spoken, read, jiwer.process_characters(spoken, read).alignments):
        for c in chunks:
            for a, b in zip_longest(s[c.ref_start_idx : c.ref_end_idx], r[c.hyp_start_idx : c.hyp_end_idx]):
                counts[index[a]][index[b]] += 1
    return counts


def viseme_confusions(run: Run, corpus: Corpus, stages: list[str]) -> dict:
    """Record of stage "visemes": `viseme_counts` of each reader's transcripts from stage "readers"."""
    key = run.key(viseme_confusions, corpus.hash, run.finished_key("readers"), stages)
    if record := run.finished("visemes", key):
        return record
    references = [u.text for u in corpus.clips("validation").utterances]
    transcripts = run.record("readers")["read"]
    counts = {stage: viseme_counts(references, transcripts[stage], run.config.corpus.language) for stage in stages}
    return run.finish("visemes", key, counts=counts, corpus=corpus.hash)
