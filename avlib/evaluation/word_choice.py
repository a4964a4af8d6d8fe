"""The two words whose features are compared: those of the setting, or the most frequent pair of a corpus without them.

The comparison asks whether the lips alone tell two words apart that sound alike but for their beginning. A chosen pair
therefore begins with sounds that lips show differently and, if the corpus has such words, is equal in all other sounds.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..corpus.utterance import Utterance
from ..speech.espeak import phonemize
from ..speech.languages import ENGLISH
from ..speech.visemes import phoneme_visemes

MIN_SENTENCES = 2  # that have to contain each word
# Words that differ in the first sound alone are preferred if each is in so many sentences: the linear probe of the
# separation has five folds.
PREFERRED_SENTENCES = 5


@dataclass(frozen=True)
class WordChoice:
    """Two words, or none; reason: how they were chosen and why, or why there are none, in a sentence or two."""

    words: tuple[str, ...]
    reason: str


def check_words(wanted: Sequence[str]) -> tuple[str, ...]:
    """The words of the setting `evaluation.words`. ValueError unless they are two different ones, in lower case."""
    words = tuple(wanted)
    if len(words) != 2 or len(set(words)) != 2 or any(len(w.split()) != 1 or w != w.lower() for w in words):
        raise ValueError(
            f"setting evaluation.words: expected two different words in lower case, such as just,must, got {words!r}"
        )
    return words


def choose_words(
    wanted: Sequence[str], utterances: Iterable[Utterance], preferred: Sequence[str] = (), language: str = ENGLISH
) -> WordChoice:
    """The first of `preferred`, `wanted` and the corpus's own pairs of which each word is in `MIN_SENTENCES` sentences.

    wanted: of the setting evaluation.words; preferred: of an earlier choice, or none. utterances: those that will be
    analysed, in this language. Only their words count, no score of a reader.
    """
    sentences = {u.name: u.text.split() for u in utterances}
    counts = sentence_counts(sentences.values())
    wanted = check_words(wanted)
    for pair, origin in ((tuple(preferred), "chosen above"), (wanted, "of the setting `evaluation.words`")):
        if pair and all(counts[word] >= MIN_SENTENCES for word in pair):
            return WordChoice(pair, f"{named(pair, counts)}, the words {origin}.")
    lacking = " and ".join(f"*{word}* in {counts[word]}" for word in wanted)
    reason = (
        f"These sentences lack the words of the setting `evaluation.words`: {lacking} of {len(sentences)} sentences, "
        f"{MIN_SENTENCES} of each are needed."
    )
    # The opening word is not counted if possible: the silence before it tells a reader with audio where it is.
    for texts in ([words[1:] for words in sentences.values()], sentences.values()):
        if pair := frequent_pair(counts := sentence_counts(texts), language):
            return WordChoice(pair, f"{reason} Chosen instead: {named(pair, counts)}, {explanation(pair, language)}")
    return WordChoice(
        (), f"{reason} No two words that begin with different visemes are in so many either: no words are compared."
    )


def sentence_counts(sentences: Iterable[Sequence[str]]) -> Counter[str]:
    """In how many sentences each word is."""
    return Counter(word for words in sentences for word in set(words))


def named(pair: tuple[str, ...], counts: Counter[str]) -> str:
    first, second = pair
    return f"*{first}* (in {counts[first]} sentences) and *{second}* (in {counts[second]})"


def explanation(pair: tuple[str, ...], language: str) -> str:
    """Why a pair of `frequent_pair` was chosen."""
    (_, rest), (_, other_rest) = (sounds(word, language) for word in pair)
    if rest == other_rest:
        return "the most frequent words that differ in the first sound alone, and there in viseme."
    return (
        "the most frequent words whose first sounds differ in viseme. Their other sounds differ, too: no two words "
        f"that differ in the first sound alone are in {PREFERRED_SENTENCES} sentences each."
    )


def frequent_pair(counts: Counter[str], language: str = ENGLISH) -> tuple[str, ...]:
    """The most frequent two words whose first sounds differ in viseme, or none if no pair is frequent enough.

    A pair is as frequent as the rarer of its words. Pairs that are equal but for the first sound are preferred.
    """
    frequent = [word for word, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= MIN_SENTENCES]
    by_rest: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for word in frequent:
        if counts[word] >= PREFERRED_SENTENCES:
            by_rest[sounds(word, language)[1]].append(word)
    pairs = [pair for group in by_rest.values() if (pair := first_pair(group, language))]
    place = {word: n for n, word in enumerate(frequent)}
    return min(pairs, key=lambda pair: (place[pair[1]], place[pair[0]]), default=first_pair(frequent, language))


def first_pair(words: Sequence[str], language: str) -> tuple[str, ...]:
    """The first word that differs from one before it in the viseme of the first sound, after the first such one."""
    for n, word in enumerate(words):
        for other in words[:n]:
            visemes = sounds(other, language)[0], sounds(word, language)[0]
            if all(visemes) and visemes[0] != visemes[1]:
                return other, word
    return ()


def sounds(word: str, language: str = ENGLISH) -> tuple[str, tuple[str, ...]]:
    """The viseme of the first phoneme, and the other phonemes; "" for a word of one phoneme, or with an unknown one."""
    first, *rest = phonemize(word, language).replace(" ", "_").strip("_").split("_")
    return phoneme_visemes(first, language) if rest else "", tuple(rest)
