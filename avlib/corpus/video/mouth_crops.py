"""Mouth crops from video of people who talk, as Auto-AVSR's readers know them: four points of the face, aligned to those of a
mean face, 96 x 96 grey pixels around the mouth, 25 frames and 16,000 samples a second."""

import math
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...core.rates import VIDEO_FPS
from ..media import LONGEST_S, even_rate, frames_at, long_enough, speech_at
from ..utterance import Excluded

SIDE = 96
# right eye, left eye, nose, mouth of the mean face behind the published weights, (x, y) pixels
MEAN_FACE = ((102.07, 94.27), (156.36, 93.58), (129.00, 135.90), (129.31, 157.82))
MOUTH = 3
STEADY = 6  # frames to either side over which the points are averaged
LONGEST_GAP_S = 0.5  # without a face, bridged by the points before and after; and of one picture standing still
CHUNK = 64  # frames cropped at once

Detector = Callable[
    [np.ndarray], np.ndarray | None
]  # RGB (H, W, 3) uint8 -> (4, 2) in MEAN_FACE's order, None: no face


def mouth_clip(
    path: str | Path, detector: Detector, begin_s: float = 0.0, end_s: float = math.inf
) -> tuple[Tensor, Tensor]:
    """Crops (T, 96, 96) uint8 and speech (T * 640,) int16 of a video file, or of a part of it. SetAside says what is wrong."""
    grey, points, shown, since = [], [], None, 0
    for n, frame in enumerate(frames_at(path, VIDEO_FPS, begin_s, end_s)):
        if n >= LONGEST_S * VIDEO_FPS:
            raise Excluded(f"longer than {LONGEST_S:.0f} s, without word times to cut it by")
        shown, since = frame, since if frame is shown else n
        if n + 1 - since > LONGEST_GAP_S * VIDEO_FPS:
            raise Excluded(f"one picture for more than {LONGEST_GAP_S} s from {since / VIDEO_FPS:.1f} s on")
        rgb = frame.to_ndarray(format="rgb24")
        found = detector(rgb)
        points.append(np.full((len(MEAN_FACE), 2), np.nan) if found is None else found)
        grey.append(torch.from_numpy(frame.to_ndarray(format="gray")))
    long_enough(len(grey))
    if len({picture.shape for picture in grey}) > 1:
        raise Excluded("the picture changes its size")
    even_rate(path)
    video = crop(torch.stack(grey), steady(bridge(torch.tensor(np.stack(points)))))
    return video, speech_at(path, begin_s, len(video))


def cropped_clip(path: str | Path, speech: str | Path, frames: int) -> tuple[Tensor, Tensor]:
    """The same of a video that shows the crops already, so many frames of them, and a file of its speech."""
    crops = [
        torch.from_numpy(f.to_ndarray(format="gray")) for f in frames_at(path, VIDEO_FPS, 0.0, frames / VIDEO_FPS + 1)
    ]
    if abs(len(crops) - frames) > 1:
        raise Excluded(f"{len(crops)} frames, its label says {frames}")
    long_enough(len(crops))
    if odd := {picture.shape for picture in crops} - {(SIDE, SIDE)}:
        raise Excluded(f"crops of {' x '.join(map(str, min(odd)))} pixels, expected {SIDE} x {SIDE}")
    return torch.stack(crops), speech_at(speech, 0.0, len(crops))


def bridge(points: Tensor, longest_s: float = LONGEST_GAP_S) -> Tensor:
    """Points (T, 4, 2), NaN where no face was found -> the same with gaps filled in between, linearly, and at the ends by the
    nearest. SetAside where a gap is longer, or there is no face at all."""
    found = points.isfinite().flatten(1).all(1)
    if not found.any():
        raise Excluded("no face in any frame")
    here = found.nonzero()[:, 0]
    edges = torch.cat((here.new_tensor([-1]), here, here.new_tensor([len(points)])))
    gaps = edges.diff() - 1
    longest = int(gaps.argmax())
    if gaps[longest] > longest_s * VIDEO_FPS:
        raise Excluded(
            f"no face for {int(gaps[longest]) / VIDEO_FPS:.1f} s from {(int(edges[longest]) + 1) / VIDEO_FPS:.1f} s on"
        )
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
        raise Excluded("a face whose points coincide")
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
    GROUPS = (
        (33, 160, 158, 133, 153, 144),
        (362, 385, 387, 263, 373, 380),
        (98, 97, 2, 326, 327),
        (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
    )
    SOURCE = (
        "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/latest/"
        "face_landmarker.task"
    )

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
                finder = vision.FaceLandmarker.create_from_options(
                    vision.FaceLandmarkerOptions(
                        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(model)),
                        running_mode=vision.RunningMode.VIDEO,
                    )
                )
            except (RuntimeError, ValueError, OSError) as error:  # as versions have it
                raise ValueError(
                    f"{model}: no Face Landmarker ({' '.join(str(error).split())}); it is to be had from {self.SOURCE}"
                ) from None
            image = lambda rgb: mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
            self.faces = lambda rgb, frame: (
                finder.detect_for_video(image(rgb), frame * 1000 // VIDEO_FPS).face_landmarks
            )
        elif hasattr(mediapipe, "solutions"):
            finder = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1)
            self.faces = lambda rgb, frame: [face.landmark for face in finder.process(rgb).multi_face_landmarks or ()]
        else:
            raise ValueError(
                f"MediaPipe {mediapipe.__version__} finds faces by a file face_landmarker.task, which it does not "
                f"bring: --landmarks, or the setting corpus.landmarks, names it; it is to be had from {self.SOURCE}"
            )
        weakref.finalize(self, finder.close)  # or its threads and its memory outlive it
        self.frame = 0

    def __call__(self, rgb: np.ndarray) -> np.ndarray | None:
        faces = self.faces(np.ascontiguousarray(rgb), self.frame)
        self.frame += 1
        if not faces:
            return None
        marks = np.array([(mark.x * rgb.shape[1], mark.y * rgb.shape[0]) for mark in faces[0]])
        return np.stack([marks[list(group)].mean(0) for group in self.GROUPS])
