"""Mouth crops of a moving face: the mouth stays in place, in synchrony with the sound; unusable videos are excluded."""

import av
import numpy as np
import pytest
import torch

from avlib.corpus import media
from avlib.corpus.embedded.rig import Rig
from avlib.corpus.media import Picture
from avlib.corpus.utterance import Excluded
from avlib.corpus.video import mouth_crops
from avlib.corpus.video.mouth_crops import (
    MEAN_FACE,
    crop_mouths,
    crop_video,
    interpolate_gaps,
    similarity_transform,
    smooth_shape,
)
from avlib.render.camera import camera_for
from avlib.render.renderer import Renderer
from tests.corpus.video.film import FILM, MODEL, needs_film
from tests.corpus.video.videos import (
    FACE,
    SOUND_HZ,
    TrueDetector,
    picture,
    points,
    pose,
    texture,
    write_moving_face,
    write_video,
)


def expected_crops(frames: int) -> torch.Tensor:
    """(T, 96, 96): the mouth of the mean face."""
    offsets = np.arange(96) - 47.5
    square = texture(FACE[3].item() + offsets[None] + 1j * offsets[:, None])
    return torch.from_numpy(square).expand(frames, -1, -1)


def test_the_mouth_stays_in_place_in_the_crops(tmp_path):
    video, speech = crop_video(write_moving_face(tmp_path / "a.mkv"), TrueDetector())
    assert video.shape == (40, 96, 96) and video.dtype == torch.uint8
    assert speech.shape == (40 * 640,) and speech.dtype == torch.int16
    assert (video - expected_crops(40)).abs().max() < 6 and (video - expected_crops(40)).abs().mean() < 1


def test_short_gaps_are_interpolated_and_long_ones_excluded(tmp_path):
    path = write_moving_face(tmp_path / "a.mkv")
    video, _ = crop_video(path, TrueDetector(hidden=[0, 1, 10, 11, 12, 13, 39]))
    assert (video - expected_crops(40))[2:39].abs().mean() < 2
    with pytest.raises(Excluded, match="no face for 0.6 s from 0.4 s on"):
        crop_video(path, TrueDetector(hidden=range(10, 24)))
    with pytest.raises(Excluded, match="no face for 0.8 s from 0.0 s on"):
        crop_video(path, TrueDetector(hidden=range(20)))
    with pytest.raises(Excluded, match="no face in any frame"):
        crop_video(path, TrueDetector(hidden=range(40)))


def test_gaps_are_interpolated_linearly_and_ends_repeat_the_nearest_points():
    line = torch.arange(10.0)[:, None, None].repeat(1, 4, 2)
    holes = line.clone()
    holes[[0, 3, 4, 9]] = torch.nan
    filled = interpolate_gaps(holes)
    line[0], line[9] = line[1], line[8]
    torch.testing.assert_close(filled, line)


def test_smoothing_keeps_the_position_and_smooths_the_shape(generator):
    shape = torch.randn(4, 2, generator=generator)
    places = 10 * torch.randn(30, 1, 2, generator=generator)
    still = shape + places
    torch.testing.assert_close(smooth_shape(still), still)
    shaken = still + 0.1 * torch.randn(30, 4, 2, generator=generator)
    torch.testing.assert_close(smooth_shape(shaken).mean(1), shaken.mean(1))
    assert (smooth_shape(shaken) - shaken.mean(1, True) - shape + shape.mean(0)).std() < 0.5 * 0.1


def test_the_similarity_transform_is_recovered(generator):
    a, b = pose(7)
    points_7 = torch.tensor(points(7))[None]
    found_a, found_b = similarity_transform(points_7, torch.tensor(MEAN_FACE, dtype=torch.double))
    assert found_a.item() == pytest.approx(a) and found_b.item() == pytest.approx(b)
    with pytest.raises(Excluded, match="coincide"):
        similarity_transform(torch.ones(1, 4, 2), torch.tensor(MEAN_FACE))


def test_crops_are_black_beyond_the_picture():
    outside = torch.tensor(MEAN_FACE)[None] - torch.tensor([129.31, 157.82])  # the mouth is at the first pixel
    cut = crop_mouths(torch.full((1, 300, 300), 200, dtype=torch.uint8), outside)[0]
    assert (cut[:46] == 0).all() and (cut[:, :46] == 0).all() and (cut[50:, 50:] == 200).all()


def test_unusable_files_are_excluded_with_their_reason(tmp_path, monkeypatch):
    whole = write_moving_face(tmp_path / "whole.mkv")
    (tmp_path / "text.mkv").write_text("no video")
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    write_moving_face(tmp_path / "mute.mkv", sound=None)
    write_moving_face(tmp_path / "one.mkv", frames=1)
    for name, reason in {
        "nowhere.mkv": "no such file",
        "text.mkv": "not a sound or video file",
        "mute.mkv": "no audio stream",
        "one.mkv": "1 frames, expected at least 5",
        "cut.mkv": "breaks off|truncated",
    }.items():
        with pytest.raises(Excluded, match=reason):
            crop_video(tmp_path / name, TrueDetector())


def test_long_videos_and_repeated_pictures_are_excluded(tmp_path, monkeypatch):
    times = np.concatenate([np.arange(10) / 25, 0.9 + np.arange(30) / 25])
    path = write_video(tmp_path / "still.mkv", [picture(t) for t in range(40)], times, np.zeros(3 * SOUND_HZ, np.int16))
    with pytest.raises(Excluded, match="the same picture for more than 0.5 s from 0.4 s on"):
        crop_video(path, TrueDetector())
    monkeypatch.setattr(mouth_crops, "LONGEST_S", 1.0)
    path = write_moving_face(tmp_path / "a.mkv")
    with pytest.raises(Excluded, match="longer than 1 s, without word times"):
        crop_video(path, TrueDetector())
    assert len(crop_video(path, TrueDetector(), 0.0, 1.0)[0]) == 25


def test_few_pictures_are_kept_at_a_time(tmp_path, monkeypatch):
    path, lengths = write_moving_face(tmp_path / "a.mkv"), []
    whole, _ = crop_video(path, TrueDetector())

    def watched(video, points):
        lengths.append(len(video))
        return crop_mouths(video, points)

    monkeypatch.setattr(mouth_crops, "crop_mouths", watched)
    monkeypatch.setattr(mouth_crops, "CHUNK", 7)
    video, _ = crop_video(path, TrueDetector())
    assert lengths == [7] * 5 + [5] and torch.equal(video, whole)


def test_crops_end_with_the_pictures(tmp_path):
    path = write_moving_face(tmp_path / "a.mkv")
    track = mouth_crops.track_face(path, TrueDetector())
    longer = track._replace(points=torch.cat((track.points, track.points[-3:])))
    video, speech = mouth_crops.cut_mouths(path, longer)
    assert len(video) == 40 and len(speech) == 40 * 640
    with pytest.raises(Excluded, match="no pictures from 9.0 s on"):
        mouth_crops.cut_mouths(path, track._replace(begin_s=9.0))


def test_a_changing_picture_size_is_excluded(monkeypatch):
    pictures = [np.zeros((20 + 2 * (t > 5), 20, 3), np.uint8) for t in range(10)]
    shown = [Picture(av.VideoFrame.from_ndarray(p, "rgb24"), t / 25) for t, p in enumerate(pictures)]
    monkeypatch.setattr(mouth_crops, "frames_at", lambda *_: shown)
    with pytest.raises(Excluded, match="picture size changes"):
        crop_video("any.mkv", lambda rgb: points(0))


def test_a_variable_frame_rate_is_excluded(tmp_path):
    pictures = [np.zeros((16, 16), np.uint8)] * 36
    media.check_frame_rate(write_video(tmp_path / "a.mkv", pictures, np.arange(36) / 30))
    with pytest.raises(Excluded, match="variable frame rate, 20 to 100 ms per frame"):
        crop_video(
            write_video(tmp_path / "b.mkv", pictures, np.cumsum(np.tile([0.02, 0.05, 0.1], 12))), lambda rgb: points(0)
        )


@pytest.mark.parametrize(
    "frames, side, labelled, reason",
    [
        (30, 96, 40, "30 frames, its label states 40"),
        (1, 96, 1, "1 frames, expected at least 5"),
        (30, 88, 30, "crops of 88 x 88 pixels, expected 96 x 96"),
    ],
)
def test_unusable_crops_are_excluded(tmp_path, frames, side, labelled, reason):
    path = write_video(
        tmp_path / "a.mkv",
        [np.zeros((side, side), np.uint8)] * frames,
        np.arange(frames) / 25,
        np.zeros(frames * SOUND_HZ // 25, np.int16),
    )
    with pytest.raises(Excluded, match=reason):
        mouth_crops.read_cropped_video(path, path, labelled)


@needs_film()
def test_the_mouth_stays_in_place_with_mediapipe(tmp_path):
    """The embedded face, shifted, rotated and scaled between frames."""
    detector = mouth_crops.MediaPipe(MODEL)
    rig, side, t = Rig(), 256, torch.arange(50).double()
    person, middle = rig.identity(0), (side - 1) / 2
    camera = camera_for(person.template, side)
    face = Renderer(rig.faces, camera, albedo=person.albedo, antialias=True)(person.template[None])[:, None]
    a, b = (
        torch.polar(1 + 0.2 * (t / 9).sin(), 0.2 * (t / 7).sin()),
        torch.polar(torch.full((50,), 12.0).double(), t / 5),
    )
    offsets = torch.arange(side).double() - middle
    square = torch.complex(offsets.expand(side, side), offsets[:, None].expand(side, side))
    at = torch.view_as_real((square - b[:, None, None]) / a[:, None, None]).float() / middle
    shown = torch.nn.functional.grid_sample(face.expand(50, -1, -1, -1), at, align_corners=True)[:, 0]
    pictures = (shown * 255).round().byte().numpy()
    video, _ = crop_video(
        write_video(tmp_path / "a.mkv", list(pictures), np.arange(50) / 25, np.zeros(2 * SOUND_HZ, np.int16)),
        mouth_crops.MediaPipe.of_corpus("", FILM / "grid"),
    )
    assert (video.float() - video.float().mean(0)).abs().mean() < 6
    found = np.stack([detector(picture[..., None].repeat(3, -1))[mouth_crops.MOUTH] for picture in pictures]) - middle
    columns, rows, _ = camera.to_pixels(person.template[rig.regions["lip"]].T * camera.pixels_per_unit)
    off = (torch.complex(*torch.tensor(found).T) - b) / a - torch.complex(columns.mean() - middle, rows.mean() - middle)
    assert off.mean().abs() < 6 and (off - off.mean()).abs().max() < 3
