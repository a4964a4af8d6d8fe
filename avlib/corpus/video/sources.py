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

SEGMENT_S = 16.0  # longer recordings with word times are split between words, as in Auto-AVSR
TAGS = re.compile(r"\{[^}]*\}")  # of noises, in transcripts
HELD_OUT = 100  # 1 in HELD_OUT speakers is used for validation if a corpus has no validation split
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Source:
    """A recording of a corpus, or a part of one.

    words: with times from the beginning of the part, in seconds. cropped: the video is a mouth crop already. fault: the
    reason why it cannot be used, if its transcript gives one, else "".
    """

    name: str
    split: str
    path: Path
    text: str
    words: tuple[Segment, ...] = ()
    begin_s: float = 0.0
    end_s: float = math.inf
    cropped: bool = False
    fault: str = ""


def find_sources(folder: str | Path, units: Tokenizer | None = None) -> tuple[str, list[Source]]:
    """The layout of a folder, and its recordings sorted by split and name. ValueError for an unknown layout.

    units: the tokenizer of label lists, which contain only token ids.
    """
    folder = Path(folder)
    if (folder / "labels").is_dir():
        layout, sources = "Auto-AVSR", read_auto_avsr(folder, units)
    elif (folder / "main").is_dir():
        layout, sources = "LRS2", read_lrs2(folder)
    elif (folder / "trainval").is_dir() or (folder / "pretrain").is_dir():
        layout, sources = "LRS3", read_lrs3(folder)
    elif tables := sorted(folder.glob("*.csv")):
        layout, sources = "table", (source for table in tables for source in read_table(table))
    else:
        raise ValueError(
            f"{folder}: expected a folder of LRS2 (main/), LRS3 (trainval/, pretrain/, test/), Auto-AVSR "
            "(labels/*.csv) or with a table *.csv of columns path and text (and split)"
        )
    ordered = sorted(hold_out(list(sources)), key=lambda s: (s.split, s.name))
    if duplicates := [name for name, count in Counter(s.name for s in ordered).items() if count > 1]:
        raise ValueError(f"{folder}: {duplicates[0]} occurs twice")
    if not ordered:
        raise ValueError(f"{folder}: no recordings")
    return layout, ordered


def hold_out(sources: list[Source]) -> list[Source]:
    """Moves 1 in HELD_OUT training speakers, and at least one, to the validation split if a corpus has none.

    Each speaker has a folder. If all recordings are in one folder, recordings are held out instead.
    """
    if any(s.split == "validation" for s in sources):
        return sources
    for by_speaker in (True, False):
        groups = [s.path.parent.name if by_speaker else s.path.name for s in sources]
        ranks = {group: int(digest(group), 16) for group, s in zip(groups, sources) if s.split == "train"}
        if len(ranks) > 1:
            first = min(ranks, key=lambda group: ranks[group])
            held_out = {group for group, rank in ranks.items() if rank % HELD_OUT == 0} or {first}
            return [
                replace(s, split="validation") if s.split == "train" and group in held_out else s
                for group, s in zip(groups, sources)
            ]
    return sources


def read_lrs2(folder: Path) -> Iterator[Source]:
    """LRS2: main/ and pretrain/, with lists train.txt, val.txt, test.txt and pretrain.txt in the folder or above it."""
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
                f"{folder / listed}.txt: no such file, nor above it; it is a part of LRS2 and lists one of its splits"
            )
        for line in path.read_text().split("\n"):
            if line.strip():
                yield from transcribed(folder / part / f"{line.split()[0]}.mp4", f"{part}/{line.split()[0]}", split)


def read_lrs3(folder: Path) -> Iterator[Source]:
    """LRS3: pretrain/, trainval/ and test/ with one folder per speaker."""
    for part, split in (("pretrain", "train"), ("trainval", "train"), ("test", "test")):
        for path in sorted((folder / part).glob("*/*.mp4")):
            yield from transcribed(path, f"{part}/{path.parent.name}/{path.stem}", split)


def transcribed(path: Path, name: str, split: str) -> Iterator[Source]:
    """A recording with its transcript x.txt, with a line "Text: ..." and word times below.

    It is split into parts of at most SEGMENT_S if its word times are longer.
    """
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
    except ValueError as error:  # not UTF-8, or times that are not numbers
        yield Source(name, split, path, "", fault=f"transcript: {error}")
        return
    if not words or words[-1].end_s <= SEGMENT_S:
        yield Source(name, split, path, text, tuple(words))
        return
    part: list[Segment] = []
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
        if word is not None:
            part.append(word)


def read_table(table: Path) -> Iterator[Source]:
    """A table with columns path (relative to its folder), text, and optionally split (train, validation, test)."""
    with table.open(newline="", encoding="utf-8-sig") as f:
        rows = csv.DictReader(f)
        if not {"path", "text"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{table}: columns {', '.join(rows.fieldnames or ())}, expected path and text")
        for row in rows:
            split = row.get("split") or "train"
            if split not in SPLITS or not row["path"]:
                raise ValueError(
                    f"{table}, line {rows.line_num}: path {row['path']!r} and split {split!r}, expected a file "
                    f"and one of {', '.join(SPLITS)}"
                )
            name, text = str(Path(row["path"]).with_suffix("")), normalise_text(row["text"] or "")
            yield Source(name, split, table.parent / row["path"], text)


def read_auto_avsr(folder: Path, units: Tokenizer | None) -> Iterator[Source]:
    """Auto-AVSR's lists labels/*.csv, with lines "dataset,path,frames,token ids", of crops in <dataset>/<path>."""
    if units is None:
        raise ValueError(
            f"{folder / 'labels'}: contains only token ids; name the folder of unigram5000.model with --units or "
            "expert.tokenizer"
        )
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


def check_transcript(source: Source, tokenizers: Sequence[Tokenizer]) -> Source:
    """The source with a fault if it has no transcript, or one that some tokenizer cannot encode."""
    unknown = sorted({unit for tokenizer in tokenizers for unit in tokenizer.unknown(source.text)})
    fault = "" if source.text else "no transcript"
    if unknown:
        fault = f"no token for {', '.join(map(repr, unknown))} in its transcript"
    return replace(source, fault=source.fault or fault)
