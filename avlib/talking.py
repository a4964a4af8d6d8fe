"""Corpora of people who talk, as their owners lay them out, to the shards of mouth crops that readers learn from.

    python -m avlib.talking DATA OUT --landmarks face_landmarker.task [--scheduler tcp://host:8786]

Known layouts: LRS2, LRS3, any folder with a table of files and transcripts (VoxCeleb2, AVSpeech), and folders that Auto-AVSR has
prepared, whose crops are taken as they are.
"""
import argparse
import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from .config import digest
from .corpus import VIDEO_FPS, Utterance
from .espeak import Segment
from .mouths import LONGEST_S, Detector, MediaPipe, SetAside, frames_at, mouth_clip, speech_at
from .run import read_json, side_by_side, write_atomic, write_json
from .text import SentencePieceTokenizer, Tokenizer, normalise_text
from .train import bar, say

SEGMENT_S = 16.0        # longer recordings with word times are cut between words, as Auto-AVSR does
CLIPS_A_SHARD = 64
TAGS = re.compile(r"\{[^}]*\}")     # of noises, in transcripts
HELD_OUT = 100          # where a corpus names no validation part, one speaker in so many is one


@dataclass(frozen=True)
class Source:
    """A recording, or a part of one, that a corpus holds; words with their times from the part's beginning on."""
    name: str
    split: str
    path: Path
    text: str
    words: tuple[Segment, ...] = ()
    begin_s: float = 0.0
    end_s: float = LONGEST_S
    cropped: bool = False           # the video is a mouth crop already


def find(folder: str | Path, units: Tokenizer | None = None) -> tuple[str, list[Source]]:
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
        raise ValueError(f"{folder}: expected a folder of LRS2 (main/), LRS3 (trainval/, pretrain/, test/), Auto-AVSR "
                         "(labels/*.csv) or with a table *.csv of columns path and text (and split)")
    found = sorted(sources, key=lambda s: (s.split, s.name))
    if twice := [name for name, count in Counter(s.name for s in found).items() if count > 1]:
        raise ValueError(f"{folder}: {twice[0]} is there twice")
    if not found:
        raise ValueError(f"{folder}: no recordings in it")
    return kind, found


def lrs2(folder: Path) -> Iterator[Source]:
    """main/ and pretrain/, with lists train.txt, val.txt, test.txt and pretrain.txt in the folder or above it."""
    for listed, split, part in (("train", "train", "main"), ("pretrain", "train", "pretrain"), ("val", "validation", "main"),
                                ("test", "test", "main")):
        path = next((p for p in (folder / f"{listed}.txt", folder.parent / f"{listed}.txt") if p.is_file()), None)
        if path is None:
            if listed == "pretrain":
                continue
            raise ValueError(f"{folder / listed}.txt: no such file, nor above it; it comes with LRS2 and lists a part of it")
        for line in path.read_text().split("\n"):
            if line.strip():
                yield from spoken(folder / part / f"{line.split()[0]}.mp4", f"{part}/{line.split()[0]}", split)


def lrs3(folder: Path) -> Iterator[Source]:
    """pretrain/, trainval/ and test/ with a folder a speaker; one speaker in HELD_OUT is for validation."""
    for part, split in (("pretrain", "train"), ("trainval", "train"), ("test", "test")):
        for path in sorted((folder / part).glob("*/*.mp4")):
            held_out = split == "train" and int(digest(path.parent.name), 16) % HELD_OUT == 0
            yield from spoken(path, f"{part}/{path.parent.name}/{path.stem}", "validation" if held_out else split)


def spoken(path: Path, name: str, split: str) -> Iterator[Source]:
    """A recording with its transcript beside it, .txt with a line "Text: ..." and word times below; cut to SEGMENT_S where those
    reach further."""
    words, text, timed = [], "", False
    transcript = path.with_suffix(".txt")
    for line in transcript.read_text().splitlines() if transcript.is_file() else ():
        if line.startswith("Text:"):
            text = normalise_text(TAGS.sub("", line.removeprefix("Text:")))
        elif line.startswith("WORD START END"):
            timed = True
        elif timed and len(fields := line.split()) >= 3:
            words.append(Segment(normalise_text(TAGS.sub("", fields[0])), float(fields[1]), float(fields[2])))
    if not words or words[-1].end_s <= SEGMENT_S:
        yield Source(name, split, path, text, tuple(words))
        return
    part = []
    for word in [*words, None]:
        if part and (word is None or word.end_s - part[0].start_s > SEGMENT_S):
            begin, end = part[0].start_s, part[-1].end_s
            yield Source(f"{name}/{round(1000 * begin):07d}", split, path, " ".join(w.label for w in part),
                         tuple(Segment(w.label, w.start_s - begin, w.end_s - begin) for w in part), begin, end)
            part = []
        part.append(word)


def tabled(table: Path) -> Iterator[Source]:
    """A table with columns path (from the table's folder on), text, and if it likes split (train, validation, test)."""
    with table.open(newline="", encoding="utf-8-sig") as f:
        rows = csv.DictReader(f)
        if not {"path", "text"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{table}: columns {', '.join(rows.fieldnames or ())}, expected path and text")
        for row in rows:
            split = row.get("split") or ("validation" if int(digest(row["path"]), 16) % HELD_OUT == 0 else "train")
            if split not in ("train", "validation", "test"):
                raise ValueError(f"{table}, line {rows.line_num}: split {split!r}, expected train, validation or test")
            yield Source(str(Path(row["path"]).with_suffix("")), split, table.parent / row["path"], normalise_text(row["text"] or ""))


def labelled(folder: Path, units: Tokenizer | None) -> Iterator[Source]:
    """Auto-AVSR's lists labels/*.csv, lines "dataset,path,frames,token ids", of crops in <dataset>/<path>."""
    if units is None:
        raise ValueError(f"{folder / 'labels'}: holds token ids alone: give the folder of unigram5000.model as units")
    for table in sorted((folder / "labels").glob("*.csv")):
        split = next((split for mark, split in (("test", "test"), ("val", "validation")) if mark in table.stem), "train")
        for number, line in enumerate(table.read_text().splitlines(), 1):
            try:
                dataset, path, frames, ids = line.split(",")
                text, end_s = units.decode(map(int, ids.split())), int(frames) / VIDEO_FPS
            except ValueError as error:
                raise ValueError(f"{table}, line {number}: expected dataset,path,frames,token ids ({error})") from None
            yield Source(f"{dataset}/{Path(path).with_suffix('')}", split, folder / dataset / path, text, end_s=end_s, cropped=True)


def clip(source: Source, detector: Callable[[], Detector] | None, tokenizer: Tokenizer
         ) -> tuple[Utterance, torch.Tensor, torch.Tensor]:
    """A source's utterance, crops (T, 96, 96) uint8 and speech (T * 640,) int16. SetAside says what is wrong with it."""
    if not source.text:
        raise SetAside("no transcript")
    try:
        tokenizer.encode(source.text)
    except ValueError as error:
        raise SetAside(str(error)) from None
    if source.cropped:
        crops = [torch.from_numpy(f.to_ndarray(format="gray")) for f in frames_at(source.path, VIDEO_FPS, 0.0, source.end_s + 1)]
        if abs(len(crops) - source.end_s * VIDEO_FPS) > 1.5:
            raise SetAside(f"{len(crops)} frames, its label says {round(source.end_s * VIDEO_FPS)}")
        beside = source.path.with_suffix(".wav")
        video, speech = torch.stack(crops), speech_at(beside if beside.is_file() else source.path, 0.0, len(crops))
    elif detector is None:
        raise ValueError("--landmarks: needed where the mouth is not cropped yet; " + MediaPipe.SOURCE)
    else:
        video, speech = mouth_clip(source.path, detector(), source.begin_s, source.end_s)
    return Utterance(source.name, source.split, "", source.text, len(video), source.words), video, speech


def shard(path: Path, key: str, sources: list[Source], detector: Callable[[], Detector] | None, tokenizer: Tokenizer) -> None:
    """Writes one shard, and beside it the key and which of its sources are set aside, and why."""
    made, aside = [], []
    for source in sources:
        try:
            made.append(clip(source, detector, tokenizer))
        except SetAside as error:
            aside.append((source.name, str(error)))
    utterances, videos, speeches = zip(*made) if made else ((), (torch.zeros(0, 1, 1).byte(),), (torch.zeros(0).short(),))
    about = {"utterances": json.dumps([u.as_dict() for u in utterances])}
    path.with_suffix(".json").unlink(missing_ok=True)       # the old one: a shard counts when it has both
    write_atomic(path, lambda p: save_file({"video": torch.cat(videos), "speech": torch.cat(speeches)}, p, metadata=about))
    write_json(path.with_suffix(".json"), {"key": key, "clips": len(utterances), "frames": sum(u.frames for u in utterances),
                                           "aside": aside})


def prepare(data: str | Path, out: str | Path, detector: Callable[[], Detector] | None = None,
            tokenizer: Tokenizer | None = None, scheduler: str | None = None) -> dict:
    """Writes <out>/2d/<split>-<NNN>.safetensors and <out>/talking.json, and returns what the latter says: how many clips and
    frames of which split, and what was set aside. Shards that are there already, of the same recordings, are not made again.

    detector: makes the `Detector` of one clip. tokenizer: whose units a transcript has to be made of; characters unless given.
    scheduler: address of a Dask scheduler, whose workers then do it, on as many hosts as there are.
    """
    out, tokenizer = Path(out), tokenizer or Tokenizer()
    pieces = isinstance(tokenizer, SentencePieceTokenizer)
    kind, sources = find(data, tokenizer if pieces else None)
    say(f"{data}: {kind}, {len(sources)} recordings")
    jobs = []
    for split in ("train", "validation", "test"):
        own = [s for s in sources if s.split == split]
        for first in range(0, len(own), CLIPS_A_SHARD):
            path, part = out / "2d" / f"{split}-{first // CLIPS_A_SHARD:05d}.safetensors", own[first:first + CLIPS_A_SHARD]
            key = digest([str(asdict(s)) for s in part], tokenizer.units)
            jobs.append((shard, path, key, part, detector, tokenizer))
    made = lambda path: path.exists() and path.with_suffix(".json").exists() and read_json(path.with_suffix(".json"))["key"]
    missing = [job for job in jobs if made(job[1]) != job[2]]
    for _ in bar(run_jobs(missing, scheduler), "shards", len(missing)):
        pass
    counts, aside = {}, []
    for _, path, *_ in jobs:
        about = read_json(path.with_suffix(".json"))
        split = counts.setdefault(path.stem.split("-")[0], {"clips": 0, "frames": 0, "aside": 0})
        split["clips"] += about["clips"]
        split["frames"] += about["frames"]
        split["aside"] += len(about["aside"])
        aside += [{"name": name, "reason": reason} for name, reason in about["aside"]]
    summary = {"layout": kind, "splits": counts, "aside": aside, "key": digest([job[2] for job in jobs])}
    write_json(out / "talking.json", summary)
    return summary


def run_jobs(jobs: list[tuple], scheduler: str | None) -> Iterator:
    """Here in processes, or on a Dask cluster: it is pure Python, and its futures are those of the standard library."""
    if scheduler is None:
        yield from side_by_side(jobs)
        return
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise ValueError("--scheduler: Dask is not installed: pip install distributed") from None
    with Client(scheduler) as client:
        for done in as_completed([client.submit(*job, pure=False) for job in jobs]):
            yield done.result()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m avlib.talking", description=__doc__.split("\n\n")[0])
    parser.add_argument("data", help="folder of the corpus")
    parser.add_argument("out", help="folder that the shards go to")
    parser.add_argument("--landmarks", help="MediaPipe's face_landmarker.task")
    parser.add_argument("--units", help="folder of unigram5000.model and unigram5000_units.txt")
    parser.add_argument("--scheduler", help="address of a Dask scheduler")
    given = parser.parse_args(arguments)
    detector = partial(MediaPipe, given.landmarks) if given.landmarks else None
    if detector:
        detector()          # says at once what is missing
    units = SentencePieceTokenizer(Path(given.units) / "unigram5000.model",
                                   Path(given.units) / "unigram5000_units.txt") if given.units else None
    summary = prepare(given.data, given.out, detector, units, given.scheduler)
    for split, count in summary["splits"].items():
        say(f"{split}: {count['clips']} clips, {count['frames'] / VIDEO_FPS / 3600:.2f} h, {count['aside']} set aside")
    for reason, count in Counter(re.sub(r"[\d.]+", "N", a["reason"]) for a in summary["aside"]).most_common():
        say(f"  {count} x {reason}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"avlib: {error}")
