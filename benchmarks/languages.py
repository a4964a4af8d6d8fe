"""Which sounds of espeak-ng's languages have no viseme, by language.

Each language reads the numbers to 100, and syllables and pairs of the letters of all alphabets; those of another script
it names. A language that is written in characters reads some of these as well. Each runs in a process of its own,
because espeak-ng fails in a few of them.

    python benchmarks/languages.py [CODE ...]
"""

import argparse
import multiprocessing
import unicodedata
from collections.abc import Iterator
from multiprocessing.connection import Connection

from avlib.speech.espeak import phonemize
from avlib.speech.languages import check_language, languages
from avlib.speech.visemes import sounds_without_viseme

WORDS_PER_CALL = 40
# first and last character and step: Han, Hangul
CHARACTERS = {"cmn": (0x4E00, 0x6000, 7), "yue": (0x4E00, 0x6000, 7), "hak": (0x4E00, 0x6000, 7)}
CHARACTERS |= {"ja": (0x3041, 0x30FB, 1), "ko": (0xAC00, 0xD7A0, 53)}


def words(language: str) -> Iterator[str]:
    """What a language reads."""
    yield from (str(n) for n in range(101))
    letters = [chr(c) for c in range(0x61, 0x3100) if unicodedata.category(chr(c)) in ("Ll", "Lo")]
    yield from (first + second for first, second in zip(letters, letters[1:]))
    latin = [c for c in letters if unicodedata.name(c, "").startswith("LATIN")][:150]
    yield from (f"{vowel}{c}{vowel}" for c in latin for vowel in "aeiou")
    yield from (f"a{first}{second}e" for first in latin[:26] for second in latin[:26])
    yield from (chr(c) for c in range(*CHARACTERS.get(language, (0, 0, 1))))


def read(language: str, answer: Connection) -> None:
    """Sends the sounds without viseme, each with a word that has it."""
    missing: dict[str, str] = {}
    spoken = list(words(language))
    for first in range(0, len(spoken), WORDS_PER_CALL):
        chunk = spoken[first : first + WORDS_PER_CALL]
        for sound in sounds_without_viseme([phonemize(" ".join(chunk), language)]):
            said_in = (word for word in chunk if sound in sounds_without_viseme([phonemize(word, language)]))
            missing.setdefault(sound, next(said_in, " ".join(chunk)))
    answer.send(missing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", nargs="*", help="languages; all of espeak-ng unless given")
    codes = parser.parse_args().codes or list(languages())
    for code in codes:
        check_language(code)
    covered, failed = 0, []
    for code in codes:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=read, args=(code, theirs))
        process.start()
        theirs.close()
        try:
            missing = ours.recv()
        except EOFError:
            failed.append(code)
            continue
        finally:
            process.join()
        covered += not missing
        for sound, word in missing.items():
            print(f"{code} ({languages()[code]}): no viseme for {sound!r}, as in {word!r}", flush=True)
    print(
        f"{covered} of {len(codes)} languages: each sound has a viseme; espeak-ng fails in: {', '.join(failed) or '-'}"
    )


if __name__ == "__main__":
    main()
