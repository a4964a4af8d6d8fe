"""Recordings of talking video in the layouts of LRS2, LRS3, tables and Auto-AVSR."""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.config import digest
from ...core.rates import VIDEO_FPS
from ...speech.segment import Segment
from ...speech.text import Tokenizer, normalise_text

SEGMENT_S = 16.0  # longer recordings with word times are cut between words, as Auto-AVSR does
TAGS = re.compile(r"\{[^}]*\}")  # of noises, in transcripts
HELD_OUT = 100  # one speaker in so many is for validation, where a corpus names nobody
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Source:
    """A recording, or a part of one, that a corpus holds; words with their times from the part's beginning on."""

    name: str
    split: str
    path: Path
    text: str
    words: tuple[Segment, ...] = ()
    begin_s: float = 0.0
    end_s: float = math.inf
    cropped: bool = False  # the video is a mouth crop already
    fault: str = ""  # why it cannot be used, where its transcript tells


def find_sources(folder: str | Path, units: Tokenizer | None = None) -> tuple[str, list[Source]]:
    """What layout a folder has, and its recordings by name. units: for label lists, which hold token ids alone.
    ValueError where it is none of those known."""
    folder = Path(folder)
    if (folder / "labels").is_dir():
        kind, sources = "Auto-AVSR", labelled(folder, units)
    elif (folder / "main").is_dir():
        kind, sources = "LRS2", lrs2(folder)
    elif (folder / "trainval").is_dir() or (folder / "pretrain").is_dir():
        kind, sources = "LRS3", lrs3(folder)
    elif tables := sorted(folder.glob("*.csv")):
        kind, sources = "table", (source for table in tables for source in tabled(table))
    else:
        raise ValueError(
            f"{folder}: expected a folder of LRS2 (main/), LRS3 (trainval/, pretrain/, test/), Auto-AVSR "
            "(labels/*.csv) or with a table *.csv of columns path and text (and split)"
        )
    found = sorted(hold_out(list(sources)), key=lambda s: (s.split, s.name))
    if twice := [name for name, count in Counter(s.name for s in found).items() if count > 1]:
        raise ValueError(f"{folder}: {twice[0]} is there twice")
    if not found:
        raise ValueError(f"{folder}: no recordings in it")
    return kind, found


def hold_out(sources: list[Source]) -> list[Source]:
    """Where a corpus names no validation part, one speaker in HELD_OUT of its training part is for it, and one at least: a
    speaker has a folder of his own; where all lie in one, recordings are held out."""
    training = [] if any(s.split == "validation" for s in sources) else [s for s in sources if s.split == "train"]
    for group in (lambda s: s.path.parent.name, lambda s: s.path.name):
        ranks = {group(s): int(digest(group(s)), 16) for s in training}
        if len(ranks) > 1:
            held = {name for name, rank in ranks.items() if rank % HELD_OUT == 0} or {min(ranks, key=ranks.get)}
            return [replace(s, split="validation") if s.split == "train" and group(s) in held else s for s in sources]
    return sources


def lrs2(folder: Path) -> Iterator[Source]:
    """main/ and pretrain/, with lists train.txt, val.txt, test.txt and pretrain.txt in the folder or above it."""
    for listed, split, part in (
        ("train", "train", "main"),
        ("pretrain", "train", "pretrain"),
        ("val", "validation", "main"),
        ("test", "test", "main"),
    ):
        path = next((p for p in (folder / f"{listed}.txt", folder.parent / f"{listed}.txt") if p.is_file()), None)
        if path is None:
            if listed == "pretrain":
                continue
            raise ValueError(
                f"{folder / listed}.txt: no such file, nor above it; it comes with LRS2 and lists a part of it"
            )
        for line in path.read_text().split("\n"):
            if line.strip():
                yield from spoken(folder / part / f"{line.split()[0]}.mp4", f"{part}/{line.split()[0]}", split)


def lrs3(folder: Path) -> Iterator[Source]:
    """pretrain/, trainval/ and test/ with a folder a speaker."""
    for part, split in (("pretrain", "train"), ("trainval", "train"), ("test", "test")):
        for path in sorted((folder / part).glob("*/*.mp4")):
            yield from spoken(path, f"{part}/{path.parent.name}/{path.stem}", split)


def spoken(path: Path, name: str, split: str) -> Iterator[Source]:
    """A recording with its transcript beside it, .txt with a line "Text: ..." and word times below; cut to SEGMENT_S where those
    reach further."""
    words, text, timed = [], "", False
    transcript = path.with_suffix(".txt")
    try:
        for line in transcript.read_text("utf-8").splitlines() if transcript.is_file() else ():
            if line.startswith("Text:"):
                text = normalise_text(TAGS.sub("", line.removeprefix("Text:")))
            elif line.startswith("WORD START END"):
                timed = True
            elif timed and len(fields := line.split()) >= 3 and (word := normalise_text(TAGS.sub("", fields[0]))):
                words.append(Segment(word, float(fields[1]), float(fields[2])))
    except ValueError as error:  # no text, no numbers
        yield Source(name, split, path, "", fault=f"transcript: {error}")
        return
    if not words or words[-1].end_s <= SEGMENT_S:
        yield Source(name, split, path, text, tuple(words))
        return
    part = []
    for word in [*words, None]:
        if part and (word is None or word.end_s - part[0].start_s > SEGMENT_S):
            begin, end = part[0].start_s, part[-1].end_s
            yield Source(
                f"{name}/{round(1000 * begin):07d}",
                split,
                path,
                " ".join(w.label for w in part),
                tuple(Segment(w.label, w.start_s - begin, w.end_s - begin) for w in part),
                begin,
                end,
            )
            part = []
        part.append(word)


def tabled(table: Path) -> Iterator[Source]:
    """A table with columns path (from the table's folder on), text, and if it likes split (train, validation, test)."""
    with table.open(newline="", encoding="utf-8-sig") as f:
        rows = csv.DictReader(f)
        if not {"path", "text"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{table}: columns {', '.join(rows.fieldnames or ())}, expected path and text")
        for row in rows:
            split = row.get("split") or "train"
            if split not in SPLITS or not row["path"]:
                raise ValueError(
                    f"{table}, line {rows.line_num}: path {row['path']!r} and split {split!r}, expected a file and one of "
                    f"{', '.join(SPLITS)}"
                )
            name, text = str(Path(row["path"]).with_suffix("")), normalise_text(row["text"] or "")
            yield Source(name, split, table.parent / row["path"], text)


def labelled(folder: Path, units: Tokenizer | None) -> Iterator[Source]:
    """Auto-AVSR's lists labels/*.csv, lines "dataset,path,frames,token ids", of crops in <dataset>/<path>; the speech may be beside
    them, <path>.wav."""
    if units is None:
        raise ValueError(f"{folder / 'labels'}: holds token ids alone: give the folder of unigram5000.model as units")
    for table in sorted((folder / "labels").glob("*.csv")):
        split = next(
            (split for mark, split in (("test", "test"), ("val", "validation")) if mark in table.stem.split("_")),
            "train",
        )
        for number, line in enumerate(table.read_text().splitlines(), 1):
            try:
                dataset, path, frames, ids = line.split(",")
                ids, end_s = list(map(int, ids.split())), int(frames) / VIDEO_FPS
            except ValueError as error:
                raise ValueError(f"{table}, line {number}: expected dataset,path,frames,token ids ({error})") from None
            try:
                text, fault = units.decode(ids), ""
            except ValueError as error:
                text, fault = "", str(error)
            yield Source(
                f"{dataset}/{Path(path).with_suffix('')}",
                split,
                folder / dataset / path,
                text,
                end_s=end_s,
                cropped=True,
                fault=fault,
            )


def checked(source: Source, tokenizers: Sequence[Tokenizer]) -> Source:
    """With its fault, where there is no text or one that not all tokenizers can write."""
    unknown = sorted({unit for tokenizer in tokenizers for unit in tokenizer.unknown(source.text)})
    told = (
        f"no token for {', '.join(map(repr, unknown))} in its transcript"
        if unknown
        else ""
        if source.text
        else "no transcript"
    )
    return replace(source, fault=source.fault or told)
