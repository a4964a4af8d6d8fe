"""MediaPipe's Face Landmarker: what it returns and in which order, that it is quiet, and what is said if it lacks."""

import gc
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avlib.corpus.video import face_landmarker
from avlib.corpus.video.face_landmarker import BLENDSHAPES, FaceLandmarker, find_model, nearest_face
from tests.corpus.video.film import FILM, MODEL, film_pictures, needs_film, needs_mediapipe

CLIP = FILM / "grid" / "clips" / "bbaf3s.mp4"
needs_clip = needs_film("grid/clips/bbaf3s.mp4")


class Landmarker:
    """In MediaPipe's place: sees as many faces as the first pixel says, the n-th n times as wide as the first."""

    def __init__(self):
        self.times_ms, self.closed = [], 0

    def close(self):
        self.closed += 1

    def detect_for_video(self, image, time_ms):
        assert image.flags.c_contiguous
        self.times_ms.append(time_ms)
        if len(self.times_ms) == 1:
            os.write(2, b"W0000 00:00:17 inference.cc:121] Feedback manager\nfirst picture\n")
        count = int(image[0, 0, 0])
        ends = [SimpleNamespace(x=0.1 * n, y=0.2 * n, z=-0.05) for n in range(count + 1)]
        names = ("_neutral", *reversed(BLENDSHAPES))
        scores = [SimpleNamespace(category_name=name, score=i / 100) for i, name in enumerate(names)]
        return SimpleNamespace(
            face_landmarks=[[ends[0], end] for end in ends[1:]],
            face_blendshapes=[scores] * count,
            facial_transformation_matrixes=[np.eye(4)] * count,
        )


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A model file, and the landmarker that MediaPipe makes of it."""
    landmarker = Landmarker()

    def create(options):
        os.write(2, b"WARNING: Logging before InitGoogle() is written to STDERR\nINFO: Created TensorFlow\ncreated\n")
        if options.num_faces < 2:
            raise RuntimeError("smoothed")
        return landmarker

    vision = SimpleNamespace(
        FaceLandmarkerOptions=lambda **options: SimpleNamespace(**options),
        RunningMode=SimpleNamespace(VIDEO="video"),
        FaceLandmarker=SimpleNamespace(create_from_options=create),
    )
    mediapipe = SimpleNamespace(
        __version__="9",
        tasks=SimpleNamespace(vision=vision, BaseOptions=lambda **options: options),
        Image=lambda image_format, data: data,
        ImageFormat=SimpleNamespace(SRGB="srgb"),
    )
    monkeypatch.setitem(sys.modules, "mediapipe", mediapipe)
    (tmp_path / "a.task").touch()
    return tmp_path / "a.task", landmarker


def test_faces_are_in_pixels_with_named_scores_and_the_largest_first(fake):
    faces = FaceLandmarker(fake[0])(np.full((50, 200, 3), 2, np.uint8), 0.0)
    assert [face.landmarks[1].tolist() for face in faces] == [
        pytest.approx([40, 20, -10]),
        pytest.approx([20, 10, -10]),
    ]
    assert faces[0].landmarks.dtype == faces[0].scores.dtype == faces[0].pose.dtype == np.float32
    assert len(BLENDSHAPES) == 51 and "_neutral" not in BLENDSHAPES
    assert faces[0].scores == pytest.approx(np.arange(51, 0, -1) / 100) and faces[0].pose.shape == (4, 4)
    assert FaceLandmarker(fake[0])(np.zeros((50, 200, 3), np.uint8), 0.0) == []


def test_the_times_of_pictures_increase_at_any_rate(fake):
    find = FaceLandmarker(fake[0])
    for frame in range(200):
        find(np.zeros((8, 8, 3), np.uint8), frame / 2400)
    find(np.zeros((8, 8, 3), np.uint8), 7.5)
    assert (np.diff(fake[1].times_ms) > 0).all() and fake[1].times_ms[0] == 0 and fake[1].times_ms[-1] == 7500


def test_rows_with_padding_are_packed(fake):
    padded = np.ones((8, 12, 3), np.uint8)[:, :10]
    assert not padded.flags.c_contiguous and len(FaceLandmarker(fake[0])(padded, 0.0)) == 1


def test_only_the_chatter_of_mediapipe_is_kept_from_standard_error(fake, capfd):
    find = FaceLandmarker(fake[0])
    assert capfd.readouterr().err == "created\n"
    find(np.zeros((8, 8, 3), np.uint8), 0.0)
    assert capfd.readouterr().err == "first picture\n"
    os.write(2, b"W0000 00:00 of others\n")
    assert capfd.readouterr().err == "W0000 00:00 of others\n"


def test_an_error_leaves_standard_error_as_it_was(fake, capfd, monkeypatch):
    monkeypatch.setattr(face_landmarker, "FACES", 1)
    with pytest.raises(ValueError, match="a.task: not a Face Landmarker \\(smoothed\\); download it from https"):
        FaceLandmarker(fake[0])
    print("after", file=sys.stderr, flush=True)
    os.write(2, b"W0000 00:00 after\n")
    assert capfd.readouterr().err == "created\nafter\nW0000 00:00 after\n"


def test_the_landmarker_is_closed_with_its_owner(fake):
    find = FaceLandmarker(fake[0])
    assert fake[1].closed == 0
    del find
    gc.collect()
    assert fake[1].closed == 1


def test_a_person_is_followed_until_lost(fake):
    small, large = reversed(FaceLandmarker(fake[0])(np.full((50, 200, 3), 2, np.uint8), 0.0))
    assert nearest_face([large, small], None) is large
    assert nearest_face([large, small], small) is small and nearest_face([large, small], large) is large
    away = small._replace(landmarks=small.landmarks + np.array([100, 0, 0], np.float32))
    assert nearest_face([large, small], away) is large


def test_what_mediapipe_lacks_is_named(fake, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="nothing.task: no such file; download it from https"):
        FaceLandmarker(tmp_path / "nothing.task")
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace(__version__="0.8"))
    with pytest.raises(ValueError, match="MediaPipe 0.8 has no Face Landmarker: pip install 'avlib\\[video\\]'"):
        FaceLandmarker(fake[0])
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ValueError, match="does not load .*: ./run_all.sh installs it, or pip install 'avlib") as error:
        FaceLandmarker(fake[0])
    assert "\n" not in str(error.value)


def test_the_model_is_named_or_lies_in_the_folder_or_beside_it(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    with pytest.raises(ValueError, match="corpus: no face_landmarker.task in this folder or beside it.*https"):
        find_model("", corpus)
    (tmp_path / "beside.task").touch()
    assert find_model("", corpus) == tmp_path / "beside.task"
    (corpus / "another.task").touch()
    (corpus / "face_landmarker_v2.task").touch()
    assert find_model("", corpus) == corpus / "face_landmarker_v2.task"
    assert find_model(str(tmp_path / "beside.task"), corpus) == tmp_path / "beside.task"
    with pytest.raises(ValueError, match="none.task: no such file; download face_landmarker.task from https"):
        find_model("none.task", corpus)


@needs_mediapipe
def test_a_file_without_a_landmarker_is_named(tmp_path, capfd):
    (tmp_path / "text.task").write_text("not a model")
    with zipfile.ZipFile(tmp_path / "other.task", "w") as bundle:
        bundle.writestr("other.tflite", "x")
    for name in ("text.task", "other.task"):
        with pytest.raises(ValueError, match=f"{name}: not a Face Landmarker .*; download it from") as error:
            FaceLandmarker(tmp_path / name)
        assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


@needs_clip
def test_landmarks_depend_on_their_own_picture_alone(capfd):
    """So they are neither smoothed nor late; and MediaPipe is quiet, also where the first pictures show no face."""
    pictures = film_pictures(CLIP, 32)[::4]
    find = FaceLandmarker(MODEL)
    assert find(np.zeros_like(pictures[0]), 0.0) == []
    faces = [find(picture, 0.04 + 0.04 * n) for n, picture in enumerate(pictures)]
    assert [len(found) for found in faces] == [1] * len(pictures) and faces[0][0].landmarks.shape == (478, 3)
    for n in (0, 3, 7):
        alone = FaceLandmarker(MODEL)(pictures[n], 0.0)[0]
        for given, expected in zip(faces[n][0], alone, strict=True):
            np.testing.assert_allclose(given, expected, atol=1e-3)
    scores = faces[0][0].scores
    assert scores.shape == (51,) and scores.min() >= 0 and scores.max() <= 1
    assert -80 < faces[0][0].pose[2, 3] < -10 and np.abs(np.linalg.det(faces[0][0].pose[:3, :3]) - 1) < 1e-2
    assert capfd.readouterr().err == ""


@needs_clip
def test_two_faces_are_seen_and_the_larger_is_first():
    picture = film_pictures(CLIP, 1)[0]
    height, width = picture.shape[:2]
    both = np.zeros((height, 2 * width, 3), np.uint8)
    both[: height * 2 // 3, : width * 2 // 3] = picture[(np.arange(height * 2 // 3) * 3 // 2)][
        :, (np.arange(width * 2 // 3) * 3 // 2)
    ]
    both[:, width:] = picture
    large, small = FaceLandmarker(MODEL)(both, 0.0)
    assert large.landmarks[:, 0].min() > width > small.landmarks[:, 0].max()


@needs_clip
def test_nothing_of_a_landmarker_is_left():
    """In a process of its own: the first landmarker of a process is freed, too, and its end is quiet."""
    script = (
        "import threading, weakref; from avlib.corpus.video.face_landmarker import FaceLandmarker\n"
        f"one = FaceLandmarker({str(MODEL)!r}); gone = weakref.ref(one); del one\n"
        "print(gone(), threading.active_count())\n"
        f"alive = FaceLandmarker({str(MODEL)!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path.cwd())
    assert (done.returncode, done.stdout, done.stderr) == (0, "None 1\n", "")
