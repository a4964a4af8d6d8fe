"""The albedo of a face comes back from pictures of it in the renderer's light."""

import numpy as np
import pytest
import torch

from avlib.corpus.captured.dressing import DARKEST, MIN_FACING, film_albedo, light, sample, unit_normals
from avlib.corpus.captured.head_pose import upright
from avlib.corpus.captured.landmark_face import LandmarkFace
from avlib.corpus.captured.landmarks import INNER_LOWER, INNER_UPPER, MESH_COUNT, OUTER_LOWER, OUTER_UPPER
from avlib.corpus.captured.people import resting_in
from avlib.corpus.captured.takes import Take, read_take
from avlib.corpus.video.source import Source
from avlib.render.camera import Camera
from avlib.render.renderer import Renderer
from tests.corpus.captured import synthetic_face
from tests.corpus.captured.films import PictureLandmarker, say, talking, write_film

LIPS = [*{*OUTER_UPPER, *OUTER_LOWER, *INNER_UPPER, *INNER_LOWER}]


@pytest.fixture(scope="module")
def take(tmp_path_factory) -> Take:
    spoken = say("we were away")
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    write_film(path, talking(spoken, 1.6, yaw=0.0, pitch=0.0, roll=0.0, size=600.0), spoken.samples)
    return read_take(Source("film", "train", path, "we were away"), PictureLandmarker)


@pytest.fixture(scope="module")
def face(fake_mediapipe) -> LandmarkFace:
    return LandmarkFace()


def dressed(face: LandmarkFace, *takes: Take) -> tuple[np.ndarray, np.ndarray]:
    """The albedo (V,) of the person in films, and his template (V, 3)."""
    frames = np.concatenate([take.landmarks for take in takes])
    resting = resting_in(upright(frames[np.isfinite(frames[:, 0, 0])]))
    person = face.person(resting.rest)
    return film_albedo(face, person, resting, takes), person.template


def shown(face: LandmarkFace, template: np.ndarray) -> np.ndarray:
    """(V,): which vertices are skin that the crops show from the front."""
    facing = unit_normals(template, face.faces)[:, 2] > MIN_FACING
    return face.skin & facing & (np.abs(template[:, 0]) < 0.035) & (np.abs(template[:, 1] + 0.05) < 0.03)


def test_the_albedo_of_a_filmed_face_comes_back(face, take):
    """It is brighter on the viewer's right, and darker on the lips, at the borders of which film is blurred."""
    albedo, template = dressed(face, take)
    true = synthetic_face.albedo()
    seen = np.flatnonzero(shown(face, template))
    skin = np.setdiff1d(seen, LIPS)
    near_lips = np.linalg.norm(template[skin, None] - template[LIPS], axis=-1).min(1) < 0.004
    error = np.abs(albedo[skin] - true[skin])
    assert len(skin) > 40 and error[~near_lips].mean() < 0.02 and error.max() < 0.15
    assert np.corrcoef(albedo[skin], true[skin])[0, 1] > 0.9
    lips = np.intersect1d(seen, [*OUTER_UPPER[2:9], *OUTER_LOWER[2:9]])
    assert albedo[lips].mean() < albedo[skin].mean() - 0.05


def test_what_film_does_not_show_gets_the_median_and_nothing_is_nan(face, take):
    albedo, template = dressed(face, take)
    assert albedo.shape == (len(face.skin),) and np.isfinite(albedo).all()
    assert DARKEST <= albedo.min() and albedo.max() <= 1
    hidden = np.flatnonzero(face.skin & (template[:, 1] > 0.05))  # the forehead is beyond mouth crops
    assert len(hidden) > 20 and np.ptp(albedo[hidden]) == 0
    assert albedo[hidden[0]] == pytest.approx(np.median(albedo[shown(face, template)]), abs=0.05)


def test_frames_without_a_face_are_left_out_and_black_film_has_the_darkest_albedo(face, take):
    landmarks = take.landmarks.copy()
    landmarks[5:9] = np.nan
    gaps = Take(25.0, take.times, landmarks, take.scores, take.size, take.video, take.speech)
    albedo, template = dressed(face, gaps)
    where_lips_meet = np.isin(np.arange(len(albedo)), INNER_UPPER + INNER_LOWER)
    off = np.abs(albedo - dressed(face, take)[0])[~where_lips_meet]
    assert np.quantile(off, 0.99) < 0.05 and off.max() < 0.2, "at a few vertices, rounding decides which pixels count"
    dark = Take(25.0, take.times, take.landmarks, take.scores, take.size, torch.zeros_like(take.video), take.speech)
    assert (dressed(face, dark)[0][shown(face, template)] == DARKEST).all()


def test_light_is_the_brightness_of_a_white_surface_in_the_renderer():
    """A square that is turned: its picture's level is its brightness."""
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    for yaw, pitch in ((0, 0), (0.5, 0), (-0.4, 0.3), (0, -0.6)):
        turned = square @ synthetic_face.rotation(yaw, pitch, 0).T
        renderer = Renderer(torch.from_numpy(faces), Camera(scale=0.5, image_size=32), albedo=0.5)
        level = 2 * renderer(torch.from_numpy(turned).float()[None])[0, 16, 16].item()
        np.testing.assert_allclose(light(unit_normals(turned, faces)), level, atol=2e-3)
    assert light(np.array([[0.0, 0.0, -1.0]])) == pytest.approx(1.7 * 0.05)  # never 0, by which one divides


def test_samples_are_interpolated_and_nan_beyond_the_crop():
    crop = np.arange(12.0).reshape(3, 4)  # 4 to the next row, 1 to the next column
    pixels = np.array([[0, 0], [1.5, 1], [3, 2], [-0.5, 1], [1, 2.5], [40, 1]])
    np.testing.assert_allclose(sample(crop, pixels), [0, 5.5, 11, np.nan, np.nan, np.nan])


def test_normals_are_of_unit_length_and_look_at_the_viewer():
    vertices = synthetic_face.rest()[:MESH_COUNT]
    normals = unit_normals(vertices, synthetic_face.triangles())
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert (normals[:, 2] > 0).mean() > 0.95
