"""`animate`: all formats are written and described; an error is one line and leaves no file behind."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

import avlib
from avlib.__main__ import main
from avlib.cli import animate as animate_module
from avlib.core import opening
from avlib.core import run as runs
from avlib.corpus.arkit_names import NAMES
from avlib.corpus.embedded import facekit_checkout
from avlib.corpus.embedded.rig import Rig
from avlib.corpus.live_link import read_live_link
from avlib.corpus.obj import read_obj
from avlib.export import animation
from avlib.export import speaker as speaker_module
from avlib.export.models import models_for
from avlib.export.subject_mesh import corpus_mesh
from tests.corpus.captured.films import write_film
from tests.corpus.captured.synthetic_face import State
from tests.corpus.embedded.checkout import write_checkout
from tests.export.test_gltf import played, read
from tests.export.test_usd import played_usd
from tests.export.tiny_run import FPS, MODEL, write_tiny_run

WRITTEN = [name for name in animation.FORMATS if name != "flame"]  # the rig has another mesh than FLAME


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished run "tiny" of an untrained animator, a checkout of ICT-FaceKit, and sound files."""
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        for module in (runs, animate_module):
            patch.setattr(module, "RESULTS", folder / "results")
        patch.setattr(facekit_checkout, "PARTS", write_checkout(folder / "checkout"))
        write_tiny_run(folder / "data")
        (folder / "sounds").mkdir()
        draw = np.random.default_rng(0)
        soundfile.write(folder / "sounds" / "one.wav", 0.1 * draw.standard_normal((11025, 2)), 22050)
        soundfile.write(folder / "sounds" / "two.flac", 0.1 * draw.standard_normal(9600), 48000)
        (folder / "sounds" / "notes.txt").write_text("no sound")
        yield folder


def animate(*arguments) -> int:
    return main(["animate", *map(str, arguments), "--run", "tiny", "--model", MODEL])


@pytest.fixture(scope="module")
def exported(place) -> tuple[Path, dict]:
    """The stem of one sound in every format but FLAME's, and the content of its .json."""
    out = place / "out"
    animate(
        place / "sounds" / "one.wav",
        "--formats",
        ",".join(WRITTEN),
        "--face",
        place / "checkout",
        "--out",
        out,
        "--style",
        "Ada=1,Ben=3",
    )
    return out / f"one-{MODEL}", json.loads((out / f"one-{MODEL}.json").read_text())


def test_the_json_describes_all_files(exported):
    stem, about = exported
    want = {
        "fps": FPS,
        "unit": "m",
        "frames": 12,
        "subject": "Kim",
        "style": {"Ada": 1, "Ben": 3},
        "run": "tiny",
        "model": MODEL,
        "corpus": "embedded",
        "commit": runs.commit(),
    }
    assert {k: about[k] for k in want} == want and about.keys() - want.keys() == set(WRITTEN)
    kinds = ("file", "template", "audio2face")
    named = {about[k][name] for k in WRITTEN for name in kinds if name in about[k]}
    there = {path.name for path in stem.parent.iterdir()}
    assert there == named | {f"{stem.name}.json", f"{stem.name}-arkit.json"}


def test_vertices_and_mesh(exported, place):
    stem, about = exported
    vertices = np.load(f"{stem}.npy")
    assert vertices.dtype == np.float32 and list(vertices.shape) == about["npy"]["shape"] == [12, len(Rig().mean), 3]
    again = avlib.animate(
        place / "sounds" / "one.wav", run="tiny", model=MODEL, style={"Ada": 1, "Ben": 3}, device="cpu"
    )
    np.testing.assert_allclose(vertices, again.vertices.numpy(), atol=1e-6)
    other = avlib.animate(place / "sounds" / "one.wav", run="tiny", model=MODEL, style="Ada", device="cpu")
    assert np.abs(vertices - other.vertices.numpy()).max() > 1e-5
    rest = read_obj(stem.parent / about["npy"]["template"])
    np.testing.assert_array_equal(rest.triangles(), Rig().faces.numpy())
    np.testing.assert_allclose(rest.vertices, Rig().identity(2).template.numpy(), atol=1e-7)
    assert np.abs(vertices - rest.vertices).max() > 1e-4


def test_a_clip_with_sound(exported):
    with av.open(f"{exported[0]}.mp4") as clip:
        assert clip.streams.video[0].frames == 12 and clip.streams.video[0].average_rate == FPS
        assert clip.streams.audio[0].rate == 16000


def test_the_glb_plays_the_same_motion(exported):
    stem, about = exported
    times, vertices, _, faces = played(Path(f"{stem}.glb"))
    away = 1000 * np.linalg.norm(vertices - np.load(f"{stem}.npy"), axis=-1)
    np.testing.assert_array_equal(faces, Rig().faces.numpy())
    assert times[-1] == pytest.approx(11 / FPS) and about["glb"]["unit"] == "mm"
    assert about["glb"]["rms"] == pytest.approx(np.sqrt((away**2).mean()), rel=0.05) and about["glb"]["rms"] <= 0.02


def test_arkit_weights(exported, place):
    stem, about = exported
    held = json.loads(Path(f"{stem}-arkit.json").read_text())
    take = read_live_link(Path(f"{stem}-arkit.csv"))
    assert held["names"] == list(NAMES) and held["fps"] == take.fps == FPS
    np.testing.assert_array_equal(take.weights, held["frames"])
    assert not take.head.any() and not take.eyes.any() and take.start == 0
    assert np.shape(held["frames"]) == (12, 52) and 0 <= np.min(held["frames"]) and np.max(held["frames"]) <= 1
    assert held["error"] == about["arkit"]["error"] and "tongueOut" in held["missing"] and held["transferred"]
    speaker = speaker_module.Speaker(opening.open_run("tiny", device="cpu"), MODEL)
    mesh = corpus_mesh(speaker.corpus, speaker.subject, speaker.run.config.corpus)
    shapes = models_for(mesh, ["arkit"], place / "checkout").shapes
    weights = shapes.fit(np.load(f"{stem}.npy"))
    errors = shapes.errors(weights, np.load(f"{stem}.npy"))
    np.testing.assert_allclose(held["frames"], weights, atol=1e-4)
    assert (
        held["error"]["lips"]["rms"] == pytest.approx(1000 * errors["lips"]["rms"], rel=1e-3)
        and np.ptp(weights, axis=0).max() > 0.05
    )


def test_audio2face_weights_are_the_same(exported):
    """In the layout of its exported weights: a row a frame, a column for each name."""
    stem, about = exported
    held, arkit = (json.loads(Path(f"{stem}-{ending}.json").read_text()) for ending in ("a2f", "arkit"))
    assert set(held) == {"exportFps", "trackPath", "numPoses", "numFrames", "facsNames", "weightMat"}
    assert (held["exportFps"], held["trackPath"], held["numPoses"], held["numFrames"]) == (FPS, "", 52, 12)
    assert held["facsNames"] == list(NAMES) and held["weightMat"] == arkit["frames"]
    assert about["arkit"]["audio2face"] == f"{stem.name}-a2f.json"


def test_the_usd_plays_the_same_motion(exported):
    stem, about = exported
    away = 1000 * np.linalg.norm(played_usd(Path(f"{stem}.usdc")) - np.load(f"{stem}.npy"), axis=-1)
    assert about["usd"]["unit"] == "mm" and about["usd"]["targets"] == about["glb"]["targets"]
    assert np.sqrt((away**2).mean()) == pytest.approx(about["usd"]["rms"], rel=0.05)
    assert away.max() == pytest.approx(about["usd"]["largest"], rel=0.05)


@pytest.mark.parametrize("name, ending, play", [("glb-arkit", ".glb", played), ("usd-arkit", ".usdc", played_usd)])
def test_a_face_with_arkit_shapes_plays_the_weights(exported, name, ending, play):
    stem, about = exported
    played_file = play(Path(f"{stem}-arkit{ending}"))
    vertices = played_file if name == "usd-arkit" else played_file[1]
    away = 1000 * np.linalg.norm(vertices - np.load(f"{stem}.npy"), axis=-1)
    assert about[name]["rms"] == pytest.approx(np.sqrt((away**2).mean()), rel=1e-3)
    assert about[name]["error"] == about["arkit"]["error"]
    assert about[name]["targets"] + len(about[name]["left_out"]) == 52 and "tongueOut" in about[name]["left_out"]


def test_the_targets_of_a_glb_have_arkit_names_and_weights(exported):
    stem, about = exported
    content, array = read(Path(f"{stem}-arkit.glb"))
    names = content["meshes"][0]["extras"]["targetNames"]
    assert names == [name for name in NAMES if name not in about["glb-arkit"]["left_out"]] and "jawOpen" in names
    weights = array(content["animations"][0]["samplers"][0]["output"]).reshape(-1, len(names))
    take = read_live_link(Path(f"{stem}-arkit.csv"))
    np.testing.assert_allclose(weights, take.weights[:, [NAMES.index(name) for name in names]], atol=1e-6)


def test_obj_has_a_file_for_each_frame(exported):
    stem, _ = exported
    files = sorted(Path(f"{stem}-obj").iterdir())
    assert [path.name for path in files] == [f"{t:04d}.obj" for t in range(12)]
    last = read_obj(files[-1])
    np.testing.assert_allclose(last.vertices, np.load(f"{stem}.npy")[-1], atol=1e-7)
    np.testing.assert_array_equal(last.triangles(), Rig().faces.numpy())


def test_a_folder_and_a_text(place, tmp_path, capsys):
    animate(place / "sounds", "--formats", "npy", "--out", tmp_path)
    assert {f"{name}-{MODEL}.npy" for name in ("one", "two")} == {path.name for path in tmp_path.glob("*.npy")}
    animate("Hello, you!", "--formats", "npy,npy", "--out", tmp_path, "--subject", "Ada")
    about = json.loads((tmp_path / f"hello-you-{MODEL}.json").read_text())
    assert about["text"] == "Hello, you!" and about["subject"] == "Ada"
    spoken, rate = soundfile.read(tmp_path / about["sound"])
    assert rate == 16000 and about["frames"] == len(np.load(tmp_path / about["npy"]["file"])) == int(
        len(spoken) / rate * FPS
    )
    assert capsys.readouterr().out.count(" frames of ") == 3


def test_the_sound_of_a_film_is_animated_with_a_run(place, tmp_path):
    film = write_film(tmp_path / "talk.mkv", [State()] * 25, (3000 * np.sin(np.arange(48000) / 9)).astype(np.int16))
    animate(film, "--formats", "npy", "--out", tmp_path)
    about = json.loads((tmp_path / f"talk-{MODEL}.json").read_text())
    assert about["run"] == "tiny" and about["frames"] == 25 and not list(tmp_path.glob("*landmarks*"))
    assert avlib.animate(film, run="tiny", model=MODEL, device="cpu").vertices.shape == (25, len(Rig().mean), 3)


def test_from_python(place, tmp_path):
    result = avlib.animate(
        0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0)), run="tiny", model=MODEL, device="cpu"
    )
    assert result.vertices.shape == (12, len(Rig().mean), 3)
    about = result.save(tmp_path, "mine", "npy,arkit", place / "checkout")
    assert about["arkit"]["file"] == "mine-arkit.csv" and (tmp_path / "mine.json").exists()


def test_importing_the_package_imports_no_models():
    code = "import avlib, sys; print('torch' in sys.modules, callable(avlib.animate))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=runs.ROOT)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["{sounds}/one.wav", "--formats", "npy,fbx"],
            "formats: expected some of npy, mp4, glb, usd, arkit, glb-arkit, usd-arkit, flame, obj, got 'fbx'",
        ),
        (["{sounds}/one.wav", "--subject", "Zoe"], "subject: expected one of Ada, Ben, Kim, got 'Zoe'"),
        (["{sounds}/one.wav", "--style", "Zoe"], "style: expected one of Ada, Ben, got 'Zoe'"),
        (["{sounds}/one.wav", "--style", "Ada=much"], "style: expected a name, or weights as"),
        (["{sounds}/one.wav", "--model", "nobody-s0"], f"model: expected one of {MODEL} in .*tiny, got 'nobody-s0'"),
        (["{sounds}/one.wav", "--run", "none"], "none: no such run; create one with ./run_all.sh"),
        (["{sounds}/one.wav", "--formats", "arkit"], "arkit: expected a checkout of .*--face"),
        (["{sounds}/one.wav", "--formats", "npy,glb-arkit"], "glb-arkit: expected a checkout of .*--face"),
        (["{sounds}/one.wav", "--formats", "flame"], "flame: expected the file of the model, .*--flame"),
        (["{sounds}/one.wav", "--formats", "flame", "--flame", "{sounds}/none.pkl"], "none.pkl: no such file"),
        (["{sounds}/one.wav", "--formats", "flame", "--flame", "{sounds}/one.wav"], "one.wav: not loaded"),
        (["{sounds}/one.wav", "--formats", "arkit", "--face", "{sounds}"], "no generic_neutral_mesh.obj"),
        (["{sounds}/one.wav", "--colour"], "--colour"),
        (["{sounds}/one.wav", "--out", "{sounds}/one.wav/deep"], "deep: cannot be written: .*one.wav is not a folder"),
        (["{sounds}/notes.txt"], "notes.txt: 8 bytes, not a sound or video file"),
        (["{sounds}/none.wav"], "none.wav: no such file"),
        (["none.wav"], "none.wav: no such file"),
        (["{checkout}"], "checkout: no sound files or films in this folder"),
        ([""], "text: nothing to say in ''"),
        (["..."], "text: nothing to say in"),
    ],
)
def test_wrong_input_is_reported_and_leaves_no_file(place, tmp_path, arguments, message):
    filled = [a.format(sounds=place / "sounds", checkout=place / "checkout") for a in arguments]
    out = [] if "--out" in filled else ["--out", str(tmp_path / "out")]
    before = sorted(place.rglob("*"))
    with pytest.raises(ValueError, match=message) as raised:
        main(["animate", "--run", "tiny", "--model", MODEL, *filled, *out])
    assert "\n" not in str(raised.value) and sorted(place.rglob("*")) == before and not list(tmp_path.iterdir())


def test_hidden_and_headerless_files_of_a_folder_are_left_out(place, tmp_path, capsys):
    for name in ("a.wav", "._a.wav", "._b.wav", "c.raw"):
        (tmp_path / name).write_bytes(b"")
    assert animate_module.find_inputs(str(tmp_path)) == {"a": tmp_path / "a.wav"}
    assert "c.raw left out: sound without a header" in capsys.readouterr().out


def test_text_and_file_can_be_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    parse = animate_module.parse_animate_arguments
    assert parse(["--text", "results"]).inputs == {"results": "results"}
    assert parse(["--text=-hello there.wav"]).inputs == {"hello-there-wav": "-hello there.wav"}
    assert parse(["--file", "and/or"]).inputs == {"or": Path("and/or")} and parse(["and/or"]).inputs == {
        "and-or": "and/or"
    }
    for wrong in ([], ["a", "--text", "b"]):
        with pytest.raises(ValueError, match="^animate: expected one sound file, film, folder or text"):
            parse(wrong)


def test_two_sounds_of_one_name_are_reported(place, tmp_path):
    for ending in ("wav", "flac"):
        soundfile.write(tmp_path / f"a.{ending}", np.zeros(9600), 16000)
    with pytest.raises(ValueError, match="a.flac and a.wav: their output files would have the same names"):
        animate_module.find_inputs(str(tmp_path))


def test_a_broken_sound_stops_the_command_before_any_output(place, tmp_path):
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "a.wav", np.zeros(9600), 16000)
    (tmp_path / "sounds" / "b.wav").write_bytes(b"no sound at all")
    with pytest.raises(ValueError, match="b.wav: 15 bytes, not a sound or video file"):
        animate(tmp_path / "sounds", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_reported_and_leaves_earlier_files(place, tmp_path, monkeypatch):
    """In the middle of a sequence."""
    written = Path.write_text

    def full(path, text, *rest):
        if path.name == "0005.obj":
            raise OSError(28, "No space left on device", str(path))
        return written(path, text, *rest)

    folder = tmp_path / f"one-{MODEL}-obj"
    animate(place / "sounds" / "one.wav", "--formats", "obj", "--out", tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ValueError, match="0005.obj: cannot be written: No space left on device"):
        animate(place / "sounds" / "one.wav", "--formats", "obj", "--out", tmp_path, "--subject", "Ada")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, f"one-{MODEL}.json"}


def test_a_shorter_sequence_replaces_a_longer_one(place, tmp_path):
    for samples in (16000, 9600):
        result = avlib.animate(0.1 * torch.ones(samples).cumsum(0).sin(), run="tiny", model=MODEL, device="cpu")
        result.save(tmp_path, "x", "obj")
    assert len(list((tmp_path / "x-obj").iterdir())) == len(result.vertices) == 15


def test_errors_on_the_command_line_are_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["avlib", "animate", "none.wav"])
    monkeypatch.delitem(sys.modules, "avlib.__main__")
    with pytest.raises(SystemExit, match="^avlib: none.wav: no such file$"):
        runpy.run_module("avlib", run_name="__main__")


@pytest.mark.parametrize(
    "text, is_file",
    [
        ("Hello there.", False),
        ("Hello", False),
        ("voice.wav", True),
        ("my recordng.wav", True),
        ("recordings/take 1.MP3", True),
        ("./recordngs", True),
        ("and/or", False),
        ("3.5", False),
        ("U.S.A", False),
        ("Is it 3.5?", False),
        ("x" * 5000, False),
    ],
)
def test_paths_are_told_from_texts(text, is_file):
    assert speaker_module.looks_like_file(text) is is_file


def test_help_names_every_option():
    """run_all.sh prints it without Python."""
    done = subprocess.run(
        ["./run_all.sh", "animate", "--help"],
        capture_output=True,
        text=True,
        cwd=runs.ROOT,
        env=os.environ | {"AVLIB_PYTHON": "/bin/false"},
    )
    assert done.returncode == 0
    for word in (
        "animate INPUT",
        "--model",
        "--subject",
        "--style",
        "--formats",
        "--face",
        "--flame",
        "--landmarks",
        "--out",
        *animation.FORMATS,
    ):
        assert word in done.stdout
