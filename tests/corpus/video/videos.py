"""Videos for tests: a textured face that moves, rotates and changes its size, whose true points are known."""

from fractions import Fraction

import av
import numpy as np
import torch

from avlib.corpus.video.mouth_crops import MEAN_FACE

SIZE, SOUND_HZ = (160, 200), 48_000
FACE = torch.view_as_complex(torch.tensor(MEAN_FACE, dtype=torch.double))


def pose(t: int) -> tuple[complex, complex]:
    """The transform from the picture of frame t to the mean face: x + iy -> a (x + iy) + b."""
    a = (1.5 - 0.01 * t) * np.exp(1j * 0.02 * t)
    return a, FACE[3].item() - a * complex(100 + 0.5 * t, 90 - 0.3 * t)


def texture(z):
    """Grey levels of the face at positions x + iy in the picture of the mean face."""
    return 128 + 50 * np.sin(z.real / 9) + 50 * np.cos(z.imag / 7 + z.real / 30)


def picture(t: int) -> np.ndarray:
    """Frame t of the moving face, (H, W) uint8."""
    a, b = pose(t)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return texture(a * (x + 1j * y) + b).round().astype(np.uint8)


def points(t: int) -> np.ndarray:
    """(4, 2), pixels: the points of the face in frame t."""
    a, b = pose(t)
    z = (FACE.numpy() - b) / a
    return np.stack([z.real, z.imag], -1)


class TrueDetector:
    """Returns the true points of the face in successive frames; none in the `hidden` ones."""

    def __init__(self, hidden=()):
        self.hidden, self.frame = set(hidden), -1

    def __call__(self, rgb: np.ndarray):
        self.frame += 1
        assert rgb.shape == (*SIZE, 3) and rgb.dtype == np.uint8
        return None if self.frame in self.hidden else points(self.frame)


def write_video(path, pictures, times, sound=None):
    """A lossless video of grey pictures, visible from `times` (s) on, with sound (S,) int16 at 48 kHz."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=Fraction(1000))
        video.width, video.height, video.pix_fmt, video.time_base = *pictures[0].shape[::-1], "gray", Fraction(1, 1000)
        video.codec_context.time_base = Fraction(1, 1000)
        audio = out.add_stream("pcm_s16le", rate=SOUND_HZ, layout="mono") if sound is not None else None
        for image, time in zip(pictures, times):
            frame = av.VideoFrame.from_ndarray(image, "gray")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None:
            write_sound(out, audio, sound)
    return path


def write_sound(out, stream, sound):
    """Sound (S,) int16 at 48 kHz as an uncompressed stream, in packets of 0.1 s."""
    for begin in range(0, len(sound), SOUND_HZ // 10):
        frame = av.AudioFrame.from_ndarray(sound[None, begin : begin + SOUND_HZ // 10], "s16", "mono")
        frame.sample_rate, frame.pts = SOUND_HZ, begin
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def add_sound(film, path, sound):
    """A copy of a film with sound."""
    with av.open(str(film)) as pictures, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(pictures.streams.video[0])
        audio = out.add_stream("pcm_s16le", rate=SOUND_HZ, layout="mono")
        for packet in pictures.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        write_sound(out, audio, sound)
    return path


def write_moving_face(path, frames: int = 40, sound="silence"):
    """A video of the moving face at 25 fps, with silence or without sound (None)."""
    samples = None if sound is None else np.zeros(frames * SOUND_HZ // 25, np.int16)
    return write_video(path, [picture(t) for t in range(frames)], np.arange(frames) / 25, samples)


def write_film(
    path, pictures, codec="libx264", rate=25, pix_fmt="yuv420p", rotation=0, aspect=None, keep=None, **options
):
    """A compressed film of colour pictures, (H, W, 3) uint8, without sound.

    rotation: by which players turn it, degrees counterclockwise. aspect: of its pixels. keep: the packets, by number,
    that are written; by default all.
    """
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=Fraction(rate))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options = pix_fmt, {key: str(value) for key, value in options.items()}
        if rotation:
            stream.set_display_rotation(rotation)
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        frames = [av.VideoFrame.from_ndarray(image, "rgb24") for image in pictures]
        packets = [packet for frame in (*frames, None) for packet in stream.encode(frame)]
        out.mux([packet for n, packet in enumerate(packets) if keep is None or n in keep])
    return path
