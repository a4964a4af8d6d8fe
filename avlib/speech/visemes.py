"""Phonemes and visemes of English text."""

import csv
import re
from functools import cache, lru_cache
from pathlib import Path

from .espeak import phonemize

# Punctuation as the phonemizer package defines it. espeak-ng would end a clause at some of it, and pronounce some.
_PUNCTUATION = re.compile('[;:,.!?¡¿—…"«»“”(){}\\[\\]\\s]+')


@cache
def phoneme_to_viseme() -> dict[str, str]:
    """espeak-ng's phonemes of voice en-us, without stress -> Amazon Polly's visemes."""
    table = Path(__file__).with_name("phonemes_to_visemes.csv").read_text(encoding="utf-8")
    return dict(csv.reader(table.splitlines()))


@lru_cache(maxsize=65536)
def text_to_visemes(text: str) -> str:
    """The visemes of an English text, as in Filntisis et al. 2023 (SPECTRE): espeak-ng's phonemes of voice en-us, each
    replaced by Amazon Polly's viseme.

    Phonemes without a viseme are dropped. There is a space before each word and after the last; "" without any word.
    """
    words = phonemize(_PUNCTUATION.sub(" ", text).strip()).split()
    mapped = ["".join(phoneme_to_viseme().get(phoneme, "") for phoneme in word.split("_")) for word in words]
    return f" {' '.join(mapped)} " if mapped else ""
