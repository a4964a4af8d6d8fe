"""Clips with sound and animated pictures, as files."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..core.files import write_atomic
from ..core.rates import SPEECH_HZ
from ..speech.sound import SpeechFile


def enlarged(video: torch.Tensor, times: int) -> torch.Tensor:
    """(T, H, W) with every pixel `times` as large."""
    return video.repeat_interleave(times, -1).repeat_interleave(times, -2)


def titled(video: torch.Tensor, name: str) -> torch.Tensor:
    """(T, H, W) uint8 with a name, in white, at its upper edge; as large as fits."""
    width = video.shape[2]
    font = next(
        f for f in (ImageFont.load_default(width / n) for n in range(16, width)) if f.getlength(name) < 0.95 * width
    )
    left, top, right, bottom = map(int, font.getbbox(name))
    letters = Image.new("L", (width, bottom + top + 2))
    ImageDraw.Draw(letters).text(((width - right) / 2, 1), name, 255, font)
    title = torch.from_numpy(np.array(letters)).expand(len(video), -1, -1)
    height = title.shape[1]
    return torch.cat([torch.maximum(video[:, :height], title), video[:, height:]], 1)


def write_webp(path: Path, video: torch.Tensor, fps: float) -> Path:
    """A silent moving picture that pages and mails show at once, an animated WebP. video: (T, H, W) uint8."""
    first, *others = (Image.fromarray(frame.numpy()) for frame in video)
    return write_atomic(
        path,
        lambda p: first.save(
            p, "WEBP", save_all=True, append_images=others, duration=1000 / fps, loop=0, quality=60, method=4
        ),
    )


def write_clip(
    path: Path, video: torch.Tensor | Iterable[torch.Tensor], fps: float, speech: "torch.Tensor | SpeechFile"
) -> Path:
    """An MP4 (H.264, AAC) that any browser plays. video: (T, H, W) uint8 with even sides, or pieces of it as they are
    made; speech: (S,) at 16 kHz."""
    pieces = [video] if torch.is_tensor(video) else video

    def write(temporary: Path):
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as out:
            pictures = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "20"})
            sound = out.add_stream("aac", rate=SPEECH_HZ, layout="mono")
            frames = said = 0

            def say(until: int):
                nonlocal said
                for begin in range(said, until, SPEECH_HZ):
                    samples = (speech[begin : min(begin + SPEECH_HZ, until)].clamp(-1, 1) * 32767).short().numpy()[None]
                    audio = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="mono")
                    audio.sample_rate, audio.pts = SPEECH_HZ, begin
                    out.mux(sound.encode(audio))
                said = max(said, until)

            for piece in pieces:
                if not frames:
                    pictures.height, pictures.width = piece.shape[1:]
                    pictures.pix_fmt = "yuv420p"
                for frame in piece:
                    rgb = frame[..., None].expand(-1, -1, 3).contiguous().numpy()
                    out.mux(pictures.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
                frames += len(piece)
                say(min(int(frames / fps) * SPEECH_HZ, len(speech)))  # beside its pictures, in whole seconds
            out.mux(pictures.encode())
            say(len(speech))
            out.mux(sound.encode())

    return write_atomic(path, write)
