"""Takes of Live Link Face with transcripts: x.csv, its sound in x.wav or in the take's film x.mov, and x.txt."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .folders import VIDEO_SUFFIXES, find_files, name_of
from .published_layouts import transcribed
from .source import Source

SOUND_SUFFIXES = (".wav", ".flac", ".m4a", ".mp3", *VIDEO_SUFFIXES)  # in the order in which they are looked for
FIRST_LINE = b"timecode,blendshapecount,"
CALIBRATED, RAW = "_cal", "_raw"  # with which the app ends the names of two files of one take


def find_takes(folder: Path) -> list[Path]:
    """The takes below a folder, told from other tables by their first line; calibrated ones where there are both."""
    takes = [path for path in find_files(folder, (".csv",)) if is_take(path)]
    calibrated = {without_ending(path) for path in takes if path.stem.endswith(CALIBRATED)}
    return [path for path in takes if path.stem.endswith(CALIBRATED) or without_ending(path) not in calibrated]


def is_take(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lower().startswith(FIRST_LINE)


def without_ending(path: Path) -> Path:
    """The path without suffix and without what the app adds to it; a take's sound and transcript are called so."""
    return path.with_name(re.sub(f"({CALIBRATED}|{RAW})$", "", path.stem))


def read_takes(folder: Path, takes: list[Path], several: bool, language: str) -> Iterator[Source]:
    """Takes with transcripts and sound beside them. several: whether each folder is another person's."""
    for path in takes:
        base = without_ending(path)
        sound = next((p for suffix in SOUND_SUFFIXES if (p := base.with_name(base.name + suffix)).is_file()), None)
        fault = "" if sound else f"no sound beside it, such as '{base.name}.wav' or '{base.name}.mov'"
        text = base.with_name(base.name + ".txt")
        subject = path.parent.name if several else ""
        for source in transcribed(text, name_of(path, folder), "train", subject, True, language):
            yield replace(source, path=path, sound=sound or path, fault=source.fault or fault)
