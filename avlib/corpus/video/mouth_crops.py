"""Mouth crops from video of talking people, in the form of Auto-AVSR's preprocessing.

Four points of the face are aligned to those of a mean face, and 96 x 96 grey pixels around the mouth are cropped, at 25
fps with 16 kHz speech.
"""

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...core.rates import VIDEO_FPS
from ..media import LONGEST_S, check_frame_rate, check_length, frames_at, speech_at
from ..utterance import Excluded
from .face_landmarker import FaceLandmarker, find_model, nearest_face

SIDE = 96
# (x, y), pixels, of the right eye, left eye, nose and mouth of the mean face that the published weights were trained
# with
MEAN_FACE = ((102.07, 94.27), (156.36, 93.58), (129.00, 135.90), (129.31, 157.82))
MOUTH = 3  # index of the mouth
SMOOTHING_FRAMES = 6  # frames on either side over which the points are averaged
LONGEST_GAP_S = 0.5  # longest gap without a face that is interpolated, and longest repetition of one picture
CHUNK = 16  # frames cropped at once

# RGB (H, W, 3) uint8 -> (4, 2), pixels, in the order of MEAN_FACE; None if there is no face
Detector = Callable[[np.ndarray], np.ndarray | None]


class Track(NamedTuple):
    """Points (T, 4, 2) of a face at 25 fps from begin_s on, pixels, in the order of MEAN_FACE; NaN without a face."""

    begin_s: float
    points: Tensor


def crop_video(
    path: str | Path, detector: Detector, begin_s: float = 0.0, end_s: float = math.inf
) -> tuple[Tensor, Tensor]:
    """Crops (T, 96, 96) uint8 and speech (T * 640,) int16 of a video file, or of a part of it.

    They begin with the first picture that could be decoded. Excluded says what is wrong.
    """
    return cut_mouths(path, track_face(path, detector, begin_s, end_s))


def track_face(path: str | Path, detector: Detector, begin_s: float = 0.0, end_s: float = math.inf) -> Track:
    """The face of a video file, or of a part of it. Excluded says what is wrong with the pictures."""
    first_s, points, sizes = begin_s, [], set()
    shown, since = None, 0  # since: first frame of the picture that is shown
    for n, picture in enumerate(frames_at(path, VIDEO_FPS, begin_s, end_s)):
        if n >= LONGEST_S * VIDEO_FPS:
            raise Excluded(f"longer than {LONGEST_S:.0f} s, without word times to split it")
        first_s = picture.time_s if n == 0 else first_s
        shown, since = picture.frame, since if picture.frame is shown else n
        if n + 1 - since > LONGEST_GAP_S * VIDEO_FPS:
            raise Excluded(f"the same picture for more than {LONGEST_GAP_S} s from {since / VIDEO_FPS:.1f} s on")
        rgb = picture.rgb()
        sizes.add(rgb.shape)
        face_points = detector(rgb)
        points.append(np.full((len(MEAN_FACE), 2), np.nan) if face_points is None else face_points)
    check_length(len(points))
    if len(sizes) > 1:
        raise Excluded("the picture size changes")
    check_frame_rate(path)
    return Track(first_s, torch.tensor(np.stack(points)))


def cut_mouths(path: str | Path, track: Track) -> tuple[Tensor, Tensor]:
    """The same as `crop_video`, of a face that was tracked."""
    video = cut_crops(path, track)
    return video, speech_at(path, track.begin_s, len(video))


def cut_crops(path: str | Path, track: Track) -> Tensor:
    """The crops (T, 96, 96) uint8 of a face that was tracked; fewer than its points if the pictures end before.

    The file is decoded once more, so that its pictures need not be kept: a minute of 1280 x 720 would take 1.4 GB.
    """
    points = smooth_shape(interpolate_gaps(track.points))
    pictures = frames_at(path, VIDEO_FPS, track.begin_s)
    crops = []
    for chunk in points.split(CHUNK):
        if grey := [torch.from_numpy(picture.grey()) for picture in islice(pictures, len(chunk))]:
            crops.append(crop_mouths(torch.stack(grey), chunk[: len(grey)]))
    if not crops:
        raise Excluded(f"no pictures from {track.begin_s:.1f} s on")
    return torch.cat(crops)


def read_cropped_video(path: str | Path, speech: str | Path, frames: int) -> tuple[Tensor, Tensor]:
    """The same as `crop_video` of a video of finished crops, and a file of its speech. frames: expected number."""
    crops = [torch.from_numpy(picture.grey()) for picture in frames_at(path, VIDEO_FPS, 0.0, frames / VIDEO_FPS + 1)]
    if abs(len(crops) - frames) > 1:
        raise Excluded(f"{len(crops)} frames, its label states {frames}")
    check_length(len(crops))
    if other_sizes := {picture.shape for picture in crops} - {(SIDE, SIDE)}:
        raise Excluded(f"crops of {' x '.join(map(str, min(other_sizes)))} pixels, expected {SIDE} x {SIDE}")
    return torch.stack(crops), speech_at(speech, 0.0, len(crops))


def interpolate_gaps(points: Tensor, longest_s: float = LONGEST_GAP_S) -> Tensor:
    """Points (T, 4, 2), NaN in frames without a face -> the same with gaps filled.

    Gaps are interpolated linearly; at the ends the nearest points are repeated. Excluded for a gap of more than
    longest_s, and if there is no face at all.
    """
    valid = points.isfinite().flatten(1).all(1)
    if not valid.any():
        raise Excluded("no face in any frame")
    frames = valid.nonzero()[:, 0]  # with a face
    edges = torch.cat((frames.new_tensor([-1]), frames, frames.new_tensor([len(points)])))
    gaps = edges.diff() - 1
    longest = int(gaps.argmax())
    if gaps[longest] > longest_s * VIDEO_FPS:
        raise Excluded(
            f"no face for {int(gaps[longest]) / VIDEO_FPS:.1f} s from {(int(edges[longest]) + 1) / VIDEO_FPS:.1f} s on"
        )
    number = torch.arange(len(points))
    after = torch.searchsorted(frames, number).clamp_max(len(frames) - 1)
    before = (torch.searchsorted(frames, number, right=True) - 1).clamp_min(0)
    span = (frames[after] - frames[before]).clamp_min(1)
    weight = ((number - frames[before]).clamp_min(0) / span).clamp_max(1)
    return torch.lerp(points[frames[before]], points[frames[after]], weight[:, None, None].to(points))


def smooth_shape(points: Tensor, reach: int = SMOOTHING_FRAMES) -> Tensor:
    """Points (T, 4, 2) with the shape of the face smoothed over time, but not its position.

    Each frame is averaged with up to `reach` frames on either side, fewer near the ends, about its own centre.
    """
    sums = torch.nn.functional.pad(points.cumsum(0), (0, 0, 0, 0, 1, 0))
    number = torch.arange(len(points))
    near = torch.minimum(number, len(points) - 1 - number).clamp_max(reach)
    mean = (sums[number + near + 1] - sums[number - near]) / (2 * near + 1)[:, None, None]
    return mean + (points - mean).mean(1, keepdim=True)


def similarity_transform(points: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation with scale a and translation b, complex (T,), that align points (T, P, 2) to the reference (P, 2).

    x + iy -> a (x + iy) + b has the least squared error. Excluded if the points of a face coincide.
    """
    z, w = torch.view_as_complex(points.double().contiguous()), torch.view_as_complex(reference.double().contiguous())
    centre, reference_centre = z.mean(1, keepdim=True), w.mean()
    size = (z - centre).abs().square().sum(1)
    if not (size > 0).all():
        raise Excluded("a face whose points coincide")
    a = ((z - centre).conj() * (w - reference_centre)).sum(1) / size
    return a, reference_centre - a * centre[:, 0]


def crop_mouths(video: Tensor, points: Tensor, side: int = SIDE) -> Tensor:
    """The aligned mouths (T, side, side) uint8 of a grey video (T, H, W) uint8; black beyond the picture.

    points: (T, 4, 2), pixels, in the order of MEAN_FACE.
    """
    a, b = similarity_transform(points, torch.tensor(MEAN_FACE))
    mouth = a * torch.view_as_complex(points[:, MOUTH].double().contiguous()) + b
    offsets = torch.arange(side, dtype=torch.double) - (side - 1) / 2
    square = torch.complex(offsets.expand(side, side), offsets[:, None].expand(side, side))
    height, width = video.shape[1:]
    source = (mouth[:, None, None] + square - b[:, None, None]) / a[:, None, None]
    grid = torch.stack((source.real / (width - 1), source.imag / (height - 1)), -1) * 2 - 1
    crops = torch.nn.functional.grid_sample(video[:, None].float(), grid.float(), align_corners=True)
    return crops[:, 0].round().byte()


class MediaPipe:
    """MediaPipe's Face Landmarker as a `Detector`, for one clip at 25 fps.

    model: the file face_landmarker.task. ValueError says what is missing.
    """

    # the landmarks that outline right eye, left eye, nose and mouth
    GROUPS = (
        (33, 160, 158, 133, 153, 144),
        (362, 385, 387, 263, 373, 380),
        (98, 97, 2, 326, 327),
        (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
    )

    def __init__(self, model: str | Path):
        self._landmarker = FaceLandmarker(model)
        self._frame, self._last = 0, None

    @staticmethod
    def of_corpus(setting: str, folder: Path) -> "MediaPipe":
        """With the model that the setting corpus.landmarks names, or that is in the corpus's folder or beside it."""
        return MediaPipe(find_model(setting, folder))

    def __call__(self, rgb: np.ndarray) -> np.ndarray | None:
        faces = self._landmarker(rgb, self._frame / VIDEO_FPS)
        self._frame += 1
        if not faces:
            return None
        self._last = nearest_face(faces, self._last)
        landmarks = self._last.landmarks[:, :2].astype(float)
        return np.stack([landmarks[list(group)].mean(0) for group in self.GROUPS])
