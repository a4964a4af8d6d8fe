"""`animate` of a film: its face's motion in every format, without a run; with a run's options, its sound's motion."""

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from avlib.__main__ import main
from avlib.cli import animate as animate_module
from avlib.corpus.arkit_names import NAMES
from avlib.corpus.captured.driving import read_film
from avlib.corpus.embedded import facekit_checkout
from avlib.corpus.embedded.arkit_shapes import facekit_basis, motion_of_weights
from avlib.corpus.live_link import read_live_link
from avlib.corpus.media import read_sound
from avlib.corpus.obj import read_obj
from avlib.corpus.video.face_landmarker import BLENDSHAPES, FaceLandmarker
from avlib.export import animation
from avlib.export.film_files import film_sound, is_film
from tests.corpus.captured import synthetic_face
from tests.corpus.captured.conftest import mediapipe_replaced
from tests.corpus.captured.films import PictureLandmarker, say, talking, write_film
from tests.corpus.captured.synthetic_face import State
from tests.corpus.embedded.checkout import write_checkout
from tests.export.test_gltf import played, read

TEXT, SECONDS, FPS = "my mother may buy a map", 1.6, 30
SHAPES = {"jawOpen", "mouthClose", "mouthFunnel", "browInnerUp"}  # some that the checkout has


WRITTEN = [name for name in animation.FORMATS if name != "flame"]  # films move other meshes


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a film, a checkout, and what stands for the Face Landmarker's file."""
    folder = tmp_path_factory.mktemp("film")
    with pytest.MonkeyPatch.context() as patch, mediapipe_replaced():
        patch.setattr(facekit_checkout, "PARTS", write_checkout(folder / "checkout"))
        patch.setattr(animate_module, "FaceLandmarker", lambda model: PictureLandmarker())
        patch.setattr(animate_module, "RESULTS", folder / "results")
        spoken = say(TEXT, SECONDS)
        write_film(folder / "films" / "one.mkv", talking(spoken, SECONDS, FPS), spoken.samples, FPS)
        (folder / "films" / "face_landmarker.task").touch()
        yield folder


def drive(place, *arguments) -> int:
    return main(["animate", *map(str, arguments)])


@pytest.fixture(scope="module")
def driven(place) -> tuple[Path, dict]:
    """The stem of a film's motion on ICT-FaceKit's face, in every format, and the content of its .json."""
    formats, out = ",".join(WRITTEN), place / "out"
    drive(place, place / "films" / "one.mkv", "--formats", formats, "--face", place / "checkout", "--out", out)
    return out / "one-facekit", json.loads((out / "one-facekit.json").read_text())


def test_the_record_tells_of_the_film(driven):
    stem, about = driven
    wanted = {"fps": FPS, "unit": "m", "frames": 48, "subject": "one", "film": "one.mkv", "mesh": "facekit"}
    assert {k: about[k] for k in wanted} == wanted and about.keys() - wanted.keys() == {*WRITTEN, "commit"}
    kinds = ("file", "template", "frames", "audio2face")
    named = {about[k][name] for k in WRITTEN for name in kinds if name in about[k]}
    files = {path.name for path in stem.parent.iterdir()}
    assert files == {name for name in named if isinstance(name, str)} | {f"{stem.name}.json"}


def test_all_formats_hold_the_same_motion(driven):
    stem, about = driven
    vertices = np.load(f"{stem}.npy")
    rest = read_obj(stem.parent / about["npy"]["template"])
    assert rest.vertices.shape == vertices.shape[1:] and np.abs(vertices - rest.vertices).max() > 2e-3
    times, shown, _, _ = played(Path(f"{stem}.glb"))
    assert len(times) == 48 and times[-1] == pytest.approx(47 / FPS)
    assert np.linalg.norm(shown - vertices, axis=-1).max() < 5e-4
    np.testing.assert_allclose(read_obj(Path(f"{stem}-obj/0047.obj")).vertices, vertices[-1], atol=1e-7)


def test_the_clip_has_the_sound_of_the_film(driven, place):
    with av.open(f"{driven[0]}.mp4") as clip:
        assert clip.streams.video[0].frames == 48 and clip.streams.video[0].average_rate == FPS
    (heard, _), (said, _) = read_sound(f"{driven[0]}.mp4"), read_sound(place / "films" / "one.mkv")
    length = min(len(heard), len(said))
    assert length > 1.5 * 16000 and np.corrcoef(heard[:length], said[:length])[0, 1] > 0.95


def test_arkit_has_the_fitted_weights_the_scores_and_the_head(driven, place):
    stem, about = driven
    take, held = read_live_link(Path(f"{stem}-arkit.csv")), json.loads(Path(f"{stem}-arkit.json").read_text())
    assert take.fps == held["fps"] == FPS and not take.eyes.any()
    np.testing.assert_array_equal(take.weights, held["frames"])
    np.testing.assert_array_equal(take.head, held["head"])
    fitted, scored = set(held["fitted"]), set(held["scored"])
    assert fitted >= SHAPES and not fitted & scored and fitted | scored | set(held["missing"]) == set(NAMES)
    assert held["missing"] == ["tongueOut"] and not take.weights[:, NAMES.index("tongueOut")].any()
    scores = read_film(place / "films" / "one.mkv", PictureLandmarker).scores
    for name in scored:
        np.testing.assert_allclose(take.weights[:, NAMES.index(name)], scores[:, BLENDSHAPES.index(name)], atol=1e-4)
    assert np.ptp(take.weights[:, NAMES.index("jawOpen")]) > 0.1
    assert about["arkit"]["error"]["lips"]["explained"] > 0.95 and about["arkit"]["unit"] == "mm"


@pytest.mark.parametrize("face", ["facekit", "landmarks"])
def test_every_score_goes_to_the_shape_of_its_name(place, tmp_path, monkeypatch, face):
    class Scoring(PictureLandmarker):
        def __call__(self, rgb, time_s):
            return [f._replace(scores=np.arange(len(BLENDSHAPES)) / 100) for f in super().__call__(rgb, time_s)]

    monkeypatch.setattr(animate_module, "FaceLandmarker", lambda model: Scoring())
    checkout = ["--face", place / "checkout"] if face == "facekit" else []
    drive(place, place / "films" / "one.mkv", "--formats", "arkit", "--out", tmp_path, *checkout)
    scored = json.loads((tmp_path / f"one-{face}.json").read_text())["arkit"]["scored"]
    weights = read_live_link(tmp_path / f"one-{face}-arkit.csv").weights
    for name in scored:
        np.testing.assert_allclose(weights[:, NAMES.index(name)], BLENDSHAPES.index(name) / 100, atol=1e-6)
    assert "cheekPuff" in scored and ("jawOpen" in scored) == (face == "landmarks")


def test_the_weights_move_the_mesh_as_the_film_does(driven, place):
    """But for lips that the capture brings into contact."""
    stem, about = driven
    vertices, rest = np.load(f"{stem}.npy"), read_obj(driven[0].parent / about["npy"]["template"]).vertices
    basis = facekit_basis(place / "checkout")
    moved = rest + motion_of_weights(read_live_link(Path(f"{stem}-arkit.csv")).weights, basis)
    assert np.sqrt(np.square(moved - vertices).sum(-1).mean()) < 1e-4


@pytest.mark.parametrize("name, turn", [("yaw", (0.2, 0, 0)), ("pitch", (0, 0.2, 0)), ("roll", (0, 0, -0.2))])
def test_the_head_turns_with_the_signs_of_the_app(place, tmp_path, name, turn):
    """Of the synthetic face, turns to the viewer's right, upwards and clockwise are positive.

    In the app, so are yaw to the person's left, which is the viewer's right, pitch upwards, and roll to the person's
    right, counterclockwise for the viewer.
    """
    states = [State()._replace(**{name: 0.2 * (n >= 8)}) for n in range(16)]
    write_film(tmp_path / "turn.mkv", states, None)
    model = place / "films" / "face_landmarker.task"
    drive(place, tmp_path / "turn.mkv", "--formats", "arkit", "--landmarks", model, "--out", tmp_path)
    head = read_live_link(tmp_path / "turn-landmarks-arkit.csv").head
    np.testing.assert_allclose(head[8:].mean(0) - head[:8].mean(0), turn, atol=0.01)


def test_without_a_checkout_the_weights_are_scores(place, tmp_path, capsys):
    drive(place, place / "films" / "one.mkv", "--formats", "arkit,glb", "--out", tmp_path)
    about = json.loads((tmp_path / "one-landmarks.json").read_text())
    assert about["mesh"] == "landmarks" and about["arkit"]["fitted"] == [] and "error" not in about["arkit"]
    assert set(about["arkit"]["scored"]) == set(BLENDSHAPES)
    assert "51 of 52 shapes have MediaPipe's scores (--face names ICT-FaceKit" in capsys.readouterr().out
    take = read_live_link(tmp_path / "one-landmarks-arkit.csv")
    wanted = (np.array([synthetic_face.rounded(s).opening for s in talking(say(TEXT), SECONDS, FPS)]) / 0.03).clip(0, 1)
    np.testing.assert_allclose(take.weights[:, NAMES.index("jawOpen")], wanted, atol=0.005)


def test_the_shapes_of_a_film_are_animated_on_its_face(driven):
    """On ICT-FaceKit's mesh, all shapes of the checkout, those of eyes and brows too, with the weights of the film."""
    stem, about = driven
    content, array = read(Path(f"{stem}-arkit.glb"))
    names = content["meshes"][0]["extras"]["targetNames"]
    assert {"eyeBlinkLeft", "browInnerUp", "jawOpen"} <= set(names) == set(about["arkit"]["fitted"])
    weights = array(content["animations"][0]["samplers"][0]["output"]).reshape(-1, len(names))
    take = read_live_link(Path(f"{stem}-arkit.csv"))
    np.testing.assert_allclose(weights, take.weights[:, [NAMES.index(name) for name in names]], atol=1e-6)
    shown = played(Path(f"{stem}-arkit.glb"))[1]
    assert 1000 * np.sqrt(np.square(shown - np.load(f"{stem}.npy")).sum(-1).mean()) < 0.1


@pytest.mark.parametrize(
    "formats, message",
    [
        ("npy,flame", "^flame: expected a run on FLAME's mesh"),
        ("usd-arkit", "^usd-arkit: expected a checkout of .*--face"),
    ],
)
def test_formats_that_films_cannot_have_are_refused_first(place, tmp_path, formats, message):
    with pytest.raises(ValueError, match=message):
        drive(place, place / "films" / "one.mkv", "--formats", formats, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_films_reports_those_it_cannot_use(place, tmp_path, capsys):
    films = tmp_path / "films"
    for name, faces in (("a", 1), ("b", 2), ("c", 1)):
        write_film(films / f"{name}.mkv", [State(opening=0.001 * (n % 5), faces=faces) for n in range(10)], None)
    (tmp_path / "face_landmarker.task").touch()
    with pytest.raises(ValueError, match="^1 of 3 films are not animated: b.mkv$"):
        drive(place, films, "--formats", "npy", "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.npy")} == {"a-landmarks.npy", "c-landmarks.npy"}
    assert f"{films / 'b.mkv'}: two faces in 10 of 10 frames" in capsys.readouterr().out


def test_by_default_films_go_to_a_folder_of_their_own(place):
    drive(place, place / "films" / "one.mkv", "--formats", "npy")
    assert (place / "results" / "films" / "one-landmarks.npy").is_file()


def test_wrong_films_are_reported_in_one_line(place, tmp_path):
    write_film(tmp_path / "none.mkv", [State(faces=0)] * 10, None)
    (tmp_path / "text.mp4").write_text("no film at all")
    model = ["--landmarks", place / "films" / "face_landmarker.task"]
    for arguments, message in (
        ([tmp_path / "none.mkv", *model], "none.mkv: no face in any frame"),
        ([tmp_path / "text.mp4", *model], "text.mp4: .*not a sound or video file"),
        ([tmp_path / "gone.mp4", *model], "gone.mp4: no such file"),
        ([tmp_path / "none.mkv"], "no face_landmarker.task in this folder or beside it.*--landmarks"),
        ([tmp_path / "none.mkv", "--landmarks", tmp_path / "x.task"], "x.task: no such file; download"),
        ([tmp_path / "none.mkv", *model, "--face", tmp_path], "no generic_neutral_mesh.obj"),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            drive(place, *arguments, "--out", tmp_path / "out")
        assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_without_mediapipe_it_is_named(place, tmp_path, monkeypatch):
    monkeypatch.setattr(animate_module, "FaceLandmarker", FaceLandmarker)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ValueError, match="MediaPipe.* does not load"):
        drive(place, place / "films" / "one.mkv", "--face", place / "checkout", "--out", tmp_path / "out")


def test_which_files_are_films(place, tmp_path):
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), "s16", "mono")
        frame.sample_rate = 16000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert is_film(place / "films" / "one.mkv")
    assert not is_film(sound) and not is_film(tmp_path / "gone.mp4") and not is_film(Path(__file__))


def test_the_sound_of_a_film_begins_with_its_pictures(place, tmp_path):
    sound = film_sound(place / "films" / "one.mkv")
    assert sound.dtype.is_floating_point and abs(len(sound) - SECONDS * 16000) < 50 and 0.05 < sound.abs().max() <= 1
    with pytest.raises(ValueError, match="silent.mkv: no audio stream"):
        film_sound(write_film(tmp_path / "silent.mkv", [State()] * 10, None))
