"""The numbers of a capture's quality, on motion whose gaps, jitter and distances from the film are known."""

import numpy as np
import pytest

from avlib.corpus.captured.face import CapturedMotion
from avlib.corpus.captured.head_pose import Similarity, upright
from avlib.corpus.captured.quality import LIPS, film_quality, lip_distance, silences, smallest, spread, summary
from avlib.corpus.utterance import Utterance
from avlib.speech.segment import Segment
from tests.corpus.captured import synthetic_face

FPS, FRAMES = 25, 100
REGIONS = {"lip": np.array([0, 1, 2]), "upper_lip_middle": np.array([0]), "lower_lip_middle": np.array([1, 2])}
PIXELS_PER_METRE = 800.0


def motion(gap_mm: np.ndarray, shake_mm: np.ndarray | float = 0.0) -> CapturedMotion:
    """Three vertices of lips with a gap (T,); all of them are shaken sideways, to and fro, by (T,)."""
    vertices = np.zeros((len(gap_mm), 3, 3), np.float32)
    vertices[:, 0, 1] = 0.001 * gap_mm
    vertices[:, 1, 0], vertices[:, 2, 0] = -0.002, 0.002
    vertices[..., 0] += 0.0005 * (shake_mm * (-1.0) ** np.arange(len(gap_mm)))[:, None]
    places = np.random.default_rng(0).uniform(-0.05, 0.05, (len(gap_mm), 4, 3))
    return CapturedMotion(vertices, places, np.array([4, 10, LIPS[0], LIPS[7]]), None)


def similarity(frames: int) -> Similarity:
    """Of a head that turns, in a picture of PIXELS_PER_METRE."""
    rotation = np.stack([synthetic_face.rotation(0.01 * t, 0.1, 0) for t in range(frames)])
    shift = np.linspace(0, 0.05, 3 * frames).reshape(frames, 3)
    return Similarity(np.full(frames, 1 / PIXELS_PER_METRE), rotation, shift)


def tracked(captured: CapturedMotion, skin_px: float = 0.0, lips_px: float = 0.0) -> np.ndarray:
    """Landmarks in a picture that are off their places on the mesh by a distance; their depth is arbitrary."""
    landmarks = np.zeros((len(captured.places), 478, 3))
    pixels = upright(similarity(len(landmarks)).inverse()(captured.places))
    pixels[:, :2, 0] += skin_px
    pixels[:, 2:, 1] -= lips_px
    pixels[..., 2] += 100
    landmarks[:, captured.landmarks] = pixels
    return landmarks


def utterance(phonemes: list[tuple], words: list[tuple] = ()) -> Utterance:
    segments = [tuple(Segment(*one) for one in many) for many in (words, phonemes)]
    return Utterance("a", "train", "ann", "text", FRAMES, *segments)


def quality(captured: CapturedMotion, said: Utterance, **off):
    frames = len(captured.vertices)
    return film_quality(captured, tracked(captured, **off), similarity(frames), REGIONS, said, FPS)


def test_the_distance_of_lips_is_that_of_their_middles():
    np.testing.assert_allclose(1000 * lip_distance(motion(np.array([0.0, 1.5, 7.0])).vertices, REGIONS), [0, 1.5, 7])


def test_closures_are_the_smallest_distances_around_p_b_and_m():
    gap = np.full(FRAMES, 9.0)
    gap[[20, 42, 60, 78]] = 0.4, 0.7, 0.1, 2.5
    said = utterance(
        [("b", 0.84, 0.9), ("ˈæ", 0.9, 1.5), ("m", 1.6, 1.7), ("t", 2.4, 2.5), ("p", 3.1, 3.2)],
        [("ba", 0.85, 1.5), ("am", 1.5, 1.7), ("top", 2.4, 3.2)],
    )
    found = quality(motion(gap), said)
    assert found["closures_mm"] == [0.4, 0.7, 2.5], "t at frame 60 is none"
    assert found["initial_closures_mm"] == [0.4], "b begins a word within 20 ms"
    late = utterance([("b", 0.68, 0.9)])
    assert quality(motion(gap), late)["closures_mm"] == [0.4], "frame 20 is 120 ms away"
    far = utterance([("b", 0.84 + 0.2, 1.1)])
    assert quality(motion(gap), far)["closures_mm"] == [9.0], "frame 20 is more than 120 ms away"


@pytest.mark.parametrize("at_s, expected", [(0.0, 1.0), (-5.0, 1.0), (3.96, 4.0), (9.0, 4.0)])
def test_sounds_at_the_ends_are_measured_at_the_ends(at_s, expected):
    gap = np.full(FRAMES, 9.0)
    gap[0], gap[-1] = 1.0, 4.0
    assert smallest(gap, at_s, FPS) == expected


def test_jitter_is_the_change_from_frame_to_frame_in_long_silences():
    shake = np.full(FRAMES, 5.0)
    shake[2:22] = 0.2  # the first silence without its ends
    said = utterance([("", 0.0, 1.0), ("a", 1.0, 2.0), ("", 2.0, 2.25), ("a", 2.25, 4.0)])
    found = quality(motion(np.zeros(FRAMES), shake), said)
    assert found["jitter_mm"] == pytest.approx(0.2, abs=1e-3)
    assert quality(motion(np.zeros(FRAMES)), said)["jitter_mm"] == 0
    assert quality(motion(np.zeros(FRAMES)), utterance([("a", 0, 4)]))["jitter_mm"] is None


def test_silences_are_long_and_without_their_ends():
    said = utterance([("", 0.0, 0.29), ("a", 0.29, 1.0), ("", 1.0, 1.6), ("b", 1.6, 3.5), ("", 3.5, 9.0)])
    assert silences(said, FRAMES, FPS) == [(28, 38), (90, 100)]
    assert silences(said, 92, FPS) == [(28, 38)], "two frames are no silence"
    assert silences(said, FRAMES, 50) == [(55, 75)]


def test_reprojection_is_the_distance_in_the_picture():
    captured = motion(np.zeros(FRAMES))
    exact = quality(captured, utterance([]))
    assert (
        exact["reprojection_px"] == pytest.approx(0, abs=1e-4)
        and exact["lip_reprojection_px"] == exact["reprojection_px"]
    )
    assert exact["pixels_per_mm"] == pytest.approx(PIXELS_PER_METRE / 1000)
    off = quality(captured, utterance([]), skin_px=3.0, lips_px=1.0)
    assert off["lip_reprojection_px"] == pytest.approx(1) and off["reprojection_px"] == pytest.approx(5**0.5, abs=1e-3)


def test_a_film_without_closures_and_silence_has_none():
    found = quality(motion(np.zeros(FRAMES)), utterance([]))
    assert (found["closures_mm"], found["initial_closures_mm"], found["jitter_mm"]) == ([], [], None)
    whole = summary([found, found])
    assert whole["films"] == 2 and whole["closures"] == {"sounds": 0} == whole["word_initial_closures"]
    assert whole["jitter_mm"] is None


def test_the_summary_is_over_all_sounds_and_films():
    one = quality(motion(np.full(FRAMES, 0.5), 0.1), utterance([("p", 1, 1.1), ("", 1.2, 3)]), skin_px=2.0)
    two = quality(motion(np.full(FRAMES, 3.0), 0.3), utterance([("m", 1, 1.1), ("b", 2, 2.1), ("", 2.1, 3)]))
    three = quality(motion(np.full(FRAMES, 1.0)), utterance([]))
    whole = summary([one, two, three])
    assert whole["films"] == 3 and whole["jitter_mm"] == pytest.approx(0.2, abs=1e-3)
    assert whole["closures"] == {"sounds": 3, "median_mm": 3.0, "quantile_90_mm": 3.0, "closed_share": 0.3333}
    assert whole["reprojection_px"] == pytest.approx((one["reprojection_px"] ** 2 / 3) ** 0.5, abs=1e-3)
    assert whole["pixels_per_mm"] == pytest.approx(0.8)


def test_lips_up_to_a_millimetre_apart_are_closed():
    found = spread(np.array([0.2, 1.0, 1.01, 8.0]))
    assert found == {"sounds": 4, "median_mm": 1.005, "quantile_90_mm": pytest.approx(5.903), "closed_share": 0.5}
    assert spread(np.array([])) == {"sounds": 0}
