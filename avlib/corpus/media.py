"""Sound and pictures of video files: upright pictures with their times, and sound at 16 kHz."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from torch import Tensor

from ..core.media import open_media
from ..core.rates import SAMPLES_PER_FRAME, SPEECH_HZ, VIDEO_FPS
from .utterance import Excluded

SHORTEST_S, LONGEST_S = 0.2, 60.0
LARGEST_SIDE = 1280  # pixels: larger pictures are scaled down; a face in one is still larger than any reader needs
SEEK_S = 5.0  # parts that begin later than this are sought rather than decoded up to
SEEKABLE = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}  # with an index; elsewhere, seeking may miss
# Of pictures that a decoder made up where their reference was missing, and that were encoded again:
GREY = (120.0, 138.0)  # their mean level at first
FLAT = 2.0  # standard deviation of their levels at first
GREY_S = 1.0  # how long they last at most
SLACK_S = 1e-6  # by which rounding may shift times


@dataclass(frozen=True)
class Picture:
    """A picture of a video, time_s after the video's beginning.

    pixel_aspect: width of the file's pixels over their height.
    """

    frame: av.VideoFrame
    time_s: float
    pixel_aspect: float = 1.0

    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8: upright, with square pixels, and at most LARGEST_SIDE high and wide."""
        return self._upright("rgb24")

    def grey(self) -> np.ndarray:
        """(H, W) uint8, of the same size."""
        return self._upright("gray")

    def _upright(self, layout: str) -> np.ndarray:
        width, height = self.frame.width * self.pixel_aspect, self.frame.height
        scale = min(1.0, LARGEST_SIDE / max(width, height))
        pixels = self.frame.to_ndarray(format=layout, width=round(scale * width), height=round(scale * height))
        return np.ascontiguousarray(np.rot90(pixels, round(self.frame.rotation / 90)))  # counterclockwise


def pictures(path: str | Path, begin_s: float = 0.0, end_s: float = math.inf) -> Iterator[Picture]:
    """The pictures of a video that begin in [begin_s, end_s), at the rate of the file.

    Pictures at the beginning that could not be decoded are left out; the others keep their times. Excluded says what is
    wrong with a file.
    """
    for picture in _decode_pictures(path, begin_s):
        if picture.time_s >= end_s - SLACK_S:
            return
        if picture.time_s >= begin_s - SLACK_S:
            yield picture


def frames_at(path: str | Path, fps: float, begin_s: float = 0.0, end_s: float = math.inf) -> Iterator[Picture]:
    """The picture that is visible at begin_s + n / fps, for every n, at any constant or variable rate of the file.

    time_s is that time; repetitions of a picture have the same `frame`. The first n is not 0 where the first pictures
    could not be decoded.
    """
    visible, n, first_s, count = None, 0, 0.0, 0
    for picture in _decode_pictures(path, begin_s):
        if visible is None:
            first_s = picture.time_s
            n = max(0, math.ceil((first_s - SLACK_S - begin_s) * fps))
        while visible and (time_s := begin_s + n / fps) < min(picture.time_s - SLACK_S, end_s):
            yield replace(visible, time_s=time_s)
            n += 1
        if begin_s + n / fps >= end_s:
            return
        visible, count = picture, count + 1
    if visible:  # the last picture lasts as long as the others do on average
        duration_s = (visible.time_s - first_s) / (count - 1) if count > 1 else 1 / fps
        while (time_s := begin_s + n / fps) < min(visible.time_s + duration_s, end_s) - SLACK_S:
            yield replace(visible, time_s=time_s)
            n += 1


def frame_rate(path: str | Path) -> float:
    """The nominal frame rate of a video, per second: 24000/1001 stays that. Excluded if the file states none."""
    container, stream = open_stream(path, "video")
    with container:
        rate = stream.guessed_rate or stream.average_rate
    if not rate:
        raise Excluded("no frame rate stated")
    return float(rate)


def check_length(frames: int) -> None:
    """Excluded for a video that is too short."""
    if frames < SHORTEST_S * VIDEO_FPS:
        raise Excluded(f"{frames} frames, expected at least {round(SHORTEST_S * VIDEO_FPS)}")


def check_frame_rate(path: str | Path) -> None:
    """Excluded if some frames last much longer than others: a sign of a recording that lagged behind its sound."""
    container, stream = open_stream(path, "video")
    with container:
        times = sorted(
            float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.pts is not None
        )
    durations_ms = 1000 * np.diff(times)
    if len(durations_ms) and durations_ms.max() > 1.5 * durations_ms.min():
        raise Excluded(f"variable frame rate, {durations_ms.min():.0f} to {durations_ms.max():.0f} ms per frame")


def has_stream(path: str | Path, kind: str) -> bool:
    """Whether a file has a stream of a kind ("video" or "audio"). Excluded if it has none of any kind."""
    with _open(path) as container:
        return bool(getattr(container.streams, kind))


def open_stream(path: str | Path, kind: str):
    """The container, and its first stream of a kind ("video" or "audio"). Excluded if there is none."""
    container = _open(path)
    streams = [stream for stream in getattr(container.streams, kind) if stream.codec_context]
    if not streams:
        container.close()
        raise Excluded(f"no {kind} stream")
    return container, streams[0]


def _open(path: str | Path):
    try:
        return open_media(path)
    except ValueError as error:
        raise Excluded(str(error)) from None


def decode_frames(container, stream) -> Iterator:
    """The frames of a stream. Excluded if decoding fails, or if the stream ends before the duration of the file."""
    end_s = 0.0
    try:
        for frame in container.decode(stream):
            if frame.pts is not None:
                duration_s = frame.samples / frame.sample_rate if stream.type == "audio" else 0.0
                end_s = float(frame.pts * stream.time_base) + duration_s
            yield frame
    except FFmpegError as error:
        raise Excluded(f"{stream.type} breaks off after {end_s:.1f} s ({error})") from None
    expected_s = (container.duration or 0) / av.time_base
    if end_s < 0.9 * expected_s - 0.5:
        raise Excluded(f"truncated: {stream.type} ends after {end_s:.1f} s, the file states {expected_s:.1f} s")


def _decode_pictures(path: str | Path, begin_s: float) -> Iterator[Picture]:
    """The pictures of a video in the order of their times, at least those that are visible from begin_s on."""
    container, stream = open_stream(path, "video")
    with container:
        sought = _seek(container, stream, begin_s, _start_s(stream))
        decoded = _after_key_frame(_timed_pictures(container, stream))
        yield from decoded if sought else _after_grey(decoded)


def _start_s(stream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _seek(container, stream, begin_s: float, start_s: float) -> bool:
    """Goes to a little before begin_s, counted from start_s, if the way there is long and the file allows it.

    Returns whether it did.
    """
    if begin_s < SEEK_S or container.format.name not in SEEKABLE:
        return False
    try:
        container.seek(int((start_s + begin_s - 1) / stream.time_base), stream=stream)
    except FFmpegError as error:
        raise Excluded(f"{begin_s:.1f} s cannot be reached ({error})") from None
    return True


def _timed_pictures(container, stream) -> Iterator[Picture]:
    aspect, duration_s = float(stream.sample_aspect_ratio or 1), 1 / float(stream.average_rate or VIDEO_FPS)
    start = None if container.format.name == "avi" else stream.start_time  # AVI states it without the decoder's delay
    last_s = -duration_s
    for frame in decode_frames(container, stream):
        time_s = last_s + duration_s
        if frame.pts is not None:
            start = frame.pts if start is None else start
            stated_s = float((frame.pts - start) * stream.time_base)
            time_s = stated_s if stated_s > last_s else time_s  # AVI's times need not be in order
        yield Picture(frame, time_s, aspect)
        last_s = time_s


def _after_key_frame(decoded: Iterator[Picture]) -> Iterator[Picture]:
    """The pictures from the first that needs no other one. Excluded if there is none, but other pictures."""
    key, picture = False, None
    for picture in decoded:
        key = key or picture.frame.key_frame
        if key:
            yield picture
    if picture and not key:
        raise Excluded("no key frame, from which the pictures could be decoded")


def _after_grey(decoded: Iterator[Picture]) -> Iterator[Picture]:
    """The pictures without a beginning that a decoder made up and that was encoded again, as in some files of GRID.

    It begins with plain grey, on which differences to the missing picture appear, and ends with the last key frame that
    has suddenly more contrast.
    """
    beginning, contrasts = [], []
    for picture in decoded:
        levels = picture.grey()[::4, ::4].astype(float)
        beginning.append(picture)
        contrasts.append(levels.std())
        grey = contrasts[0] < FLAT and (len(beginning) > 1 or GREY[0] < levels.mean() < GREY[1])
        if not grey or picture.time_s - beginning[0].time_s > GREY_S:
            break
    ends = [
        n
        for n, (before, after) in enumerate(pairwise(contrasts), 1)
        if beginning[n].frame.key_frame and after > 2 * max(before, FLAT)
    ]
    yield from beginning[max(ends, default=0) :]
    yield from decoded


def speech_at(path: str | Path, begin_s: float, frames: int) -> Tensor:
    """The speech of a number of video frames from begin_s on, (frames * 640,) int16; missing samples are silence.

    Excluded if more than half of it is missing.
    """
    samples, delay_s = read_sound(path, begin_s, begin_s + frames / VIDEO_FPS)
    skipped = round((begin_s - delay_s) * SPEECH_HZ)  # negative if the sound begins after the pictures
    samples = torch.nn.functional.pad(samples, (max(0, -skipped), 0))[max(0, skipped) :]
    count = frames * SAMPLES_PER_FRAME
    if len(samples) < count / 2:
        raise Excluded(f"{len(samples) / SPEECH_HZ:.1f} s of audio for {frames / VIDEO_FPS:.1f} s of video")
    return torch.nn.functional.pad(samples, (0, max(0, count - len(samples))))[:count]


def read_sound(path: str | Path, begin_s: float = 0.0, end_s: float = math.inf) -> tuple[Tensor, float]:
    """The sound of a video or audio file, (S,) int16 at 16 kHz, and its delay after the first picture, s.

    It may begin earlier than begin_s and end later than end_s.
    """
    container, stream = open_stream(path, "audio")
    with container:
        pictures_start_s = _start_s(container.streams.video[0]) if container.streams.video else 0.0
        _seek(container, stream, begin_s, pictures_start_s)
        resampler, parts = av.AudioResampler("s16", "mono", SPEECH_HZ), []
        start_s = None
        for frame in decode_frames(container, stream):
            time_s = float((frame.pts or 0) * stream.time_base)
            start_s = time_s if start_s is None else start_s
            if time_s - pictures_start_s > end_s + 1:
                break
            parts += [f.to_ndarray()[0] for f in resampler.resample(frame)]
        parts += [f.to_ndarray()[0] for f in resampler.resample(None)]
    if not parts or start_s is None:
        raise Excluded("no audio samples")
    return torch.from_numpy(np.concatenate(parts)), start_s - pictures_start_s
