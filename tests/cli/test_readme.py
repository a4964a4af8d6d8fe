"""Every command and every Python snippet of the README and the user pages is run (tests/chain.py lists the pages).

Commands that take minutes or need licensed data run as far as the notebooks, which test_notebooks.py runs at preset
smoke. The names of a reader's files stand for files made here.
"""

import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate.commands.launch import launch_command_parser

from avlib.__main__ import main
from avlib.animators import animator, registry
from avlib.cli import animate, notebooks, train
from avlib.core import run as runs
from avlib.corpus.embedded import facekit_checkout
from avlib.corpus.embedded.rig import Rig
from avlib.evaluation import report, variants
from avlib.export.animation import FORMATS
from tests import scan_corpora
from tests.animators.test_published import write_published_animators
from tests.chain import ROOT, SNIPPETS, USER_DOCS
from tests.corpus.captured.conftest import mediapipe_replaced
from tests.corpus.captured.films import write_talk
from tests.corpus.captured.synthetic_face import MODEL
from tests.corpus.captured.test_live_link_corpus import write_take
from tests.corpus.embedded.checkout import write_checkout
from tests.export.test_flame import made_up_model
from tests.training.test_pretraining import published_weights

BLOCKS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", USER_DOCS, re.S | re.M)
    for line in block.replace("\\\n", " ").splitlines()
]
INLINE = [
    f"./run_all.sh {code}" if code.startswith("--set ") else code
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", USER_DOCS)
]
COMMANDS = list(
    dict.fromkeys(
        shlex.join(shlex.split(line, comments=True))
        for line in BLOCKS + INLINE
        if re.match(r"\./run_all\.sh|accelerate |python -m|\w+=\S+ python ", line) and "KEY=VALUE" not in line
    )
)
KINDS = {
    "animates": r"\./run_all\.sh animate ",
    "prefers": r"\./run_all\.sh preference ",
    "starts": r"\./run_all\.sh (lab|test|setup|--help)$",
    "launches": "accelerate ",
    "asks": r"python -m avlib\.cli\.prepare_video",
    "pools": r"\./run_all\.sh pool",
    "scores": r"\./run_all\.sh score ",
    "tests": r"\S+ python -m pytest",
    "trains": r"\./run_all\.sh($| --(?!help))",
}


def of_kind(kind: str) -> list[str]:
    return [line for line in COMMANDS if re.match(KINDS[kind], line)]


DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_lead_somewhere(page):
    """Files that a page links to are there, and so are the headings."""
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, heading = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), f"{page}: links to {target}"
        if heading:
            lines = [line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#")]
            anchors = [re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines]
            assert heading in anchors, f"{page}: links to {target}, whose headings are {anchors}"


def test_the_readme_is_a_front_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_command_is_run_by_a_test():
    assert len(COMMANDS) > 20 and [line for line in COMMANDS if not any(line in of_kind(kind) for kind in KINDS)] == []
    assert all(of_kind(kind) for kind in KINDS)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Films of the synthetic face with the model that follows it, and takes of Live Link Face."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, text in (("a", "big maps"), ("b", "a boat"), ("c", "we were away")):
        write_talk(folder / "my_videos" / f"{name}.mkv", text, 1.0)
        write_take(folder / "my_takes", name, text)
    (folder / "face_landmarker.task").write_bytes(MODEL)
    write_published_animators(folder, scan_corpora.VOCASET.vertices, styles=8)
    (folder / "my_video.mp4").symlink_to(folder / "my_videos" / "a.mkv")
    return folder


@pytest.fixture
def desk(tmp_path, recordings, monkeypatch) -> Iterator[Path]:
    """A folder with the files that the README's reader has, in which commands are given."""
    monkeypatch.chdir(tmp_path)
    for path in recordings.iterdir():
        Path(path.name).symlink_to(path)
    for name in ("my_recording.wav", "recordings/x.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        soundfile.write(name, 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0)).numpy(), 16000)
    Path("recordings/x.txt").write_text("just a word")
    Path("mine.py").write_text(next(s for s in SNIPPETS if "@register" in s))
    Path("result/npy").mkdir(parents=True)
    scan_corpora.write_prepared(tmp_path / "VOCASET")
    shutil.copy(ROOT / "avlib" / "corpus" / "specifications" / "vocaset.json", "mine.json")
    for module in (runs, animate):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(facekit_checkout, "PARTS", write_checkout(tmp_path / "ICT-FaceKit"))
    known = dict(animator.ANIMATORS)
    for module in (animator, registry):
        monkeypatch.setattr(module, "ANIMATORS", known)
    with mediapipe_replaced():
        yield tmp_path


def filled(line: str) -> list[str]:
    """A command's arguments, with this folder's files for those that only a reader has."""
    folder = "recordings" if "recordings=" in line else "my_videos" if "captured" in line else "ICT-FaceKit"
    for there, here in (
        ("/data/VOCASET", "VOCASET"),
        ("/data/mine", "VOCASET"),
        ("/their/result/npy", "result/npy"),
        ("FOLDER", folder),
        ("FILMS", "my_videos"),
        ("docs/examples", str(ROOT / "docs" / "examples")),
        ("CHECKOUT", "ICT-FaceKit"),
        ("TAKES", "mine"),
    ):
        line = line.replace(there, here)
    return shlex.split(line)[1:]


@pytest.mark.parametrize("line", of_kind("trains"))
def test_a_run_is_understood_and_comes_to_its_notebooks(desk, monkeypatch, line):
    ran = []
    monkeypatch.setattr(
        notebooks,
        "execute",
        lambda run, name, parameters, *more, progress: ran.append((name, notebooks.notebook_key(name, parameters))),
    )
    monkeypatch.setattr(notebooks.dry_run, "main", lambda config: ran.append(("dry run", config)))
    for check in ("check_weights", "check_sizes"):  # a reader has the weights and units that the command names
        monkeypatch.setattr(notebooks, check, lambda config: None)
    monkeypatch.setattr(notebooks, "prepare_corpus", lambda run: None)
    monkeypatch.setattr(variants, "run_variants", lambda run, corpus, seeds: ran.append(("study", seeds)))
    monkeypatch.setattr(report, "write_report", lambda run: run.folder / "report.html")
    monkeypatch.setattr("avlib.export.animate.animate_file", lambda run, path, seed: ran.append(("speech", path)) or [])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    arguments = filled(line)
    assert main(arguments) == 0
    done = [name for name, _ in ran]
    if "--dry-run" in arguments:
        assert done == ["dry run"] and not (desk / "results").exists()
        return
    named = arguments[arguments.index("--seeds") + 1] if "--seeds" in arguments else ""
    seeds = len(named.split(",")) if named else 5 if "study" in line else 1
    models = 3 * seeds * (1 if "animators=faceformer" in arguments else 2)
    assert [name for name in done if name[0] == "0"] == sorted(
        ["01_data_prep", "02_expert_pretraining", "04_evaluation", "05_tsne_analysis"]
        + models * ["03_joint_training"]
        + (["06_guidance"] if "variants=scans" in arguments else [])
    )
    variants_asked = [argument for argument in arguments if argument.startswith("variants=")]
    has_variants = variants_asked[0] != "variants=" if variants_asked else "study" in line
    assert ("study" in done) == has_variants and ("speech" in done) == ("--speech" in line)
    if "--run" in arguments:
        assert (desk / "results" / arguments[arguments.index("--run") + 1]).is_dir()


@pytest.mark.parametrize("line", of_kind("pools"))
def test_runs_are_pooled(desk, monkeypatch, line):
    asked = []

    def pool(folders, name):
        asked.append((list(map(str, folders)), name))
        raise ValueError("results/first: no such run")

    monkeypatch.setattr("avlib.cli.pool.pool", pool)
    with pytest.raises(ValueError, match="no such run"):
        main(filled(line))
    assert asked == [(["results/first", "results/rest"], "study")]


@pytest.mark.parametrize("line", of_kind("scores"))
def test_folders_of_meshes_are_scored(desk, line):
    """Of VOCASET's mesh, with its templates."""
    corpus = scan_corpora.vocaset()
    templates = {subject: np.asarray(template, np.float32) for subject, template in corpus.templates.items()}
    Path("templates.pkl").write_bytes(pickle.dumps(templates))
    Path("FLAME_sample.ply").write_bytes(scan_corpora.ply(next(iter(templates.values())), corpus.faces))
    for folder, off in (("scans", 0.0), ("result/npy", 1e-3), ("mine", 2e-3)):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for subject in templates:
            motion = templates[subject].reshape(1, -1) + off + 1e-4 * np.arange(20, dtype=np.float32)[:, None]
            np.save(Path(folder) / f"{subject}_sentence21.npy", motion)
    assert main(filled(line)) == 0
    rows = {
        row["method"]: row["metrics"] for row in json.loads((desk / "results/scores/scores.json").read_text())["rows"]
    }
    assert rows["FaceFormer"]["MVE"]["values"] == [pytest.approx(3**0.5 * 1e-3, rel=1e-2)]
    assert (
        rows["Mine"]["FDD"]["values"]
        and rows["Mine"]["LRP"]["values"] == [100]
        and rows["Mine"]["jitter"]["values"] == [pytest.approx(0, abs=1)]
    )


@pytest.mark.parametrize("line", of_kind("animates"))
def test_speech_and_films_are_animated(desk, smoke, line):
    """The embedded run of preset smoke stands for all runs, so that ARKit's weights need a checkout."""
    (desk / "results").mkdir()
    for run in ("demo", "captured-demo", "mine", "vocaset"):
        (desk / "results" / run).symlink_to(smoke / "results" / "one")
    if "flame" in line:
        (desk / "generic_model.pkl").write_bytes(pickle.dumps(made_up_model(len(Rig().mean)), 2))
    arguments = filled(line)
    if "--run" in arguments and "arkit" in line:
        arguments += ["--face", "ICT-FaceKit"]
    assert main([*arguments, *([] if "--out" in arguments else ["--out", "out"])]) == 0
    folder = Path("mine" if "--out" in arguments else "out")
    formats = arguments[arguments.index("--formats") + 1] if "--formats" in arguments else animate.DEFAULT_FORMATS
    records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    written = [FORMATS.keys() & record.keys() for record in records if "commit" in record]
    assert written and all(names == set(formats.split(",")) for names in written)
    assert all(
        (folder / record[name]["file"]).exists() for record in records for name in FORMATS.keys() & record.keys()
    )


def test_a_page_for_people_is_made_and_its_table(desk, smoke, capsys):
    """One after the other, as the README has them; of fewer sentences, as the run has."""
    (desk / "results").mkdir()
    (desk / "results" / "demo").symlink_to(smoke / "results" / "one")
    page, table = (filled(line) for line in of_kind("prefers"))
    assert main([*page, "--sentences", "2"]) == 0 and len(list(Path("preference_study").glob("study-*.html"))) == 1
    assert main(table) == 0 and "No answers yet" in capsys.readouterr().out


@pytest.mark.parametrize("line", of_kind("launches"))
def test_many_processes_are_understood(desk, monkeypatch, line):
    told = launch_command_parser().parse_args(shlex.split(line)[2:])
    trained = []
    monkeypatch.setattr(train, "check_weights", lambda config: None)
    monkeypatch.setattr(train, "prepare_corpus", lambda run: None)
    monkeypatch.setattr(train, "pretrain", lambda run, corpus, seeds: trained.append(run.config.preset))
    monkeypatch.setattr(train, "train_joint", lambda run, corpus, *model: trained.append(model))
    assert told.module and told.training_script == "avlib.cli.train"
    train.main(told.training_script_args)
    assert trained[0] == "paper" and len(trained) == 1 + 2 * 3


@pytest.mark.parametrize("line", of_kind("asks"))
def test_modules_of_their_own_say_how_they_are_called(line):
    words = shlex.split(line)[1:]
    done = subprocess.run([sys.executable, *words[:2], "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and [w for w in words if w.startswith("--") and w not in done.stdout] == []


@pytest.mark.parametrize("line", of_kind("tests"))
def test_tests_are_found(line):
    variable, python, *arguments = shlex.split(line.replace("<folder>", str(ROOT / "tests" / "fixtures" / "parity")))
    name, value = variable.split("=")
    done = subprocess.run(
        [sys.executable, *arguments, "--collect-only", "-q"],
        cwd=ROOT,
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "test_faceformer_matches_record" in done.stdout


@pytest.mark.parametrize("line", of_kind("starts"))
def test_the_script_starts_what_it_is_asked_for(line):
    command, environment = shlex.split(line), os.environ | {"AVLIB_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    if command[1] != "lab":
        more = ["--collect-only", "-q", "tests/cli/test_readme.py"] if command[1] == "test" else []
        done = subprocess.run([*command, *more], cwd=ROOT, env=environment, capture_output=True, text=True)
        told = {"test": "test_readme.py::", "setup": "environment: ready", "--help": "usage: ./run_all.sh"}[command[1]]
        assert done.returncode == 0 and told in done.stdout
        return
    server = subprocess.Popen(
        [
            *command,
            "--no-browser",
            "--port=18765",
            "--ServerApp.port_retries=0",
            "--IdentityProvider.token=t",
            "--allow-root",
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(120):
            time.sleep(0.5)
            try:
                with urllib.request.urlopen("http://127.0.0.1:18765/api/contents?token=t", timeout=5) as answer:
                    assert b"01_data_prep.ipynb" in answer.read()
                    return
            except OSError:
                assert server.poll() is None
        raise AssertionError("JupyterLab did not answer within a minute")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.parametrize(
    "snippet", [s for s in SNIPPETS if "@register" not in s], ids=lambda s: s.strip().splitlines()[-1][:40]
)
def test_a_snippet_runs(tmp_path, smoke, snippet):
    """Where a finished run is asked for, the one of preset smoke; published checkpoints in their layouts, but small."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "demo").symlink_to(smoke / "results" / "one")
    if "load_pretrained" in snippet:
        write_published_animators(tmp_path, scan_corpora.VOCASET.vertices, styles=8)
        torch.save(published_weights("both", 5049), tmp_path / "avsr_trlrwlrs2lrs3vox2avsp_base.pth")
    places = {"AVLIB_RESULTS": str(tmp_path / "results"), "AVLIB_DATA": str(smoke / "data"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, env=os.environ | places, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if "save(" in snippet:
        assert {p.suffix for p in (tmp_path / "mine").iterdir()} >= {".glb", ".mp4"}
