"""Corpora of people who talk, as their owners lay them out, to the shards of mouth crops that readers learn from.

    python -m avlib.talking DATA OUT --landmarks face_landmarker.task [--train-units 1000] [--scheduler tcp://host:8786]

Known layouts: LRS2, LRS3, any folder with a table of files and transcripts (VoxCeleb2, AVSpeech), and folders that Auto-AVSR has
prepared, whose crops are taken as they are.
"""
import argparse
import csv
import json
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from .config import digest
from .corpus import VIDEO_FPS, Clips, Corpus, Utterance
from .espeak import Segment
from .mouths import SIDE, Detector, MediaPipe, SetAside, cropped_clip, mouth_clip
from .run import DATA, Run, read_json, side_by_side, write_atomic, write_json
from .text import SentencePieceTokenizer, Tokenizer, normalise_text, train_units
from .train import bar, say

SEGMENT_S = 16.0        # longer recordings with word times are cut between words, as Auto-AVSR does
CLIPS_A_SHARD = 64
TAGS = re.compile(r"\{[^}]*\}")     # of noises, in transcripts
HELD_OUT = 100          # one speaker in so many is for validation, where a corpus names nobody
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
    cropped: bool = False           # the video is a mouth crop already
    fault: str = ""                 # why it cannot be used, where its transcript tells


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
    except ValueError as error:         # no text, no numbers
        yield Source(name, split, path, "", fault=f"transcript: {error}")
        return
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
            split = row.get("split") or "train"
            if split not in SPLITS or not row["path"]:
                raise ValueError(f"{table}, line {rows.line_num}: path {row['path']!r} and split {split!r}, expected a file and one of "
                                 f"{', '.join(SPLITS)}")
            name, text = str(Path(row["path"]).with_suffix("")), normalise_text(row["text"] or "")
            yield Source(name, split, table.parent / row["path"], text)


def labelled(folder: Path, units: Tokenizer | None) -> Iterator[Source]:
    """Auto-AVSR's lists labels/*.csv, lines "dataset,path,frames,token ids", of crops in <dataset>/<path>; the speech may be beside
    them, <path>.wav."""
    if units is None:
        raise ValueError(f"{folder / 'labels'}: holds token ids alone: give the folder of unigram5000.model as units")
    for table in sorted((folder / "labels").glob("*.csv")):
        split = next((split for mark, split in (("test", "test"), ("val", "validation")) if mark in table.stem.split("_")), "train")
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
            yield Source(f"{dataset}/{Path(path).with_suffix('')}", split, folder / dataset / path, text, end_s=end_s, cropped=True,
                         fault=fault)


def checked(source: Source, tokenizers: Sequence[Tokenizer]) -> Source:
    """With its fault, where there is no text or one that not all tokenizers can write."""
    unknown = sorted({unit for tokenizer in tokenizers for unit in tokenizer.unknown(source.text)})
    told = f"no token for {', '.join(map(repr, unknown))} in its transcript" if unknown else "" if source.text else "no transcript"
    return replace(source, fault=source.fault or told)


def clip(source: Source, detector: Callable[[], Detector]) -> tuple[Utterance, torch.Tensor, torch.Tensor]:
    """A source's utterance, crops (T, 96, 96) uint8 and speech (T * 640,) int16. SetAside says what is wrong with it."""
    if source.fault:
        raise SetAside(source.fault)
    if source.cropped:
        beside = source.path.with_suffix(".wav")
        video, speech = cropped_clip(source.path, beside if beside.is_file() else source.path, round(source.end_s * VIDEO_FPS))
    else:
        video, speech = mouth_clip(source.path, detector(), source.begin_s, source.end_s)
    return Utterance(source.name, source.split, "", source.text, len(video), source.words), video, speech


def shard(path: Path, key: str, sources: list[Source], detector: Callable[[], Detector]) -> None:
    """Writes one shard, and beside it what it was made from, what it holds, and which of its sources are set aside, and why."""
    made, aside = [], []
    for source in sources:
        try:
            made.append(clip(source, detector))
        except SetAside as error:
            aside.append((source.name, str(error)))
    nothing = (), (torch.zeros(0, SIDE, SIDE).byte(),), (torch.zeros(0).short(),)
    utterances, videos, speeches = zip(*made) if made else nothing
    about = {"utterances": json.dumps([u.as_dict() for u in utterances])}
    path.with_suffix(".json").unlink(missing_ok=True)       # the old one: a shard counts when it has both
    write_atomic(path, lambda p: save_file({"video": torch.cat(videos), "speech": torch.cat(speeches)}, p, metadata=about))
    write_json(path.with_suffix(".json"), {
        "key": key, "holds": digest(path), "clips": len(utterances), "frames": sum(u.frames for u in utterances),
        "aside": aside})


def prepare(data: str | Path, out: str | Path, detector: Callable[[], Detector] = MediaPipe,
            tokenizers: Sequence[Tokenizer] = (Tokenizer(),), scheduler: str | None = None, workers: int | None = None) -> dict:
    """Writes <out>/2d/<split>-<NNN>.safetensors and <out>/talking.json, and returns what the latter says: how many clips and
    frames of which split, what was set aside, and why. Shards that are there already, of recordings that did
    not change since, are not made again.

    detector: makes the `Detector` of one clip. tokenizers: who have to be able to write the transcripts. workers: processes, as
    many as there are cores unless given. scheduler: address of a Dask scheduler, whose workers do it in their place, on as many
    hosts as there are; both folders are where all of them see them.
    """
    data, out = Path(data).resolve(), Path(out).resolve()
    kind, sources = find(data, next((t for t in tokenizers if isinstance(t, SentencePieceTokenizer)), None))
    sources = [checked(source, tokenizers) for source in sources]
    jobs = []
    for split in SPLITS:
        own = [s for s in sources if s.split == split]
        for first in range(0, len(own), CLIPS_A_SHARD):
            path, part = out / "2d" / f"{split}-{first // CLIPS_A_SHARD:05d}.safetensors", own[first:first + CLIPS_A_SHARD]
            jobs.append((shard, path, digest([state(source, data) for source in part]), part, detector))
    missing = [job for job in jobs if not done(*job[1:3])]
    say(f"{data}: {kind}, {len(sources)} recordings in {len(jobs)} shards, {len(jobs) - len(missing)} of them done before")
    if any(not (source.cropped or source.fault) for job in missing for source in job[3]):
        detector()          # says at once what is missing
    began = time.monotonic()
    for _ in bar(run_jobs(missing, scheduler, workers), "shards", len(missing)):
        pass
    seconds = time.monotonic() - began
    for old in {*(out / "2d").glob("*-*.safetensors")} - {job[1] for job in jobs}:        # of a corpus that was larger
        old.unlink()
        old.with_suffix(".json").unlink(missing_ok=True)
    if missing:
        frames = sum(read_json(job[1].with_suffix(".json"))["frames"] for job in missing)
        say(f"{frames} frames in {seconds:.1f} s: {frames / seconds:.0f} frames a second")
    summary = summarise(kind, [job[1].with_suffix(".json") for job in jobs])
    write_json(out / "talking.json", summary)
    return summary


def summarise(kind: str, shards: list[Path]) -> dict:
    """What the files beside the shards say, in one."""
    counts, aside, holds = {}, [], []
    for path in shards:
        about = read_json(path)
        split = counts.setdefault(path.stem.split("-")[0], {"clips": 0, "frames": 0, "aside": 0})
        for name, more in (("clips", about["clips"]), ("frames", about["frames"]), ("aside", len(about["aside"]))):
            split[name] += more
        aside += [{"name": name, "reason": reason} for name, reason in about["aside"]]
        holds.append(about["holds"])
    return {"layout": kind, "splits": counts, "aside": aside, "holds": digest(holds)}


def state(source: Source, data: Path) -> str:
    """Stands for a source in a shard's key: where it lies in the corpus, its transcript, its video's size and time of change."""
    there = source.path.stat() if source.path.is_file() else None
    return str((replace(source, path=os.path.relpath(source.path, data)), there and (there.st_size, there.st_mtime_ns)))


def done(path: Path, key: str) -> bool:
    about = path.with_suffix(".json")
    return path.exists() and about.exists() and read_json(about)["key"] == key


def run_jobs(jobs: list[tuple], scheduler: str | None, workers: int | None) -> Iterator:
    """Here in processes, or on a Dask cluster: it is pure Python, and its futures are those of the standard library."""
    if scheduler is None:
        yield from side_by_side(jobs, workers=workers)
        return
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise ValueError(f"--scheduler: Dask does not load ({error}): pip install distributed") from None
    try:
        client = Client(scheduler)
    except (OSError, ValueError) as error:
        raise ValueError(f"--scheduler: no Dask scheduler at {scheduler} ({error})") from None
    with client:
        for future in as_completed([client.submit(*job, pure=False) for job in jobs]):
            yield future.result()


def attach(run: Run, corpus: Corpus) -> None:
    """Lets a run's readers learn from the 2D corpus that its setting corpus.talking names, if any: one that was prepared, or one
    of a known layout, which is prepared here."""
    config = run.config.corpus
    if not config.talking:
        return
    folder = Path(config.talking)
    if not (folder / "talking.json").is_file():
        units = {run.config.expert.units, run.config.reader.units} | ({""} if not run.config.speech.pretrained else set())
        tokenizers = [SentencePieceTokenizer.of_folder(u) if u else Tokenizer() for u in sorted(units)]
        raw, folder = folder, DATA / f"talking-{digest(str(folder.resolve()), config.landmarks, [t.units for t in tokenizers])}"
        prepare(raw, folder, partial(MediaPipe, config.landmarks), tokenizers)
    corpus.learn_from(folder)
    if config.crop != SIDE:
        say(f"corpus: crops of {SIDE} pixels, rendered lips of {config.crop}, and readers see both; corpus.crop={SIDE} makes them alike")


def describe(corpus: Corpus) -> str:
    """The 2D part's splits, what was set aside, and why, as Markdown."""
    path = corpus.clips_folder.parent / "talking.json"
    if path.is_file():
        summary = read_json(path)
    else:
        parts = {split: corpus.clips(split).frames for split in ("train", "validation")}
        summary = {"layout": corpus.name, "aside": [],
                   "splits": {split: {"clips": len(f), "frames": int(f.sum()), "aside": 0} for split, f in parts.items()}}
    lines = [f"2D part: {summary['layout']}", "", "| split | clips | hours | set aside |", "|---" * 4 + "|"]
    lines += [f"| {split} | {n['clips']} | {n['frames'] / VIDEO_FPS / 3600:.2f} | {n['aside']} |"
              for split, n in summary["splits"].items()]
    if summary["aside"]:
        lines += ["", "| set aside, because | clips | the first |", "|---|---|---|"]
        lines += [f"| {reason} | {len(names)} | {names[0]} |" for reason, names in kinds(summary["aside"]).items()]
    return "\n".join(lines)


def kinds(told: list[dict]) -> dict[str, list[str]]:
    """Names by reason, the most frequent first; reasons that differ in numbers and quotations are one."""
    found: dict[str, list[str]] = {}
    for one in told:
        found.setdefault(re.sub(r"'[^']*'|\d[\d.]*", "…", one["reason"]).replace("|", "/"), []).append(one["name"])
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def learn_units(out: Path, count: int) -> Path:
    """Trains so many SentencePiece units on the training transcripts of a prepared corpus; the folder that tokenizers take."""
    try:
        model, listed = train_units([u.text for u in Clips(out / "2d", "train").utterances], count)
    except ValueError as error:
        raise ValueError(f"--train-units: {error}") from None
    folder = out / "units"
    write_atomic(folder / f"unigram{count}.model", lambda p: p.write_bytes(model))
    write_atomic(folder / f"unigram{count}_units.txt", lambda p: p.write_text(listed, encoding="utf-8"))
    return folder


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m avlib.talking", description=__doc__.split("\n\n")[0])
    parser.add_argument("data", help="folder of the corpus")
    parser.add_argument("out", help="folder that the shards go to")
    parser.add_argument("--landmarks", default="", help="MediaPipe's face_landmarker.task; not needed with its version 0.10.21")
    parser.add_argument("--units", help="folder of a SentencePiece model, as unigram5000.model, and its list unigram5000_units.txt")
    parser.add_argument("--train-units", metavar="N", type=int, help="train N units on the training transcripts, in OUT/units")
    parser.add_argument("--processes", metavar="N", type=int, help="how many (default: as many as there are cores)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler")
    given = parser.parse_args(arguments)
    if given.units and given.train_units is not None:
        raise ValueError("--units and --train-units: expected one of them")
    tokenizer = SentencePieceTokenizer.of_folder(given.units) if given.units else Tokenizer()
    summary = prepare(given.data, given.out, partial(MediaPipe, given.landmarks), [tokenizer], given.scheduler, given.processes)
    for split, count in summary["splits"].items():
        say(f"{split}: {count['clips']} clips, {count['frames'] / VIDEO_FPS / 3600:.2f} h, {count['aside']} set aside")
    for reason, names in kinds(summary["aside"]).items():
        say(f"  {len(names)} x {reason}")
    if given.train_units is not None:
        say(f"units: {learn_units(Path(given.out), given.train_units)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"avlib: {error}")
