"""The sentences of each part of a synthetic corpus: built-in English ones, or the user's, one a line of a text file."""

from pathlib import Path

import torch

from ...core.config import CorpusConfig
from ...core.tensors import seeded_generator
from ...speech.languages import ENGLISH
from ...speech.text import LARGEST_TEXT, normalise_text, transcript_check
from ...speech.visemes import text_to_visemes
from .sentences import sentences
from .subjects import SUBJECTS

LEAST_OF_CLIPS = 4  # different sentences of each 2D part
MOST_SOUNDS = 150  # of a sentence: about 12 s, as long as recordings may be


def sentences_of_parts(config: CorpusConfig) -> dict[str, list[str]]:
    """The sentences of "train", "validation" and "judge", of the 2D part, and "3d <split>"; no two parts share one.

    ValueError as of `read_sentences` and `divide`, and for a language that there are no built-in sentences of.
    """
    counts = {
        "train": config.clips_2d,
        "validation": config.validation_clips_2d,
        "judge": config.judge_clips_2d,
        **{f"3d {s}": getattr(config, f"sentences_{s}") * len(subjects) for s, subjects in SUBJECTS.items()},
    }
    generator = seeded_generator(config.seed)
    if not config.sentences:
        if config.language.partition("-")[0] != "en":
            raise ValueError(
                f"corpus.sentences: the built-in sentences are English; name a text file of sentences in the language "
                f"{config.language}, one a line"
            )
        used: set[str] = set()
        return {part: sentences(count, generator, used) for part, count in counts.items()}
    own = read_sentences(Path(config.sentences), config.language)
    least = {part: min(count, LEAST_OF_CLIPS) for part, count in counts.items()}
    least |= {f"3d {s}": getattr(config, f"sentences_{s}") for s in SUBJECTS}
    shuffled = [own[i] for i in torch.randperm(len(own), generator=generator).tolist()]
    try:
        return divide(shuffled, counts, least)
    except ValueError as error:
        raise ValueError(f"{config.sentences}: {error}") from None


def read_sentences(path: Path, language: str) -> list[str]:
    """The normalised sentences of a text file in UTF-8, one a line, each once; empty lines do not count.

    ValueError names the file and the line, for what is no text, for characters that are no letters, for sounds without
    a viseme, and for a sentence that is too long.
    """
    if not path.is_file() or path.stat().st_size > LARGEST_TEXT:
        raise ValueError(f"corpus.sentences: expected a text file of at most {LARGEST_TEXT} bytes, got {path}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8 ({error.reason} at byte {error.start})") from None
    check, found = transcript_check(language), {}
    for number, line in enumerate(lines, 1):
        if not (sentence := normalise_text(line, language)):
            continue
        if unknown := check.unknown(sentence):
            named = ", ".join(map(repr, unknown))
            raise ValueError(f"{path}, line {number}: {named}, expected only letters; write numbers as words")
        try:
            sounds = text_to_visemes(sentence, language).replace(" ", "")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if not 0 < len(sounds) <= MOST_SOUNDS:
            raise ValueError(f"{path}, line {number}: {len(sounds)} sounds, expected 1 to {MOST_SOUNDS}, a sentence")
        found[sentence] = number
    return list(found)


def divide(texts: list[str], counts: dict[str, int], least: dict[str, int]) -> dict[str, list[str]]:
    """Texts for the parts of a corpus, in order. If there are too few, parts have shares in proportion and repeat them.

    counts: how many a part uses; least: how many of these have to be different. ValueError if there are fewer texts.
    """
    spare, wanted = len(texts) - sum(least.values()), sum(counts.values()) - sum(least.values())
    if spare < 0:
        raise ValueError(
            f"{len(texts)} different sentences, expected at least {sum(least.values())}: the parts of the corpus "
            "share none"
        )
    parts, first = {}, 0
    for part, count in counts.items():
        size = least[part] + (count - least[part]) * min(spare, wanted) // max(1, wanted)
        own = texts[first : first + size]
        parts[part] = [own[i % size] for i in range(count)]
        first += size
    return parts


def check_sentences(config: CorpusConfig, kind: str) -> None:
    """ValueError for sentences that a corpus of this kind cannot be made of, or that it has no use for."""
    if kind in ("embedded", "facekit") or (kind == "scans" and not config.video_corpus):
        if config.sentences or config.language != ENGLISH:
            sentences_of_parts(config)
    elif config.sentences:
        raise ValueError("corpus.sentences: expected a corpus with a synthetic part; this one has none")
