"""Which scans an animator learns from: all of the training split, or the first few of each subject."""

from .corpus import Corpus
from .utterance import Utterance


def training_scans(corpus: Corpus, count: int = 0) -> list[Utterance]:
    """The training utterances, in their order: of each subject the first `count`, or all if that is 0.

    ValueError if a subject has fewer.
    """
    utterances = corpus.utterances("train")
    if not count:
        return utterances
    seen: dict[str, int] = {}
    kept = []
    for utterance in utterances:
        seen[utterance.subject] = seen.get(utterance.subject, 0) + 1
        if seen[utterance.subject] <= count:
            kept.append(utterance)
    if fewer := {subject: n for subject, n in seen.items() if n < count}:
        subject = min(fewer, key=lambda name: fewer[name])
        raise ValueError(f"joint.scans: expected at most {fewer[subject]}, as {subject} has, got {count}")
    return kept


def passes_as_long(corpus: Corpus, count: int) -> float:
    """How many passes over the first `count` scans of each subject are as long as one over all; 1 for a count of 0."""
    return len(training_scans(corpus)) / len(training_scans(corpus, count))
