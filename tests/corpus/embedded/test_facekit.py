"""ICT-FaceKit's face moves as the embedded one does: on a small checkout for tests, and on a real one if there is one.

AVLIB_FACEKIT_DIR=<folder> names the real checkout.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avlib.core import run as runs
from avlib.core.config import CorpusConfig
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus import prepare
from avlib.corpus.embedded import embedded_corpus, facekit, facekit_checkout
from avlib.corpus.embedded.articulation import PHONEMES, SHAPES, articulate, random_style, subject_style
from avlib.corpus.embedded.builder import CorpusBuilder
from avlib.corpus.embedded.delivery import Delivery
from avlib.corpus.embedded.facekit import FaceKit
from avlib.corpus.embedded.rig import Rig
from avlib.corpus.embedded.studio import random_head_pose
from avlib.corpus.obj import read_obj
from avlib.render.camera import crop_camera
from avlib.render.lip_video import submesh
from avlib.render.renderer import Renderer
from avlib.speech.segment import Segment
from tests.corpus.embedded.checkout import write_checkout

REAL = Path(os.environ.get("AVLIB_FACEKIT_DIR", "none"))
PUBLISHED_PARTS = facekit_checkout.PARTS  # a test's checkout may have others


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small checkout in the published layout, and the vertex ranges of its parts."""
    folder = tmp_path_factory.mktemp("checkout")
    return folder, write_checkout(folder / "FaceXModel")


@pytest.fixture(scope="module", params=["written", "real"])
def folder(request, written):
    """Each checkout in turn, with the vertex ranges of its parts in the module."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "written":
            patch.setattr(facekit_checkout, "PARTS", written[1])
            yield written[0]
        elif not REAL.is_dir():
            pytest.skip("no ICT-FaceKit here: AVLIB_FACEKIT_DIR names its folder")
        else:
            yield REAL


@pytest.fixture(scope="module")
def kit(folder, written):
    kit = FaceKit(folder)
    kit.margin = Rig.margin if folder == written[0] else kit.margin  # the written checkout has the embedded rig's lips
    return kit


def say(*labels, each_s=0.12):
    return [Segment(label, k * each_s, (k + 1) * each_s) for k, label in enumerate(labels)]


def middle(label, around="ə", **options):
    return articulate(say(around, label, around), 0.36, 50, **options)[9:10]


def gap_mm(kit, identity, weights):
    """(T, C): distance of each vertex of the line where the lips meet from the other lip."""
    line = kit.motion(
        replace(identity, template=identity.template[kit._line], shapes=identity.shapes[:, kit._line]), weights
    )
    return 1000 * (torch.from_numpy(kit._other).float() @ line - line).norm(dim=-1)


def aperture_mm(kit, identity, weights):
    """(T,): opening of the middle of the lips."""
    vertices = kit.motion(identity, weights)
    return (
        1000
        * (vertices[:, kit.regions["upper_lip_middle"]] - vertices[:, kit.regions["lower_lip_middle"]]).norm(dim=-1)[
            :, 0
        ]
    )


def part(kit, name, vertices):
    return vertices[..., kit.parts[name], :]


def test_mesh_and_regions(kit):
    identity = kit.identity(0)
    V = len(identity.template)
    assert kit.faces.dtype == torch.long and kit.faces.min() == 0 and kit.faces.max() == V - 1
    assert identity.shapes.shape == (len(SHAPES), V, 3) and identity.albedo.shape == (V,)
    edges = kit.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    assert len(edges.unique(dim=0)) == len(edges)  # winding agrees
    lip, mouth, upper = (set(kit.regions[name].tolist()) for name in ("lip", "mouth", "upper_face"))
    assert lip <= mouth and not lip & upper and min(len(lip), len(upper)) > 50
    template = identity.template
    assert template[kit.regions["upper_face"], 1].min() > template[kit.regions["lip"], 1].max()
    x, y, _ = template[kit.regions["lip"]].T
    assert 0.04 < x.max() - x.min() < 0.065 and 0.012 < y.max() - y.min() < 0.03
    assert template.abs().max() < 0.3
    crop = (template[:, :2] - torch.tensor([0, template[kit.regions["lip"], 1].mean()])).abs().amax(1) < 0.045
    assert crop[kit.faces].all(1)[~torch.isin(kit.faces, kit.regions["mouth"]).all(1)].sum() == 0


def test_lip_region_is_the_lips_between_their_landmarks(kit):
    """The middle of each lip is on its line of contact, and the region extends outward from there, left and right."""
    lip, template = kit.regions["lip"], torch.from_numpy(kit.mean)
    upper, lower = (kit.regions[f"{side}_lip_middle"] for side in ("upper", "lower"))
    assert torch.isin(torch.cat([upper, lower]), lip).all() and template[upper, 0].abs() < 5e-4
    x = template[lip, 0]
    assert abs((x > 1e-5).sum() - (x < -1e-5).sum()) <= 2 and abs(x.max() + x.min()) < 5e-4
    assert np.isin(kit.landmarks[48:68], lip).all()
    back = kit._grid[: kit._contact.min()]
    assert not np.isin(back, lip).any()


def test_identities_repeat_and_differ(kit):
    people = [kit.identity(k) for k in range(len(kit.subjects))]
    assert len(set(kit.subjects)) == 16
    for i, one in enumerate(people):
        for other in people[:i]:
            assert (one.template - other.template)[::20].norm(dim=1).mean() > 0.0001
        assert one.albedo.min() >= 0 and one.albedo.max() <= 1
    stranger, same = (kit.identity(generator=torch.Generator().manual_seed(8)) for _ in range(2))
    assert torch.equal(stranger.template, same.template) and torch.equal(stranger.albedo, same.albedo)
    with pytest.raises(ValueError, match="subject"):
        kit.identity(16)


@pytest.mark.parametrize("label", "pbm")
def test_closed_lips_meet_along_their_whole_line(kit, label, generator):
    """For all vowels, styles, people and efforts; in an open vowel they do not meet."""
    for subject in (4, 9):
        identity, style = kit.identity(subject), random_style(generator)
        assert gap_mm(kit, identity, torch.zeros(1, len(SHAPES))).max() < 0.1
        for vowel in "iɑu":
            for effort in (0.5, 1.1):
                delivery = Delivery(torch.tensor(effort))
                shut, open_ = (
                    middle(*pair, style=style, delivery=delivery) for pair in ((label, vowel), (vowel, label))
                )
                assert gap_mm(kit, identity, shut).max() < 0.1, f"{vowel}{label}{vowel}"
                closed, opened = aperture_mm(kit, identity, torch.cat([shut, open_]))
                assert closed < 0.01 and opened > effort, f"{vowel}{label}{vowel}"


def test_closed_lips_meet_at_every_opening_of_the_jaw(kit):
    closed = torch.zeros(5, len(SHAPES))
    closed[:, SHAPES.index("jaw_open")] = closed[:, SHAPES.index("lip_close")] = torch.linspace(0, 1.2, 5)
    assert gap_mm(kit, kit.identity(2), closed).max() < 0.1


def test_the_jaw_moves_lower_teeth_and_tongue(kit):
    identity, jaw = kit.identity(1), torch.eye(len(SHAPES))[:1]
    moved = kit.motion(identity, jaw)[0] - identity.template
    drop = {
        name: -1000 * float(part(kit, name, moved)[:, 1].mean()) for name in ("lower_teeth", "upper_teeth", "tongue")
    }
    lips = {side: -1000 * float(moved[kit.regions[f"{side}_lip_middle"], 1]) for side in ("lower", "upper")}
    assert 15 < lips["lower"] - lips["upper"] < 25 and abs(lips["upper"]) < 3
    assert 10 < drop["lower_teeth"] < 25 and 5 < drop["tongue"] < 25 and abs(drop["upper_teeth"]) < 0.1


def test_shapes_do_what_their_names_say(kit):
    """Middle of the lips, corners and tongue, in mm at weight 1."""
    moves = 1000 * torch.from_numpy(kit._moves)
    shape = dict(zip(SHAPES, moves))
    upper, lower = (int(kit.regions[f"{side}_lip_middle"]) for side in ("upper", "lower"))
    corners = kit._line[[0, int(np.argwhere(kit._grid == kit.landmarks[60])[0, 1])]]

    def width(name):
        return float(shape[name][corners[0], 0] - shape[name][corners[1], 0])

    assert width("pucker") < -8 and width("funnel") < -3 and width("spread") > 6
    assert shape["pucker"][upper, 2] > 4 and shape["funnel"][upper, 1] > 1.5 and shape["funnel"][lower, 1] < -4
    assert shape["upper_raise"][upper, 1] > 3 and shape["upper_raise"][lower, 1].abs() < 1
    assert shape["lower_drop"][lower, 1] < -4 and shape["lower_drop"][upper, 1].abs() < 1
    assert shape["lip_tuck"][lower, 2] < -1 and shape["skew"][lower, 0].abs() > 1
    tongue = {name: part(kit, "tongue", move) for name, move in shape.items() if name.startswith("tongue")}
    assert tongue["tongue_tip"][:, 1].max() > 6 and tongue["tongue_out"][:, 2].max() > 7
    assert tongue["tongue_back"][:, 1].max() > 5 and tongue["tongue_low"][:, 1].min() < -3
    for name in tongue:
        assert shape[name].norm(dim=1).sum() == pytest.approx(
            float(tongue[name].norm(dim=1).sum())
        )  # nothing else moves


def test_left_and_right_mirror_each_other(kit):
    """Except for the sideways shape, a vertex of the lips and its mirror image move symmetrically."""
    edge = kit.mean[kit._grid[-1]]  # where the columns of both lips are apart
    mirror = np.linalg.norm(edge[:, None] * [-1, 1, 1] - edge, axis=-1).argmin(1)
    lips = kit._grid[kit._contact.min() : int(kit._border.max()) + 1]
    for name, move in zip(SHAPES, kit._moves):
        off = np.linalg.norm(move[lips] * [-1, 1, 1] - move[lips[:, mirror]], axis=-1).max()
        assert off < 0.0005 or name == "skew" and off > 0.001, name


def test_teeth_and_tongue_stay_behind_closed_lips(kit):
    """At rest and in m, the lips are in front of the teeth at every height, so no tooth penetrates them."""
    for subject in (0, 3, 7, 11):
        vertices = kit.motion(kit.identity(subject), torch.cat([torch.zeros(1, len(SHAPES)), middle("m", "ɑ")]))
        for frame in vertices:
            lips = frame[kit._grid[kit._contact.min() :].ravel()]
            for name in ("upper_teeth", "lower_teeth", "tongue"):
                for x in (-0.008, 0.0, 0.008):
                    teeth = part(kit, name, frame)
                    teeth = teeth[((teeth[:, 0] - x).abs() < 0.003) & ((teeth[:, 1] - lips[:, 1].mean()).abs() < 0.008)]
                    near = lips[((lips[:, 0] - x).abs() < 0.004)]
                    if len(teeth):
                        front = near[(near[:, None, 1] - teeth[:, 1]).abs().argmin(0), 2]
                        assert (teeth[:, 2] - front).max() < 0.0005, (subject, name)


def test_the_crop_contains_the_lips_of_all_identities(kit, generator):
    lip = kit.regions["lip"]
    people = [kit.identity(k) for k in range(0, 12, 2)]
    camera = crop_camera(torch.stack([p.template[lip] for p in people]), 48, kit.margin)
    labels = list(PHONEMES)
    for k, person in enumerate(people):
        phonemes = say(*(labels[i] for i in torch.randint(len(labels), (25,), generator=generator)), each_s=0.09)
        weights = articulate(phonemes, 2.3, 25, subject_style(k), Delivery(torch.tensor(1.1)))
        moved = kit.motion(replace(person, template=person.template[lip], shapes=person.shapes[:, lip]), weights)
        centre = torch.tensor([*camera.centre, float(person.template[:, 2].median())])
        camera.check_holds(moved, "lips")
        camera.check_holds(random_head_pose(moved, centre, generator), "lips")


def test_the_mouth_region_covers_the_crop_as_the_whole_face_does(kit):
    people = [kit.identity(k) for k in range(12)]
    camera = crop_camera(torch.stack([p.template[kit.regions["lip"]] for p in people]), 32, kit.margin)
    mouth = kit.regions["mouth"]
    whole, part = Renderer(kit.faces, camera), Renderer(submesh(kit.faces, mouth, len(people[0].template)), camera)
    vertices = torch.cat(
        [kit.motion(p, torch.cat([torch.zeros(1, len(SHAPES)), middle("ɑ", "a")])) for p in (people[4], people[10])]
    )
    whole_face, mouth_region = whole(vertices) > 0, part(vertices[:, mouth]) > 0
    assert whole_face.float().mean() > 0.9 and torch.equal(whole_face, mouth_region)


def test_sounds_look_different(kit):
    identity = kit.identity(1)
    for one, other in ("θt", "tk", "ln", "sʃ", "wu", "uo", "æɛ", "ɛi", "fθ", "ɹw"):
        apart = kit.motion(identity, middle(one)) - kit.motion(identity, middle(other))
        assert apart[0, kit.regions["mouth"]].norm(dim=1).max() > 0.001


def test_teeth_are_bright_and_the_throat_is_dark(kit):
    albedo = kit.identity(0).albedo
    skin, lips, teeth = (
        albedo[where].median() for where in (kit.parts["skin"], kit.regions["lip"], kit.parts["upper_teeth"])
    )
    depth = torch.from_numpy(kit.mean)[kit.parts["tongue"], 2]
    tongue = albedo[kit.parts["tongue"]]
    assert lips < skin < teeth and tongue[depth.argmin()] < 0.6 * tongue[depth.argmax()]


def test_the_corpus_uses_the_face(written, tmp_path, monkeypatch):
    monkeypatch.setattr(facekit_checkout, "PARTS", written[1])
    tiny = CorpusConfig(
        clips_2d=1,
        validation_clips_2d=1,
        judge_clips_2d=1,
        sentences_train=1,
        sentences_validation=1,
        sentences_test=1,
        crop=32,
        noise_mm=0.0,
    )
    builder = CorpusBuilder(tiny, tmp_path, written[0])
    assert isinstance(builder.rig, FaceKit) and builder.rig.subjects == facekit.SUBJECTS
    utterance, video, _ = builder.render_clip("train_00000", "train", "i must go")
    assert video.shape == (utterance.frames, 32, 32) and video.float().std(0).mean() > 1
    scan = builder.write_scan(0, "train", f"{builder.rig.subjects[0]}_sentence01", "buy my map")
    motion = np.load(tmp_path / "vertices_npy" / f"{scan.name}.npy")
    assert motion.shape == (scan.frames, 3 * len(builder.rig.mean)) and np.isfinite(motion).all()


def test_a_corpus_depends_on_the_files_of_its_face_but_not_on_their_folder(written, tmp_path, monkeypatch):
    names = []

    class Stop:
        def __init__(self, config, folder, face):
            names.append(folder.name)
            raise ValueError("no corpus is built here")

    monkeypatch.setattr(embedded_corpus, "CorpusBuilder", Stop)
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    moved, changed = tmp_path / "moved", tmp_path / "changed"
    for folder in (moved, changed):
        shutil.copytree(written[0], folder)
    with open(changed / "FaceXModel" / "jawOpen.obj", "a") as file:
        file.write("# another\n")
    for k, folder in enumerate((written[0], moved, changed)):
        with pytest.raises(ValueError, match="no corpus"):
            prepare.prepare_corpus(
                Run(f"r{k}", load("smoke", **{"corpus.name": "facekit", "corpus.data": str(folder)}))
            )
    with pytest.raises(ValueError, match="no corpus"):
        prepare.prepare_corpus(Run("r", load("smoke")))
    assert names[0] == names[1] and len(set(names)) == 3
    assert [name.split("-")[0] for name in names] == ["facekit"] * 3 + ["embedded"]


def test_missing_files_that_are_needed_are_named(written, tmp_path, monkeypatch):
    monkeypatch.setattr(facekit_checkout, "PARTS", written[1])
    for path in (written[0] / "FaceXModel").iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert FaceKit(tmp_path).still == () and FaceKit(tmp_path)._moves[SHAPES.index("blink")].any()
    (tmp_path / "eyeBlink_L.obj").unlink()
    without = FaceKit(tmp_path)
    assert without.still == ("blink",) and not without._moves[SHAPES.index("blink")].any()
    for name in ("jawOpen.obj", "mouthSmile_R.obj", "vertex_indices.json"):
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="no jawOpen.obj, mouthSmile_R.obj, vertex_indices.json; .*github.com"):
        FaceKit(tmp_path)


def test_meshes_of_another_size_are_named(written, tmp_path, monkeypatch):
    monkeypatch.setattr(facekit_checkout, "PARTS", PUBLISHED_PARTS)
    for path in (written[0] / "FaceXModel").iterdir():
        (tmp_path / path.name).symlink_to(path)
    with pytest.raises(ValueError, match="generic_neutral_mesh.obj: .* vertices, ICT-FaceKit has 26719"):
        FaceKit(tmp_path)
    monkeypatch.setattr(facekit_checkout, "PARTS", written[1])
    (tmp_path / "identity001.obj").unlink()
    (tmp_path / "identity001.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match="identity001.obj: 1 vertices, generic_neutral_mesh.obj has"):
        FaceKit(tmp_path)


def test_published_parts_are_connected_components_of_the_published_mesh():
    """Skin and mouth socket form one surface; every other part, such as teeth and eyeballs, is separate from it."""
    if not REAL.is_dir():
        pytest.skip("no ICT-FaceKit here: AVLIB_FACEKIT_DIR names its folder")
    edges = read_obj(facekit_checkout.checkout_files(REAL)["generic_neutral_mesh"]).edges()
    first, last = np.array([span for name, span in facekit_checkout.PARTS.items() if name != "whole"]).T
    within = [np.flatnonzero((first <= v) & (v < last)) for v in range(facekit_checkout.PARTS["whole"][1])]
    names = [name for name in facekit_checkout.PARTS if name != "whole"]
    label = [names[w[0]] if len(w) else "" for w in within]
    joined = {
        tuple(sorted((label[a], label[b]))) for a, b in edges.tolist() if label[a] != label[b] and label[a] and label[b]
    }
    assert joined == {("skin", "socket"), ("gums", "tongue")}
