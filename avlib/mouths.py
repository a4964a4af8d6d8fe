"""Mouth crops from video of people who talk, as Auto-AVSR's readers know them: four points of the face, aligned to those of a
mean face, 96 x 96 grey pixels around the mouth, 25 frames and 16,000 samples a second."""
import math
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from .corpus import SAMPLES_PER_FRAME, SPEECH_HZ, VIDEO_FPS

SIDE = 96
# right eye, left eye, nose, mouth of the mean face behind the published weights, (x, y) pixels
MEAN_FACE = ((102.07, 94.27), (156.36, 93.58), (129.00, 135.90), (129.31, 157.82))
MOUTH = 3
STEADY = 6              # frames to either side over which the points are averaged
LONGEST_GAP_S = 0.5     # without a face, bridged by the points before and after; and of one picture standing still
SHORTEST_S, LONGEST_S = 0.2, 60.0
CHUNK = 64              # frames cropped at once

Detector = Callable[[np.ndarray], np.ndarray | None]    # RGB (H, W, 3) uint8 -> (4, 2) in MEAN_FACE's order, None: no face


class SetAside(ValueError):
    """A clip that cannot be used; says why."""


def mouth_clip(path: str | Path, detector: Detector, begin_s: float = 0.0, end_s: float = math.inf
               ) -> tuple[Tensor, Tensor]:
    """Crops (T, 96, 96) uint8 and speech (T * 640,) int16 of a video file, or of a part of it. SetAside says what is wrong."""
    grey, points, shown, since = [], [], None, 0
    for n, frame in enumerate(frames_at(path, VIDEO_FPS, begin_s, end_s)):
        if n >= LONGEST_S * VIDEO_FPS:
            raise SetAside(f"longer than {LONGEST_S:.0f} s, without word times to cut it by")
        shown, since = frame, since if frame is shown else n
        if n + 1 - since > LONGEST_GAP_S * VIDEO_FPS:
            raise SetAside(f"one picture for more than {LONGEST_GAP_S} s from {since / VIDEO_FPS:.1f} s on")
        rgb = frame.to_ndarray(format="rgb24")
        found = detector(rgb)
        points.append(np.full((len(MEAN_FACE), 2), np.nan) if found is None else found)
        grey.append(torch.from_numpy(frame.to_ndarray(format="gray")))
    long_enough(len(grey))
    if len({picture.shape for picture in grey}) > 1:
        raise SetAside("the picture changes its size")
    even_rate(path)
    video = crop(torch.stack(grey), steady(bridge(torch.tensor(np.stack(points)))))
    return video, speech_at(path, begin_s, len(video))


def cropped_clip(path: str | Path, speech: str | Path, frames: int) -> tuple[Tensor, Tensor]:
    """The same of a video that shows the crops already, so many frames of them, and a file of its speech."""
    crops = [torch.from_numpy(f.to_ndarray(format="gray")) for f in frames_at(path, VIDEO_FPS, 0.0, frames / VIDEO_FPS + 1)]
    if abs(len(crops) - frames) > 1:
        raise SetAside(f"{len(crops)} frames, its label says {frames}")
    long_enough(len(crops))
    if odd := {picture.shape for picture in crops} - {(SIDE, SIDE)}:
        raise SetAside(f"crops of {' x '.join(map(str, min(odd)))} pixels, expected {SIDE} x {SIDE}")
    return torch.stack(crops), speech_at(speech, 0.0, len(crops))


def long_enough(frames: int) -> None:
    if frames < SHORTEST_S * VIDEO_FPS:
        raise SetAside(f"{frames} frames, expected at least {round(SHORTEST_S * VIDEO_FPS)}")


def even_rate(path: str | Path) -> None:
    """SetAside where some frames stay much longer than others: a sign of a recording that lagged behind its sound."""
    container, stream = opened(path, "video")
    with container:
        times = sorted(float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.pts is not None)
    lasts = 1000 * np.diff(times)
    if len(lasts) and lasts.max() > 1.5 * lasts.min():
        raise SetAside(f"variable frame rate, {lasts.min():.0f} to {lasts.max():.0f} ms a frame")


def opened(path: str | Path, kind: str):
    """The container, and its first stream of that kind ("video" or "audio")."""
    if not Path(path).is_file():
        raise SetAside("no such file")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, ValueError) as error:
        raise SetAside(f"no video file ({error})") from None
    streams = getattr(container.streams, kind)
    if not streams:
        container.close()
        raise SetAside(f"no {kind} in it")
    return container, streams[0]


def decoded(container, stream) -> Iterator:
    """Its frames. SetAside where they break off or end before the file says."""
    last = 0.0
    try:
        for frame in container.decode(stream):
            if frame.pts is not None:
                lasts = frame.samples / frame.sample_rate if stream.type == "audio" else 0.0
                last = float(frame.pts * stream.time_base) + lasts
            yield frame
    except av.FFmpegError as error:
        raise SetAside(f"{stream.type} breaks off after {last:.1f} s ({error})") from None
    whole = (container.duration or 0) / av.time_base
    if last < 0.9 * whole - 0.5:
        raise SetAside(f"{stream.type} ends after {last:.1f} s, the file says {whole:.1f} s: cut short")


def frames_at(path: str | Path, fps: float, begin_s: float = 0.0, end_s: float = math.inf) -> Iterator[av.VideoFrame]:
    """The frame that is on the screen at begin_s + n / fps, whatever rate the file has, constant or not."""
    container, stream = opened(path, "video")
    with container:
        start, made, shown = None, 0, None
        for frame in decoded(container, stream):
            if frame.pts is None:
                continue
            time = float(frame.pts * stream.time_base)
            start = time if start is None else start
            while shown is not None and begin_s + made / fps < time - start - 1e-6 and begin_s + made / fps < end_s:
                yield shown
                made += 1
            if begin_s + made / fps >= end_s:
                return
            shown = frame
        if shown is not None:           # the last frame stays for as long as frames do on average
            length = time - start + 1 / float(stream.average_rate or fps)
            while begin_s + made / fps < min(length, end_s) - 1e-6:
                yield shown
                made += 1


def speech_at(path: str | Path, begin_s: float, frames: int) -> Tensor:
    """Speech beside so many video frames from begin_s on, (frames * 640,) int16; silence where there is none."""
    samples, late_s = sound(path)
    skipped = round((begin_s - late_s) * SPEECH_HZ)             # negative where sound begins after the pictures
    samples = torch.nn.functional.pad(samples, (max(0, -skipped), 0))[max(0, skipped):]
    wanted = frames * SAMPLES_PER_FRAME
    if len(samples) < wanted / 2:
        raise SetAside(f"{len(samples) / SPEECH_HZ:.1f} s of audio beside {frames / VIDEO_FPS:.1f} s of video")
    return torch.nn.functional.pad(samples, (0, max(0, wanted - len(samples))))[:wanted]


def sound(path: str | Path) -> tuple[Tensor, float]:
    """All the sound of a video or audio file, (S,) int16 at 16 kHz, and how many seconds after its pictures it begins."""
    container, stream = opened(path, "audio")
    with container:
        pictures = container.streams.video
        first = float((pictures[0].start_time or 0) * pictures[0].time_base) if pictures else 0.0
        resampler, parts = av.AudioResampler("s16", "mono", SPEECH_HZ), []
        start = None
        for frame in decoded(container, stream):
            if start is None:
                start = float((frame.pts or 0) * stream.time_base)
            parts += [f.to_ndarray()[0] for f in resampler.resample(frame)]
        parts += [f.to_ndarray()[0] for f in resampler.resample(None)]
    if not parts:
        raise SetAside("no audio in it")
    return torch.from_numpy(np.concatenate(parts)), start - first


def bridge(points: Tensor, longest_s: float = LONGEST_GAP_S) -> Tensor:
    """Points (T, 4, 2), NaN where no face was found -> the same with gaps filled in between, linearly, and at the ends by the
    nearest. SetAside where a gap is longer, or there is no face at all."""
    found = points.isfinite().flatten(1).all(1)
    if not found.any():
        raise SetAside("no face in any frame")
    here = found.nonzero()[:, 0]
    edges = torch.cat((here.new_tensor([-1]), here, here.new_tensor([len(points)])))
    gaps = edges.diff() - 1
    longest = int(gaps.argmax())
    if gaps[longest] > longest_s * VIDEO_FPS:
        raise SetAside(f"no face for {int(gaps[longest]) / VIDEO_FPS:.1f} s from {(int(edges[longest]) + 1) / VIDEO_FPS:.1f} s on")
    at = torch.arange(len(points))
    after = torch.searchsorted(here, at).clamp_max(len(here) - 1)
    before = (torch.searchsorted(here, at, right=True) - 1).clamp_min(0)
    span = (here[after] - here[before]).clamp_min(1)
    weight = ((at - here[before]).clamp_min(0) / span).clamp_max(1)
    return torch.lerp(points[here[before]], points[here[after]], weight[:, None, None].to(points))


def steady(points: Tensor, reach: int = STEADY) -> Tensor:
    """Points (T, 4, 2) averaged over as many frames to either side as there are, up to `reach`, about each frame's own centre:
    the face's shape is steadied, its place is not."""
    sums = torch.nn.functional.pad(points.cumsum(0), (0, 0, 0, 0, 1, 0))
    at = torch.arange(len(points))
    near = torch.minimum(at, len(points) - 1 - at).clamp_max(reach)
    mean = (sums[at + near + 1] - sums[at - near]) / (2 * near + 1)[:, None, None]
    return mean + (points - mean).mean(1, keepdim=True)


def similarity(points: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation with scale a and shift b, complex (T,), that bring points (T, P, 2) nearest to the reference (P, 2) in least
    squares: x + iy -> a (x + iy) + b."""
    z, w = torch.view_as_complex(points.double().contiguous()), torch.view_as_complex(reference.double().contiguous())
    middle, aim = z.mean(1, keepdim=True), w.mean()
    size = (z - middle).abs().square().sum(1)
    if not (size > 0).all():
        raise SetAside("a face whose points coincide")
    a = ((z - middle).conj() * (w - aim)).sum(1) / size
    return a, aim - a * middle[:, 0]


def crop(video: Tensor, points: Tensor, side: int = SIDE) -> Tensor:
    """Grey video (T, H, W) uint8 and the points of its faces (T, 4, 2), in pixels -> the aligned mouths (T, side, side) uint8,
    black beyond the picture."""
    a, b = similarity(points, torch.tensor(MEAN_FACE))
    mouth = a * torch.view_as_complex(points[:, MOUTH].double().contiguous()) + b
    offsets = torch.arange(side, dtype=torch.double) - (side - 1) / 2
    square = torch.complex(offsets.expand(side, side), offsets[:, None].expand(side, side))
    height, width = video.shape[1:]
    made = []
    for frames, a, b, mouth in zip(*(x.split(CHUNK) for x in (video, a, b, mouth))):
        source = (mouth[:, None, None] + square - b[:, None, None]) / a[:, None, None]
        grid = torch.stack((source.real / (width - 1), source.imag / (height - 1)), -1) * 2 - 1
        cut = torch.nn.functional.grid_sample(frames[:, None].float(), grid.float(), align_corners=True)
        made.append(cut[:, 0].round().byte())
    return torch.cat(made)


class MediaPipe:
    """MediaPipe as a `Detector`, for one clip: it follows the face from frame to frame.

    model: the file face_landmarker.task, for its Face Landmarker. Without one, Face Mesh with the models that the package
    carried up to version 0.10.21. ValueError says what is missing.
    """

    # the landmarks that outline each of the four
    GROUPS = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380), (98, 97, 2, 326, 327),
              (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87))
    SOURCE = ("https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/latest/"
              "face_landmarker.task")

    def __init__(self, model: str | Path = ""):
        if model and not Path(model).is_file():
            raise ValueError(f"{model}: no such file; it is to be had from {self.SOURCE}")
        try:
            import mediapipe
        except ImportError as error:
            raise ValueError(f"MediaPipe, which finds faces, does not load ({error}): pip install mediapipe") from None
        if model:
            vision = mediapipe.tasks.vision
            try:
                finder = vision.FaceLandmarker.create_from_options(vision.FaceLandmarkerOptions(
                    base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(model)), running_mode=vision.RunningMode.VIDEO))
            except (RuntimeError, ValueError, OSError) as error:        # as versions have it
                raise ValueError(f"{model}: no Face Landmarker ({' '.join(str(error).split())}); it is to be had from {self.SOURCE}"
                                 ) from None
            image = lambda rgb: mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
            self.faces = lambda rgb, frame: finder.detect_for_video(image(rgb), frame * 1000 // VIDEO_FPS).face_landmarks
        elif hasattr(mediapipe, "solutions"):
            finder = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1)
            self.faces = lambda rgb, frame: [face.landmark for face in finder.process(rgb).multi_face_landmarks or ()]
        else:
            raise ValueError(f"MediaPipe {mediapipe.__version__} finds faces by a file face_landmarker.task, which it does not "
                             f"bring: --landmarks, or the setting corpus.landmarks, names it; it is to be had from {self.SOURCE}")
        weakref.finalize(self, finder.close)        # or its threads and its memory outlive it
        self.frame = 0

    def __call__(self, rgb: np.ndarray) -> np.ndarray | None:
        faces = self.faces(np.ascontiguousarray(rgb), self.frame)
        self.frame += 1
        if not faces:
            return None
        marks = np.array([(mark.x * rgb.shape[1], mark.y * rgb.shape[0]) for mark in faces[0]])
        return np.stack([marks[list(group)].mean(0) for group in self.GROUPS])
