"""The layouts of LRS2, LRS3 and Auto-AVSR."""

from collections.abc import Iterator
from pathlib import Path

from ...core.files import find_visible
from ...core.rates import VIDEO_FPS
from ...speech.languages import ENGLISH
from ...speech.text import Tokenizer, read_text
from .source import Source, split_long
from .transcripts import read_transcript


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
        for line in read_text(path).split("\n"):
            if line.strip():
                yield from transcribed(folder / part / f"{line.split()[0]}.mp4", f"{part}/{line.split()[0]}", split)


def read_lrs3(folder: Path) -> Iterator[Source]:
    """LRS3: pretrain/, trainval/ and test/ with one folder per speaker."""
    for part, split in (("pretrain", "train"), ("trainval", "train"), ("test", "test")):
        for path in find_visible(folder / part, "*/*.mp4"):
            speaker = path.parent.name
            yield from transcribed(path, f"{part}/{speaker}/{path.stem}", split, speaker)


def transcribed(
    path: Path, name: str, split: str, subject: str = "", plain: bool = False, language: str = ENGLISH
) -> Iterator[Source]:
    """A recording with its transcript x.txt, or its parts if it is long; plain, language: see `read_transcript`."""
    try:
        text, words = read_transcript(path.with_suffix(".txt"), plain, language)
    except ValueError as error:
        yield Source(name, split, path, "", fault=str(error), subject=subject)
    else:
        yield from split_long(Source(name, split, path, text, words, subject=subject))


def read_auto_avsr(folder: Path, units: Tokenizer | None) -> Iterator[Source]:
    """Auto-AVSR's lists labels/*.csv, with lines "dataset,path,frames,token ids", of crops in <dataset>/<path>."""
    if units is None:
        raise ValueError(
            f"{folder / 'labels'}: contains only token ids; name the folder of unigram5000.model with --units or "
            "expert.tokenizer"
        )
    for table in find_visible(folder / "labels", "*.csv"):
        split = next(
            (split for mark, split in (("test", "test"), ("val", "validation")) if mark in table.stem.split("_")),
            "train",
        )
        for number, line in enumerate(read_text(table).splitlines(), 1):
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
