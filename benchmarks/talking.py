"""How fast video becomes mouth crops in one process and in two, and how reading them back meets the memory.

    python benchmarks/talking.py [--landmarks face_landmarker.task] [--videos 32] [--gigabytes 4]

The corpus is made on the spot: H.264 and AAC of the embedded face, 224 x 224, shifted, turned and enlarged from frame to frame. Frames
a second from video to shards, medians of rounds in which one process and two take turns; the seconds in which a process loads its
libraries are not counted. MediaPipe finds the faces where it is installed and has its model; a finder that always points at
the same place shows what the rest costs.
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
from avlib.corpus.video import sources as sources_module
from avlib.corpus.video import video_corpus
from avlib.corpus.video.mouth_crops import MEAN_FACE, SIDE, MediaPipe
from avlib.render.camera import camera_for
from avlib.render.clips import write_clip
from avlib.render.renderer import Renderer

PICTURE, FILM_S, BATCH = 224, 4, 8
A_PROCESS = 4  # shards for each of two processes


def still():
    """Finds the same face in every picture."""
    return lambda rgb: np.array(MEAN_FACE)


def film(path: Path, person: int) -> None:
    rig, t = Rig(), torch.arange(FILM_S * VIDEO_FPS).double()
    one = rig.identity(person)
    face = Renderer(rig.faces, camera_for(one.template, PICTURE), albedo=one.albedo, antialias=True)(
        one.template[None]
    )[:, None]
    a = torch.polar(1 + 0.2 * (t / 9).sin(), 0.2 * (t / 7 + person).sin())[:, None, None]
    offsets = torch.linspace(-1, 1, PICTURE).double()
    square = torch.complex(offsets.expand(PICTURE, -1), offsets[:, None].expand(-1, PICTURE))
    at = torch.view_as_real((square - torch.polar(torch.full_like(t, 0.1), t / 5)[:, None, None]) / a).float()
    shown = torch.nn.functional.grid_sample(face.expand(len(t), -1, -1, -1), at, align_corners=True)[:, 0]
    write_clip(path, (shown * 255).round().byte(), VIDEO_FPS, 0.1 * torch.randn(len(t) * SAMPLES_PER_FRAME))


def raw_corpus(folder: Path, videos: int) -> None:
    for n in range(min(4, videos)):
        film(folder / f"{n}.mp4", n)
    for n in range(4, videos):
        shutil.copy(folder / f"{n % 4}.mp4", folder / f"{n}.mp4")
    (folder / "list.csv").write_text("path,text,split\n" + "".join(f"{n}.mp4,go,train\n" for n in range(videos)))


def work(jobs: list[tuple], folder: Path, workers: int) -> tuple[float, float, float]:
    """When a process began its shards, when it was done with them, and the processor time that they took; all begin at once."""
    (folder / f"ready-{os.getpid()}").touch()
    while len(list(folder.glob("ready-*"))) < workers:
        time.sleep(0.01)
    began, busy = time.perf_counter(), time.process_time()
    for function, *arguments in jobs:
        function(*arguments)
    return began, time.perf_counter(), time.process_time() - busy


def speed(sources: list, detector, workers: int) -> tuple[float, float]:
    """Frames a second, and milliseconds of processor time a frame."""
    with tempfile.TemporaryDirectory() as out:
        out, shards = Path(out), 2 * A_PROCESS
        jobs = [(video_corpus.shard, out / f"{n}.safetensors", "", sources[n::shards], detector) for n in range(shards)]
        spans = list(run_parallel([(work, jobs[k::workers], out, workers) for k in range(workers)]))
        abouts = [read_json(path) for path in out.glob("*.json")]
    assert not any(about["aside"] for about in abouts), abouts
    began, ended, busy = zip(*spans)
    frames = sum(about["frames"] for about in abouts)
    return frames / (max(ended) - min(began)), 1000 * sum(busy) / frames


def preparation(folder: Path, videos: int, landmarks: str, rounds: int) -> None:
    raw_corpus(folder, videos)
    sources = sources_module.find_sources(folder)[1]
    print(f"preparation: {videos} films of {FILM_S} s, {PICTURE} x {PICTURE} pixels")
    for name, detector in {"a finder that costs nothing": still, "MediaPipe": partial(MediaPipe, landmarks)}.items():
        try:
            detector()
        except ValueError as error:
            print(f"  {name}: left out: {error}")
            continue
        rounded = [(*speed(sources, detector, 1), *speed(sources, detector, 2)) for _ in range(rounds)]
        one, busy, two, busy_two = map(statistics.median, zip(*rounded))
        ratio = statistics.median(two / one for one, _, two, _ in rounded)
        print(
            f"  {name:<30}one process {one:5.0f} frames/s ({busy:.1f} ms of processor a frame), two {two:5.0f} ({busy_two:.1f} ms), "
            f"ratio {ratio:4.2f} (near-linear: 2)",
            flush=True,
        )


def memory() -> dict[str, float]:
    """This process's memory in megabytes: all that is resident, and what no file stands behind."""
    text = Path("/proc/self/status").read_text()
    return {name: int(re.search(rf"{name}:\s+(\d+)", text)[1]) / 1024 for name in ("VmRSS", "RssAnon")}


def streaming(folder: Path, gigabytes: float) -> None:
    frames, clips = FILM_S * VIDEO_FPS, video_corpus.CLIPS_A_SHARD
    video = torch.randint(256, (clips * frames, SIDE, SIDE), dtype=torch.uint8)
    speech = torch.randint(-9999, 9999, (clips * frames * SAMPLES_PER_FRAME,), dtype=torch.int16)
    about = {
        "utterances": json.dumps([Utterance(str(n), "train", "", "we must go", frames).as_dict() for n in range(clips)])
    }
    shards = -(-int(gigabytes * 2**30) // (video.nbytes + speech.nbytes))
    for n in range(shards):
        save_file({"video": video, "speech": speech}, folder / f"train-{n:05d}.safetensors", metadata=about)
    del video, speech
    begin, began = memory(), time.perf_counter()
    corpus = Clips(folder, "train")
    opened, opening = memory(), time.perf_counter() - began
    budget = 1024 * gigabytes / 10
    print(
        f"streaming: {len(corpus)} clips in {shards} shards, {gigabytes:g} GB; a tenth, {budget:.0f} MB, is the budget"
    )
    print(f"  opened in {opening:.2f} s, {1024 * (opened['RssAnon'] - begin['RssAnon']) / len(corpus):.1f} KB a clip")
    order, peak, began = torch.randperm(len(corpus)).tolist(), dict(opened), time.perf_counter()
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        pad([corpus.video(i) for i in batch]), pad([corpus.speech(i) for i in batch])
        peak = {name: max(peak[name], value) for name, value in memory().items()}
    seconds = time.perf_counter() - began
    grown = ", ".join(f"{name} {value - opened[name]:.0f} MB" for name, value in peak.items())
    print(
        f"  {len(order) / seconds:.0f} clips a second at random in batches of {BATCH}, {len(order) * FILM_S / seconds:.0f} s of video a "
        f"second; grown at most by {grown}; {len(os.listdir('/proc/self/fd'))} open files",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--landmarks", default="", help="MediaPipe's face_landmarker.task")
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"commit {commit()}, torch {torch.__version__}, {os.cpu_count()} cores, {platform.machine()}, "
        f"{os.getloadavg()[0]:.1f} other processes at work"
    )
    with tempfile.TemporaryDirectory() as folder:
        streaming(Path(folder), given.gigabytes)
    with tempfile.TemporaryDirectory() as folder:
        preparation(Path(folder), given.videos, given.landmarks, given.rounds)


if __name__ == "__main__":
    main()
