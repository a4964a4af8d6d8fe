"""Folders of meshes are scored as a run scores its predictions, and what does not fit is refused in one line."""

import json
import pickle

import numpy as np
import pytest
import torch

from avlib.__main__ import main
from avlib.evaluation.external_predictions import write_prediction
from avlib.metrics.lip_warping import lip_dtw
from avlib.metrics.vertices import fdd, lve

V, FPS, LIP, UPPER = 8, 25, [1, 2, 3], [5, 6]
NAMES = [f"{subject}_{n:02d}" for subject in ("Ada", "Ben") for n in (1, 2)]


@pytest.fixture
def desk(tmp_path, generator, monkeypatch):
    """Scans, the predictions of two methods, one of which has two styles, templates and a specification."""
    monkeypatch.chdir(tmp_path)
    rest = torch.randn(V, 3, generator=generator)
    for folder in ("scans", "near", "far"):
        (tmp_path / folder).mkdir()
    for n, name in enumerate(NAMES):
        scan = rest + 0.01 * torch.randn(20 + n, V, 3, generator=generator).cumsum(0)
        np.save(tmp_path / "scans" / f"{name}.npy", scan.flatten(1).numpy())
        for style in ("Ada", "Ben"):
            write_prediction(tmp_path / "near", name, style, scan + 0.01 * torch.randn(scan.shape, generator=generator))
        np.save(tmp_path / "far" / f"{name}.npy", (scan + 0.05 * torch.randn(scan.shape, generator=generator)).numpy())
    split = {"sentences": [1, 2], "subjects": []}
    specification = {
        "name": "mine",
        "kind": "scans",
        "unit": "m",
        "vertices": V,
        "fps": FPS,
        "sentence": "{:02d}",
        "sentences": 2,
        "transcripts": "none.txt",
        "splits": {
            "train": split | {"subjects": ["Ada"]},
            "validation": split | {"subjects": ["Cid"]},
            "test": split | {"subjects": ["Ben"]},
        },
        "regions": {"lip": LIP, "upper_face": UPPER, "upper_lip_middle": [1], "lower_lip_middle": [2]},
    }
    (tmp_path / "mine.json").write_text(json.dumps(specification))
    lines = [f"v {x} {y} {z}" for x, y, z in rest.tolist()]
    (tmp_path / "rest.obj").write_text("\n".join(lines) + "\n")
    return tmp_path


COMMAND = ("score", "--truth", "scans", "--corpus", "mine.json", "--out", "out")
BOTH = ("--predictions", "near", "--predictions", "Other=far")


def table(name: str) -> dict:
    return json.loads(open(f"out/{name}.json").read())


def motions(folder: str) -> list[torch.Tensor]:
    return [torch.from_numpy(np.load(f"{folder}/{name}.npy")).view(-1, V, 3) for name in NAMES]


def test_the_tables_have_the_values_of_the_metrics(desk):
    assert main([*COMMAND, *BOTH]) == 0
    rows = {row["method"]: row["metrics"] for row in table("scores")["rows"]}
    scans, far = motions("scans"), motions("far")
    assert list(rows) == ["near", "Other"] and rows["near"]["LVE"]["values"] < rows["Other"]["LVE"]["values"]
    assert rows["Other"]["LVE"]["values"] == [pytest.approx(lve(far, scans, LIP), rel=1e-5)]
    frames = sum(map(len, scans))
    dtw = sum(len(t) * lip_dtw(p, t, LIP, FPS) for p, t in zip(far, scans)) / frames
    assert rows["Other"]["lip DTW"]["values"] == [pytest.approx(dtw, rel=1e-5)]
    assert rows["Other"]["FDD"]["values"] == [] and "CER" not in rows["near"], "there is neither template nor reader"
    (compared,) = table("differences")["rows"]
    assert compared["method"] == "near minus Other" and compared["metrics"]["LVE"]["verdict"] == "better"
    assert compared["metrics"]["LVE"]["subjects"] == 2 and compared["metrics"]["LVE"]["utterances"] == 4
    assert {row["protocol"] for row in table("protocols")["rows"]} >= {"avlib", "codetalker", "unitalker"}
    page = (desk / "out" / "scores.html").read_text()
    assert page.count("<table>") == 3 and "4 sequences on the mesh of mine" in page and 'src="http' not in page


def test_templates_add_what_needs_a_face_at_rest(desk):
    rest = torch.tensor([[float(x) for x in line.split()[1:]] for line in open("rest.obj")])
    (desk / "templates.pkl").write_bytes(pickle.dumps({s: rest.numpy() for s in ("Ada", "Ben")}))
    main([*COMMAND, "--predictions", "far", "--templates", "templates.pkl"])
    (row,) = table("scores")["rows"]
    assert row["metrics"]["FDD"]["values"] == [
        pytest.approx(fdd(motions("far"), motions("scans"), rest, UPPER), rel=1e-3)
    ]
    assert 0 <= row["metrics"]["LRP"]["values"][0] <= 100 and not (desk / "out" / "differences.json").exists()


def spoil_frames(desk):
    motion = np.load("far/Ada_01.npy")
    np.save("far/Ada_01.npy", np.repeat(motion, 2, 0))


def spoil_unit(desk):
    np.save("far/Ada_01.npy", 1000 * np.load("far/Ada_01.npy"))


def spoil_vertices(desk):
    np.save("far/Ada_01.npy", np.load("far/Ada_01.npy")[:, 1:])


def spoil_values(desk):
    motion = np.load("far/Ada_01.npy")
    motion[3, 2, 1] = np.nan
    np.save("far/Ada_01.npy", motion)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (spoil_frames, "Ada_01.npy: 40 frames, expected 20 as in the scan, within 2, 2 times as many: another rate"),
        (spoil_unit, "Ada_01.npy: .* m from the scan on average, .*: another unit or subject"),
        (spoil_vertices, r"Ada_01.npy: shape \(20, 7, 3\), expected \(frames, 24\): 8 vertices"),
        (spoil_values, "Ada_01.npy: holds NaN or infinite values"),
        (lambda desk: (desk / "far" / "Ben_02.npy").unlink(), "far: Ben_02.npy or .*: missing; .* each of 4 scans"),
        (lambda desk: (desk / "scans" / "Ben_02.npy").unlink(), "Ben_02.*npy: there is no scan Ben_02.npy"),
        (lambda desk: (desk / "far" / "Ada_01.npy").write_bytes(b"no array"), "Ada_01.npy: not a complete array"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(desk, spoil, message):
    spoil(desk)
    with pytest.raises(ValueError, match=message) as refused:
        main([*COMMAND, *BOTH])
    assert "\n" not in str(refused.value) and not (desk / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--predictions", "far", "--corpus", "embedded"], "expected a corpus of scans, got embedded"),
        (["--predictions", "a=far", "--predictions", "a=near"], "two methods have the same name"),
        (["--predictions", "mine.json"], "mine.json: expected a folder"),
        (["--predictions", "far", "--truth", "nowhere"], "nowhere: no such folder"),
        (["--predictions", "far", "--truth", "near"], "near: expected scans, <sequence>.npy, got none"),
    ],
)
def test_wrong_arguments_are_refused(desk, arguments, message):
    with pytest.raises(ValueError, match=message):
        main([*COMMAND, *arguments])


def test_templates_of_another_mesh_are_refused(desk):
    (desk / "other.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(ValueError, match="other.obj: 3 vertices, expected 8 as of mine"):
        main([*COMMAND, *BOTH, "--mesh", "other.obj"])
