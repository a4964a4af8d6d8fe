"""The model that comes with the kit: what is packed speaks as the original does, without anything else of its run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avlib.core import run as runs
from avlib.core.files import write_json
from avlib.core.run import Run
from avlib.export import shipped_model
from avlib.export.shipped_model import ARCHIVE, SCORES, pack_model, shipped_run, speaking_run
from avlib.export.speaker import MODEL as SHIPPED_MODEL
from avlib.export.speaker import Speaker, load_sound
from avlib.metrics.lips import lip_aperture
from tests.export.tiny_run import MODEL, write_tiny_run


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def tiny(results, tmp_path) -> Run:
    run = write_tiny_run(tmp_path / "data")
    run.finish(f"evaluation-{MODEL}", "0", metrics={name: {"value": 1.5} for name in (*SCORES, "MOD")})
    return run


def spoken(run: Run, model: str, text: str) -> torch.Tensor:
    return torch.cat(list(Speaker(run, model)(load_sound(text))))


def unpack(archive: Path, monkeypatch) -> Run:
    monkeypatch.setattr(shipped_model, "ARCHIVE", archive)
    return shipped_run("cpu")


def test_a_packed_model_speaks_like_the_original_without_its_run_and_corpus(tiny, tmp_path, monkeypatch):
    expected = spoken(tiny, MODEL, "hello there")
    archive = pack_model(tiny, MODEL, tmp_path / "packed.tar.xz")
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "elsewhere")
    (tmp_path / "data").rename(tmp_path / "gone")
    run = unpack(archive, monkeypatch)
    motion, template = spoken(run, MODEL, "hello there"), Speaker(run, MODEL).template
    assert (motion - expected).norm() < 0.01 * (expected - template).norm(), "bfloat16 keeps three digits"
    assert set(run.record(MODEL)["scores"]) == set(SCORES)
    assert str(tmp_path) not in "".join(path.read_text() for path in run.folder.rglob("*.json")), "places stay private"


def test_equal_runs_give_equal_archives(tiny, tmp_path):
    first, second = (pack_model(tiny, MODEL, tmp_path / name).read_bytes() for name in ("one.xz", "two.xz"))
    assert first == second


def test_another_version_replaces_the_model_and_leaves_what_it_has_said(tiny, results, tmp_path, monkeypatch):
    run = unpack(pack_model(tiny, MODEL, tmp_path / "old.xz"), monkeypatch)
    said = run.folder / "speech" / "hello.npy"
    write_json(said, [1])
    weights = run.weights(MODEL)
    before = weights.read_bytes()
    state = Speaker(tiny, MODEL).animator
    torch.nn.init.ones_(state.vertex_map.weight)
    shipped_model.write_weights(tiny.weights(MODEL), {f"animator.{k}": v for k, v in state.state_dict().items()}, {})
    unpack(pack_model(tiny, MODEL, tmp_path / "new.xz"), monkeypatch)
    assert weights.read_bytes() != before and said.exists()
    changed = weights.stat().st_mtime_ns
    shipped_run("cpu")
    assert weights.stat().st_mtime_ns == changed, "unpacked once"


def test_faces_of_others_are_not_packed(tiny, tmp_path):
    tiny.config = replace(tiny.config, corpus=replace(tiny.config.corpus, name="facekit"))
    with pytest.raises(ValueError, match="expected a run on the embedded corpus alone, got facekit$"):
        pack_model(tiny, MODEL, tmp_path / "packed.xz")
    assert not (tmp_path / "packed.xz").exists()


def test_the_demo_speaks_once_it_has_a_model(results, tmp_path, monkeypatch, capfd):
    assert speaking_run(device="cpu").name == "shipped"
    assert "./run_all.sh trains one of your own" in capfd.readouterr().out
    write_tiny_run(tmp_path / "data").folder.rename(results / "demo")
    assert speaking_run(device="cpu").name == "demo"
    assert capfd.readouterr().out == ""
    with pytest.raises(ValueError, match="mine: no such run"):
        speaking_run("mine", "cpu")


def test_the_shipped_model_is_small_says_where_it_comes_from_and_moves_the_lips(results):
    assert ARCHIVE.stat().st_size < 3e6
    run = shipped_run("cpu")
    record = run.record(SHIPPED_MODEL)
    assert record["commit"].isalnum() and record["corpus"] == run.record("corpus")["corpus"]
    assert all(record["scores"][name]["value"] > 0 for name in SCORES)
    speaker = Speaker(run)
    motion, regions = torch.cat(list(speaker(load_sound("papa, mama, papa, mama")))), speaker.corpus.regions
    opening = lip_aperture(motion, regions["upper_lip_middle"], regions["lower_lip_middle"])
    assert opening.max() - opening.min() > 4e-3, "vowels open the lips, p and m close them: metres"
