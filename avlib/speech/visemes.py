"""Phonemes and visemes of English text."""

import csv
import re
from functools import cache, lru_cache
from pathlib import Path

from .espeak import phonemize

# What the phonemizer package takes as punctuation; espeak-ng would end a clause or read some of it aloud.
_PUNCTUATION = re.compile('[;:,.!?¡¿—…"«»“”(){}\\[\\]\\s]+')


@cache
def phoneme_to_viseme() -> dict[str, str]:
    """espeak-ng's en-us phonemes, without stress, to Amazon Polly's visemes."""
    table = Path(__file__).with_name("phonemes_to_visemes.csv").read_text(encoding="utf-8")
    return dict(csv.reader(table.splitlines()))


@lru_cache(maxsize=65536)
def visemes(text: str) -> str:
    """Viseme string of an English text: espeak-ng's en-us phonemes, each as Amazon Polly's viseme.

    Phonemes without a viseme are dropped; a space stands before each word and after the last, "" without any word.
    As Filntisis et al. 2023 (SPECTRE) do.
    """
    words = phonemize(_PUNCTUATION.sub(" ", text).strip()).split()
    mapped = ["".join(phoneme_to_viseme().get(phoneme, "") for phoneme in word.split("_")) for word in words]
    return f" {' '.join(mapped)} " if mapped else ""
