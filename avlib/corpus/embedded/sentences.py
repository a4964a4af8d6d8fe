"""Sentences of the embedded corpus: an open vocabulary of 3,000 words in a few frames; half contain "just" or "must".

The words of `words.csv` are those of level 20 of SCOWL (the most frequent of English) that WordNet's counts give one
part of speech, in the order of these counts; WORDS_NOTICE.txt holds the licences of both. Words occur as often as
Zipf's law has it. What a sentence says is arbitrary, so that words cannot be guessed from their neighbours.
"""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

WORDS = Path(__file__).with_name("words.csv")
NAMES = """
anna ben carla david emma frank grace henry iris jack kate liam maria oliver peter rosa sam tina victor wendy
""".split()
PEOPLE = "i you we they".split()  # subjects whose verb has its base form
MODALS = "can could will would should may might".split()
DETERMINERS = "the my your our their this that every some".split()
PREPOSITIONS = "in on under over behind near by with for from to at".split()


@cache
def vocabulary() -> dict[str, list[str]]:
    """Part of speech ("noun", "verb", "adjective", "adverb") -> its words, the most frequent first."""
    words: dict[str, list[str]] = {}
    with WORDS.open(newline="") as file:
        for row in csv.DictReader(file):
            words.setdefault(row["part_of_speech"], []).append(row["word"])
    return words


def sentence(generator: torch.Generator) -> str:
    """A random sentence of four to nine words; half of the sentences contain "just" or "must"."""

    def pick(words: Sequence[str]) -> str:
        return words[int(torch.randint(len(words), (), generator=generator))]

    def a(part_of_speech: str) -> str:
        words = vocabulary()[part_of_speech]
        rank = int((1 + len(words)) ** float(torch.rand((), generator=generator, dtype=torch.float64)))
        return words[rank - 1]  # ranks are log-uniform: a word's probability is that of the first over its rank

    def thing() -> str:
        noun = pick([a("noun"), a("noun"), f"{a('adjective')} {a('noun')}"])
        return f"{pick(DETERMINERS)} {noun}"

    who, someone = pick(PEOPLE), pick([pick(NAMES), pick(PEOPLE), f"the {a('noun')}"])
    end = pick([a("adverb"), f"{pick(PREPOSITIONS)} {pick(DETERMINERS)} {a('noun')}"])
    return pick(
        [
            f"{someone} must {a('verb')} {thing()}",
            f"{someone} must {a('adverb')} {a('verb')} {thing()}",
            f"{who} just {a('verb')} {thing()} {end}",
            f"{someone} {pick(MODALS)} just {a('verb')} {thing()}",
            f"{who} {a('verb')} {thing()} {end}",
            f"{someone} {pick(MODALS)} {a('verb')} {thing()}",
            f"{end} {who} {a('verb')} {thing()}",
            f"{a('verb')} {thing()} and {a('verb')} {thing()}",
        ]
    )


def sentences(count: int, generator: torch.Generator, used: set[str]) -> list[str]:
    """`count` different random sentences that are not in `used`.

    They are added to `used`, so that the parts of a corpus share no sentence.
    """
    new: list[str] = []
    while len(new) < count:
        candidate = sentence(generator)
        if candidate not in used:
            used.add(candidate)
            new.append(candidate)
    return new
