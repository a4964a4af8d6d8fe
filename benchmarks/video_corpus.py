"""Speed of the preparation of mouth crops from video, with one process and two, and speed and memory of reading them.

    python benchmarks/video_corpus.py [--landmarks face_landmarker.task] [--videos 32] [--gigabytes 4]

The videos are synthetic: H.264 and AAC of the embedded face, 224 x 224 pixels, shifted, rotated and scaled from frame
to frame. The first part reports frames per second from video to shards, as medians of rounds that alternate between one
process and two, without the time in which a process loads its libraries. It uses MediaPipe if that is installed and has
its model, and a constant detector that shows the cost of everything else. The second part reads shards clip by clip in
random order.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from avlib.core.files import read_json
from avlib.core.parallel import run_parallel
from avlib.core.rates import SAMPLES_PER_FRAME, VIDEO_FPS
from avlib.core.run import commit
from avlib.core.tensors import pad
from avlib.corpus.clips import Clips
from avlib.corpus.embedded.rig import Rig
from avlib.corpus.utterance import Utterance
from avlib.corpus.video import video_corpus
from avlib.corpus.video.mouth_crops import MEAN_FACE, SIDE, Detector, MediaPipe
from avlib.corpus.video.sources import Source, find_sources
from avlib.render.camera import camera_for
from avlib.render.clips import write_clip
from avlib.render.renderer import Renderer

PICTURE, VIDEO_S, BATCH = 224, 4, 8
SHARDS_PER_PROCESS = 4  # of two processes


def create_constant_detector() -> Detector:
    """A detector that reports the same face in every picture."""
    return lambda rgb: np.array(MEAN_FACE)


def write_video(path: Path, subject: int) -> None:
    """A video of a moving face with noise as sound."""
    rig, t = Rig(), torch.arange(VIDEO_S * VIDEO_FPS).double()
    identity = rig.identity(subject)
    renderer = Renderer(rig.faces, camera_for(identity.template, PICTURE), albedo=identity.albedo, antialias=True)
    face = renderer(identity.template[None])[:, None]
    scale = torch.polar(1 + 0.2 * (t / 9).sin(), 0.2 * (t / 7 + subject).sin())[:, None, None]  # with rotation
    offsets = torch.linspace(-1, 1, PICTURE).double()
    square = torch.complex(offsets.expand(PICTURE, -1), offsets[:, None].expand(-1, PICTURE))
    shift = torch.polar(torch.full_like(t, 0.1), t / 5)[:, None, None]
    grid = torch.view_as_real((square - shift) / scale).float()
    pictures = torch.nn.functional.grid_sample(face.expand(len(t), -1, -1, -1), grid, align_corners=True)[:, 0]
    write_clip(path, (pictures * 255).round().byte(), VIDEO_FPS, 0.1 * torch.randn(len(t) * SAMPLES_PER_FRAME))


def write_corpus(folder: Path, videos: int) -> None:
    """Videos, of which four differ, and their table."""
    for n in range(min(4, videos)):
        write_video(folder / f"{n}.mp4", n)
    for n in range(4, videos):
        shutil.copy(folder / f"{n % 4}.mp4", folder / f"{n}.mp4")
    (folder / "list.csv").write_text("path,text,split\n" + "".join(f"{n}.mp4,go,train\n" for n in range(videos)))


def run_jobs(jobs: list[tuple], folder: Path, workers: int) -> tuple[float, float, float]:
    """Start and end of a process's jobs, and their processor time, s. The processes wait for each other to start."""
    (folder / f"ready-{os.getpid()}").touch()
    while len(list(folder.glob("ready-*"))) < workers:
        time.sleep(0.01)
    began, busy = time.perf_counter(), time.process_time()
    for function, *arguments in jobs:
        function(*arguments)
    return began, time.perf_counter(), time.process_time() - busy


def speed(sources: list[Source], create_detector: Callable[[], Detector], workers: int) -> tuple[float, float]:
    """Frames per second, and milliseconds of processor time per frame."""
    with tempfile.TemporaryDirectory() as temporary:
        out, shards = Path(temporary), 2 * SHARDS_PER_PROCESS
        jobs = [
            (video_corpus.write_shard, out / f"{n}.safetensors", "", sources[n::shards], create_detector)
            for n in range(shards)
        ]
        spans = list(run_parallel([(run_jobs, jobs[k::workers], out, workers) for k in range(workers)]))
        records = [read_json(path) for path in out.glob("*.json")]
    assert not any(record["excluded"] for record in records), records
    began, ended, busy = zip(*spans)
    frames = sum(record["frames"] for record in records)
    return frames / (max(ended) - min(began)), 1000 * sum(busy) / frames


def measure_preparation(folder: Path, videos: int, landmarks: str, rounds: int) -> None:
    write_corpus(folder, videos)
    sources = find_sources(folder)[1]
    print(f"preparation: {videos} videos of {VIDEO_S} s, {PICTURE} x {PICTURE} pixels")
    detectors = {
        "constant detector": create_constant_detector,
        "MediaPipe": partial(MediaPipe.of_corpus, landmarks, folder),
    }
    for name, create_detector in detectors.items():
        try:
            create_detector()
        except ValueError as error:
            print(f"  {name}: skipped: {error}")
            continue
        results = [(*speed(sources, create_detector, 1), *speed(sources, create_detector, 2)) for _ in range(rounds)]
        one, busy_one, two, busy_two = map(statistics.median, zip(*results))
        ratio = statistics.median(two / one for one, _, two, _ in results)
        print(
            f"  {name:<20}one process {one:5.0f} frames/s ({busy_one:.1f} ms of processor time per frame), "
            f"two processes {two:5.0f} ({busy_two:.1f} ms), ratio {ratio:4.2f} (linear: 2)",
            flush=True,
        )


def memory() -> dict[str, float]:
    """This process's memory in MB: all resident memory, and that without a file behind it."""
    text = Path("/proc/self/status").read_text()
    return {name: int(re.search(rf"{name}:\s+(\d+)", text)[1]) / 1024 for name in ("VmRSS", "RssAnon")}


def measure_reading(folder: Path, gigabytes: float) -> None:
    frames, clips = VIDEO_S * VIDEO_FPS, video_corpus.CLIPS_PER_SHARD
    video = torch.randint(256, (clips * frames, SIDE, SIDE), dtype=torch.uint8)
    speech = torch.randint(-9999, 9999, (clips * frames * SAMPLES_PER_FRAME,), dtype=torch.int16)
    metadata = {
        "utterances": json.dumps([Utterance(str(n), "train", "", "we must go", frames).as_dict() for n in range(clips)])
    }
    shards = -(-int(gigabytes * 2**30) // (video.nbytes + speech.nbytes))
    for n in range(shards):
        save_file({"video": video, "speech": speech}, folder / f"train-{n:05d}.safetensors", metadata=metadata)
    del video, speech
    before, began = memory(), time.perf_counter()
    corpus = Clips(folder, "train")
    opened, opening = memory(), time.perf_counter() - began
    budget = 1024 * gigabytes / 10
    print(f"reading: {len(corpus)} clips in {shards} shards, {gigabytes:g} GB; memory budget a tenth, {budget:.0f} MB")
    print(
        f"  opened in {opening:.2f} s, {1024 * (opened['RssAnon'] - before['RssAnon']) / len(corpus):.1f} KB per clip"
    )
    order, peak, began = torch.randperm(len(corpus)).tolist(), dict(opened), time.perf_counter()
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        pad([corpus.video(i) for i in batch]), pad([corpus.speech(i) for i in batch])
        peak = {name: max(peak[name], value) for name, value in memory().items()}
    seconds = time.perf_counter() - began
    grown = ", ".join(f"{name} {value - opened[name]:.0f} MB" for name, value in peak.items())
    print(
        f"  {len(order) / seconds:.0f} clips per second in random batches of {BATCH}, "
        f"{len(order) * VIDEO_S / seconds:.0f} s of video per second; memory grew by at most "
        f"{grown}; {len(os.listdir('/proc/self/fd'))} open files",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--landmarks", default="", help="MediaPipe's face_landmarker.task")
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"commit {commit()}, torch {torch.__version__}, {os.cpu_count()} cores, {platform.machine()}, "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        measure_reading(Path(folder), options.gigabytes)
    with tempfile.TemporaryDirectory() as folder:
        measure_preparation(Path(folder), options.videos, options.landmarks, options.rounds)


if __name__ == "__main__":
    main()
