"""What one film gives: landmarks of the face at the film's own frame rate, mouth crops at 25 fps, and speech."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...core.rates import SPEECH_HZ, VIDEO_FPS
from ..media import LONGEST_S, check_frame_rate, check_length, frame_rate, pictures
from ..utterance import Excluded
from ..video.face_landmarker import BLENDSHAPES, Face, FaceLandmarker, nearest_face
from ..video.mouth_crops import LONGEST_GAP_S, MediaPipe, Track, cut_mouths
from ..video.sources import Source
from .landmarks import CHIN, COUNT, FOREHEAD, INNER_LOWER, INNER_UPPER, OUTER_LOWER, OUTER_UPPER, STABLE

LIPS = sorted({*OUTER_UPPER, *OUTER_LOWER, *INNER_UPPER, *INNER_LOWER})
SECOND_FACE = 0.5  # height of a second face, in heights of the first, from which a film is of two people
MAX_SHARE = 0.1  # of a film's frames that may show two faces, a turned head or cut lips
MAX_YAW, MAX_PITCH = 0.6, 0.5  # rad, from the camera: beyond it half of the mouth is hidden, or landmarks are guesses


@dataclass(frozen=True)
class Take:
    """What a film, or a part of one, shows and says.

    fps: of the film. times: (N,), s from its beginning, of its N frames. landmarks: (N, 478, 3) float32, pixels; NaN
    without a face. scores: (N, 51) float32, in the order of `BLENDSHAPES`. size: height and width of the pictures.
    video: (T, 96, 96) uint8, mouth crops at 25 fps. speech: (T * 640,) int16. late_s: how much later than its source
    the take begins, because the first pictures could not be decoded.
    """

    fps: float
    times: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray
    size: tuple[int, int]
    video: Tensor
    speech: Tensor
    late_s: float = 0.0

    @property
    def seconds(self) -> float:
        return len(self.speech) / SPEECH_HZ

    @property
    def frames(self) -> int:
        return len(self.times)

    def lip_speed(self) -> np.ndarray:
        """(T,), at 25 fps: how fast the lips move relative to the head, in heights of the face a frame."""
        landmarks, _ = self.at(VIDEO_FPS)
        size = np.linalg.norm(landmarks[:, FOREHEAD] - landmarks[:, CHIN], axis=-1).mean()
        lips = landmarks[:, LIPS] - landmarks[:, STABLE].mean(1, keepdims=True)
        return np.linalg.norm(np.gradient(lips, axis=0), axis=-1).mean(1) / size

    def at(self, fps: float) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks (T, 478, 3) and scores (T, 51) at a frame rate, interpolated linearly; also over short gaps.

        A film's own rate gives its own frames, moved by less than half a frame.
        """
        seen = np.isfinite(self.landmarks[:, 0, 0])
        wanted = np.arange(max(1, int(self.seconds * fps + 1e-6))) / fps
        if fps == self.fps:
            wanted = wanted + self.times[np.argmin(np.abs(self.times))]
        times = self.times[seen]
        after = np.searchsorted(times, wanted - 1e-6).clip(0, len(times) - 1)
        before = np.where(times[after] > wanted + 1e-6, (after - 1).clip(0), after)
        span = (times[after] - times[before]).clip(1e-9)
        share = ((wanted - times[before]) / span).clip(0, 1).astype(np.float32)

        def interpolated(values: np.ndarray) -> np.ndarray:
            return values[before] + share.reshape(-1, *[1] * (values.ndim - 1)) * (values[after] - values[before])

        return interpolated(self.landmarks[seen]), interpolated(self.scores[seen])


class Followed(NamedTuple):
    """A face in a film, or in a part of one.

    times: (N,), s from the beginning of the film, of its N frames. landmarks, scores, size: as of `Take`.
    """

    times: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray
    size: tuple[int, int]


def read_take(source: Source, create_landmarker: Callable[[], FaceLandmarker]) -> Take:
    """Follows the face in a film. Excluded says what is wrong with it."""
    if source.fault:
        raise Excluded(source.fault)
    face = follow_face(source, create_landmarker)
    check_frame_rate(source.path)
    track = mouth_track(face.times, face.landmarks, source.begin_s)
    video, speech = cut_mouths(source.path, track)
    fps, late_s = frame_rate(source.path), track.begin_s - source.begin_s
    return Take(fps, face.times - track.begin_s, face.landmarks, face.scores, face.size, video, speech, late_s)


def follow_face(
    source: Source, create_landmarker: Callable[[], FaceLandmarker], longest_s: float = LONGEST_S
) -> Followed:
    """The face of one person in all frames. Excluded says what is wrong with the pictures."""
    landmarker, last = create_landmarker(), None
    times, landmarks, scores, poses, sizes, second = [], [], [], [], set(), 0
    for picture in pictures(source.path, source.begin_s, source.end_s):
        if picture.time_s - source.begin_s > longest_s:
            raise Excluded(f"longer than {longest_s:.0f} s, without word times to split it")
        rgb = picture.rgb()
        faces = landmarker(rgb, picture.time_s)
        last = nearest_face(faces, last) if faces else last
        sizes.add(rgb.shape[:2])
        times.append(picture.time_s)
        landmarks.append(last.landmarks if last and faces else np.full((COUNT, 3), np.nan, np.float32))
        scores.append(last.scores if last and faces else np.full(len(BLENDSHAPES), np.nan, np.float32))
        poses += [last.pose] if last and faces else []
        second += len(faces) > 1 and height(faces[1]) > SECOND_FACE * height(faces[0])
    seconds = (times[-1] - times[0]) * len(times) / (len(times) - 1) if len(times) > 1 else 0.0
    check_length(round(seconds * VIDEO_FPS))
    if len(sizes) > 1:
        raise Excluded("the picture size changes")
    if not poses:
        raise Excluded("no face in any frame")
    size, tracked = sizes.pop(), np.stack(landmarks)
    check_view(tracked, np.stack(poses), second, size)
    kept = without_faceless_ends(np.array(times), np.isfinite(tracked[:, 0, 0]))
    return Followed(np.array(times)[kept], tracked[kept], np.stack(scores)[kept], size)


def without_faceless_ends(times: np.ndarray, seen: np.ndarray) -> slice:
    """The frames of a film without a beginning and an end in which no face is seen for long.

    times: (N,), s; seen: (N,), in which frames there is a face, at least one.
    """
    first, last = np.flatnonzero(seen)[[0, -1]].tolist()
    begins_late, ends_early = times[first] - times[0] > LONGEST_GAP_S, times[-1] - times[last] > LONGEST_GAP_S
    return slice(first if begins_late else 0, last + 1 if ends_early else len(times))


def mouth_track(times: np.ndarray, landmarks: np.ndarray, begin_s: float) -> Track:
    """The points that mouth crops need, for the picture that is visible at each 25th of a second after begin_s.

    It begins with the first picture. times: (N,), s, in the film; landmarks: (N, 478, 3), pixels.
    """
    points = torch.from_numpy(np.stack([landmarks[:, list(group), :2].mean(1) for group in MediaPipe.GROUPS], 1))
    first = max(0, int(np.ceil((times[0] - begin_s) * VIDEO_FPS - 1e-6)))
    end_s = times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)
    at = begin_s + np.arange(first, max(first + 1, int((end_s - begin_s) * VIDEO_FPS + 1e-6))) / VIDEO_FPS
    shown = (np.searchsorted(times, at + 1e-6, side="right") - 1).clip(0)
    return Track(float(at[0]), points[shown].double())


def height(face: Face) -> float:
    return float(np.ptp(face.landmarks[:, 1]))


def check_view(landmarks: np.ndarray, poses: np.ndarray, second: int, size: tuple[int, int]) -> None:
    """Excluded for a film of two faces, of a turned head, or of lips that the picture cuts.

    landmarks: (N, 478, 3), pixels; poses: (M, 4, 4), of frames with a face; second: frames with a second face.
    """
    frames = len(landmarks)
    if second > MAX_SHARE * frames:
        raise Excluded(f"two faces in {second} of {frames} frames")
    forward = poses[:, :3, 2]  # where the face looks; the camera is in direction z
    yaw = np.arctan2(forward[:, 0], forward[:, 2])
    pitch = np.arcsin(forward[:, 1].clip(-1, 1))
    turned = int(((np.abs(yaw) > MAX_YAW) | (np.abs(pitch) > MAX_PITCH)).sum())
    if turned > MAX_SHARE * frames:
        yaw_degrees, pitch_degrees = (float(np.degrees(np.abs(a)).max()) for a in (yaw, pitch))
        raise Excluded(
            f"the head is turned away in {turned} of {frames} frames, by up to {yaw_degrees:.0f}° to the side and "
            f"{pitch_degrees:.0f}° up or down, expected at most {np.degrees(MAX_YAW):.0f}° and "
            f"{np.degrees(MAX_PITCH):.0f}°"
        )
    x, y = landmarks[:, LIPS, 0], landmarks[:, LIPS, 1]
    cut = int(((x < 0) | (x >= size[1]) | (y < 0) | (y >= size[0])).any(1).sum())
    if cut > MAX_SHARE * frames:
        raise Excluded(f"the picture cuts the lips in {cut} of {frames} frames")
