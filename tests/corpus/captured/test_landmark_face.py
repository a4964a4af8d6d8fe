"""People on MediaPipe's mesh: the landmarks are its vertices, upper teeth stay, and lower ones follow the chin."""

from types import SimpleNamespace

import numpy as np
import pytest

from avlib.corpus.captured.head_pose import free, person_reference, upright
from avlib.corpus.captured.landmark_face import JAW, LandmarkFace, LandmarkPerson
from avlib.corpus.captured.landmarks import (
    INNER_LOWER,
    INNER_UPPER,
    LOWER_MIDDLE,
    MESH_COUNT,
    OUTER_LOWER,
    OUTER_UPPER,
    UPPER_MIDDLE,
    mesh_triangles,
)
from tests.corpus.captured import synthetic_face
from tests.corpus.captured.conftest import mediapipe_replaced
from tests.corpus.captured.synthetic_face import State


@pytest.fixture(scope="module")
def face(fake_mediapipe) -> LandmarkFace:
    return LandmarkFace()


@pytest.fixture(scope="module")
def freed() -> np.ndarray:
    """(20, 478, 3): of a mouth that opens by up to 19 mm; it is closed in the first frame."""
    states = [State(opening=0.001 * n, yaw=0.01 * n - 0.1) for n in range(20)]
    frames = upright(np.stack([synthetic_face.landmarks(state) for state in states]))
    return free(frames, person_reference(frames))[0]


@pytest.fixture(scope="module")
def person(face, freed) -> LandmarkPerson:
    return face.person(freed[0])


def test_the_vertices_are_the_landmarks(face, person, freed):
    motion = person.motion(freed, 25)
    vertices = len(face.skin)
    assert motion.vertices.shape == (20, vertices, 3) and motion.vertices.dtype == np.float32
    np.testing.assert_array_equal(motion.vertices[:, :MESH_COUNT], freed[:, :MESH_COUNT].astype(np.float32))
    np.testing.assert_array_equal(motion.places, freed[:, :MESH_COUNT])
    np.testing.assert_array_equal(motion.landmarks, np.arange(MESH_COUNT))
    assert motion.weights is None and person.scale == 1 and person.to_landmarks(freed) is freed
    np.testing.assert_allclose(motion.vertices[0], person.template, atol=1e-7)


def test_upper_teeth_stay_with_the_skull_and_lower_ones_follow_the_chin(face, person, freed):
    moved = person.motion(freed, 25).vertices - person.template
    upper, lower = np.arange(face.teeth.start, face.teeth.stop).reshape(2, -1)
    jaw = (freed[:, JAW] - freed[0, JAW]).mean(1)
    assert jaw[-1, 1] < -0.005, "metres, down"
    np.testing.assert_allclose(moved[:, upper], 0, atol=1e-7)
    np.testing.assert_allclose(moved[:, lower], np.repeat(jaw[:, None], len(lower), 1), atol=1e-7)
    throat = moved[:, face.throat]
    np.testing.assert_allclose(throat, np.repeat(jaw[:, None] / 2, throat.shape[1], 1), atol=1e-7)


def test_teeth_lie_behind_closed_lips_and_between_their_corners(face, person):
    teeth, throat = person.template[face.teeth], person.template[face.throat]
    lips = person.template[[i for line in (INNER_UPPER, INNER_LOWER) for i in line]]
    middle = person.template[[UPPER_MIDDLE, LOWER_MIDDLE]].mean(0)
    assert teeth[:, 2].max() < middle[2] and throat[:, 2].max() < teeth[:, 2].max()
    assert np.abs(teeth[:, 0] - middle[0]).max() < np.ptp(lips[:, 0]) / 2
    upper, lower = teeth.reshape(2, -1, 3)
    assert upper[:, 1].min() < middle[1] < upper[:, 1].max() and lower[:, 1].max() < middle[1]
    assert throat[:, 1].max() > upper[:, 1].max() and throat[:, 1].min() < lower[:, 1].min()


def test_all_faces_look_at_the_viewer_and_the_mouth_is_open(face, person, freed):
    assert face.faces.dtype == np.int64 and face.faces.max() == len(face.skin) - 1
    wide = person.motion(freed, 25).vertices[-1]
    a, b, c = wide[face.faces].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    assert (normals[:, 2] > 0).mean() > 0.97  # those on the sides of the nose may look away
    edges = np.concatenate([face.faces[:, [0, 1]], face.faces[:, [1, 2]], face.faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges), "neighbours have the same winding"
    assert not np.isin(face.faces, INNER_UPPER + INNER_LOWER).all(1).any()


def test_regions(face, person):
    regions = face.regions(person.template)
    lips = {*OUTER_UPPER, *OUTER_LOWER, *INNER_UPPER, *INNER_LOWER}
    assert lips <= set(regions["lip"].tolist()) and face.skin[regions["lip"]].all()
    assert (regions["upper_lip_middle"].tolist(), regions["lower_lip_middle"].tolist()) == ([13], [14])
    upper_face = person.template[regions["upper_face"]]
    assert len(upper_face) > 50 and upper_face[:, 1].min() > person.template[regions["lip"], 1].max() + 0.03
    assert not set(regions["upper_face"].tolist()) & set(regions["lip"].tolist())


def test_a_dressed_face_has_bright_teeth_and_a_dark_throat(face):
    albedo = np.linspace(0.2, 0.6, len(face.skin))
    kept = albedo.copy()
    dressed = face.dress(albedo, 0.8)
    np.testing.assert_array_equal(dressed[face.skin], kept[face.skin])
    np.testing.assert_array_equal(albedo, kept)
    assert (dressed[face.teeth] == 0.8).all() and (dressed[face.throat] < 0.1).all()
    assert face.skin.sum() == MESH_COUNT and not face.skin[face.teeth].any() and not face.skin[face.throat].any()


def test_what_mediapipe_lacks_is_said_in_a_line(tmp_path, fake_mediapipe, monkeypatch):
    from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarksConnections

    edges = [SimpleNamespace(start=n, end=n + 1) for n in range(6)]
    monkeypatch.setattr(FaceLandmarksConnections, "FACE_LANDMARKS_TESSELATION", edges)
    with pytest.raises(ValueError, match="tesselation is not a list of triangles in this version"):
        mesh_triangles()
    (tmp_path / "mediapipe.py").write_text("raise ImportError('no library')")
    with (
        mediapipe_replaced(tmp_path),
        pytest.raises(ValueError, match="MediaPipe does not load .*pip install") as error,
    ):
        mesh_triangles()
    assert "\n" not in str(error.value)
