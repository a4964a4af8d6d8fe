"""Transcripts of recordings, with or without the times of words."""

import re
from pathlib import Path

from ...speech.languages import ENGLISH
from ...speech.segment import Segment
from ...speech.text import normalise_text, read_text

TAGS = re.compile(r"\{[^}]*\}")  # of noises, in transcripts


def read_transcript(path: Path, plain: bool = False, language: str = ENGLISH) -> tuple[str, tuple[Segment, ...]]:
    """The normalised text of a transcript in the form of LRS2 and LRS3, and its word times, if there are any.

    That form has a line "Text: ..." and perhaps a table "WORD START END ...", in seconds. plain: a file without such a
    line is all text. ValueError says what is wrong.
    """
    lines = read_text(path).splitlines()
    text, words, timed = "", [], False
    if plain and not any(line.startswith("Text:") for line in lines):
        text, lines = " ".join(lines), []
    for line in lines:
        fields = line.split()
        if line.startswith("Text:"):
            text = line.removeprefix("Text:")
        elif line.startswith("WORD START END"):
            timed = True
        elif timed and len(fields) >= 3 and (label := normalise_text(TAGS.sub("", fields[0]), language)):
            words.append(timed_word(label, fields[1], fields[2], path.name))
    text = normalise_text(TAGS.sub("", text), language)
    if not text:
        raise ValueError(f"transcript '{path.name}' has no words")
    return text, tuple(words)


def timed_word(label: str, start: str, end: str, file: str, per_second: float = 1.0) -> Segment:
    """A word from two numbers as text, in units of which there are per_second. ValueError names the file."""
    try:
        start_s, end_s = float(start) / per_second, float(end) / per_second
    except ValueError:
        raise ValueError(f"'{file}': times '{start}' and '{end}' of '{label}' are not numbers") from None
    if not 0 <= start_s <= end_s:
        raise ValueError(f"'{file}': '{label}' from {start_s:.2f} to {end_s:.2f} s")
    return Segment(label, start_s, end_s)
