"""Phonemes and visemes of texts.

Visemes are Amazon Polly's. Those of American English are published (`phonemes_to_visemes.csv`). For other languages,
`sounds_to_visemes.csv` gives each letter of the International Phonetic Alphabet the viseme of its articulation
(docs/languages.md).
"""

import csv
import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path

from .espeak import phonemize
from .languages import ENGLISH
from .segment import Segment

# Punctuation as the phonemizer package defines it. espeak-ng would end a clause at some of it, and pronounce some.
_PUNCTUATION = re.compile('[;:,.!?¡¿—…"«»“”(){}\\[\\]\\s]+')
_NO_ARTICULATION = re.compile("(?<=.)[ɜh]")  # of a phoneme in letters: a tone of Chinese or Vietnamese, aspiration
_STOP_OF_AFFRICATE = re.compile("[td](?=[szʃʒɕʑʂʐ])")  # it does not show beside the fricative


@cache
def phoneme_to_viseme() -> dict[str, str]:
    """espeak-ng's phonemes of voice en-us, without stress -> Amazon Polly's visemes."""
    return _table("phonemes_to_visemes.csv")


@cache
def sound_to_viseme() -> dict[str, str]:
    """Letters of the International Phonetic Alphabet -> visemes; "" for a sound that the lips do not show."""
    return _table("sounds_to_visemes.csv")


def _table(name: str) -> dict[str, str]:
    return dict(csv.reader(Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()))


def sounds_of(phoneme: str) -> str:
    """The letters of a phoneme of espeak-ng: without stress, length, tone and other marks; several of a diphthong."""
    retroflex = phoneme.replace("s.", "ʂ").replace("z.", "ʐ")  # as espeak-ng writes Mandarin's
    decomposed = unicodedata.normalize("NFD", retroflex)
    # neither combining marks, modifiers, punctuation nor tone numbers
    letters = "".join(c for c in decomposed if unicodedata.category(c) in ("Ll", "Lo", "Lu"))
    return _NO_ARTICULATION.sub("", letters)


def in_parts(phonemes: Iterable[Segment]) -> list[Segment]:
    """Phonemes with letters as labels: diphthongs, affricates and r-coloured vowels are in parts of equal duration."""
    parts = []
    for phoneme in phonemes:
        sounds = list(sounds_of(phoneme.label)) or [""]
        share = (phoneme.end_s - phoneme.start_s) / len(sounds)
        parts += [
            Segment(sound, phoneme.start_s + k * share, phoneme.start_s + (k + 1) * share)
            for k, sound in enumerate(sounds)
        ]
    return parts


@lru_cache(maxsize=65536)
def text_to_visemes(text: str, language: str = ENGLISH) -> str:
    """The viseme string of a text. There is a space before each word and after the last; "" without any word.

    English: as in Filntisis et al. 2023 (SPECTRE), espeak-ng's phonemes of voice en-us, each replaced by Amazon Polly's
    viseme; phonemes without one are dropped. Other languages: each sound replaced by the viseme of its articulation;
    ValueError names a sound without one, and its word.
    """
    words = phonemize(_PUNCTUATION.sub(" ", text).strip(), language).split()
    if language != ENGLISH and (missing := sounds_without_viseme(words)):
        raise ValueError(_uncovered(missing[0], text, language))
    mapped = ["".join(phoneme_visemes(phoneme, language) for phoneme in word.split("_")) for word in words]
    return f" {' '.join(mapped)} " if mapped else ""


def sounds_without_viseme(words: list[str]) -> list[str]:
    """The letters in words of `phonemize` that `sounds_to_visemes.csv` lacks, each once."""
    return [sound for sound in dict.fromkeys("".join(map(sounds_of, words))) if sound not in sound_to_viseme()]


def phoneme_visemes(phoneme: str, language: str) -> str:
    """The visemes of a phoneme, several of a diphthong; none of one that the language's table lacks."""
    if language == ENGLISH:
        return phoneme_to_viseme().get(phoneme, "")
    return "".join(sound_to_viseme().get(sound, "") for sound in _STOP_OF_AFFRICATE.sub("", sounds_of(phoneme)))


def _uncovered(sound: str, text: str, language: str) -> str:
    word = next((w for w in text.split() if sound in sounds_of(phonemize(w, language))), text)
    return f"language {language}: no viseme for the sound {sound!r} of the word {word!r}; docs/languages.md"
