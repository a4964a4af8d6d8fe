"""Takes: the film's own frames at its own rate, interpolation at others, and films that show no usable face."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avlib.corpus.captured.takes import LIPS, MAX_PITCH, MAX_SHARE, MAX_YAW, Take, check_view, follow_face, read_take
from avlib.corpus.utterance import Excluded
from avlib.corpus.video.face_landmarker import BLENDSHAPES
from avlib.corpus.video.mouth_crops import MediaPipe, crop_video
from avlib.corpus.video.source import Source
from tests.corpus.captured import synthetic_face
from tests.corpus.captured.films import PictureLandmarker, say, talking, write_film
from tests.corpus.captured.synthetic_face import State

RATES = [24, 25, 30000 / 1001, 60]
SIZE = (288, 360)  # of a picture


def take(times: np.ndarray, fps: float, seconds: float, values: np.ndarray | None = None) -> Take:
    """A take whose landmarks all have the values (N,), by default the times themselves; its scores, too."""
    values = times if values is None else values
    landmarks = np.repeat(values.astype(np.float32), 478 * 3).reshape(-1, 478, 3)
    scores = np.repeat(values.astype(np.float32), 51).reshape(-1, 51)
    video, speech = torch.zeros(round(seconds * 25), 96, 96).byte(), torch.zeros(round(seconds * 25) * 640).short()
    return Take(fps, times, landmarks, scores, SIZE, video, speech)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("shift", [-0.4, 0, 0.4], ids=["early", "exact", "late"])
def test_a_film_keeps_its_frames_at_its_own_rate(fps, shift):
    """Also where they are moved by less than half a frame, as in a part of a film."""
    random = np.random.default_rng(0).standard_normal(round(2 * fps) + 2)
    landmarks, scores = take((np.arange(len(random)) + shift) / fps, fps, 2.0, random).at(fps)
    assert len(landmarks) == len(scores) == int(2 * fps + 1e-6)
    np.testing.assert_array_equal(landmarks[:, 7, 1], random[: len(landmarks)].astype(np.float32))
    np.testing.assert_array_equal(scores[:, 50], landmarks[:, 0, 0])


def test_times_that_a_file_rounds_to_milliseconds_mix_frames_little():
    fps, steps = 30000 / 1001, np.where(np.arange(62) % 2, 1.0, 0.0)
    found, _ = take((np.arange(62) / fps).round(3), fps, 2.0, steps).at(fps)
    np.testing.assert_allclose(found[:, 0, 0], steps[: len(found)], atol=0.02)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("wanted", [25, 30, 50])
def test_other_rates_are_interpolated_linearly(fps, wanted):
    landmarks, scores = take(np.arange(round(2 * fps) + 2) / fps, fps, 2.0).at(wanted)
    assert landmarks.shape == (2 * wanted, 478, 3) and scores.shape == (2 * wanted, 51)
    for found in (landmarks[:, 9, 2], scores[:, 9]):
        np.testing.assert_allclose(found, np.arange(2 * wanted) / wanted, atol=1e-6)


@pytest.mark.parametrize("wanted", [25, 60])
def test_gaps_without_a_face_are_bridged_and_ends_repeat_the_nearest_face(wanted):
    times = np.arange(62) / 30
    values = np.where(np.isin(np.arange(62), [0, 1, 20, 21, 22, 60, 61]), np.nan, times)
    landmarks, scores = take(times, 30, 2.0, values).at(wanted)
    expected = (np.arange(2 * wanted) / wanted).clip(2 / 30, 59 / 30)
    np.testing.assert_allclose(landmarks[:, 0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(scores[:, 0], expected, atol=1e-6)


def poses(frames: int, yaw: np.ndarray | float = 0.0, pitch: np.ndarray | float = 0.0) -> np.ndarray:
    made = np.tile(np.eye(4), (frames, 1, 1))
    for pose, one_yaw, one_pitch in zip(made, np.broadcast_to(yaw, frames), np.broadcast_to(pitch, frames)):
        pose[:3, :3] = synthetic_face.rotation(one_yaw, one_pitch, 0.3)
    return made


def inside(frames: int = 40) -> np.ndarray:
    """Landmarks in the middle of a picture of SIZE."""
    return np.full((frames, 478, 3), 150.0)


def first(count: int, value: float, frames: int = 40) -> np.ndarray:
    """(frames,): a value in the first frames, 0 in the others."""
    return np.where(np.arange(frames) < count, value, 0.0)


def test_views_at_the_limits_are_used():
    frames = 40
    allowed = int(MAX_SHARE * frames)
    cut = inside()
    cut[:allowed, LIPS[0], 0], cut[-1, LIPS[3], 0], cut[-2, LIPS[3], 1] = -1, SIZE[1] - 0.01, SIZE[0] - 0.01
    check_view(cut, poses(frames, first(allowed, 2.0)), allowed, SIZE)
    check_view(inside(), poses(frames, MAX_YAW - 1e-6, 0), 0, SIZE)
    check_view(inside(), poses(frames, 0, -MAX_PITCH + 1e-6), 0, SIZE)
    beside = inside()
    beside[:, 152] = -5.0  # the chin may be cut
    beside[:3] = np.nan  # frames without a face
    check_view(beside, poses(frames - 3), 0, SIZE)


@pytest.mark.parametrize(
    "yaw, pitch, message",
    [
        (
            first(5, 0.7),
            0.0,
            "turned away in 5 of 40 frames, by up to 40° to the side and 0° up or down, .* 34° and 29°",
        ),
        (first(40, -0.8), 0.0, "turned away in 40 of 40 frames, by up to 46° to the side"),
        (0.0, first(8, 0.6), "turned away in 8 of 40 frames, by up to 0° to the side and 34° up or down"),
        (0.0, first(8, -0.6), "turned away in 8 of 40 frames"),
    ],
)
def test_turned_heads_are_excluded_with_their_angles(yaw, pitch, message):
    with pytest.raises(Excluded, match=message):
        check_view(inside(), poses(40, yaw, pitch), 0, SIZE)


@pytest.mark.parametrize("axis, value", [(0, -1.0), (0, SIZE[1]), (1, -1.0), (1, SIZE[0])])
def test_lips_that_the_picture_cuts_are_excluded(axis, value):
    landmarks = inside()
    landmarks[3:8, LIPS[5], axis] = value
    with pytest.raises(Excluded, match="the picture cuts the lips in 5 of 40 frames"):
        check_view(landmarks, poses(40), 0, SIZE)


def film(path: Path, states: list[State], fps: float = 25) -> Source:
    seconds = len(states) / fps
    return Source("film", "train", write_film(path, states, say("we were away", seconds).samples, fps), "we were away")


@pytest.mark.parametrize("fps", [25, 30000 / 1001, 50])
def test_a_film_gives_landmarks_crops_and_speech(tmp_path, fps):
    """Crops are those of `crop_video`, which follows the face at 25 fps."""
    states = talking(say("we were away"), 1.6, fps)
    source = film(tmp_path / "film.mkv", states, fps)
    found = read_take(source, PictureLandmarker)
    true = np.stack([synthetic_face.landmarks(synthetic_face.rounded(state)) for state in states])
    np.testing.assert_allclose(found.landmarks, true, atol=1e-3)
    np.testing.assert_allclose(found.times, np.arange(len(states)) / fps, atol=6e-4)
    jaw = found.scores[:, BLENDSHAPES.index("jawOpen")]
    assert found.fps == pytest.approx(fps) and found.size == (160, 160) and 0 == jaw.min() < jaw.max()
    assert found.video.dtype == torch.uint8 and found.speech.dtype == torch.int16 and found.late_s == 0
    assert len(found.speech) == 640 * len(found.video) and len(found.video) == int(len(states) / fps * 25 + 1e-6)
    landmarker = PictureLandmarker()

    def detector(rgb: np.ndarray) -> np.ndarray:
        return np.stack([landmarker(rgb, 0.0)[0].landmarks[list(group), :2].mean(0) for group in MediaPipe.GROUPS])

    video, speech = crop_video(source.path, detector)
    count = len(found.video)  # without a picture that lasts for less than a 25th of a second
    assert 0 <= len(video) - count <= 1 and torch.equal(found.speech, speech[: 640 * count])
    inner = count - 7 if len(video) > count else count  # the shape of the face is smoothed up to the end
    assert (found.video - video[:count].float()).abs()[:inner].max() <= 1


def test_a_part_of_a_film_begins_and_ends_where_it_says(tmp_path):
    states = talking(say("we were away", 2.0), 2.0)
    whole = read_take(film(tmp_path / "film.mkv", states), PictureLandmarker)
    source = Source("part", "train", tmp_path / "film.mkv", "were", begin_s=0.4, end_s=1.2)
    part = read_take(source, PictureLandmarker)
    np.testing.assert_array_equal(part.landmarks, whole.landmarks[10:30])
    np.testing.assert_allclose(part.times, np.arange(20) / 25, atol=1e-6)
    assert torch.equal(part.speech, whole.speech[10 * 640 : 30 * 640]) and len(part.video) == 20


def test_films_without_one_usable_face_are_excluded(tmp_path):
    still = [State()] * 25
    none = [State(faces=0)]
    faults = {
        "no face in any frame": none * 25,
        "no face for 0.6 s from 0.2 s on": still[:5] + none * 15 + still[:5],
        "two faces in 20 of 25 frames": [State(faces=2, x=-60)] * 20 + still[:5],
        "the head is turned away in 25 of 25 frames, by up to 46° to the side": [State(yaw=0.8)] * 25,
        "the picture cuts the lips in 6 of 25 frames": [State(x=-70)] * 6 + still[:19],
        "3 frames, expected at least 5": still[:3],
    }
    for reason, states in faults.items():
        with pytest.raises(Excluded, match=reason):
            read_take(film(tmp_path / "film.mkv", states), PictureLandmarker)
    with pytest.raises(Excluded, match="longer than 1 s, without word times to split it"):
        follow_face(film(tmp_path / "film.mkv", still + still), PictureLandmarker, longest_s=1.0)
    with pytest.raises(Excluded, match="no transcript"):
        read_take(Source("a", "train", tmp_path / "film.mkv", "", fault="no transcript"), PictureLandmarker)
