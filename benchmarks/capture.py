"""Speed and memory of capturing faces from film.

    python benchmarks/capture.py FOLDER [--face CHECKOUT] [--films 24] [--clips 1000]

FOLDER: films with transcripts, and face_landmarker.task in it or beside it. The first part follows the faces in some
films in one process, and reports the time of MediaPipe and of everything else apart, in processor seconds, then the
ratio of two processes to one in wall-clock time, without the time in which a process loads its libraries. The second
part fits ICT-FaceKit's expressions to the takes. The third part follows the face in many short clips, one after the
other, and reports the memory of the process.
"""

import argparse
import platform
import resource
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from avlib.core.files import read_json
from avlib.core.parallel import run_parallel
from avlib.core.run import commit
from avlib.corpus.captured.facekit_face import FaceKitFace
from avlib.corpus.captured.head_pose import free, upright
from avlib.corpus.captured.people import resting_face
from avlib.corpus.captured.take_files import load_take, record_take, take_path
from avlib.corpus.captured.takes import read_take
from avlib.corpus.utterance import Excluded
from avlib.corpus.video.face_landmarker import FaceLandmarker, find_model
from avlib.corpus.video.sources import Source, list_sources

CLIP_S = 0.4  # length of the clips of the third part


class TimedLandmarker:
    """A FaceLandmarker that measures its own processor time."""

    seconds, pictures = 0.0, 0

    def __init__(self, model: Path):
        began = time.process_time()
        self.landmarker = FaceLandmarker(model)
        TimedLandmarker.seconds += time.process_time() - began

    def __call__(self, rgb, time_s):
        began = time.process_time()
        faces = self.landmarker(rgb, time_s)
        TimedLandmarker.seconds += time.process_time() - began
        TimedLandmarker.pictures += 1
        return faces


def record_all(sources: list[Source], folder: Path, model: Path) -> float:
    """Wall-clock seconds of recording the takes in one process that has its libraries loaded."""
    record_take(sources[0], folder / "warm", "", partial(FaceLandmarker, model))
    began = time.monotonic()
    for source in sources:
        record_take(source, folder, "", partial(FaceLandmarker, model))
    return time.monotonic() - began


def measure_takes(sources: list[Source], folder: Path, model: Path) -> None:
    record_take(sources[0], folder / "warm", "", partial(FaceLandmarker, model))
    began = time.process_time()
    for source in sources:
        record_take(source, folder, "", partial(TimedLandmarker, model))
    total, mediapipe, frames = time.process_time() - began, TimedLandmarker.seconds, TimedLandmarker.pictures
    print(
        f"takes: {frames} frames in {total:.1f} processor s: {frames / total:.0f} frames/s; MediaPipe alone "
        f"{frames / mediapipe:.0f}, everything else {frames / (total - mediapipe):.0f} frames/s"
    )
    ratios = []
    for round_ in range(3):
        single = next(run_parallel([(record_all, sources, folder / f"1-{round_}", model)] * 1))
        halves = [(record_all, sources[k::2], folder / f"2-{round_}", model) for k in range(2)]
        ratios.append(single / max(run_parallel(halves, workers=2)))
    print(f"two processes to one: {np.median(ratios):.2f} (rounds: {', '.join(f'{r:.2f}' for r in ratios)})")


def measure_fit(sources: list[Source], folder: Path, checkout: Path) -> None:
    used = [s for s in sources if "excluded" not in read_json(take_path(folder, s).with_suffix(".json"))]
    resting = resting_face(used, folder)
    person = FaceKitFace(checkout).person(resting.rest)
    seconds, lengths = [], []
    for source in used:
        take = load_take(source, folder)
        landmarks, _ = take.at(take.fps)
        began = time.process_time()
        freed, _ = free(upright(landmarks.astype(float)), resting.reference)
        person.motion(freed, take.fps)
        seconds.append(time.process_time() - began)
        lengths.append(take.seconds)
    print(
        f"fit: {np.median(seconds):.3f} processor s for {np.median(lengths):.1f} s of film, from landmarks to vertices"
    )


def measure_memory(sources: list[Source], clips: int, model: Path) -> None:
    for n in range(clips):
        source = sources[n % len(sources)]
        try:
            read_take(replace(source, words=(), end_s=source.begin_s + CLIP_S), partial(FaceLandmarker, model))
        except Excluded:
            pass
        if n + 1 in (10, clips // 10, clips // 2, clips):
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
            print(f"memory after {n + 1} clips: {resident:.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--face", type=Path)
    parser.add_argument("--films", type=int, default=24)
    parser.add_argument("--clips", type=int, default=1000)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, commit {commit()}")
    layout, sources = list_sources(options.folder)
    sources, model = sources[: options.films], find_model("", options.folder)
    with tempfile.TemporaryDirectory() as folder:
        measure_takes(sources, Path(folder), model)
        if options.face:
            measure_fit(sources, Path(folder), options.face)
    if options.clips:
        measure_memory(sources, options.clips, model)


if __name__ == "__main__":
    main()
