"""The player's faces are the motions, its curves the metrics, and an error is one line."""

import io
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure

from avlib.core.opening import open_run
from avlib.corpus.run_corpus import open_corpus
from avlib.corpus.utterance import Utterance
from avlib.export import animate
from avlib.metrics.vertices import lve
from avlib.plots.motion import aperture
from avlib.speech.segment import Segment
from avlib.training.joint import predict
from avlib.training.trained_models import load_animator
from avlib.widgets import player, player_clip
from avlib.widgets.player import ComparisonPlayer
from avlib.widgets.player_clip import ClipSource, FaceChoice
from tests.export.test_export import FPS, MODEL, place  # noqa: F401
from tests.widgets.test_mesh_widget import in_node

NAMES = {"aperture": "<f4", "error": "<f4"}
ADA, BEN = FaceChoice("faceformer", "baseline", "Ada"), FaceChoice("faceformer", "baseline", "Ben")


@pytest.fixture(scope="module")
def source(place) -> ClipSource:  # noqa: F811
    """A run with one animator and two test sentences, whose scans open and close their mouths."""
    run = open_run("tiny", device="cpu")
    corpus = open_corpus(run)
    sounds = (Segment("m", 0.0, 0.2), Segment("ˈɑː", 0.2, 0.5))
    corpus._utterances = [
        Utterance(f"Kim_{k}", "test", "Kim", text, 20, (), sounds) for k, text in enumerate(("mama", "papa"))
    ]
    drop = torch.zeros(20, corpus.vertices, 3)
    drop[:, corpus.regions["lower_lip_middle"], 1] = -0.004 * torch.arange(20).div(3).sin().abs()[:, None]
    for name in ("vertices_npy", "wav"):
        (corpus.folder / name).mkdir(exist_ok=True)
    noise = 0.1 * np.random.default_rng(0).standard_normal(20 * 16000 // FPS)
    for utterance in corpus._utterances:
        np.save(
            corpus.folder / "vertices_npy" / f"{utterance.name}.npy",
            (corpus.templates["Kim"] + drop).flatten(1).numpy(),
        )
        soundfile.write(corpus.folder / "wav" / f"{utterance.name}.wav", noise, 16000)
    return ClipSource(run, corpus, [0])


@pytest.fixture(scope="module")
def clip(source) -> dict:
    return source.clip(source.corpus.utterances("test")[0], "", [ADA, BEN])


def test_the_faces_of_a_clip_are_the_motions(source, clip):
    """As the browser interpolates: a frame at its time, halfway the mean of two, the last frame after the end."""
    utterance = source.corpus.utterances("test")[0]
    model, _ = load_animator(source.run, source.corpus, MODEL)
    seconds = [0, 7 / FPS, 7.5 / FPS, 99.0]
    for style, face in zip("Ada Ben".split(), clip["faces"]):
        expected = predict(source.run, source.corpus, model, utterance, style)
        numbers = {
            "weights": np.frombuffer(face["weights"], "<f4").tolist(),
            "targets": np.frombuffer(face["targets"], "<i2").tolist(),
        }
        got = in_node(
            "mesh.js",
            "player.js",
            face=numbers,
            template=np.frombuffer(clip["template"], "<f4").tolist(),
            seconds=seconds,
            fps=clip["fps"],
            script="""
            const { weights, targets } = given.face;
            const face = { weights: Float32Array.from(weights), targets: Int16Array.from(targets) };
            const template = Float32Array.from(given.template);
            const at = s => [...pose(face, template, given.fps, s, new Float32Array(template.length))];
            console.log(JSON.stringify(given.seconds.map(at)));""",
        )
        off = torch.tensor(got).unflatten(1, (-1, 3)) - torch.stack(
            [expected[0], expected[7], (expected[7] + expected[8]) / 2, expected[-1]]
        )
        assert off.norm(dim=-1).max() < 1e-4 < (expected[0] - expected[7]).norm(dim=-1).max()  # 0.1 mm
    assert clip["faces"][0]["weights"] != clip["faces"][1]["weights"]


def test_the_curves_are_the_metrics(source, clip):
    corpus, utterance = source.corpus, source.corpus.utterances("test")[0]
    tracks = {t["name"]: {k: np.frombuffer(t[k], kind) for k, kind in NAMES.items()} for t in clip["tracks"]}
    assert list(tracks) == [str(ADA), str(BEN), "scan"] and not len(tracks["scan"]["error"])
    scan = corpus.motion(utterance)
    np.testing.assert_allclose(tracks["scan"]["aperture"], aperture(corpus, scan), rtol=1e-5)
    assert tracks[str(BEN)]["error"].mean() * 1e-5 == pytest.approx(
        lve(source.motion(utterance, "", BEN), scan, corpus.regions["lip"]), rel=1e-4
    )
    assert (clip["unit"], clip["error_unit"]) == ("mm", "1e-5 m²") and [p[3] for p in clip["phonemes"]] == [True, False]
    sound, rate = soundfile.read(io.BytesIO(clip["sound"]))
    assert rate == 16000 and len(sound) / rate == clip["seconds"] == 20 / FPS
    beside_scan = source.clip(utterance, "", [FaceChoice(), ADA])
    assert [t["name"] for t in beside_scan["tracks"]] == ["scan", str(ADA)]  # the scan only once
    drawn = in_node(
        "mesh.js",
        "player.js",
        script="console.log(JSON.stringify(envelope(Uint8Array.from(given.wav), 4)))",
        wav=list(clip["sound"]),
    )
    np.testing.assert_allclose(drawn, [[p.min(), p.max()] for p in np.array_split(sound, 4)], atol=1e-4)


def test_one_face_changes_without_the_other(source):
    widget = ComparisonPlayer(source)
    first, (left, right) = widget.player.clip, widget.faces
    assert (left[1].value, right[1].value) == ("baseline", "guided")
    assert "faceformer-guided-s0" in widget.message.value and first == {}  # a missing model is reported
    right[1].value = "rlv"
    assert "faceformer-rlv-s0" in widget.message.value
    right[1].value = "baseline"
    before = widget.player.clip
    assert widget.message.value == "" and before["title"] == "Kim: “mama”"
    right[2].value = "Ben"
    after = widget.player.clip
    assert after["faces"][0] == before["faces"][0] and after["faces"][1]["weights"] != before["faces"][1]["weights"]
    right[0].value = ("scan", 0)
    assert right[1].disabled and widget.player.clip["faces"][1]["name"] == "scan"


def test_custom_speech(source, place):  # noqa: F811
    widget = ComparisonPlayer(source)
    widget.faces[1][1].value = "baseline"
    widget.custom_speech.value, widget.subject.value = str(place / "sounds" / "one.wav"), "Ada"
    clip, one = widget.player.clip, animate.animate(place / "sounds" / "one.wav", "tiny", MODEL, "Ada", "Ada", "cpu")
    assert (
        widget.message.value == ""
        and clip["title"].startswith("Ada: ")
        and clip["seconds"] == 0.5
        and not clip["phonemes"]
    )
    got = np.frombuffer(clip["tracks"][0]["aperture"], "<f4")
    np.testing.assert_allclose(got, aperture(source.corpus, one.vertices), atol=1e-3)
    assert len(clip["tracks"]) == 2 and not clip["tracks"][0]["error"]  # no scan
    widget.custom_speech.value = "good morning"
    assert widget.player.clip["title"] == "Ada: “good morning”"
    widget.sentence.value = source.corpus.utterances("test")[1]  # a test sentence replaces it
    assert widget.custom_speech.value == "" and widget.player.clip["title"] == "Kim: “papa”"


def test_an_uploaded_recording(source, place):  # noqa: F811
    widget = ComparisonPlayer(source)
    widget.faces[1][1].value = "baseline"
    seconds = []
    for samples in (8000, 12000):  # the second recording has the same name
        out = io.BytesIO()
        soundfile.write(out, np.full(samples, 0.1), 16000, format="WAV")
        widget.upload.value = (
            {
                "name": "../my own.wav",
                "type": "audio/wav",
                "size": 1,
                "content": memoryview(out.getvalue()),
                "last_modified": datetime.now(UTC),
            },
        )
        seconds.append(widget.player.clip["seconds"])
    assert (
        seconds == [0.5, 0.75]
        and widget.custom_speech.value == str(source.run.folder / "speech" / "my own.wav")
        and widget.message.value == ""
    )
    before = widget.player.clip
    widget.upload.value = (
        {
            "name": "notes.txt",
            "type": "",
            "size": 1,
            "content": memoryview(b"no sound"),
            "last_modified": datetime.now(UTC),
        },
    )
    assert "not a sound or video file" in widget.message.value and widget.player.clip == before
    assert [p.name for p in (source.run.folder / "speech").iterdir()] == ["my own.wav"]


@pytest.mark.parametrize(
    "speech, message",
    [
        ("nowhere.wav", "nowhere.wav: no such file"),
        ("notes.txt", "not a sound or video file"),
        ("short.wav", "25 ms"),
        ("long.wav", "61 s, expected at most 60"),
        ("...", "nothing to say"),
        ("<b>.wav", "&lt;b&gt;.wav: no such"),
    ],
)
def test_speech_that_cannot_be_played_is_reported_in_one_line(source, tmp_path, speech, message):
    (tmp_path / "notes.txt").write_text("no sound")
    for name, seconds in (("short.wav", 0.01), ("long.wav", 61)):
        soundfile.write(tmp_path / name, np.full(int(seconds * 8000), 0.1), 8000)
    widget = ComparisonPlayer(source)
    widget.faces[1][1].value = "baseline"
    before = widget.player.clip
    widget.custom_speech.value = speech if speech == "..." else str(tmp_path / speech)
    assert message in widget.message.value and widget.message.value.count("\n") == 0 and widget.player.clip == before
    widget.custom_speech.value = ""
    widget.faces[0][0].value = ("scan", 0)
    assert widget.message.value == "" and widget.player.clip["faces"][0]["name"] == "scan"


def test_a_missing_scan_is_reported(source):
    widget = ComparisonPlayer(source)
    widget.faces[0][0].value, widget.faces[1][1].value = ("scan", 0), "baseline"
    widget.custom_speech.value = "good morning"
    assert "good morning: has no scan" in widget.message.value


def test_executed_notebooks_get_a_figure(source, monkeypatch, tmp_path):
    monkeypatch.setattr(player, "HEADLESS", True)
    only = load_animator(source.run, source.corpus, MODEL)  # the run has no guided model
    monkeypatch.setattr(player_clip, "load_animator", lambda run, corpus, model: only)
    run = SimpleNamespace(
        config=SimpleNamespace(animators=("faceformer",)),
        **{k: getattr(source.run, k) for k in ("name", "folder", "device")},
    )
    monkeypatch.setattr(player, "ClipSource", lambda *_: source)
    figure = player.compare_models(run, source.corpus, [0])
    assert isinstance(figure, Figure) and len(figure.axes) == 4
    figure.savefig(tmp_path / "still.png")
    assert [len(axis.lines) for axis in figure.axes] == [0, 0, 4, 4] and all(axis.images for axis in figure.axes[:2])
