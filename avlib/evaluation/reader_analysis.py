"""What trained readers make of sounds: how they grew, how they stand noise, and which visemes they take for which."""

import math
from itertools import zip_longest

import jiwer
import torch

from ..core.rates import SAMPLES_PER_FRAME
from ..core.run import Run
from ..core.tensors import pad, seeded_generator
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..lipreading.augmentation import Babble, add_babble, crop_and_normalise, normalise_speech
from ..lipreading.expert import Expert
from ..metrics.error_rates import corpus_rate
from ..speech.visemes import visemes
from ..training.clip_batches import collate_clips
from ..training.reading import decode, transcribe
from ..training.schedules import length_batches


def score_readers(run: Run, corpus: Corpus, readers: dict[str, Expert], examples: int = 4) -> str:
    """Stage "readers": character error rates on held-out clips by beam search; Markdown, with a few transcripts."""
    clips, c = corpus.clips("validation"), run.config.evaluation
    said = [u.text for u in clips.utterances]
    key = run.key(score_readers, c, corpus.hash, [run.finished_key(stage) for stage in readers])
    record = run.finished("readers", key)
    if not record:
        read = {stage: transcribe(reader, clips, c.beam, c.ctc_weight) for stage, reader in readers.items()}
        rates = {stage: {"value": 100 * corpus_rate(said, texts), "unit": "%"} for stage, texts in read.items()}
        record = run.finish("readers", key, metrics=rates, read=read, corpus=corpus.hash)
    lines = [
        f"Character error rate on {len(said)} held-out clips, clean speech, preset {run.config.preset}: "
        + ", ".join(f"{stage} **{m['value']:.1f} %**" for stage, m in record["metrics"].items())
        + ".",
        "",
        "| said | " + " | ".join(readers) + " |",
        "|---" * (1 + len(readers)) + "|",
    ]
    lines += [
        f"| {said[i]} | " + " | ".join(record["read"][stage][i] for stage in readers) + " |" for i in range(examples)
    ]
    return "\n".join(lines)


LEVELS_DB = (None, 20, 10, 5, 0, -5, -10)  # of speech over babble; None: no babble
MAX_CLIPS = 200  # that are read in noise: enough for the curves' first digits
STREAM_LABELS = {"audio and video": "speech and lips", "audio": "speech alone", "video": "lips alone"}
# Visemes from the lips to the throat, then vowels from spread to round, and some of the phonemes behind each.
VISEME_PHONEMES = {
    "p": "p b m",
    "f": "f v",
    "T": "θ ð",
    "t": "t d n l",
    "s": "s z",
    "S": "ʃ ʒ tʃ dʒ",
    "k": "k ɡ ŋ h",
    "r": "ɹ",
    "i": "i ɪ j",
    "e": "eɪ",
    "E": "ɛ ʌ ɜː",
    "a": "æ ɑ aɪ aʊ",
    "@": "ə",
    "O": "ɔ",
    "o": "oʊ",
    "u": "u ʊ w",
}


def transcripts_by_epoch(records: dict[str, dict], most: int = 12) -> str:
    """What each reader made of one held-out clip after each epoch, or some of them; Markdown. records: of their stages."""
    if not any("read" in row for record in records.values() for row in record["history"]):
        return "No transcripts from the training: the readers were not trained here."
    read = {stage: [row.get("read", "") for row in record["history"]] for stage, record in records.items()}
    epochs = max(map(len, read.values()))
    shown = sorted({round(k * (epochs - 1) / (most - 1)) for k in range(most)})
    lines = [
        "| epoch | " + " | ".join(records) + " |",
        "|---" * (1 + len(records)) + "|",
        "| said | " + " | ".join(record.get("said", "") for record in records.values()) + " |",
    ]
    lines += [
        f"| {e + 1} | " + " | ".join(texts[e] if e < len(texts) else "" for texts in read.values()) + " |"
        for e in shown
    ]
    return "\n".join(lines)


def mix_babble(speech: torch.Tensor, noise: list[torch.Tensor], level_db: float | None) -> torch.Tensor:
    """Padded speech (B, S) with each clip's noise (1, its samples) at a level over the clip, not over its padding."""
    level = torch.tensor([math.inf if level_db is None else level_db])
    return pad([add_babble(s[None, : n.shape[1]], n, level)[0] for s, n in zip(speech, noise)])


@torch.no_grad()
def transcribe_in_noise(
    reader: Expert, clips: Clips, indices: list[int], babble: Babble, seed: int, budget: int = 2000
) -> dict[str, list[list[str]]]:
    """What greedy CTC reads from all of a reader's streams and from each alone: streams -> level of `LEVELS_DB` -> clip.

    Babble depends on the seed and the clip alone: all readers and levels have the same. Where a reader does not hear, the
    first level stands for all.
    """
    names, device = tuple(reader.encoders), next(reader.parameters()).device
    levels = LEVELS_DB if "audio" in names else LEVELS_DB[:1]
    choices = {" and ".join(sorted(c)): c for c in (names, *((name,) for name in names))}
    texts = {s: [[""] * len(indices) for _ in (levels if "audio" in c else levels[:1])] for s, c in choices.items()}
    for places in length_batches(clips.frames[indices], budget, torch.Generator().manual_seed(0)):
        chosen, rows, audio = [indices[k] for k in places], {}, None
        batch = collate_clips(clips, chosen, video="video" in names, tokenizer=reader.tokenizer)
        lengths, video = (
            batch.frame_lengths.to(device),
            crop_and_normalise(batch.video).to(device) if "video" in names else None,
        )
        noise = [babble(clips.utterances[i].frames * SAMPLES_PER_FRAME, [seeded_generator(seed, i)]) for i in chosen]
        for k, level in enumerate(levels):
            if "audio" in names:
                audio = normalise_speech(mix_babble(batch.samples, noise, level).to(device), lengths)
            for name in names if k == 0 else ("audio",):  # what is seen stays the same
                only = {m: torch.full_like(lengths, m == name, dtype=torch.bool) for m in names}
                encoded, valid = reader.encode_streams(video, audio, lengths, present=only)
                rows[name] = encoded[name]
            for streams, choice in choices.items():
                if k < len(texts[streams]):
                    given = {m: rows[m] if m in choice else torch.zeros_like(rows[m]) for m in names}
                    for place, text in zip(places, decode(reader, reader.fuse(given, valid), lengths, 1, 0.0)):
                        texts[streams][k][place] = text
    return texts


def readers_in_noise(run: Run, corpus: Corpus, readers: dict[str, Expert]) -> dict:
    """Stage "noise": 100 - CER of held-out clips with babble of training clips in them, reader -> streams -> level."""
    key = run.key(readers_in_noise, run.config.seed, corpus.hash, [run.finished_key(s) for s in readers])
    if done := run.finished("noise", key):
        return done
    clips, babble = corpus.clips("validation"), Babble(corpus.clips("train"))
    indices = list(range(0, len(clips), -(-len(clips) // MAX_CLIPS)))
    said, accuracy = [clips.utterances[i].text for i in indices], {}
    for stage, reader in readers.items():
        read = transcribe_in_noise(reader, clips, indices, babble, run.config.seed)
        accuracy[stage] = {
            streams: [100 * (1 - corpus_rate(said, texts)) for texts in levels] for streams, levels in read.items()
        }
    return run.finish(
        "noise", key, unit="%", levels_db=LEVELS_DB, accuracy=accuracy, clips=len(indices), corpus=corpus.hash
    )


def viseme_counts(said: list[str], read: list[str]) -> list[list[int]]:
    """How often each viseme was read as each, in texts aligned with the fewest edits; word borders do not count.

    Rows: visemes said, in the order of `VISEME_PHONEMES`, and at last nothing, with what was inserted. Columns: visemes read, and at
    last nothing, with what was deleted.
    """
    place = {viseme: i for i, viseme in enumerate(VISEME_PHONEMES)} | {None: len(VISEME_PHONEMES)}
    counts = [[0] * len(place) for _ in place]
    said, read = ([visemes(text).replace(" ", "") for text in texts] for texts in (said, read))
    for s, r, chunks in zip(said, read, jiwer.process_characters(said, read).alignments):
        for c in chunks:
            for a, b in zip_longest(s[c.ref_start_idx : c.ref_end_idx], r[c.hyp_start_idx : c.hyp_end_idx]):
                counts[place[a]][place[b]] += 1
    return counts


def viseme_confusions(run: Run, corpus: Corpus, stages: list[str]) -> dict:
    """Stage "visemes": `viseme_counts` of what each reader read from the held-out clips by beam search."""
    key = run.key(viseme_confusions, corpus.hash, run.finished_key("readers"), stages)
    if done := run.finished("visemes", key):
        return done
    said, read = [u.text for u in corpus.clips("validation").utterances], run.record("readers")["read"]
    return run.finish(
        "visemes", key, counts={stage: viseme_counts(said, read[stage]) for stage in stages}, corpus=corpus.hash
    )
