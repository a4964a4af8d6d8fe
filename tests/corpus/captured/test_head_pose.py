"""Landmarks are freed from any pose and size of the head, robustly; the angles of the head have the stated signs."""

import numpy as np
import pytest

from avlib.corpus.captured.head_pose import (
    IRIS_DISTANCE,
    STABLE_INDEX,
    Similarity,
    align,
    angles,
    free,
    person_reference,
    upright,
    weighted_alignment,
)
from avlib.corpus.captured.landmarks import (
    COUNT,
    FOREHEAD,
    INNER_LOWER,
    INNER_UPPER,
    LEFT_IRIS,
    LOWER_MIDDLE,
    MIRRORED,
    OUTER_LOWER,
    OUTER_UPPER,
    RIGHT_IRIS,
    STABLE,
    UPPER_MIDDLE,
)
from avlib.corpus.embedded.face import MOUTH_Y
from tests.corpus.captured import synthetic_face
from tests.corpus.captured.synthetic_face import State

NOSE = 4


def tracked(states: list[State]) -> np.ndarray:
    """(T, 478, 3): `upright` landmarks of pictures."""
    return upright(np.stack([synthetic_face.landmarks(state) for state in states]))


def nodding(frames: int = 24, **fixed: float) -> list[State]:
    """A head that turns to both sides, up and down alike, while it speaks."""
    t = np.arange(frames) / frames * 2 * np.pi
    return [
        State(0.005 * (1 - np.cos(3 * a)), 0.2 * np.sin(a), 0.15 * np.sin(2 * a), 0.1 * np.cos(a))._replace(**fixed)
        for a in t
    ]


def random_similarities(frames: int, seed: int = 0) -> Similarity:
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.standard_normal((frames, 3, 3)))
    rotation[:, 0] *= np.linalg.det(rotation)[:, None]
    return Similarity(random.uniform(0.2, 5, frames), rotation, random.uniform(-300, 300, (frames, 3)))


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """(1, 3): the angles that are found for a head with these angles, which nobody turned before."""
    frames = tracked([State(yaw=yaw, pitch=pitch, roll=roll)])
    return angles(free(frames, person_reference(tracked(nodding())))[1])


def test_the_inverse_undoes_a_similarity():
    similarity, points = random_similarities(6), np.random.default_rng(1).standard_normal((6, 9, 3))
    np.testing.assert_allclose(similarity.inverse()(similarity(points)), points, atol=1e-9)
    np.testing.assert_allclose(similarity(similarity.inverse()(points)), points, atol=1e-9)


def test_an_alignment_recovers_a_similarity_and_never_mirrors():
    reference = np.random.default_rng(2).standard_normal((12, 3))
    similarity = random_similarities(5)
    points = similarity.inverse()(np.repeat(reference[None], 5, 0))
    for found in (align(points, reference), weighted_alignment(points, reference, np.ones((5, 12)))):
        for ours, true in zip(found, similarity):
            np.testing.assert_allclose(ours, true, atol=1e-8)
    mirrored = align(points * (-1, 1, 1), reference)
    np.testing.assert_allclose(np.linalg.det(mirrored.rotation), 1)


def test_landmarks_are_free_of_any_similarity_of_each_frame():
    frames = tracked(nodding())
    reference = person_reference(frames)
    freed, _ = free(frames, reference)
    again, similarity = free(random_similarities(len(frames))(frames), reference)
    np.testing.assert_allclose(again, freed, atol=1e-9)
    np.testing.assert_allclose(
        similarity.rotation @ similarity.rotation.transpose(0, 2, 1), np.eye(3) + 0 * again[:, :3], atol=1e-9
    )


def test_only_speech_moves_freed_landmarks():
    """The head of the film turns; what remains are the metres by which the lips move."""
    states = nodding()
    freed, _ = free(frames := tracked(states), person_reference(frames))
    true = np.stack([synthetic_face.vertices(state) for state in states])
    np.testing.assert_allclose(freed - freed[:1], true - true[:1], atol=2e-5)
    gap = np.linalg.norm(freed[:, UPPER_MIDDLE] - freed[:, LOWER_MIDDLE], axis=-1)
    np.testing.assert_allclose(gap, synthetic_face.PARTED + np.array([s.opening for s in states]), atol=4e-5)


@pytest.mark.parametrize("person", range(4))
def test_the_face_has_the_size_place_and_direction_of_the_embedded_one(person):
    freed, _ = free(frames := tracked(nodding(person=person, size=300 + 100 * person)), person_reference(frames))
    face = freed.mean(0)
    assert np.linalg.norm(face[LEFT_IRIS] - face[RIGHT_IRIS]) == pytest.approx(IRIS_DISTANCE, rel=1e-3)
    assert IRIS_DISTANCE == 0.063
    closed = freed[0, [UPPER_MIDDLE, LOWER_MIDDLE]].mean(0)
    np.testing.assert_allclose(closed, [0, MOUTH_Y, 0], atol=3e-4)
    right, left = face[np.array(MIRRORED)].transpose(1, 0, 2)
    np.testing.assert_allclose(left, right * (-1, 1, 1), atol=2e-4)
    assert face[NOSE, 2] > face[FOREHEAD, 2] and face[FOREHEAD, 1] > face[NOSE, 1]


@pytest.mark.parametrize("pitch", [-0.2, 0.25])
def test_the_mean_pitch_of_a_person_is_kept_and_yaw_and_roll_are_not(pitch):
    level, _ = free(frames := tracked([State(opening=o) for o in (0, 0.01)] * 5), person_reference(frames))
    states = [State(opening=o, yaw=0.3, pitch=pitch + turn, roll=0.2) for o, turn in ((0, 0.2), (0.01, -0.2))] * 5
    freed, _ = free(frames := tracked(states), person_reference(frames))
    found = weighted_alignment(level[:1, STABLE_INDEX], freed[0, STABLE_INDEX], np.ones((1, len(STABLE))))
    np.testing.assert_allclose(found.rotation[0].T, synthetic_face.rotation(0, pitch, 0), atol=0.03)


def test_outliers_among_the_stable_landmarks_move_the_others_little():
    """Four of 43 are off by 2 cm; least squares alone would follow them."""
    frames = tracked(nodding())
    reference = person_reference(frames)
    freed, _ = free(frames, reference)
    random = np.random.default_rng(3)
    off = random.choice(STABLE_INDEX, 4, replace=False)
    spoilt = frames.copy()
    spoilt[:, off] += 0.02 * 530 * random.standard_normal((len(frames), 4, 3)) / 3**0.5
    lips = list(INNER_LOWER)
    robust = np.abs(free(spoilt, reference)[0] - freed)[:, lips].max()
    plain = weighted_alignment(spoilt[:, STABLE_INDEX], reference, np.ones((len(frames), len(STABLE))))
    assert robust < 4e-4 < 1.5e-3 < np.abs(plain(spoilt) - freed)[:, lips].max()


def mirror_images() -> np.ndarray:
    """(478,): the landmark that mirrors each one, of those that matter here; others are their own."""
    images = np.arange(COUNT)
    pairs = [*MIRRORED, *zip(STABLE[7:25], STABLE[25:])]
    for line in (OUTER_UPPER, OUTER_LOWER, INNER_UPPER, INNER_LOWER):
        pairs += zip(line[:5], line[:5:-1])
    for right, left in pairs:
        images[right], images[left] = left, right
    return images


def test_the_mirror_image_of_a_film_has_the_mirror_image_of_the_motion():
    images = mirror_images()
    np.testing.assert_array_equal(images[images], np.arange(COUNT))
    frames = tracked(nodding(yaw=0.1))
    mirrored = (frames * (-1, 1, 1))[:, images]
    reference = person_reference(frames)
    np.testing.assert_allclose(person_reference(mirrored), (reference * (-1, 1, 1))[mirrored_places(images)], atol=1e-9)
    freed, _ = free(frames, reference)
    again, _ = free(mirrored, person_reference(mirrored))
    np.testing.assert_allclose(again, (freed * (-1, 1, 1))[:, images], atol=1e-9)


def mirrored_places(images: np.ndarray) -> list[int]:
    """The place in STABLE of the landmark that mirrors each one of it."""
    return [STABLE.index(images[index]) for index in STABLE]


def test_positive_angles_are_to_the_viewers_right_upwards_and_clockwise():
    """The nose of a head that turns goes where the head turns; the forehead goes to the right with a clockwise one."""
    for name, (point, axis, sign) in {"yaw": (NOSE, 0, 1), "pitch": (NOSE, 1, -1), "roll": (FOREHEAD, 0, 1)}.items():
        moved = synthetic_face.landmarks(State(**{name: 0.3})) - synthetic_face.landmarks(State())
        assert sign * moved[point, axis] > 3, "pixels, y down"
        found = dict(zip(("yaw", "pitch", "roll"), turned(**{name: 0.3})[0]))
        assert found == pytest.approx({"yaw": 0, "pitch": 0, "roll": 0} | {name: 0.3}, abs=0.01)
    np.testing.assert_allclose(turned(0.4, -0.3, 0.2)[0], [0.4, -0.3, 0.2], atol=0.03)
