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


def enlarged(video: torch.Tensor, factor: int) -> torch.Tensor:
    """(T, H, W) -> (T, factor * H, factor * W), every pixel a square of factor x factor pixels."""
    return video.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def titled(video: torch.Tensor, name: str) -> torch.Tensor:
    """(T, H, W) uint8 with a name at its upper edge, in white and as large as its width allows."""
    width = video.shape[2]
    sizes = (ImageFont.load_default(width / n) for n in range(16, width))
    font = next(font for font in sizes if font.getlength(name) < 0.95 * width)
    _, _, right, bottom = map(int, font.getbbox(name))
    letters = Image.new("L", (width, bottom + 2))
    ImageDraw.Draw(letters).text(((width - right) / 2, 1), name, 255, font)
    title = torch.from_numpy(np.array(letters)).expand(len(video), -1, -1)
    height = title.shape[1]
    return torch.cat([torch.maximum(video[:, :height], title), video[:, height:]], 1)


def write_webp(path: Path, video: torch.Tensor, fps: float) -> Path:
    """A silent animated WebP, which web pages and e-mails show directly. video: (T, H, W) uint8. Returns the path."""
    first, *others = (Image.fromarray(frame.numpy()) for frame in video)

    def write(temporary: Path) -> None:
        first.save(
            temporary, "WEBP", save_all=True, append_images=others, duration=1000 / fps, loop=0, quality=60, method=2
        )

    return write_atomic(path, write)


def write_clip(
    path: Path, video: torch.Tensor | Iterable[torch.Tensor], fps: float, speech: torch.Tensor | SpeechFile
) -> Path:
    """An MP4 file (H.264, AAC) that any browser plays. Returns its path.

    video: (T, H, W) uint8 with even height and width, or an iterable of consecutive pieces of it.
    speech: (S,) at 16 kHz.
    """
    pieces = [video] if torch.is_tensor(video) else video

    def write(temporary: Path) -> None:
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container:
            pictures = container.add_stream(
                "libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "20"}
            )
            sound = container.add_stream("aac", rate=SPEECH_HZ, layout="mono")
            frames = samples = 0  # written so far
            for piece in pieces:
                if not frames:
                    pictures.height, pictures.width = piece.shape[1:]
                    pictures.pix_fmt = "yuv420p"
                for frame in piece:
                    rgb = frame[..., None].expand(-1, -1, 3).contiguous().numpy()
                    container.mux(pictures.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
                frames += len(piece)
                # In whole seconds, so that sound and pictures of the same time lie near each other in the file.
                until = min(int(frames / fps) * SPEECH_HZ, len(speech))
                _encode_speech(container, sound, speech, samples, until)
                samples = max(samples, until)
            container.mux(pictures.encode())
            _encode_speech(container, sound, speech, samples, len(speech))
            container.mux(sound.encode())

    return write_atomic(path, write)


def _encode_speech(container, stream, speech: torch.Tensor | SpeechFile, begin: int, end: int) -> None:
    """Writes samples begin to end of the speech into the container's audio stream, a second at a time."""
    for first in range(begin, end, SPEECH_HZ):
        samples = (speech[first : min(first + SPEECH_HZ, end)].clamp(-1, 1) * 32767).short().numpy()[None]
        audio = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="mono")
        audio.sample_rate, audio.pts = SPEECH_HZ, first
        container.mux(stream.encode(audio))
