"""People on ICT-FaceKit's face: landmarks made from a known identity, pose and expressions give these back.

The mesh is that of a small checkout for tests.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.spatial import KDTree

from avlib.corpus.arkit_names import NAMES
from avlib.corpus.captured import facekit_face
from avlib.corpus.captured.facekit_face import LIP_LINES, LIPS, FaceKitFace, FaceKitPerson
from avlib.corpus.captured.head_pose import Similarity
from avlib.corpus.captured.landmarks import COUNT, IBUG_INNER, INNER_LOWER, INNER_UPPER, MESH_COUNT
from avlib.corpus.captured.quality import lip_distance
from tests.corpus.captured import synthetic_face

IDENTITY = np.array([0.8, -0.5, 0.3])
SCALE, TURN, SHIFT = 1.07, synthetic_face.rotation(0.02, -0.12, 0.01), np.array([0.001, 0.004, 0.09])
MILLIMETRE = 1e-3


@pytest.fixture(scope="module")
def face(checkout) -> FaceKitFace:
    return FaceKitFace(checkout)


@dataclass(frozen=True)
class Actor:
    """A person whose landmarks are vertices of the mesh. at: (478,), which. template: (V, 3), metres, of the mesh."""

    face: FaceKitFace
    at: np.ndarray
    template: np.ndarray

    def freed(self, weights: np.ndarray) -> np.ndarray:
        """(T, 478, 3): landmarks as `head_pose.free` gives them, for weights (T, K) of the expressions."""
        moved = self.template[self.at] + np.tensordot(weights, self.face.displacements[:, self.at], 1)
        return (moved - SHIFT) @ TURN.T / SCALE

    def rest(self) -> np.ndarray:
        return self.freed(np.zeros((1, len(self.face.expressions))))[0]

    def vertices(self, weights: np.ndarray) -> np.ndarray:
        return self.template + np.tensordot(weights, self.face.displacements, 1)

    def weights(self, frames: int, **curves: np.ndarray | float) -> np.ndarray:
        """(frames, K): of the named expressions, 0 of the others."""
        made = np.zeros((frames, len(self.face.expressions)))
        for name, curve in curves.items():
            made[:, self.face.expressions.index(name)] = curve
        return made


@pytest.fixture(scope="module")
def actor(face) -> Actor:
    kit = face.kit
    template = kit.mean + np.tensordot(IDENTITY, kit.traits, 1)
    front = np.flatnonzero(face.skin & (kit.mean[:, 2] > 0.03))
    at = np.zeros(COUNT, int)
    at[:MESH_COUNT] = front[KDTree(kit.mean[front, :2]).query(synthetic_face.layout()[:MESH_COUNT])[1]]
    at[list(IBUG_INNER[:31])] = kit.landmarks[17:48]
    for landmarks, line in zip(LIP_LINES, kit.lip_lines()):
        at[list(landmarks)] = line[np.linspace(0, len(line) - 1, 11).round().astype(int)]
    return Actor(face, at, template)


def exact_person(face: FaceKitFace, rest: np.ndarray) -> FaceKitPerson:
    """A person fitted without the ridge, which pulls identities towards the mean."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facekit_face, "IDENTITY_RIDGE", 1e-12)
        return face.person(rest)


@pytest.fixture(scope="module")
def person(face, actor) -> FaceKitPerson:
    return exact_person(face, actor.rest())


def wave(frames: int, fps: float, hertz: float, most: float) -> np.ndarray:
    """(frames,): from 0 to `most` and back."""
    return most * (1 - np.cos(2 * np.pi * hertz * np.arange(frames) / fps)) / 2


def speaking(actor: Actor, frames: int = 50, fps: float = 25) -> np.ndarray:
    return actor.weights(
        frames,
        jawOpen=wave(frames, fps, 1.5, 0.6),
        mouthPucker=wave(frames, fps, 0.7, 0.5),
        mouthUpperUpLeft=wave(frames, fps, 1.1, 0.4),
        mouthUpperUpRight=wave(frames, fps, 1.1, 0.4),
        jawLeft=wave(frames, fps, 0.5, 0.3),
    )


def test_identity_and_pose_are_found(actor, person):
    np.testing.assert_allclose(person.identity, IDENTITY, atol=0.02)
    np.testing.assert_allclose(person.template, actor.template, atol=0.05 * MILLIMETRE)
    assert person.scale == pytest.approx(SCALE, rel=1e-3)
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (5, 3))
    there = (points - SHIFT) @ TURN.T / SCALE
    np.testing.assert_allclose(person.to_landmarks(points), there, atol=0.1 * MILLIMETRE)
    np.testing.assert_allclose(person.from_landmarks(there), points, atol=0.1 * MILLIMETRE)
    np.testing.assert_allclose(person.from_landmarks(person.to_landmarks(points)), points, atol=1e-9)


def test_the_ridge_keeps_identities_near_the_mean_at_a_small_cost(actor, face):
    person = face.person(actor.rest())
    assert 0.3 < np.linalg.norm(person.identity) / np.linalg.norm(IDENTITY) < 0.95
    assert np.linalg.norm(person.template - actor.template, axis=-1).mean() < 0.6 * MILLIMETRE


def test_known_expressions_come_back(actor, person):
    weights = speaking(actor)
    motion = person.motion(actor.freed(weights), 25)
    error = np.linalg.norm(motion.vertices - actor.vertices(weights), axis=-1)
    assert motion.vertices.dtype == np.float32 and motion.vertices.shape == (50, len(person.template), 3)
    assert error.mean() < 0.1 * MILLIMETRE and error.max() < 0.8 * MILLIMETRE
    assert motion.weights is not None and motion.weights.shape == (50, len(NAMES))
    assert motion.weights.min() >= 0 and motion.weights.max() <= 1
    for name in ("jawOpen", "jawLeft", "mouthUpperUpLeft"):
        true = weights[:, actor.face.expressions.index(name)]
        np.testing.assert_allclose(motion.weights[:, NAMES.index(name)], true, atol=0.06)
    missing = [name not in actor.face.expressions for name in NAMES]
    assert (motion.weights[:, missing] == 0).all()


def test_the_places_of_the_landmarks_follow_them(actor, person):
    """So that reprojection measures the fit, and nothing else."""
    freed = actor.freed(speaking(actor))
    motion = person.motion(freed, 25)
    assert np.isin(LIPS, motion.landmarks).all() and len(motion.landmarks) > 300
    error = np.linalg.norm(motion.places - freed[:, motion.landmarks], axis=-1)
    assert error.mean() < 0.15 * MILLIMETRE and error.max() < 1 * MILLIMETRE


def test_a_face_at_rest_is_the_template(actor, person):
    motion = person.motion(np.repeat(actor.rest()[None], 6, 0), 25)
    np.testing.assert_allclose(motion.vertices, np.repeat(person.template[None], 6, 0), atol=1e-5)
    regions = actor.face.regions(person.template)
    assert lip_distance(person.template[None], regions)[0] < 0.1 * MILLIMETRE


def parted(freed: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Landmarks whose inner lines along the lips are farther apart by (T,), metres: trackers do not let lips meet."""
    moved = freed.copy()
    for line, sign in ((INNER_UPPER, 0.5), (INNER_LOWER, -0.5)):
        moved[:, list(line[1:-1]), 1] += sign * by[:, None]
    return moved


def test_lips_that_touch_on_film_touch_on_the_mesh(actor, face):
    """Landmarks of closed lips are 0.7 mm apart. Also with the jaw down, when expressions alone would leave a gap."""
    person = face.person(parted(actor.rest()[None], np.array([0.7 * MILLIMETRE]))[0])
    weights = actor.weights(60, jawOpen=wave(60, 25, 1.0, 0.6), mouthPucker=wave(60, 25, 0.4, 0.4))
    freed = actor.freed(weights)
    shut = slice(18, 24)  # half of a second after the jaw is down
    closing = np.linalg.norm(freed[shut, list(INNER_UPPER)[1:-1]] - freed[shut, list(INNER_LOWER)[1:-1]], axis=-1)
    assert closing.max() > 3 * MILLIMETRE
    middle = (freed[shut][:, list(INNER_UPPER)] + freed[shut][:, list(INNER_LOWER)]) / 2
    freed[shut.start : shut.stop, list(INNER_UPPER)] = freed[shut.start : shut.stop, list(INNER_LOWER)] = middle
    motion = person.motion(parted(freed, np.full(60, 0.7 * MILLIMETRE)), 25)
    gap = lip_distance(motion.vertices, face.regions(person.template))
    film = np.linalg.norm(freed[:, INNER_UPPER[5]] - freed[:, INNER_LOWER[5]], axis=-1) * SCALE
    assert gap[shut].max() < 0.1 * MILLIMETRE
    opened = film > 6 * MILLIMETRE
    assert opened.sum() > 20 and (gap[opened] > 0.6 * film[opened]).all()


@pytest.mark.parametrize("apart_mm", [1.0, 2.0])
def test_lips_that_are_a_little_apart_on_film_stay_so(actor, face, person, apart_mm):
    """They are not closed because they are near to it. Film and mesh show the jaw lowered by as much all the time."""
    wide = actor.freed(actor.weights(1, jawOpen=1.0))[0, [INNER_UPPER[5], INNER_LOWER[5]]]
    share = apart_mm * MILLIMETRE / SCALE / np.linalg.norm(wide[0] - wide[1])
    motion = person.motion(actor.freed(actor.weights(12, jawOpen=share)), 25)
    gap = lip_distance(motion.vertices, face.regions(person.template))
    np.testing.assert_allclose(gap, apart_mm * MILLIMETRE, rtol=0.15)


def test_smoothing_takes_as_much_off_a_motion_at_any_frame_rate(actor, person):
    """It is measured on a jaw that goes down four times a second, by a weight of 0.5."""
    lost = []
    for fps in (25, 50, 100):
        weights = actor.weights(2 * fps, jawOpen=wave(2 * fps, fps, 25 / 6, 0.5))
        fitted = person.motion(actor.freed(weights), fps).weights
        assert fitted is not None
        lost.append(0.5 - np.ptp(fitted[fps // 2 : -fps // 2, NAMES.index("jawOpen")]))
    assert lost[0] > 0.01 and lost == pytest.approx([lost[0]] * 3, rel=0.3)


def test_landmarks_far_from_the_face_have_no_place_on_it(actor, face, person):
    rest = actor.rest()
    lost = [index for index in (234, 454, 93, 323) if index in person.landmarks]
    assert lost
    rest[lost, 2] -= 0.03
    other = exact_person(face, rest)
    assert not np.isin(lost, other.landmarks).any()
    np.testing.assert_allclose(other.template, person.template, atol=0.2 * MILLIMETRE)


def test_regions_and_colours_are_those_of_the_mesh(face, person):
    regions = face.regions(person.template)
    assert regions.keys() == {"lip", "upper_face", "upper_lip_middle", "lower_lip_middle"}
    upper, lower = (regions[f"{side}_lip_middle"] for side in ("upper", "lower"))
    assert np.isin([upper, lower], regions["lip"]).all() and face.skin[regions["lip"]].sum() > 50
    albedo = np.full(len(face.skin), 0.4)
    dressed = face.dress(albedo, 0.7)
    teeth = face.kit.parts["upper_teeth"]
    assert (dressed[face.skin] == 0.4).all() and dressed[teeth].max() == pytest.approx(0.7)
    assert dressed.shape == albedo.shape and dressed.min() >= 0 and dressed.max() <= 1
    np.testing.assert_allclose(face.dress(albedo, 0.35)[teeth], dressed[teeth] / 2)


def test_the_pose_of_a_person_is_a_similarity(person):
    assert isinstance(person.pose, Similarity)
    np.testing.assert_allclose(person.pose.rotation[0] @ person.pose.rotation[0].T, np.eye(3), atol=1e-9)
