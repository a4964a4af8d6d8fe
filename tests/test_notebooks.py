"""The five notebooks through papermill at preset smoke, as ./run_all.sh runs them: once, again, and under another name."""
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest
import soundfile
import torch

ROOT = Path(__file__).parent.parent


def avlib(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    places = {"AVLIB_RESULTS": str(folder / "results"), "AVLIB_DATA": str(folder / "data")}
    return subprocess.run([sys.executable, "-m", "avlib", *arguments], cwd=ROOT, env=os.environ | places, text=True,
                          capture_output=True)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    """A folder in which the run "one" is finished, with a recording animated."""
    folder = tmp_path_factory.mktemp("smoke")
    tone = 0.3 * torch.sin(torch.arange(2 * 44100) * 0.03)[:, None].expand(-1, 2)
    soundfile.write(folder / "own.wav", tone.numpy(), 44100)
    done = avlib(folder, "--preset", "smoke", "--run", "one", "--speech", str(folder / "own.wav"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def records(folder: Path, run: str) -> dict[str, bytes]:
    found = {p.name: p.read_bytes() for p in sorted((folder / "results" / run / "records").glob("*.json"))}
    assert {"corpus.json", "speech.json", "expert.json", "reader.json", "readers.json", "faceformer-baseline-s0.json",
            "faceformer-guided-s0.json", "evaluation-truth.json", "evaluation-faceformer-guided-s0.json",
            "tsne.json"} <= found.keys()
    return found


def test_the_run_leaves_all_that_it_promises(smoke):
    run = smoke / "results" / "one"
    table = (run / "tables" / "table.md").read_text()
    for row in ("Ground truth", "Still face", "FaceFormer", "FaceFormer + AV guidance", "embedded corpus"):
        assert row in table
    rows = json.loads((run / "tables" / "table.json").read_text())["rows"]
    values = {r["method"]: {k: m["values"][0] for k, m in r["metrics"].items()} for r in rows}
    assert values["Ground truth"]["LVE"] == 0 < values["Still face"]["LVE"]
    assert values["FaceFormer"]["LVE"] != values["FaceFormer + AV guidance"]["LVE"]
    page = (run / "report.html").read_text()
    assert page.count("<video") >= 4 and page.count("<img") >= 8 and "Ground truth" in page
    assert "src='http" not in page and "href" not in page
    evaluation = json.loads((run / "records" / "evaluation-truth.json").read_text())
    assert {"metrics", "config", "commit", "corpus", "split"} <= evaluation.keys()
    assert all({"value", "unit"} <= m.keys() for m in evaluation["metrics"].values())
    assert len(list((run / "notebooks").glob("*.ipynb"))) == 6
    assert not list(run.rglob("*.resume.*")) and not [p for p in run.rglob(".*") if p.is_file()]


def test_an_own_recording_becomes_a_clip_with_sound(smoke):
    clips = sorted((smoke / "results" / "one" / "speech").glob("own-*.mp4"))
    assert [c.stem for c in clips] == ["own-faceformer-baseline-s0", "own-faceformer-guided-s0"]
    with av.open(str(clips[0])) as clip:
        assert abs(float(clip.duration) / av.time_base - 2.0) < 0.15
        assert clip.streams.video[0].frames == 60 and clip.streams.audio[0].rate == 16000


def test_again_does_nothing_anew(smoke):
    before = records(smoke, "one")
    done = avlib(smoke, "--preset", "smoke", "--run", "one")
    assert done.returncode == 0 and done.stdout.count("done before") == 6 and "runs" not in done.stdout
    assert records(smoke, "one") == before


def test_another_run_has_the_same_records(smoke):
    done = avlib(smoke, "--preset", "smoke", "--run", "two")
    assert done.returncode == 0, done.stderr[-3000:]
    assert records(smoke, "two") == records(smoke, "one")


@pytest.mark.parametrize("arguments, told", [
    (["--preset", "smoke", "--run", "one", "--set", "joint.epochs=9"], "joint.epochs: 2 there, 9 asked for"),
    (["--preset", "enormous"], "enormous"), (["--set", "joint.epoch=1"], "joint.epoch"), (["--set", "joint"], "KEY=VALUE"),
    (["--seeds", "a"], "--seeds"), (["--device", "abacus"], "abacus"), (["--run", "a/b"], "a/b"),
    (["--speech", "nothing.wav"], "nothing.wav: no such file"), (["--colour"], "--colour")])
def test_bad_arguments_get_one_line_and_leave_nothing(smoke, arguments, told):
    before = sorted(smoke.rglob("*"))
    done = avlib(smoke, *arguments)
    assert done.returncode != 0 and told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr and sorted(smoke.rglob("*")) == before


@pytest.mark.parametrize("name, content", [("empty.wav", b""), ("text.wav", b"not a sound at all" * 50)])
def test_a_file_that_is_no_speech_stops_everything_before_it_begins(smoke, name, content):
    (smoke / name).write_bytes(content)
    done = avlib(smoke, "--preset", "smoke", "--run", "three", "--speech", str(smoke / name))
    assert done.returncode != 0 and name in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (smoke / "results" / "three").exists()


def test_damaged_caches_are_named(smoke):
    shard = sorted((smoke / "data").glob("*/2d/validation-*.safetensors"))[0]
    whole = shard.read_bytes()
    record = smoke / "results" / "one" / "notebooks" / "05_tsne_analysis.json"
    kept = record.read_bytes()
    try:
        shard.write_bytes(whole[:-1000])
        record.unlink()                     # so that the notebook runs again
        done = avlib(smoke, "--preset", "smoke", "--run", "one")
        assert done.returncode != 0 and shard.name in done.stderr.splitlines()[-1]
    finally:
        shard.write_bytes(whole)
        record.write_bytes(kept)
