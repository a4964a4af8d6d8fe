"""Prepares the 2D part of a corpus from video: shards of mouth crops and speech, from which lip readers are trained.

    python -m avlib.cli.prepare_video DATA OUT --landmarks face_landmarker.task [--train-units 1000]

Known layouts are films with transcripts beside them, GRID, LRS2, LRS3, any folder with a table of files and transcripts
(VoxCeleb2, AVSpeech), and folders prepared by Auto-AVSR, whose crops are used unchanged.
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

from ...core.digest import digest
from ...core.files import read_json, write_atomic, write_json
from ...core.parallel import run_parallel
from ...core.progress import log, progress_bar
from ...core.rates import VIDEO_FPS
from ...core.run import DATA, Run
from ...speech.languages import ENGLISH
from ...speech.segment import Segment
from ...speech.text import SentencePieceTokenizer, Tokenizer, train_units, transcript_check
from ..clips import Clips
from ..corpus import Corpus
from ..utterance import Excluded, Utterance
from .mouth_crops import LONGEST_GAP_S, SIDE, Detector, MediaPipe, cut_mouths, read_cropped_video, track_face
from .source import SPLITS, Source
from .sources import check_transcript, find_sources

CLIPS_PER_SHARD = 16  # few, so that processes share small corpora evenly, and progress is seen


def load_clip(source: Source, create_detector: Callable[[], Detector]) -> tuple[Utterance, torch.Tensor, torch.Tensor]:
    """The utterance, crops (T, 96, 96) uint8 and speech (T * 640,) int16 of a source.

    Excluded says what is wrong with it.
    """
    if source.fault:
        raise Excluded(source.fault)
    words = source.words
    if source.cropped:
        wav = source.path.with_suffix(".wav")
        frames = round(source.end_s * VIDEO_FPS)
        video, speech = read_cropped_video(source.path, wav if wav.is_file() else source.path, frames)
    else:
        track = track_face(source.path, create_detector(), source.begin_s, source.end_s)
        words = later_words(source, track.begin_s - source.begin_s)
        video, speech = cut_mouths(source.path, track)
    return Utterance(source.name, source.split, source.subject, source.text, len(video), words), video, speech


def later_words(source: Source, skipped_s: float) -> tuple[Segment, ...]:
    """The words of a source whose first pictures could not be decoded, from the first picture on.

    Excluded if something is, or may be, said before.
    """
    unseen = next((word for word in source.words if word.start_s < skipped_s - 1 / VIDEO_FPS), None)
    if unseen or (not source.words and skipped_s > LONGEST_GAP_S):
        said = f", in which '{unseen.label}' is said" if unseen else ""
        raise Excluded(f"no pictures in the first {skipped_s:.2f} s{said}")
    return tuple(
        Segment(word.label, max(0.0, word.start_s - skipped_s), max(0.0, word.end_s - skipped_s))
        for word in source.words
    )


def write_shard(path: Path, key: str, sources: list[Source], create_detector: Callable[[], Detector]) -> int:
    """Writes one shard and, last, its record beside it (.json): key, hash, counts, and the excluded sources.

    Returns the number of sources.
    """
    utterances: list[Utterance] = []
    videos, speeches, excluded = [], [], []
    for source in sources:
        try:
            utterance, video, speech = load_clip(source, create_detector)
        except Excluded as error:
            excluded.append({"name": source.name, "reason": str(error)})
        else:
            utterances.append(utterance)
            videos.append(video)
            speeches.append(speech)
    if not utterances:
        videos, speeches = [torch.zeros(0, SIDE, SIDE).byte()], [torch.zeros(0).short()]
    metadata = {"utterances": json.dumps([u.as_dict() for u in utterances])}
    tensors = {"video": torch.cat(videos), "speech": torch.cat(speeches)}
    path.with_suffix(".json").unlink(missing_ok=True)  # the old record: a shard is complete when it has both files
    write_atomic(path, lambda p: save_file(tensors, p, metadata=metadata))
    record = {
        "key": key,
        "hash": digest(path),
        "clips": len(utterances),
        "frames": sum(u.frames for u in utterances),
        "excluded": excluded,
    }
    write_json(path.with_suffix(".json"), record)
    return len(sources)


def prepare_clips(
    data: str | Path,
    out: str | Path,
    create_detector: Callable[[], Detector] | None = None,
    tokenizers: Sequence[Tokenizer] = (Tokenizer(),),
    scheduler: str | None = None,
    workers: int | None = None,
) -> dict:
    """Writes <out>/2d/<split>-<NNN>.safetensors and <out>/video_corpus.json, and returns the content of the latter.

    It contains the layout, a hash, the numbers of clips and frames of each split, and the excluded recordings with
    reasons. Shards that exist are not written again unless their recordings have changed.

    create_detector: creates the face detector of one clip; by default MediaPipe's, with the model that is in the
    corpus's folder or beside it. tokenizers: that have to encode the transcripts, all of one language. workers:
    processes, by default one per core. scheduler: address of a Dask scheduler whose workers are used instead, on any
    number of hosts; both folders must be accessible on all of them. ValueError for an unknown layout and a missing
    detector.
    """
    data, out = Path(data).resolve(), Path(out).resolve()
    create_detector = create_detector or partial(MediaPipe.of_corpus, "", data)
    units = next((t for t in tokenizers if isinstance(t, SentencePieceTokenizer)), None)
    layout, sources = find_sources(data, units, tokenizers[0].language)
    sources = [check_transcript(source, tokenizers) for source in sources]
    jobs = []
    for split in SPLITS:
        split_sources = [s for s in sources if s.split == split]
        for first in range(0, len(split_sources), CLIPS_PER_SHARD):
            path = out / "2d" / f"{split}-{first // CLIPS_PER_SHARD:05d}.safetensors"
            part = split_sources[first : first + CLIPS_PER_SHARD]
            key = digest([source_state(source, data) for source in part])
            jobs.append((write_shard, path, key, part, create_detector))
    missing = [job for job in jobs if not is_current(*job[1:3])]
    log(f"{data}: {layout}, {len(sources)} recordings in {len(jobs)} shards, of which {len(jobs) - len(missing)} exist")
    if any(not (source.cropped or source.fault) for job in missing for source in job[3]):
        create_detector()  # fails now rather than in a worker if something is missing
    began = time.monotonic()
    finished = (clip for count in run_jobs(missing, scheduler, workers) for clip in range(count))
    for _ in progress_bar(finished, "clips", sum(len(job[3]) for job in missing)):
        pass
    seconds = time.monotonic() - began
    for stale in {*(out / "2d").glob("*-*.safetensors")} - {job[1] for job in jobs}:  # of a corpus that was larger
        stale.unlink()
        stale.with_suffix(".json").unlink(missing_ok=True)
    if missing:
        frames = sum(read_json(job[1].with_suffix(".json"))["frames"] for job in missing)
        log(f"{frames} frames in {seconds:.1f} s: {frames / seconds:.0f} frames per second")
    summary = summarise(layout, [job[1].with_suffix(".json") for job in jobs])
    write_json(out / "video_corpus.json", summary)
    return summary


def summarise(layout: str, records: list[Path]) -> dict:
    """The sums of the records beside the shards."""
    splits: dict[str, dict[str, int]] = {}
    excluded, hashes = [], []
    for path in records:
        record = read_json(path)
        counts = splits.setdefault(path.stem.split("-")[0], {"clips": 0, "frames": 0, "excluded": 0})
        counts["clips"] += record["clips"]
        counts["frames"] += record["frames"]
        counts["excluded"] += len(record["excluded"])
        excluded += record["excluded"]
        hashes.append(record["hash"])
    return {"layout": layout, "splits": splits, "excluded": excluded, "hash": digest(hashes)}


def source_state(source: Source, data: Path) -> str:
    """A source in the key of a shard: its fields, and the sizes and modification times of its files."""
    files = [source.path] if source.sound is None else [source.path, source.sound]
    states = [(file.st_size, file.st_mtime_ns) for file in (path.stat() for path in files if path.is_file())]
    path, *sound = (Path(os.path.relpath(path, data)) for path in files)
    return str((replace(source, path=path, sound=sound[0] if sound else None), states))


def is_current(path: Path, key: str) -> bool:
    """Whether a shard and its record exist, in this version's form, for this key."""
    record_path = path.with_suffix(".json")
    if not (path.exists() and record_path.exists()):
        return False
    record = read_json(record_path)
    return record["key"] == key and "hash" in record


def run_jobs(jobs: list[tuple], scheduler: str | None, workers: int | None) -> Iterator:
    """The results of the jobs, in local processes or on a Dask cluster."""
    if scheduler is None:
        yield from run_parallel(jobs, workers=workers)
        return
    try:
        from distributed import Client, as_completed  # pyright: ignore[reportMissingImports]  # optional
    except ImportError as error:
        raise ValueError(f"--scheduler: Dask does not load ({error}): pip install distributed") from None
    try:
        client = Client(scheduler)
    except (OSError, ValueError) as error:
        raise ValueError(f"--scheduler: no Dask scheduler at {scheduler} ({error})") from None
    with client:
        for future in as_completed([client.submit(*job, pure=False) for job in jobs]):
            yield future.result()


def transcript_tokenizers(run: Run) -> list[Tokenizer]:
    """All tokenizers that have to encode the transcripts of a run."""
    units = {run.config.expert.tokenizer, run.config.reader.tokenizer, ""}  # the judge and the speech encoder spell
    language = run.config.corpus.language
    return [SentencePieceTokenizer.of_folder(u, language) if u else transcript_check(language) for u in sorted(units)]


def attach_clips(run: Run, corpus: Corpus) -> None:
    """Takes the 2D part of a corpus from the video corpus that the setting corpus.video_corpus names, if any.

    That is a folder that is prepared already, or one of a known layout, which is prepared here.
    """
    config = run.config.corpus
    if not config.video_corpus:
        return
    folder = Path(config.video_corpus)
    if not (folder / "video_corpus.json").is_file():
        tokenizers = transcript_tokenizers(run)
        raw = folder
        folder = (
            DATA / f"video-{digest(str(raw.resolve()), config.landmarks, [[t.language, t.units] for t in tokenizers])}"
        )
        prepare_clips(raw, folder, partial(MediaPipe.of_corpus, config.landmarks, raw), tokenizers)
    corpus.use_video_corpus(folder, config.video_corpus)
    side = corpus.clips("train").video(0).shape[-1]
    if config.crop != side:
        log(f"corpus: video crops have {side} pixels and rendered lips {config.crop}; corpus.crop={side} equals them")


def train_tokenizer(out: Path, count: int, language: str = ENGLISH) -> Path:
    """Trains SentencePiece units on the training transcripts of a prepared corpus.

    count: of units. Returns the folder of the tokenizer. ValueError if the transcripts do not allow so many.
    """
    try:
        model, unit_list = train_units([u.text for u in Clips(out / "2d", "train").utterances], count, language)
    except ValueError as error:
        raise ValueError(f"--train-units: {error}") from None
    folder = out / "units"
    write_atomic(folder / f"unigram{count}.model", lambda p: p.write_bytes(model))
    write_atomic(folder / f"unigram{count}_units.txt", lambda p: p.write_text(unit_list, encoding="utf-8"))
    return folder
