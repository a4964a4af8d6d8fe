"""Clips and animated pictures have every frame and all sound."""

import av
import numpy as np
import pytest
import torch
from PIL import Image

from avlib.render.clips import titled, write_clip, write_webp


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_a_clip_has_every_frame_and_its_sound(tmp_path, fps):
    frames = int(2 * fps)
    video = (torch.arange(frames) * 4)[:, None, None].expand(-1, 32, 48).to(torch.uint8)
    path = write_clip(tmp_path / "clip.mp4", video, fps, 0.5 * torch.sin(torch.arange(32000) * 0.1))
    with av.open(str(path)) as clip:
        pictures = [f.to_ndarray(format="gray") for f in clip.decode(video=0)]
    with av.open(str(path)) as clip:
        sound = np.concatenate([f.to_ndarray() for f in clip.decode(audio=0)], 1)
        assert clip.streams.video[0].average_rate == fps
    assert len(pictures) == frames and pictures[0].shape == (32, 48)
    assert np.abs(np.stack(pictures).mean((1, 2)) - video[:, 0, 0].numpy()).max() < 12
    assert abs(sound.shape[1] - 32000) <= 2048 and 0.3 < np.abs(sound).max() < 0.7
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_clip_written_in_pieces_is_the_same(tmp_path):
    video = (torch.arange(150)[:, None, None].expand(-1, 32, 48) % 250).to(torch.uint8)
    speech = 0.5 * torch.sin(torch.arange(80000) * 0.1)
    whole = write_clip(tmp_path / "a.mp4", video, 30.0, speech)
    pieces = write_clip(tmp_path / "b.mp4", (piece for piece in video.split(37)), 30.0, speech)

    def streams(path):
        with av.open(str(path)) as clip:
            frames = [f.to_ndarray(format="gray") for f in clip.decode(video=0)]
        with av.open(str(path)) as clip:
            return np.stack(frames), np.concatenate([f.to_ndarray() for f in clip.decode(audio=0)], 1)

    (a, b), (c, d) = streams(whole), streams(pieces)
    assert np.array_equal(a, c) and np.array_equal(b, d) and abs(b.shape[1] - 80000) <= 2048


@pytest.mark.parametrize("width", [96, 256])
@pytest.mark.parametrize("name", ["scan", "codetalker-baseline-s0 of a run with a long name"])
def test_a_title_is_at_the_upper_edge_and_hides_nothing_below(name, width):
    video = torch.full((3, 64, width), 40, dtype=torch.uint8)
    with_title = titled(video, name)
    written = (with_title != 40).any(0)
    assert with_title.shape == video.shape and (with_title >= video).all() and (with_title == with_title[:1]).all()
    assert (video == 40).all(), "the argument stays as it is"
    assert written.any() and not written[40:].any()
    assert not written[:, 0].any() and not written[:, -1].any(), "cut off"


def test_an_animated_picture_keeps_its_length_and_frames(tmp_path):
    video = (torch.arange(25) * 8)[:, None, None].expand(-1, 32, 48).to(torch.uint8)
    shown = []
    with Image.open(write_webp(tmp_path / "a.webp", video, 25)) as picture:
        for n in range(picture.n_frames):  # the format joins frames that are nearly alike
            picture.seek(n)
            picture.load()
            shown += [np.array(picture.convert("L")).mean()] * round(picture.info["duration"] / 40)
            assert picture.size == (48, 32)
    assert len(shown) == 25 and np.abs(np.array(shown) - video[:, 0, 0].numpy()).max() < 12
