"""Pictures of films, at their times: upright, whatever the file's codec, rate, rotation, depth and beginning."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from avlib.corpus import media
from avlib.corpus.media import frame_rate, frames_at, pictures, read_sound, speech_at
from avlib.corpus.utterance import Excluded
from tests.corpus.video.film import FILM
from tests.corpus.video.videos import SOUND_HZ, write_film, write_video

RED, GREEN, SIZE = (200, 20, 20), (20, 200, 20), (96, 128)


def numbered(n: int) -> np.ndarray:
    """Picture n: its number as a binary code of bright and dark bars."""
    bars = np.array([(n >> bit) & 1 for bit in range(8)], np.uint8)
    return np.repeat(np.repeat(200 * bars + 20, SIZE[1] // 8)[None], SIZE[0], 0)[..., None].repeat(3, -1)


def number_of(picture: media.Picture) -> int:
    bars = picture.grey()[SIZE[0] // 2].reshape(8, -1)[:, 4:12].mean(1) > 120
    return int((bars << np.arange(8)).sum())


def corner(colour) -> np.ndarray:
    """A dark picture with a coloured corner, at the top left."""
    image = np.full((*SIZE, 3), 30, np.uint8)
    image[: SIZE[0] // 3, : SIZE[1] // 4] = colour
    return image


def near(pixel, colour) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() < 25)


@pytest.mark.parametrize("times", [np.arange(60) / 30, np.arange(100) / 50, np.cumsum(np.tile([0.02, 0.05, 0.1], 12))])
def test_each_frame_is_the_one_visible_at_its_time(tmp_path, times):
    times = np.round(times - times[0], 3)
    images = [np.full((16, 16), 2 * i, np.uint8) for i in range(len(times))]
    shown = list(frames_at(write_video(tmp_path / "a.mkv", images, times), 25))
    levels = [p.grey()[0, 0] // 2 for p in shown]
    want = np.searchsorted(times, np.arange(len(shown)) / 25 + 1e-6, "right") - 1
    assert np.array_equal(levels, want) and abs(len(shown) / 25 - times[-1]) < 0.15
    assert [p.time_s for p in shown] == pytest.approx(np.arange(len(shown)) / 25)
    assert all((a.frame is b.frame) == (x == y) for a, b, x, y in zip(shown, shown[1:], levels, levels[1:]))
    part = [p.grey()[0, 0] // 2 for p in frames_at(tmp_path / "a.mkv", 25, 0.4, 0.8)]
    assert np.array_equal(part, want[10:20])
    assert [p.time_s for p in pictures(tmp_path / "a.mkv")] == pytest.approx(times)
    inside = (times >= 0.4) & (times < 0.8)
    assert [p.time_s for p in pictures(tmp_path / "a.mkv", 0.4, 0.8)] == pytest.approx(times[inside])


@pytest.mark.parametrize("rate", [25, 60, Fraction(24000, 1001), Fraction(30000, 1001)])
@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.webm", "libvpx"), ("a.mkv", "ffv1")]
)
def test_every_picture_comes_at_its_rate_and_time(tmp_path, name, codec, rate):
    path = write_film(tmp_path / name, [numbered(n) for n in range(40)], codec, rate)
    assert frame_rate(path) == float(rate)
    shown = list(pictures(path))
    assert [number_of(p) for p in shown] == list(range(40))
    assert [p.time_s for p in shown] == pytest.approx(np.arange(40) / float(rate), abs=0.001)


@pytest.mark.parametrize("name, codec", [("a.mpg", "mpeg2video"), ("a.avi", "mpeg4"), ("a.mp4", "libx264")])
def test_pictures_are_in_order_where_they_are_stored_in_another(tmp_path, name, codec):
    path = write_film(tmp_path / name, [numbered(n) for n in range(40)], codec, bf=2)
    shown = list(pictures(path))
    assert [number_of(p) for p in shown] == list(range(40))
    assert [p.time_s for p in shown] == pytest.approx(np.arange(40) / 25, abs=0.001)


@pytest.mark.parametrize("rotation, place", [(90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1)), (0, (0, 0))])
def test_pictures_of_a_turned_phone_are_upright(tmp_path, rotation, place):
    """A corner at the top left of the stored picture is where a player shows it."""
    path = write_film(tmp_path / "a.mp4", [corner(RED)] * 6, rotation=rotation)
    picture = next(pictures(path))
    height, width = SIZE if rotation % 180 == 0 else SIZE[::-1]
    assert picture.rgb().shape == (height, width, 3) and picture.grey().shape == (height, width)
    assert near(picture.rgb()[place], RED) and picture.grey()[place] > 50
    for other in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert other == place or near(picture.rgb()[other], (30, 30, 30))
    for pixels in (picture.rgb(), picture.grey()):
        torch.from_numpy(pixels)  # which takes no negative strides
        assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    "codec, pix_fmt", [("libx264", "yuv420p10le"), ("ffv1", "yuv422p10le"), ("libx264", "yuv444p")]
)
def test_colours_and_levels_do_not_depend_on_depth_and_subsampling(tmp_path, codec, pix_fmt):
    picture = next(pictures(write_film(tmp_path / "a.mkv", [corner(GREEN)] * 6, codec, pix_fmt=pix_fmt)))
    plain = next(pictures(write_film(tmp_path / "b.mkv", [corner(GREEN)] * 6)))
    assert picture.rgb().dtype == picture.grey().dtype == np.uint8
    assert near(picture.rgb()[4, 4], GREEN) and near(picture.rgb()[-4, -4], (30, 30, 30))
    assert np.abs(picture.grey().astype(int) - plain.grey())[4:12, 4:12].max() < 4


def test_large_pictures_are_scaled_down_and_pixels_are_square(tmp_path):
    image = np.zeros((1440, 2560, 3), np.uint8)
    image[:720, :1280] = RED
    picture = next(pictures(write_film(tmp_path / "a.mp4", [image] * 2, preset="ultrafast", rotation=90)))
    assert picture.rgb().shape == (1280, 720, 3) and picture.grey().shape == (1280, 720)
    assert near(picture.rgb()[700, 300], RED) and near(picture.rgb()[600, 300], (0, 0, 0))
    wide = next(pictures(write_film(tmp_path / "b.mp4", [corner(RED)] * 2, aspect="4/3")))
    assert wide.rgb().shape == (SIZE[0], round(SIZE[1] * 4 / 3), 3)


def test_pictures_before_the_first_key_frame_are_left_out_and_the_others_keep_their_times(tmp_path):
    images = [numbered(n) for n in range(40)]
    path = write_film(tmp_path / "a.mkv", images, "mpeg4", keep=range(4, 40), g=12)
    with av.open(str(path)) as container:
        keys = [frame.key_frame for frame in container.decode(video=0)]
    assert not any(keys[:8]) and keys[8]  # the decoder shows something for the others, too
    shown = list(pictures(path))
    assert [number_of(p) for p in shown] == list(range(12, 40))
    assert [p.time_s for p in shown] == pytest.approx(np.arange(8, 36) / 25)
    sampled = list(frames_at(path, 25))
    assert [(number_of(p), p.time_s) for p in sampled] == [(n, pytest.approx((n - 4) / 25)) for n in range(12, 40)]
    assert [number_of(p) for p in frames_at(path, 25, 0.4, 0.6)] == list(range(14, 19))
    broken = write_film(tmp_path / "b.mkv", images[:20], "mpeg4", keep=range(4, 20), g=300)
    with pytest.raises(Excluded, match="no key frame"):
        list(pictures(broken))


def recoded_damage(first: int, level: int = 128) -> list[np.ndarray]:
    """Pictures as a broken decoder made them: up to `first` plain grey, on which differences appear; then whole."""
    whole = [numbered(n).astype(int) for n in range(40)]
    for n in range(first):
        contrast = n if n < 3 else 6 + n  # of 100
        whole[n] = level + (whole[n] - 120) * contrast // 100
    return [picture.astype(np.uint8) for picture in whole]


def test_a_grey_beginning_that_was_encoded_again_is_left_out(tmp_path):
    """As in GRID: the first picture is a key frame of plain grey, and so may be others before the first whole one."""
    path = write_film(tmp_path / "a.mpg", recoded_damage(12), "mpeg1video", g=1)
    shown = list(pictures(path))
    assert [number_of(p) for p in shown] == list(range(12, 40))
    assert [p.time_s for p in shown] == pytest.approx(np.arange(12, 40) / 25, abs=1e-4)
    assert [p.time_s for p in frames_at(path, 25)][:2] == pytest.approx([0.48, 0.52], abs=1e-4)


def test_other_plain_beginnings_are_kept(tmp_path):
    plain = [np.full((*SIZE, 3), 128, np.uint8)] * 40
    assert len(list(pictures(write_film(tmp_path / "grey.mp4", plain)))) == 40
    dark = recoded_damage(12, level=12)
    assert len(list(pictures(write_film(tmp_path / "dark.mpg", dark, "mpeg1video", g=12, bf=0)))) == 40
    late = [plain[0]] * 30 + [numbered(9)] * 10
    assert len(list(pictures(write_film(tmp_path / "late.mpg", late, "mpeg1video", g=1)))) == 40


@pytest.mark.skipif(
    not (FILM / "grid" / "original").is_dir(), reason="no grid/original here: AVLIB_FILM names its folder"
)
def test_the_damaged_beginnings_of_grid_are_left_out():
    for path in sorted((FILM / "grid" / "original").glob("*.mpg")):
        shown = list(pictures(path))
        damaged = path.stem in ("pbio7a", "pbwx1s")
        assert shown[0].time_s == pytest.approx(0.48 if damaged else 0) and shown[-1].time_s == pytest.approx(2.96)


@pytest.mark.parametrize("name, codec", [("a.mp4", "libx264"), ("a.mkv", "mpeg4"), ("a.avi", "mpeg4")])
def test_a_part_is_the_same_whether_it_is_sought_or_decoded_up_to(tmp_path, monkeypatch, name, codec):
    path = write_film(tmp_path / name, [numbered(n) for n in range(250)], codec, g=30)

    def part():
        every = [(number_of(p), p.time_s) for p in pictures(path, 6.02, 7.01)]
        return every, [(number_of(p), p.time_s) for p in frames_at(path, 30, 6.02, 7.01)]

    sought = part()
    monkeypatch.setattr(media, "SEEK_S", 100.0)
    assert sought == part() and [n for n, _ in sought[0]] == list(range(151, 176))


def test_the_speech_of_a_part_is_the_same_whether_it_is_sought_or_decoded_up_to(tmp_path, monkeypatch, generator):
    sound = (3000 * torch.randn(12 * SOUND_HZ, generator=generator)).short().numpy()
    path = write_video(tmp_path / "a.mkv", [np.zeros((16, 16), np.uint8)] * 300, np.arange(300) / 25, sound)
    sought = speech_at(path, 8.0, 50)
    assert len(read_sound(path, 8.0, 10.0)[0]) < 5 * 16000
    monkeypatch.setattr(media, "SEEK_S", 100.0)
    assert (sought.int() - speech_at(path, 8.0, 50)).abs().max() <= 1


def test_sound_and_pictures_are_synchronous(tmp_path):
    sound = np.zeros(2 * SOUND_HZ, np.int16)
    sound[int(1.2 * SOUND_HZ) : int(1.21 * SOUND_HZ)] = 20000
    times = np.arange(60) / 30
    path = write_video(
        tmp_path / "a.mkv", [np.full((16, 16), 255 * (t >= 1.2 - 1e-6), np.uint8) for t in times], times, sound
    )
    first = [p.grey()[0, 0] for p in frames_at(path, 25)].index(255)
    assert first == 30
    for begin in (0.0, 0.8):
        loud = speech_at(path, begin, 25).float().abs() > 5000
        assert loud.any() == (begin > 0)  # it is not in the first second
        assert not loud.any() or abs(int(loud.nonzero()[0]) - (1.2 - begin) * 16000) < 32
    assert len(speech_at(path, 0.0, 70)) == 70 * 640
