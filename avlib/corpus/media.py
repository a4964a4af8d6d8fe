"""Sound and pictures of video files, resampled to 16 kHz and to a given frame rate."""

import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from torch import Tensor

from ..core.rates import SAMPLES_PER_FRAME, SPEECH_HZ, VIDEO_FPS
from .utterance import Excluded

SHORTEST_S, LONGEST_S = 0.2, 60.0


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


def open_stream(path: str | Path, kind: str):
    """The container, and its first stream of a kind ("video" or "audio"). Excluded if there is none."""
    if not Path(path).is_file():
        raise Excluded("no such file")
    try:
        container = av.open(str(path))
    except (FFmpegError, ValueError) as error:
        raise Excluded(f"not a video file ({error})") from None
    streams = getattr(container.streams, kind)
    if not streams:
        container.close()
        raise Excluded(f"no {kind} stream")
    return container, streams[0]


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


def frames_at(path: str | Path, fps: float, begin_s: float = 0.0, end_s: float = math.inf) -> Iterator[av.VideoFrame]:
    """The frame that is visible at begin_s + n / fps, for every n, at any constant or variable rate of the file."""
    container, stream = open_stream(path, "video")
    with container:
        start, time, count, visible = None, 0.0, 0, None
        for frame in decode_frames(container, stream):
            if frame.pts is None:
                continue
            time = float(frame.pts * stream.time_base)
            start = time if start is None else start
            while visible is not None and begin_s + count / fps < time - start - 1e-6 and begin_s + count / fps < end_s:
                yield visible
                count += 1
            if begin_s + count / fps >= end_s:
                return
            visible = frame
        if visible is not None and start is not None:  # the last frame lasts as long as frames do on average
            length = time - start + 1 / float(stream.average_rate or fps)
            while begin_s + count / fps < min(length, end_s) - 1e-6:
                yield visible
                count += 1


def speech_at(path: str | Path, begin_s: float, frames: int) -> Tensor:
    """The speech of a number of video frames from begin_s on, (frames * 640,) int16; missing samples are silence.

    Excluded if more than half of it is missing.
    """
    samples, delay_s = read_sound(path)
    skipped = round((begin_s - delay_s) * SPEECH_HZ)  # negative if the sound begins after the pictures
    samples = torch.nn.functional.pad(samples, (max(0, -skipped), 0))[max(0, skipped) :]
    count = frames * SAMPLES_PER_FRAME
    if len(samples) < count / 2:
        raise Excluded(f"{len(samples) / SPEECH_HZ:.1f} s of audio for {frames / VIDEO_FPS:.1f} s of video")
    return torch.nn.functional.pad(samples, (0, max(0, count - len(samples))))[:count]


def read_sound(path: str | Path) -> tuple[Tensor, float]:
    """The sound of a video or audio file, (S,) int16 at 16 kHz, and its delay after the first picture, s."""
    container, stream = open_stream(path, "audio")
    with container:
        pictures_start_s = 0.0
        if videos := container.streams.video:
            pictures_start_s = float((videos[0].start_time or 0) * (videos[0].time_base or 0))
        resampler, parts = av.AudioResampler("s16", "mono", SPEECH_HZ), []
        start_s = None
        for frame in decode_frames(container, stream):
            if start_s is None:
                start_s = float((frame.pts or 0) * stream.time_base)
            parts += [f.to_ndarray()[0] for f in resampler.resample(frame)]
        parts += [f.to_ndarray()[0] for f in resampler.resample(None)]
    if not parts or start_s is None:
        raise Excluded("no audio samples")
    return torch.from_numpy(np.concatenate(parts)), start_s - pictures_start_s
