"""Recordings of talking video in a folder of a known layout, and how they are split."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...core.digest import digest
from ...speech.languages import ENGLISH
from ...speech.text import Tokenizer
from .folders import VIDEO_SUFFIXES, find_files, read_pairs, several_folders
from .grid import read_grid
from .live_link_layout import find_takes, read_takes, without_ending
from .published_layouts import read_auto_avsr, read_lrs2, read_lrs3
from .source import Source
from .tables import find_tables, read_tables

HELD_OUT = 100  # 1 in HELD_OUT speakers is used for validation if a corpus has no validation split


def find_sources(
    folder: str | Path, units: Tokenizer | None = None, language: str = ENGLISH
) -> tuple[str, list[Source]]:
    """The layout of a folder, and its recordings sorted by split and name, with some held out for validation.

    units: the tokenizer of label lists, which contain only token ids. language: of the transcripts. ValueError for an
    unknown layout.
    """
    layout, sources = list_sources(folder, units, takes=False, language=language)
    return layout, sorted(hold_out(sources), key=lambda s: (s.split, s.name))


def list_sources(
    folder: str | Path, units: Tokenizer | None = None, takes: bool = True, language: str = ENGLISH
) -> tuple[str, list[Source]]:
    """The layout of a folder, and its recordings sorted by name, in the splits that the folder states, else "train".

    takes: whether takes of Live Link Face are recordings, too. ValueError for an unknown layout.
    """
    folder = Path(folder)
    layout, sources = _read_takes(folder, language) if takes else ("", [])
    if not sources:
        layout, sources = _read_layout(folder, units, language)
    if not sources:
        raise ValueError(f"{folder}: no recordings")
    if duplicates := [name for name, count in Counter(s.name for s in sources).items() if count > 1]:
        raise ValueError(f"{folder}: {duplicates[0]} occurs twice")
    return layout, sorted(sources, key=lambda s: s.name)


def _read_layout(folder: Path, units: Tokenizer | None, language: str) -> tuple[str, list[Source]]:
    """Of published layouts, which are English, and of a user's."""
    if (folder / "labels").is_dir():
        return "Auto-AVSR", list(read_auto_avsr(folder, units))
    if (folder / "main").is_dir():
        return "LRS2", list(read_lrs2(folder))
    if (folder / "trainval").is_dir() or (folder / "pretrain").is_dir():
        return "LRS3", list(read_lrs3(folder))
    if tables := find_tables(folder):
        return "table", list(read_tables(tables, language))
    videos = find_files(folder, VIDEO_SUFFIXES)
    if videos and (alignments := find_files(folder, (".align",))):
        return "GRID", list(read_grid(folder, videos, alignments))
    if any(path.with_suffix(".txt").is_file() for path in videos):
        return "pairs", list(read_pairs(folder, videos, several_folders(videos), language))
    raise ValueError(
        f"{folder}: expected a folder of LRS2 (main/), LRS3 (trainval/, pretrain/, test/), Auto-AVSR (labels/*.csv) or "
        "GRID (x.mpg and x.align), with a table *.csv of columns path and text (and split and subject), or with films "
        "and their transcripts (x.mp4 and x.txt)"
    )


def _read_takes(folder: Path, language: str) -> tuple[str, list[Source]]:
    """The takes of Live Link Face in a folder, and the films with transcripts beside them, if there are any takes."""
    takes = find_takes(folder)
    if not takes:
        return "", []
    filmed = {without_ending(path) for path in takes}
    videos = [path for path in find_files(folder, VIDEO_SUFFIXES) if path.with_suffix(".txt").is_file()]
    videos = [path for path in videos if path.with_suffix("") not in filmed]
    several = several_folders([*takes, *videos])
    layout = "Live Link Face and pairs" if videos else "Live Link Face"
    return layout, [*read_takes(folder, takes, several, language), *read_pairs(folder, videos, several, language)]


def hold_out(sources: list[Source]) -> list[Source]:
    """Moves 1 in HELD_OUT training speakers, and at least one, to the validation split if a corpus has none.

    A speaker is a subject or, where that is unknown, a folder. With one speaker, recordings are held out instead.
    """
    if any(s.split == "validation" for s in sources):
        return sources
    for by_speaker in (True, False):
        groups = [(s.subject or s.path.parent.name) if by_speaker else s.path.name for s in sources]
        ranks = {group: int(digest(group), 16) for group, s in zip(groups, sources) if s.split == "train"}
        if len(ranks) > 1:
            first = min(ranks, key=lambda group: ranks[group])
            held_out = {group for group, rank in ranks.items() if rank % HELD_OUT == 0} or {first}
            return [
                replace(s, split="validation") if s.split == "train" and group in held_out else s
                for group, s in zip(groups, sources)
            ]
    return sources


def check_transcript(source: Source, tokenizers: Sequence[Tokenizer]) -> Source:
    """The source with a fault if it has no transcript, or one that some tokenizer cannot encode."""
    unknown = sorted({unit for tokenizer in tokenizers for unit in tokenizer.unknown(source.text)})
    fault = "" if source.text else "no transcript"
    if unknown:
        fault = f"no token for {', '.join(map(repr, unknown))} in its transcript"
    return replace(source, fault=source.fault or fault)
