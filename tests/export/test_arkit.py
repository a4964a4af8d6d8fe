"""Weights of ARKit's shapes: recovered where known, in [0, 1] and smooth, on ICT-FaceKit's face and on others."""

import numpy as np
import pytest
import torch

from avlib.corpus.arkit_names import NAMES
from avlib.corpus.embedded.arkit_shapes import facekit_basis
from avlib.corpus.embedded.facekit import FaceKit
from avlib.corpus.embedded.rig import Rig
from avlib.export import arkit
from avlib.export.subject_mesh import SubjectMesh


@pytest.fixture(scope="module")
def basis(checkout):
    return facekit_basis(checkout)


def mesh(rig: Rig, size: float = 1.0) -> SubjectMesh:
    identity = rig.identity(4)
    regions = {name: index.numpy() for name, index in rig.regions.items()}
    template, albedo = size * identity.template.numpy(), identity.albedo.numpy()
    return SubjectMesh("small", "Eve", template, rig.faces.numpy(), albedo, regions)


def test_motion_of_the_facekit_mesh_gives_its_weights(checkout, basis):
    kit = FaceKit(checkout)
    face = mesh(kit)
    shapes = arkit.load_shapes(basis, face)
    assert shapes.is_facekit_mesh and {"eyeLookUpLeft", "cheekPuff"} <= set(shapes.missing)
    assert {"jawOpen", "mouthSmileLeft"} <= set(shapes.names)
    assert not {"eyeBlinkLeft", "browInnerUp"} & {*shapes.names, *shapes.missing}  # exist, but do not move the mouth
    move = dict(zip(shapes.names, shapes.displacements))
    assert np.abs(move["mouthSmileLeft"][kit.mean[shapes.vertices, 0] < -0.004]).max() < 1e-9  # the person's left
    true = np.zeros((20, 52))
    true[:, NAMES.index("jawOpen")] = np.linspace(0, 0.8, 20)
    true[:, NAMES.index("mouthFunnel")] = 0.4
    vertices = np.repeat(face.template[None].astype(float), 20, 0)
    vertices[:, shapes.vertices] += np.tensordot(
        true[:, [NAMES.index(name) for name in shapes.names]], shapes.displacements, 1
    )
    assert shapes.errors(true, vertices)["mouth"]["rms"] < 1e-8
    weights = shapes.fit(vertices)
    errors = shapes.errors(weights, vertices)
    assert np.abs(weights - true).mean(0)[[NAMES.index("jawOpen"), NAMES.index("mouthFunnel")]].max() < 0.05
    assert errors["lips"]["explained"] > 0.999 and errors["lips"]["rms"] < 2e-4 and errors["mouth"]["explained"] > 0.999
    assert not weights[:, [k for k, name in enumerate(NAMES) if name not in shapes.names]].any()


def test_errors_are_those_of_all_frames(checkout, basis, monkeypatch):
    """A long motion is compared block by block."""
    face = mesh(FaceKit(checkout))
    shapes = arkit.load_shapes(basis, face)
    draw = np.random.default_rng(0)
    vertices = face.template + 1e-3 * draw.standard_normal((7, *face.template.shape))
    weights = draw.uniform(0, 1, (7, len(NAMES)))
    whole = shapes.errors(weights, vertices)
    target = (vertices - face.template)[:, shapes.vertices]
    off = np.tensordot(weights[:, [NAMES.index(name) for name in shapes.names]], shapes.displacements, 1) - target
    assert whole["mouth"]["rms"] == pytest.approx(np.sqrt(np.square(off).sum(-1).mean()))
    assert whole["lips"]["rms"] == pytest.approx(np.sqrt(np.square(off[:, shapes.lips]).sum(-1).mean()))
    assert whole["mouth"]["explained"] == pytest.approx(1 - np.square(off).sum() / np.square(target).sum())
    monkeypatch.setattr(arkit, "BLOCK", 3)
    for part, errors in shapes.errors(weights, vertices).items():
        assert errors == pytest.approx(whole[part])


def test_shapes_are_transferred_to_the_lips_of_another_face(basis):
    """On the scaled embedded rig the jaw moves the lower and not the upper lip, and the rig's own motion is fitted."""
    rig, size = Rig(), 3.0
    other = mesh(rig, size)
    shapes = arkit.load_shapes(basis, other)
    assert not shapes.is_facekit_mesh
    middle = [
        int(np.flatnonzero(shapes.vertices == int(rig.regions[f"{side}_lip_middle"]))[0]) for side in ("upper", "lower")
    ]
    upper, lower = shapes.displacements[shapes.names.index("jawOpen"), middle]
    assert np.linalg.norm(upper) < 0.05 * np.linalg.norm(lower)
    vertices = size * rig.motion(rig.identity(4), 0.5 * torch.eye(len(rig._shapes(rig.mean)))[:9]).numpy()
    weights = shapes.fit(vertices)
    assert 0 <= weights.min() and weights.max() <= 1
    assert shapes.errors(weights, vertices)["lips"]["explained"] > 0.9
    still = np.repeat(other.template[None], 3, 0)
    assert not shapes.fit(still).any() and shapes.errors(shapes.fit(still), still)["mouth"]["rms"] == 0


def test_targets_of_the_facekit_mesh_are_all_shapes_of_the_checkout(checkout, basis):
    face = mesh(FaceKit(checkout))
    shapes = arkit.load_shapes(basis, face)
    weights = np.zeros((2, 52))
    weights[1, NAMES.index("eyeBlinkLeft")] = 0.5
    targets = shapes.morph_targets(weights)
    assert targets.names == list(basis.names) and not set(targets.names) & set(shapes.left_out)
    assert shapes.left_out == list(basis.missing)
    moved = np.tensordot(targets.weights, targets.displacements, 1)
    np.testing.assert_allclose(moved[1], 0.5 * basis.displacements[basis.names.index("eyeBlinkLeft")], atol=1e-7)
    assert not moved[0].any()


def test_targets_of_another_face_move_it_as_a_whole(basis):
    """The jaw takes chin and lower teeth along; upper teeth rest; parts that are not skin keep their form."""
    rig = Rig()
    shapes = arkit.load_shapes(basis, mesh(rig))
    targets = shapes.morph_targets(np.zeros((1, 52)))
    assert targets.names == list(shapes.names) and {"eyeBlinkLeft", "tongueOut"} <= set(shapes.left_out)
    np.testing.assert_allclose(targets.displacements[:, shapes.vertices], shapes.displacements, atol=1e-7)
    jaw = targets.displacements[targets.names.index("jawOpen")]
    chin, teeth = jaw[: rig.parts["skin"].stop].min(0)[1], {k: jaw[rig.parts[f"{k}_teeth"]] for k in ("upper", "lower")}
    assert chin < -0.01 and teeth["lower"][:, 1].mean() < 0.5 * chin
    assert np.abs(teeth["upper"]).max() < 0.1 * abs(chin)
    for part in teeth.values():
        np.testing.assert_allclose(part, part[:1].repeat(len(part), 0), atol=1e-7)
    rest = np.abs(jaw[rig.parts["eyeball_left"]]).max(), np.abs(jaw[rig.parts["brow_left"]]).max()
    assert max(rest) < 0.05 * abs(chin)


def test_a_checkout_without_the_files_is_reported(tmp_path):
    with pytest.raises(
        ValueError, match="no generic_neutral_mesh.obj, jawOpen.obj.*a checkout of https://github.com/ICT-VGL"
    ):
        facekit_basis(tmp_path)


def test_a_face_without_connected_lips_is_reported(basis):
    rig = Rig()
    face = mesh(rig)
    face.regions.update(
        {f"{side}_lip_middle": np.array([rig.parts[f"{side}_teeth"].start]) for side in ("upper", "lower")}
    )
    with pytest.raises(ValueError, match="arkit: small: expected lip vertices .* got 0 of 384"):
        arkit.load_shapes(basis, face)
