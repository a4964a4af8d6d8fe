"""The five notebooks at preset smoke, as ./run_all.sh runs them: once, again, interrupted, and with wrong input.

Besides the two animators of the paper they train the one that the documentation adds as a plugin.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from avlib.cli.notebooks import notebook_key
from avlib.evaluation.labels import ALL_KNOWN, FLOOR, OWN_STYLE, REFERENCE_LABELS, TRAINING_STYLES
from avlib.training.objectives import OBJECTIVES
from tests.chain import ANIMATORS, ROOT, avlib, command

IDEAL = (ALL_KNOWN, OWN_STYLE, TRAINING_STYLES, FLOOR)


def records(folder: Path, run: str, animators: tuple[str, ...] = ANIMATORS) -> dict[str, dict]:
    """The run's records by file name, without the durations of trainings, which no two runs have in common."""
    found = {p.name: json.loads(p.read_text()) for p in sorted((folder / "results" / run / "records").glob("*.json"))}
    for record in found.values():
        record.pop("seconds", None)
        record.get("config", {}).pop("animators", None)
    assert {
        "corpus.json",
        "speech.json",
        "expert.json",
        "reader.json",
        "readers.json",
        "codetalker-motion_vqvae.json",
        "tsne.json",
        "references.json",
        *(f"evaluation-{name}.json" for name in REFERENCE_LABELS),
    } <= found.keys()
    for model in (f"{animator}-{objective}-s0" for animator in animators for objective in OBJECTIVES):
        assert {f"{model}.json", f"evaluation-{model}.json"} <= found.keys()
    return found


def test_a_run_writes_all_results(smoke):
    run = smoke / "results" / "one"
    table = (run / "tables" / "table.md").read_text()
    animators = ("FaceFormer", "CodeTalker", "mine")
    objectives = ("baseline (L_mse)", "+ L_rlv", "+ L_rlv + guidance")
    for row in (*REFERENCE_LABELS.values(), *(f"{a}, {o}" for a in animators for o in objectives)):
        assert f"| {row} |" in table
    assert "embedded corpus" in table
    rows = json.loads((run / "tables" / "table.json").read_text())["rows"]
    values = {r["method"]: {k: m["values"][0] for k, m in r["metrics"].items()} for r in rows}
    assert values["Ground truth"]["LVE"] == 0 < values["Still face"]["LVE"]
    known, own, training, floor = (values[REFERENCE_LABELS[n]]["LVE"] for n in IDEAL)
    assert known < min(own, training, floor) and max(own, training, floor) < values["Still face"]["LVE"]
    assert values["Still face"]["LVE above floor"] == pytest.approx(values["Still face"]["LVE"] - floor)
    for animator in animators:
        lves = [values[f"{animator}, {objective}"]["LVE"] for objective in objectives]
        assert len(set(lves)) == len(lves), f"{animator}: each objective trains another model"
    trainings = json.loads((run / "tables" / "table_convergence.json").read_text())["rows"]
    assert len(trainings) == 3 * len(ANIMATORS) and all(t["epochs"] == 2 and t["seconds"] > 0 for t in trainings)
    assert (run / "figures" / "4_convergence.png").exists()
    page = (run / "report.html").read_text()
    assert page.count("<video") >= 4 and page.count("<img") >= 8 and "Ground truth" in page
    assert 'src="http' not in page and 'href="http' not in page  # without `=` it occurs in the images' base64
    evaluation = json.loads((run / "records" / "evaluation-truth.json").read_text())
    assert {"metrics", "config", "commit", "corpus", "split"} <= evaluation.keys()
    assert all({"value", "unit"} <= m.keys() for m in evaluation["metrics"].values())
    assert len(list((run / "notebooks").glob("*.ipynb"))) == 4 + 3 * len(ANIMATORS)
    assert not list(run.rglob("*.resume.*")) and not [p for p in run.rglob(".*") if p.is_file()]


def test_a_recording_becomes_a_clip_with_sound(smoke):
    clips = sorted((smoke / "results" / "one" / "speech").glob("own-*.mp4"))
    assert [c.stem for c in clips] == sorted(f"own-{a}-{o}-s0" for a in ANIMATORS for o in OBJECTIVES)
    with av.open(str(clips[0])) as clip:
        assert abs(float(clip.duration) / av.time_base - 2.0) < 0.15
        assert clip.streams.video[0].frames == 60 and clip.streams.audio[0].rate == 16000


def test_a_second_run_computes_nothing(smoke):
    before = records(smoke, "one")
    done = avlib(smoke, "--preset", "smoke", "--run", "one")
    assert (
        done.returncode == 0
        and done.stdout.count("already finished") == 4 + 3 * len(ANIMATORS)
        and "running" not in done.stdout
    )
    assert records(smoke, "one") == before


def test_an_interrupted_run_has_the_same_records(smoke):
    """It is killed while the expert is trained, and resumes from a checkpoint. It has one animator, that with a motion
    VQ-VAE, whose records do not depend on the others."""
    arguments = ("--preset", "smoke", "--run", "two", "--set", "animators=codetalker")
    with open(smoke / "killed.log", "w") as log:
        first = subprocess.Popen(
            **command(smoke, *arguments, AVLIB_CHECKPOINT_S="1"),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        checkpoint, until = smoke / "results" / "two" / "weights" / "expert.resume.safetensors", time.monotonic() + 600
        while not checkpoint.exists() and first.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert checkpoint.exists(), (smoke / "killed.log").read_text()[-3000:]
    time.sleep(3)  # until its child processes have ended
    done = avlib(smoke, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "expert: resumes at step" in done.stdout
    resumed, whole = records(smoke, "two", ("codetalker",)), records(smoke, "one")
    of_all_animators = {"tsne.json", "domain_gap-fine-tuned.json"}
    assert len(resumed.keys() - of_all_animators) > 20 and resumed.keys() <= whole.keys()
    for name in resumed.keys() - of_all_animators:
        assert resumed[name] == whole[name], name


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--preset", "smoke", "--run", "one", "--set", "joint.epochs=9"], "joint.epochs: 2 there, 9 requested"),
        (["--preset", "enormous"], "enormous"),
        (["--set", "joint.epoch=1"], "joint.epoch"),
        (["--set", "joint"], "KEY=VALUE"),
        (["--seeds", "a"], "--seeds"),
        (["--device", "abacus"], "abacus"),
        (["--run", "a/b"], "a/b"),
        (["--set", "animators=nobody"], "'nobody'"),
        (["--set", "evaluation.words=just"], "evaluation.words: expected two different words"),
        (["--set", "plugins=none.py"], "none.py: no such file"),
        (["--speech", "nothing.wav"], "nothing.wav: no such file"),
        (["--colour"], "--colour"),
        (["--corpus", "lrs3"], "'lrs3'"),
        (["--corpus", "vocaset"], "voca.is.tue.mpg.de"),
        (["--corpus", "biwi", "--data", "nowhere"], "nowhere"),
        (["--predictions", "nowhere"], "nowhere: no such folder or file"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line_and_leave_no_file(smoke, arguments, message):
    before = sorted(smoke.rglob("*"))
    done = avlib(smoke, *arguments)
    assert done.returncode != 0 and message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr and sorted(smoke.rglob("*")) == before


@pytest.mark.parametrize("name, content", [("empty.wav", b""), ("text.wav", b"not a sound at all" * 50)])
def test_a_file_that_is_not_audio_is_reported_before_the_run(smoke, name, content):
    (smoke / name).write_bytes(content)
    done = avlib(smoke, "--preset", "smoke", "--run", "three", "--speech", str(smoke / name))
    assert done.returncode != 0 and name in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (smoke / "results" / "three").exists()


def test_a_damaged_cache_is_named(smoke):
    shard = sorted((smoke / "data").glob("*/2d/validation-*.safetensors"))[0]
    whole = shard.read_bytes()
    record = smoke / "results" / "one" / "notebooks" / "05_tsne_analysis.json"
    kept = record.read_bytes()
    try:
        shard.write_bytes(whole[:-1000])
        record.unlink()  # the notebook runs again
        done = avlib(smoke, "--preset", "smoke", "--run", "one")
        assert done.returncode != 0 and shard.name in done.stderr.splitlines()[-1]
    finally:
        shard.write_bytes(whole)
        record.write_bytes(kept)


def test_models_are_compared_on_new_sentences(smoke):
    arguments = [sys.executable, ROOT / "benchmarks" / "further.py", "--run", "one", "--seeds", "0", "--sentences", "4"]
    done = subprocess.run(**command(smoke) | {"args": arguments}, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for animator in ("FaceFormer", "CodeTalker", "mine"):
        for comparison in ("guided minus baseline", "guided minus + L_rlv", "+ L_rlv minus baseline"):
            assert f"| {animator}, {comparison} |" in done.stdout
    new, original = (
        json.loads(next((smoke / "data").glob(f"{kind}-*/corpus.json")).read_text()) for kind in ("further", "embedded")
    )
    texts, known = ({u["text"] for u in corpus["utterances"]} for corpus in (new, original))
    assert len(texts) == 4 and not texts & known
    assert {u["subject"] for u in new["utterances"]} == {
        u["subject"] for u in original["utterances"] if u["split"] == "validation"
    }
    records = smoke / "results/one/variants/further/records"
    scored = json.loads((records / "evaluation-validation-mine-guided-s0.json").read_text())
    assert scored["corpus"] == new["hash"] != original["hash"]


@pytest.mark.parametrize("setting", ["corpus.recordings", "expert.pretrained", "plugins"])
def test_a_changed_file_that_a_setting_names_changes_the_key(tmp_path, setting):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    named = str(tmp_path if setting == "corpus.recordings" else path)
    parameters = {"preset": "smoke", "overrides": {setting: named}}
    before = notebook_key("01_data_prep", parameters)
    path.write_bytes(b"other")
    assert notebook_key("01_data_prep", parameters) != before
