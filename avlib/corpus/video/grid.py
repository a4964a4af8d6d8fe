"""The layout of GRID: films x.mpg or x.mp4 with alignments x.align, whose names are their sentences."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ...speech.segment import Segment
from ...speech.text import normalise_text, read_text
from .folders import name_of
from .source import Source
from .tables import PAUSES
from .transcripts import timed_word

PER_SECOND = 25_000  # the unit of the times in alignments
# folders within that of a speaker, or between the corpus's and those of the speakers
NOT_SPEAKERS = {"video", "videos", "mpg", "mp4", "mpg_6000", "mpg_vcd", "align", "alignment", "alignments"}
SENTENCE = (  # letter of the file's name -> word
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("z123456789", "zero one two three four five six seven eight nine".split())),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
NAME = re.compile("".join(f"[{''.join(words)}]" for words in SENTENCE))
MATCHING_SHARE = 0.5  # of a speaker's films with an alignment of their name: below, the alignments are another's


def read_grid(folder: Path, videos: list[Path], alignments: list[Path]) -> Iterator[Source]:
    """Films with alignments beside them, in a folder align/ beside them, or in one of the speaker's name in align/.

    In the published archive, some speakers have the alignments of others; films are not used if theirs are not right.
    """
    aligned = {(speaker_of(path, folder), path.stem): path for path in alignments}
    keys = [(speaker_of(path, folder), path.stem) for path in videos]
    counts = Counter(speaker for speaker, _ in keys)
    matching = Counter(key[0] for key in keys if key in aligned)
    for path, key in zip(videos, keys):
        speaker, name = key[0], name_of(path, folder)
        try:
            if key not in aligned:
                raise ValueError(f"no alignment '{path.stem}.align'")
            if matching[speaker] < MATCHING_SHARE * counts[speaker]:
                raise ValueError(
                    f"alignments of another speaker: {matching[speaker]} of {counts[speaker]} films of '{speaker}' "
                    "have one of their name"
                )
            words = read_alignment(aligned[key])
            check_name(path.stem, words)
        except ValueError as error:
            yield Source(name, "train", path, "", fault=str(error), subject=speaker)
        else:
            yield Source(name, "train", path, " ".join(word.label for word in words), words, subject=speaker)


def speaker_of(path: Path, folder: Path) -> str:
    """The name of the speaker's folder, in which a file is."""
    names = [name for name in path.relative_to(folder).parts[:-1] if name.lower() not in NOT_SPEAKERS]
    return names[-1] if names else folder.resolve().name


def read_alignment(path: Path) -> tuple[Segment, ...]:
    """The words of a file of lines "start end word". ValueError says what is wrong with it."""
    words = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3:
            raise ValueError(f"'{path.name}', line {number}: '{line.strip()}', expected start, end and word")
        if fields[2] not in PAUSES:
            label = normalise_text(fields[2])
            words.append(timed_word(label, fields[0], fields[1], path.name, PER_SECOND))
    if not words:
        raise ValueError(f"'{path.name}' has no words")
    return tuple(words)


def check_name(name: str, words: tuple[Segment, ...]) -> None:
    """ValueError if a film's name is the code of another sentence, as bbaf2n is of "bin blue at f two now"."""
    if not NAME.fullmatch(name.lower()):
        return
    named = " ".join(place[letter] for place, letter in zip(SENTENCE, name.lower()))
    said = " ".join(word.label for word in words)
    if named != said:
        raise ValueError(f"'{name}.align' has '{said}', its name means '{named}'")
