"""The five notebooks on films of talking people, to the report; wrong input; and the corpus of real film.

The films show a synthetic face, in which a package in MediaPipe's place sees its landmarks. Real film is that of the
folder that AVLIB_FILM names.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from avlib.core import run as runs
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus.captured import captured_corpus
from avlib.corpus.captured.captured_corpus import prepare_captured
from avlib.corpus.corpus import Corpus
from tests import chain
from tests.corpus.captured.conftest import FAKE_MEDIAPIPE, mediapipe_replaced
from tests.corpus.captured.films import say, talking, write_film, write_talk
from tests.corpus.captured.synthetic_face import MODEL
from tests.corpus.video.film import FILM, needs_film

pytestmark = pytest.mark.slow
TEXTS = (
    "we were away",
    "a big map",
    "we bought a map",
    "my boat was away",
    "a big boat",
    "we like my map",
    "be away by five",
    "buy my boat",
    "move a big map",
    "a baby was away",
    "we have a boat",
    "my map was big",
)
PEOPLE = ("ann", "ben")
SMALL = ["--set", "animators=faceformer", "--set", "corpus.clips_2d=16", "--set", "corpus.validation_clips_2d=4"]


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """Films with transcripts beside them: of two people; one is silent, and one has no transcript."""
    folder = tmp_path_factory.mktemp("films")
    for n, text in enumerate(TEXTS):
        write_talk(folder / PEOPLE[n % 2] / f"{n}.mkv", text, 1.5, person=n % 2)
    spoken = say(TEXTS[0])
    write_film(folder / "ann" / "silent.mkv", talking(spoken, 1.5), 0 * spoken.samples)
    (folder / "ann" / "silent.txt").write_text(TEXTS[0])
    write_film(folder / "ben" / "untold.mkv", talking(spoken, 1.5), spoken.samples)
    (folder / "face_landmarker.task").write_bytes(MODEL)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("captured")


def avlib(place: Path, data: Path, *arguments: str, mediapipe: Path = FAKE_MEDIAPIPE) -> subprocess.CompletedProcess:
    """The command of a user whose MediaPipe is in a folder."""
    with_fake = os.pathsep.join([str(mediapipe), str(chain.ROOT)])
    corpus = ["--set", "plugins=", "--corpus", "captured", "--data", str(data), "--preset", "smoke"]
    command = chain.command(place, *corpus, *arguments, PYTHONPATH=with_fake)
    return subprocess.run(**command, capture_output=True)


@pytest.fixture(scope="module")
def finished(films, place) -> Path:
    """The folder of a run that is complete."""
    done = avlib(place, films, *SMALL)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return place / "results" / "captured-smoke"


def prepared(place: Path) -> Corpus:
    return Corpus(next((place / "data").glob("captured-*")))


def record(run: Path, stage: str) -> dict:
    return json.loads((run / "records" / f"{stage}.json").read_text())


def test_films_go_through_all_notebooks_to_the_report(finished):
    table = (finished / "tables" / "table.md").read_text()
    methods = [f"FaceFormer, {objective}" for objective in ("baseline (L_mse)", "+ L_rlv", "+ L_rlv + guidance")]
    for row in ("Ground truth", "Still face", "One frame late", *methods):
        assert f"| {row} |" in table
    assert "floor" not in table, "nobody knows what else these people could have done"
    world = "captured corpus (film of 2 people, motion on MediaPipe's mesh)"
    assert json.loads((finished / "tables" / "table.json").read_text())["corpus"] == world
    page = (finished / "report.html").read_text()
    assert "captured corpus (film of 2 people" in page and page.count("<video") >= 2 and page.count("<img") >= 8
    for stage in (
        "corpus",
        "capture",
        "domain_gap",
        "speech",
        "expert",
        "reader",
        "faceformer-guided-s0",
        "evaluation-faceformer-guided-s0",
        "tsne",
    ):
        assert record(finished, stage)["stage"] == stage
    assert len(list((finished / "notebooks").glob("*.ipynb"))) == 4 + 3
    values = record(finished, "evaluation-truth")["metrics"]
    assert values["LVE"]["value"] == 0 < record(finished, "evaluation-still")["metrics"]["LVE"]["value"]


def test_the_corpus_has_two_people_and_no_sentence_in_two_splits(finished, place):
    corpus = prepared(place)
    assert record(finished, "corpus")["corpus"] == corpus.hash and corpus.capture["held_out"] == "sentences"
    texts = {split: {u.text for u in corpus.utterances(split)} for split in corpus.subjects}
    assert all(texts.values()) and len(set().union(*texts.values())) == sum(map(len, texts.values()))
    assert set(corpus.subjects["train"]) == set(PEOPLE)
    kinds = {u.name.split("-")[0] for u in corpus.clips("train").utterances}
    assert kinds == {"film", "render"}
    assert not {u.text for u in corpus.clips("train").utterances} & {
        u.text for u in corpus.clips("validation").utterances
    }


def test_films_that_cannot_be_used_are_listed(finished, place):
    notebook = json.loads((finished / "notebooks" / "01_data_prep.ipynb").read_text())
    notebook = json.dumps(notebook, ensure_ascii=False)
    assert prepared(place).capture["excluded"].keys() == {"ann/silent"}
    for reason, name in (
        ("silent: its level is -… dB, expected more than -… dB", "ann/silent"),
        ("no transcript …", "ben/untold"),
    ):
        assert f"| {reason} | 1 | {name} |" in notebook
    counted = record(finished, "capture")
    assert counted["films"] == len(TEXTS) and sum(counted["excluded"].values()) == 2 and counted["metrics"]


def test_a_second_run_computes_nothing(finished, films, place):
    files = [*(finished / "records").glob("*.json"), *(place / "data").rglob("*.*")]
    before = {path: path.stat().st_mtime_ns for path in files}
    done = avlib(place, films, *SMALL)
    assert done.returncode == 0 and done.stdout.count("already finished") == 4 + 3 and "running" not in done.stdout
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_one_process_builds_the_same_corpus_as_several(finished, films, place, tmp_path, monkeypatch):
    """The run had one process per core."""
    monkeypatch.setenv("AVLIB_WORKERS", "1" if (os.cpu_count() or 1) > 1 else "2")
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(captured_corpus, "DATA", tmp_path / "data")
    settings = dict(setting.split("=") for setting in SMALL[1::2]) | {"corpus.name": "captured"}
    with mediapipe_replaced():
        again = prepare_captured(Run("again", load("smoke", **settings)), films)
    assert again.hash == prepared(place).hash
    for path in again.folder.rglob("*.*"):
        assert path.read_bytes() == (prepared(place).folder / path.relative_to(again.folder)).read_bytes()


def test_wrong_input_is_reported_in_one_line_and_leaves_no_file(films, tmp_path):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "face_landmarker.task").write_bytes(MODEL)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "mediapipe.py").write_text("raise ImportError('libGL.so.1: no such file')")
    place = tmp_path / "place"
    place.mkdir()
    for data, arguments, mediapipe, message in (
        (tmp_path / "nothing", [], FAKE_MEDIAPIPE, "nothing: no face_landmarker.task in this folder or beside it"),
        (tmp_path / "without", [], FAKE_MEDIAPIPE, "without: expected a folder of LRS2"),
        (films, [], tmp_path / "broken", "does not load (libGL.so.1: no such file): ./run_all.sh installs it"),
        (
            films,
            ["--set", f"corpus.face={tmp_path / 'nothing'}"],
            FAKE_MEDIAPIPE,
            "nothing: no generic_neutral_mesh.obj",
        ),
    ):
        done = avlib(place, data, *SMALL, *arguments, mediapipe=mediapipe)
        assert done.returncode != 0 and message in done.stderr.splitlines()[-1], done.stderr[-1000:]
        assert "Traceback" not in done.stderr and not list(place.rglob("*"))


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """A folder with films/, a table of a dozen sentences of GRID; the texts of the first and the last are exchanged."""
    folder = tmp_path_factory.mktemp("real")
    lines = (FILM / "grid" / "table.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1::58]]
    rows[0][1], rows[-1][1] = rows[-1][1], rows[0][1]
    (folder / "films").mkdir()
    table = [lines[0], *(f"{(FILM / 'grid').resolve()}/{','.join(row)}" for row in rows)]
    (folder / "films" / "table.csv").write_text("\n".join(table) + "\n")
    return folder


@needs_film("grid/table.csv", "grid/clips")
@pytest.mark.parametrize("face", ["", "ict_facekit"], ids=["MediaPipe's mesh", "ICT-FaceKit"])
def test_real_film_becomes_a_corpus(real, face, monkeypatch):
    """On both meshes, from the same takes. Films whose transcript is wrong are excluded."""
    if face and not (FILM / face).is_dir():
        pytest.skip(f"no {face} in the folder that AVLIB_FILM names")
    monkeypatch.setattr(runs, "RESULTS", real / "results")
    monkeypatch.setattr(captured_corpus, "DATA", real / "data")
    settings = dict(setting.split("=") for setting in SMALL[1::2]) | {
        "corpus.name": "captured",
        "corpus.landmarks": str(FILM / "face_landmarker.task"),
        "corpus.face": str(FILM / face) if face else "",
    }
    corpus = prepare_captured(Run(f"real-{face}", load("smoke", **settings)), real / "films")
    rows = (real / "films" / "table.csv").read_text().splitlines()[1:]
    quality, excluded = corpus.capture["quality"], corpus.capture["excluded"]
    wrong = {row.partition(".mp4")[0] for row in (rows[0], rows[-1])}
    assert wrong <= excluded.keys() and len(excluded) <= 3, "one in a hundred is excluded by mistake"
    assert all(excluded[name].startswith("the speech does not match its transcript") for name in wrong)
    assert quality["films"] == len(rows) - len(excluded) and quality["jitter_mm"] < 1
    assert 0 <= quality["lip_reprojection_px"] < 2 and quality["word_initial_closures"]["closed_share"] > 0.7
    for u in (u for split in corpus.subjects for u in corpus.utterances(split)):
        assert corpus.motion(u).shape == (75, corpus.vertices, 3) and len(corpus.speech(u)) == 48000
        assert np.isfinite(corpus.motion(u).numpy()).all() and u.subject == "s1"
    assert corpus.clips("train").video(0).shape == (75, 48, 48)
