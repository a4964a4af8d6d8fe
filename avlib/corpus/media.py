"""Sound and pictures of video files, at the rate they are wanted at."""

import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from ..core.rates import SAMPLES_PER_FRAME, SPEECH_HZ, VIDEO_FPS
from .utterance import Excluded

SHORTEST_S, LONGEST_S = 0.2, 60.0


def long_enough(frames: int) -> None:
    if frames < SHORTEST_S * VIDEO_FPS:
        raise Excluded(f"{frames} frames, expected at least {round(SHORTEST_S * VIDEO_FPS)}")


def even_rate(path: str | Path) -> None:
    """SetAside where some frames stay much longer than others: a sign of a recording that lagged behind its sound."""
    container, stream = opened(path, "video")
    with container:
        times = sorted(
            float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.pts is not None
        )
    lasts = 1000 * np.diff(times)
    if len(lasts) and lasts.max() > 1.5 * lasts.min():
        raise Excluded(f"variable frame rate, {lasts.min():.0f} to {lasts.max():.0f} ms a frame")


def opened(path: str | Path, kind: str):
    """The container, and its first stream of that kind ("video" or "audio")."""
    if not Path(path).is_file():
        raise Excluded("no such file")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, ValueError) as error:
        raise Excluded(f"no video file ({error})") from None
    streams = getattr(container.streams, kind)
    if not streams:
        container.close()
        raise Excluded(f"no {kind} in it")
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
        raise Excluded(f"{stream.type} breaks off after {last:.1f} s ({error})") from None
    whole = (container.duration or 0) / av.time_base
    if last < 0.9 * whole - 0.5:
        raise Excluded(f"{stream.type} ends after {last:.1f} s, the file says {whole:.1f} s: cut short")


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
        if shown is not None:  # the last frame stays for as long as frames do on average
            length = time - start + 1 / float(stream.average_rate or fps)
            while begin_s + made / fps < min(length, end_s) - 1e-6:
                yield shown
                made += 1


def speech_at(path: str | Path, begin_s: float, frames: int) -> Tensor:
    """Speech beside so many video frames from begin_s on, (frames * 640,) int16; silence where there is none."""
    samples, late_s = sound(path)
    skipped = round((begin_s - late_s) * SPEECH_HZ)  # negative where sound begins after the pictures
    samples = torch.nn.functional.pad(samples, (max(0, -skipped), 0))[max(0, skipped) :]
    wanted = frames * SAMPLES_PER_FRAME
    if len(samples) < wanted / 2:
        raise Excluded(f"{len(samples) / SPEECH_HZ:.1f} s of audio beside {frames / VIDEO_FPS:.1f} s of video")
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
        raise Excluded("no audio in it")
    return torch.from_numpy(np.concatenate(parts)), start - first
