"""Character, word and viseme error rates."""

from collections.abc import Sequence

import jiwer

from ..speech.languages import ENGLISH
from ..speech.visemes import text_to_visemes


def error_counts(reference: str, hypothesis: str, words: bool = False) -> tuple[int, int]:
    """Edits that turn the hypothesis into the reference, and the reference's length; in characters, or in words.

    Spaces at the ends do not count.
    """
    compare = jiwer.process_words if words else jiwer.process_characters
    alignment = compare(reference, hypothesis)
    edits = alignment.substitutions + alignment.deletions + alignment.insertions
    return edits, alignment.hits + alignment.substitutions + alignment.deletions


def error_rate(edits: int, length: int) -> float:
    """Edits over the reference's length; of an empty reference, every character read counts as one error."""
    return edits / max(1, length)


def cer(reference: str, hypothesis: str) -> float:
    """Character error rate of an utterance: 0 is best, and it may exceed 1."""
    return error_rate(*error_counts(reference, hypothesis))


def wer(reference: str, hypothesis: str) -> float:
    """Word error rate of an utterance: 0 is best, and it may exceed 1."""
    return error_rate(*error_counts(reference, hypothesis, words=True))


def ver(reference: str, hypothesis: str, language: str = ENGLISH) -> float:
    """Viseme error rate of an utterance: the character error rate of the texts' viseme strings.

    Filntisis et al. 2023 (SPECTRE).
    """
    return cer(text_to_visemes(reference, language), text_to_visemes(hypothesis, language))


def corpus_rate(references: Sequence[str], hypotheses: Sequence[str], words: bool = False) -> float:
    """Edits of all utterances over their total length: CER of texts, VER of viseme strings, WER with `words`.

    The mean of the utterances' rates, in contrast, weighs short utterances as much as long ones.
    Errors: ValueError if there are no references, or not as many hypotheses.
    """
    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"{len(references)} references, {len(hypotheses)} hypotheses; expected as many, at least one")
    counts = [error_counts(r, h, words) for r, h in zip(references, hypotheses)]
    return error_rate(sum(edits for edits, _ in counts), sum(length for _, length in counts))
