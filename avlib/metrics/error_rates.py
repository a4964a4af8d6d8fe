"""Character, word and viseme error rates."""

from collections.abc import Sequence

import jiwer

from ..speech.visemes import visemes


def error_counts(reference: str, hypothesis: str, words: bool = False) -> tuple[int, int]:
    """Edits that turn the hypothesis into the reference, and the reference's length; in characters or words. Spaces at
    the ends do not count."""
    compare = jiwer.process_words if words else jiwer.process_characters
    found = compare(reference, hypothesis)
    edits = found.substitutions + found.deletions + found.insertions
    return edits, found.hits + found.substitutions + found.deletions


def _rate(edits: int, length: int) -> float:
    return edits / max(1, length)  # of an empty reference, every character read is an error


def cer(reference: str, hypothesis: str) -> float:
    """Character error rate of an utterance, 0 to 1 and above."""
    return _rate(*error_counts(reference, hypothesis))


def wer(reference: str, hypothesis: str) -> float:
    """Word error rate of an utterance, 0 to 1 and above."""
    return _rate(*error_counts(reference, hypothesis, words=True))


def ver(reference: str, hypothesis: str) -> float:
    """Viseme error rate of an utterance: the character error rate of the texts' viseme strings (SPECTRE, 2023)."""
    return cer(visemes(reference), visemes(hypothesis))


def corpus_rate(references: Sequence[str], hypotheses: Sequence[str], words: bool = False) -> float:
    """Edits over total length: CER of texts, VER of viseme strings, WER with `words`. Utterance rates weigh short
    utterances as much as long ones; this does not."""
    if len(references) != len(hypotheses) or not references:
        raise ValueError(f"{len(references)} references, {len(hypotheses)} hypotheses")
    counts = [error_counts(r, h, words) for r, h in zip(references, hypotheses)]
    return _rate(sum(edits for edits, _ in counts), sum(length for _, length in counts))
