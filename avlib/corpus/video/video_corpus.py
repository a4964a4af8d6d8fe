"""Corpora of people who talk, as their owners lay them out, to the shards of mouth crops that readers learn from.

    python -m avlib.cli.prepare_video DATA OUT --landmarks face_landmarker.task [--train-units 1000] [--scheduler tcp://host:8786]

Known layouts: LRS2, LRS3, any folder with a table of files and transcripts (VoxCeleb2, AVSpeech), and folders that Auto-AVSR has
prepared, whose crops are taken as they are.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from ...core.config import digest
from ...core.files import read_json, write_atomic, write_json
from ...core.parallel import run_parallel
from ...core.progress import log, progress_bar
from ...core.rates import VIDEO_FPS
from ...core.run import DATA, Run
from ...speech.text import SentencePieceTokenizer, Tokenizer, train_units
from ..clips import Clips
from ..corpus import Corpus
from ..utterance import Excluded, Utterance
from .mouth_crops import SIDE, Detector, MediaPipe, cropped_clip, mouth_clip
from .sources import SPLITS, Source, checked, find_sources

CLIPS_A_SHARD = 64


def clip(source: Source, detector: Callable[[], Detector]) -> tuple[Utterance, torch.Tensor, torch.Tensor]:
    """A source's utterance, crops (T, 96, 96) uint8 and speech (T * 640,) int16. SetAside says what is wrong with it."""
    if source.fault:
        raise Excluded(source.fault)
    if source.cropped:
        beside = source.path.with_suffix(".wav")
        video, speech = cropped_clip(
            source.path, beside if beside.is_file() else source.path, round(source.end_s * VIDEO_FPS)
        )
    else:
        video, speech = mouth_clip(source.path, detector(), source.begin_s, source.end_s)
    return Utterance(source.name, source.split, "", source.text, len(video), source.words), video, speech


def shard(path: Path, key: str, sources: list[Source], detector: Callable[[], Detector]) -> None:
    """Writes one shard, and beside it what it was made from, what it holds, and which of its sources are set aside, and why."""
    made, aside = [], []
    for source in sources:
        try:
            made.append(clip(source, detector))
        except Excluded as error:
            aside.append((source.name, str(error)))
    nothing = (), (torch.zeros(0, SIDE, SIDE).byte(),), (torch.zeros(0).short(),)
    utterances, videos, speeches = zip(*made) if made else nothing
    about = {"utterances": json.dumps([u.as_dict() for u in utterances])}
    path.with_suffix(".json").unlink(missing_ok=True)  # the old one: a shard counts when it has both
    write_atomic(
        path, lambda p: save_file({"video": torch.cat(videos), "speech": torch.cat(speeches)}, p, metadata=about)
    )
    write_json(
        path.with_suffix(".json"),
        {
            "key": key,
            "holds": digest(path),
            "clips": len(utterances),
            "frames": sum(u.frames for u in utterances),
            "aside": aside,
        },
    )


def prepare_clips(
    data: str | Path,
    out: str | Path,
    detector: Callable[[], Detector] = MediaPipe,
    tokenizers: Sequence[Tokenizer] = (Tokenizer(),),
    scheduler: str | None = None,
    workers: int | None = None,
) -> dict:
    """Writes <out>/2d/<split>-<NNN>.safetensors and <out>/video_corpus.json, and returns what the latter says: how many clips and
    frames of which split, what was set aside, and why. Shards that are there already, of recordings that did
    not change since, are not made again.

    detector: makes the `Detector` of one clip. tokenizers: who have to be able to write the transcripts. workers: processes, as
    many as there are cores unless given. scheduler: address of a Dask scheduler, whose workers do it in their place, on as many
    hosts as there are; both folders are where all of them see them.
    """
    data, out = Path(data).resolve(), Path(out).resolve()
    kind, sources = find_sources(data, next((t for t in tokenizers if isinstance(t, SentencePieceTokenizer)), None))
    sources = [checked(source, tokenizers) for source in sources]
    jobs = []
    for split in SPLITS:
        own = [s for s in sources if s.split == split]
        for first in range(0, len(own), CLIPS_A_SHARD):
            path, part = (
                out / "2d" / f"{split}-{first // CLIPS_A_SHARD:05d}.safetensors",
                own[first : first + CLIPS_A_SHARD],
            )
            jobs.append((shard, path, digest([state(source, data) for source in part]), part, detector))
    missing = [job for job in jobs if not done(*job[1:3])]
    log(
        f"{data}: {kind}, {len(sources)} recordings in {len(jobs)} shards, {len(jobs) - len(missing)} of them done before"
    )
    if any(not (source.cropped or source.fault) for job in missing for source in job[3]):
        detector()  # says at once what is missing
    began = time.monotonic()
    for _ in progress_bar(run_jobs(missing, scheduler, workers), "shards", len(missing)):
        pass
    seconds = time.monotonic() - began
    for old in {*(out / "2d").glob("*-*.safetensors")} - {job[1] for job in jobs}:  # of a corpus that was larger
        old.unlink()
        old.with_suffix(".json").unlink(missing_ok=True)
    if missing:
        frames = sum(read_json(job[1].with_suffix(".json"))["frames"] for job in missing)
        log(f"{frames} frames in {seconds:.1f} s: {frames / seconds:.0f} frames a second")
    summary = summarise(kind, [job[1].with_suffix(".json") for job in jobs])
    write_json(out / "video_corpus.json", summary)
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
        yield from run_parallel(jobs, workers=workers)
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
    """Lets a run's readers learn from the 2D corpus that its setting corpus.video_corpus names, if any: one that was prepared, or one
    of a known layout, which is prepared here."""
    config = run.config.corpus
    if not config.video_corpus:
        return
    folder = Path(config.video_corpus)
    if not (folder / "video_corpus.json").is_file():
        units = {run.config.expert.tokenizer, run.config.reader.tokenizer} | (
            {""} if not run.config.speech.pretrained else set()
        )
        tokenizers = [SentencePieceTokenizer.of_folder(u) if u else Tokenizer() for u in sorted(units)]
        raw, folder = (
            folder,
            DATA / f"video-{digest(str(folder.resolve()), config.landmarks, [t.units for t in tokenizers])}",
        )
        prepare_clips(raw, folder, partial(MediaPipe, config.landmarks), tokenizers)
    corpus.learn_from(folder)
    if config.crop != SIDE:
        log(
            f"corpus: crops of {SIDE} pixels, rendered lips of {config.crop}, and readers see both; corpus.crop={SIDE} makes them alike"
        )


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
