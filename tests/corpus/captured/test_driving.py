"""Films that drive a face: any length, any rate, with or without sound, and the same in windows as at once."""

import numpy as np
import pytest

from avlib.corpus.captured import driving
from avlib.corpus.captured.driving import drive, read_film, steady_rate
from avlib.corpus.captured.facekit_face import FaceKitFace
from avlib.corpus.captured.landmark_face import LandmarkFace
from avlib.corpus.captured.quality import lip_distance
from avlib.corpus.captured.takes import MAX_SHARE, read_take
from avlib.corpus.utterance import Excluded
from avlib.corpus.video.face_landmarker import BLENDSHAPES
from avlib.corpus.video.source import Source
from tests.corpus.captured import synthetic_face
from tests.corpus.captured.films import PictureLandmarker, say, talking, write_film
from tests.corpus.captured.synthetic_face import State
from tests.corpus.video.videos import write_video

MILLIMETRE = 1e-3


@pytest.fixture(scope="module")
def landmark_face(fake_mediapipe) -> LandmarkFace:
    return LandmarkFace()


@pytest.fixture(scope="module")
def facekit_face(checkout) -> FaceKitFace:
    return FaceKitFace(checkout)


def opening(face, driven) -> np.ndarray:
    """(T,), metres: how much farther apart the lips are than at rest."""
    regions = face.regions(driven.template.astype(float))
    return lip_distance(driven.vertices, regions) - lip_distance(driven.template[None], regions)


def seen(states: list[State], name: str) -> np.ndarray:
    return np.array([getattr(synthetic_face.rounded(state), name) for state in states])


def test_the_face_moves_as_the_film_shows_it(landmark_face, tmp_path):
    spoken = say("my mother may buy a map")
    states = talking(spoken, 1.6, fps=30)
    film = write_film(tmp_path / "a.mkv", states, spoken.samples, 30)
    driven = drive(landmark_face, read_film(film, PictureLandmarker))
    assert driven.fps == 30 and len(driven.vertices) == len(driven.scores) == 48 and driven.weights is None
    assert driven.late_s == 0 and len(driven.speech) == 1.6 * 16000
    np.testing.assert_allclose(opening(landmark_face, driven), seen(states, "opening"), atol=0.5 * MILLIMETRE)
    jaw = driven.scores[:, BLENDSHAPES.index("jawOpen")]
    np.testing.assert_allclose(jaw, (seen(states, "opening") / 0.03).clip(0, 1), atol=0.005)
    for angle, name in zip(driven.head.T, ("yaw", "pitch", "roll")):
        true = seen(states, name)
        np.testing.assert_allclose(angle - angle.mean(), true - true.mean(), atol=0.01)
    assert np.isfinite(driven.albedo).all() and np.ptp(driven.albedo) > 0.1


def test_windows_make_no_difference(facekit_face, tmp_path, monkeypatch):
    spoken = say("my mother may buy a map")
    film = write_film(tmp_path / "a.mkv", talking(spoken, 1.6, fps=30), spoken.samples, 30)
    take = read_film(film, PictureLandmarker)
    whole = drive(facekit_face, take)
    assert np.ptp(opening(facekit_face, whole)) > 3 * MILLIMETRE
    monkeypatch.setattr(driving, "WINDOW", 11)
    windows = drive(facekit_face, take)
    assert whole.weights is not None and windows.weights is not None
    np.testing.assert_allclose(windows.vertices, whole.vertices, atol=0.01 * MILLIMETRE)
    np.testing.assert_allclose(windows.weights, whole.weights, atol=0.005)
    monkeypatch.setattr(driving, "MARGIN_S", 0.0)  # which the bound above notices
    cut = drive(facekit_face, take)
    assert np.abs(cut.vertices - whole.vertices).max() > 0.01 * MILLIMETRE


def test_a_film_of_more_than_a_minute_is_followed_to_its_end(landmark_face, tmp_path, monkeypatch):
    states = [State(opening=0.004 * (n % 3)) for n in range(125)]
    film = write_film(tmp_path / "long.mkv", states, None, 2)
    monkeypatch.setattr(driving, "CROPS_S", 10)
    with pytest.raises(Excluded, match="longer than 60 s"):
        read_take(Source("long", "train", film, "x"), PictureLandmarker)
    take = read_film(film, PictureLandmarker)
    assert take.seconds == 62.5 and len(take.video) == 250
    driven = drive(landmark_face, take)
    np.testing.assert_allclose(opening(landmark_face, driven), seen(states, "opening"), atol=0.5 * MILLIMETRE)


def test_a_silent_film_drives_a_face(landmark_face, tmp_path):
    film = write_film(tmp_path / "silent.mkv", [State(opening=0.001 * (n % 8)) for n in range(25)], None)
    driven = drive(landmark_face, read_film(film, PictureLandmarker))
    assert len(driven.vertices) == 25 and len(driven.speech) == 16000 and not driven.speech.any()


def test_a_variable_rate_becomes_its_mean(landmark_face, tmp_path):
    """Frames come after 20 and after 60 ms, in a file that states no constant rate; the motion keeps its times."""
    times = np.cumsum([0, *[0.02, 0.06] * 20])
    states = [State(opening=0.006 * (1 + np.sin(4 * t))) for t in times]
    film = write_video(tmp_path / "a.mkv", synthetic_face.pictures(states), times)
    driven = drive(landmark_face, read_film(film, PictureLandmarker))
    assert driven.fps == 25
    at = np.arange(len(driven.vertices)) / driven.fps
    wanted = np.interp(at, times, seen(states, "opening"))
    np.testing.assert_allclose(opening(landmark_face, driven)[1:], wanted[1:], atol=0.5 * MILLIMETRE)


@pytest.mark.parametrize("fps", [24, 24000 / 1001, 25, 30000 / 1001, 50, 60])
def test_constant_rates_are_kept_and_every_frame(landmark_face, tmp_path, fps):
    assert steady_rate(fps, (np.arange(300) / fps).round(3)) == fps
    states = [State(opening=0.004 * (n % 3)) for n in range(37)]
    driven = drive(landmark_face, read_film(write_film(tmp_path / "a.mkv", states, None, fps), PictureLandmarker))
    assert driven.fps == pytest.approx(fps, rel=1e-9) and len(driven.speech) == np.ceil(37 / fps * 16000)
    np.testing.assert_allclose(opening(landmark_face, driven), seen(states, "opening"), atol=0.5 * MILLIMETRE)


def test_unusable_films_say_why(tmp_path):
    steady = [State(opening=0.002)] * 25
    for states, reason in (
        ([State(faces=0)] * 25, "no face in any frame"),
        ([s._replace(faces=2) for s in steady], "two faces in 25 of 25 frames"),
        ([s._replace(yaw=1.0) for s in steady], "the head is turned away in 25 of 25 frames"),
        (steady + [State(faces=0)] * 20 + steady, "no face for 0.8 s from 1.0 s on"),
        (steady[:3], f"3 frames, expected at least {5}"),
    ):
        film = write_film(tmp_path / "a.mkv", states, None)
        with pytest.raises(Excluded, match=reason):
            read_film(film, PictureLandmarker)
    few = round(MAX_SHARE * 25) - 1
    brief = [s._replace(yaw=1.0) for s in steady[:few]] + steady[few:]
    assert len(read_film(write_film(tmp_path / "b.mkv", brief, None), PictureLandmarker).times) == 25
