"""Lips are found on the rig, whose lips are known, on a scanned face, and for a corpus without regions."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avlib.core.config import CorpusConfig
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.facekit import FaceKit
from avlib.corpus.embedded.rig import Rig
from avlib.corpus.lip_vertices import Surface, find_lips, find_upper_face
from avlib.corpus.pictures import lip_video
from avlib.corpus.scans import conversion
from avlib.corpus.scans.meshes import read_mesh
from avlib.corpus.specification import read_specification, scan_specification

FACEKIT = Path(os.environ.get("AVLIB_FACEKIT_DIR", "none"))
RIG = Rig()


@pytest.mark.parametrize("person", [0, 5, 9])
@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_the_lips_of_the_rig_are_found(person, size):
    """For all people and units: most of the lips, little beside them, and the middles where they meet."""
    template = RIG.identity(person).template.double().numpy()
    regions = find_lips(size * template, RIG.faces.numpy())
    known = RIG.regions["lip"].numpy()
    assert len(np.intersect1d(regions["lip"], known)) > 0.85 * len(known)
    distance = np.linalg.norm(template[regions["lip"], None] - template[known], axis=-1).min(1)
    assert distance.max() < 0.012 and np.median(distance) == 0
    for side in ("upper", "lower"):
        offset = template[regions[f"{side}_lip_middle"][0]] - template[int(RIG.regions[f"{side}_lip_middle"][0])]
        assert np.linalg.norm(offset) < 0.002
    opened = RIG.identity(person).shapes[RIG.shape_names.index("jaw_open")].norm(dim=-1)
    assert opened[regions["lower_lip_middle"][0]] > 5 * opened[regions["upper_lip_middle"][0]]


@pytest.mark.skipif(not FACEKIT.is_dir(), reason="no ICT-FaceKit here: AVLIB_FACEKIT_DIR names its folder")
@pytest.mark.parametrize("name", ["generic_neutral_mesh", "identity002"])
def test_the_lips_of_a_scanned_face_are_found(name):
    """They are near all twenty landmarks of the mouth, and far from those of nose and chin."""
    vertices, faces = read_mesh(FACEKIT / "FaceXModel" / f"{name}.obj")
    landmarks = np.array(
        json.loads((FACEKIT / "FaceXModel" / "vertex_indices.json").read_text())["idx_to_landmark_verts"]
    )
    regions = find_lips(vertices, faces)
    away = np.linalg.norm(vertices[landmarks, None] - vertices[regions["lip"]], axis=-1).min(1)  # centimetres
    assert away[48:].max() < 0.3 and np.median(away[48:]) == 0 and away[[7, 8, 9, *range(31, 36)]].min() > 1
    for side, landmark in (("upper", 62), ("lower", 66)):
        assert np.linalg.norm(vertices[regions[f"{side}_lip_middle"][0]] - vertices[landmarks[landmark]]) < 0.1


@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_the_upper_face_is_skin_above_the_eyes_lower_lids(size):
    """Of a sheet as wide as a face, with a pair of eyeballs that hang free, in front of it."""
    columns, rows = np.meshgrid(np.linspace(-0.09, 0.09, 61), np.linspace(-0.1, 0.15, 101))
    skin = np.stack((columns, rows, 0.1 - 5 * columns**2), -1).reshape(-1, 3)
    i = np.arange(100 * 61).reshape(100, 61)[:, :60].ravel()
    faces = np.concatenate([np.stack((i, i + 1, i + 61), 1), np.stack((i + 1, i + 62, i + 61), 1)])
    eyes = np.array([[x, 0.03 + dy, 0.11] for x in (-0.03, 0.03) for dy in (0, 0.01, 0.02)])
    faces = np.concatenate((faces, len(skin) + np.arange(6).reshape(2, 3)))
    lip = np.flatnonzero((np.abs(skin[:, 0]) < 0.0251) & (np.abs(skin[:, 1] + 0.05) < 0.01))
    found = find_upper_face(size * np.concatenate((skin, eyes)), faces, lip)
    width, middle = np.ptp(skin[lip, 0]), skin[lip, 1].mean()
    assert found.max() < len(skin), "no eyeballs"
    x, y, z = skin[found].T
    assert y.min() == pytest.approx(middle + 1.2 * width, abs=0.0026) and np.abs(x).max() <= 1.25 * width + 1e-9
    assert y.max() == pytest.approx(middle + 2.5 * width, abs=0.0026) and z.min() > 0.1 - 1.3 * width


@pytest.mark.skipif(not FACEKIT.is_dir(), reason="no ICT-FaceKit here: AVLIB_FACEKIT_DIR names it")
def test_the_upper_face_of_facekit_is_found():
    kit = FaceKit(FACEKIT)
    found = set(find_upper_face(np.asarray(kit.mean), np.asarray(kit.faces), kit.regions["lip"].numpy()).tolist())
    known = set(kit.regions["upper_face"].tolist())
    assert len(found & known) > 0.95 * len(found | known)


def test_a_face_without_a_mouth_is_an_error():
    across = np.linspace(-1, 1, 30)
    x, y = (a.ravel() for a in np.meshgrid(across, across))
    first = (np.arange(29)[:, None] * 30 + np.arange(29)).ravel()
    faces = np.concatenate(
        [np.stack((first, first + 1, first + 30), 1), np.stack((first + 1, first + 31, first + 30), 1)]
    )
    with pytest.raises(ValueError, match="no mouth below the nose"):
        find_lips(np.stack((x, y, -(x**2) - (y - 0.3) ** 2), 1), faces)


def test_distances_follow_edges_and_paths_avoid_blocked_vertices():
    """On a square of unit edges: along the edges, not across, and around a blocked corner."""
    square = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float)
    surface = Surface(square, np.array([(0, 1, 2), (0, 2, 3)]))
    assert surface.distances([1]).tolist() == [1, 0, 1, 2]
    assert surface.distances([1], limit=1.5).tolist() == [1, 0, 1, np.inf]
    assert surface.distances([1, 3]).tolist() == [1, 0, 1, 0]
    assert surface.path(1, 3, np.array([0])) == [3, 2, 1]
    with pytest.raises(ValueError, match="no way around the mouth"):
        surface.path(1, 3, np.array([0, 2]))


def test_a_corpus_of_any_topology_needs_only_a_specification_file(tmp_path, monkeypatch):
    """Without lips, camera and download addresses: the lips are found, and the crop contains them."""
    monkeypatch.setattr("avlib.core.parallel.cpu_count", lambda: 1)
    identities = {"Ada": RIG.identity(0), "Ben": RIG.identity(1), "Cleo": RIG.identity(2)}
    specification = {
        "name": "mine",
        "kind": "scans",
        "unit": "m",
        "vertices": len(RIG.identity(0).template),
        "fps": 25,
        "sentence": "s{:02d}",
        "sentences": 2,
        "transcripts": "{subject}.txt",
        "splits": {
            split: {"subjects": [subject], "sentences": [1, 2]}
            for split, subject in zip(("train", "validation", "test"), identities)
        },
    }
    (tmp_path / "mine.json").write_text(json.dumps(specification))
    data = tmp_path / "data"
    for part in ("vertices_npy", "wav"):
        (data / part).mkdir(parents=True)
    opening = torch.zeros(20, len(RIG.shape_names))
    opening[:, RIG.shape_names.index("jaw_open")] = torch.linspace(0, 0.5, 20)
    for subject, person in identities.items():
        for n in (1, 2):
            np.save(data / "vertices_npy" / f"{subject}_s{n:02d}.npy", RIG.motion(person, opening).flatten(1).numpy())
            soundfile.write(data / "wav" / f"{subject}_s{n:02d}.wav", np.zeros(12800), 16000)
        (data / f"{subject}.txt").write_text("Open your mouth.\nOpen it wide.\n")
    (data / "templates.pkl").write_bytes(pickle.dumps({w: p.template.numpy() for w, p in identities.items()}))
    faces = "\n".join(f"f {a + 1} {b + 1} {c + 1}" for a, b, c in RIG.faces.tolist())
    points = "\n".join(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in identities["Ada"].template.tolist())
    (data / "face.obj").write_text(f"{points}\n{faces}\n")
    conversion.convert(
        data, scan_specification(read_specification(str(tmp_path / "mine.json"))), CorpusConfig(), tmp_path / "made"
    )
    corpus = Corpus(tmp_path / "made")
    assert {s: len(corpus.utterances(s)) for s in corpus.subjects} == {"train": 2, "validation": 2, "test": 2}
    u = corpus.utterances("train")[0]
    video, _ = lip_video(corpus)(corpus.motion(u)[None], torch.tensor([20]))
    assert video.shape == (1, 20, 48, 48) and (video[0, -1] - video[0, 0]).abs().mean() > 0.02
    assert len(np.intersect1d(corpus.regions["lip"], RIG.regions["lip"])) > 0.9 * len(RIG.regions["lip"])
    assert {"mouth", "upper_lip_middle", "lower_lip_middle"} <= corpus.regions.keys()
