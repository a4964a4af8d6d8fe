"""Weights of ARKit's shapes: recovered where known, in [0, 1] and smooth, on ICT-FaceKit's face and on others."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avlib.corpus.arkit_names import NAMES
from avlib.corpus.embedded import facekit_checkout
from avlib.corpus.embedded.facekit import FaceKit
from avlib.corpus.embedded.rig import Rig
from avlib.export import arkit
from tests.corpus.embedded.checkout import write_checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The embedded rig in the layout of ICT-FaceKit."""
    folder = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facekit_checkout, "PARTS", write_checkout(folder / "FaceXModel"))
        yield folder


def corpus(rig: Rig, person: int = 4) -> SimpleNamespace:
    return SimpleNamespace(
        name="small", faces=rig.faces, regions=rig.regions, templates={"Eve": rig.identity(person).template}
    )


def test_motion_of_the_facekit_mesh_gives_its_weights(checkout):
    kit = FaceKit(checkout)
    shapes = arkit.load_shapes(checkout, corpus(kit), "Eve")
    assert shapes.is_facekit_mesh and {"eyeLookUpLeft", "cheekPuff"} <= set(shapes.missing)
    assert {"jawOpen", "mouthSmileLeft"} <= set(shapes.names)
    assert not {"eyeBlinkLeft", "browInnerUp"} & {*shapes.names, *shapes.missing}  # exist, but do not move the mouth
    move = dict(zip(shapes.names, shapes.displacements))
    assert np.abs(move["mouthSmileLeft"][kit.mean[shapes.vertices, 0] < -0.004]).max() < 1e-9  # the person's left
    true = np.zeros((20, 52))
    true[:, NAMES.index("jawOpen")] = np.linspace(0, 0.8, 20)
    true[:, NAMES.index("mouthFunnel")] = 0.4
    moved = np.zeros((20, len(kit.mean), 3))
    moved[:, shapes.vertices] = np.tensordot(
        true[:, [NAMES.index(name) for name in shapes.names]], shapes.displacements, 1
    )
    weights, errors = shapes.fit(moved)
    assert np.abs(weights - true).mean(0)[[NAMES.index("jawOpen"), NAMES.index("mouthFunnel")]].max() < 0.05
    assert errors["lips"]["explained"] > 0.999 and errors["lips"]["rms"] < 2e-4 and errors["mouth"]["explained"] > 0.999
    assert not weights[:, [k for k, name in enumerate(NAMES) if name not in shapes.names]].any()


def test_shapes_are_transferred_to_the_lips_of_another_face(checkout):
    """On the scaled embedded rig the jaw moves the lower and not the upper lip, and the rig's own motion is fitted."""
    rig, size = Rig(), 3.0
    identity = rig.identity(4)
    other = SimpleNamespace(faces=rig.faces, regions=rig.regions, templates={"Eve": size * identity.template})
    shapes = arkit.load_shapes(checkout, other, "Eve")
    assert not shapes.is_facekit_mesh
    middle = [
        int(np.flatnonzero(shapes.vertices == int(rig.regions[f"{side}_lip_middle"]))[0]) for side in ("upper", "lower")
    ]
    upper, lower = shapes.displacements[shapes.names.index("jawOpen"), middle]
    assert np.linalg.norm(upper) < 0.05 * np.linalg.norm(lower)
    moved = (
        size
        * (rig.motion(identity, 0.5 * torch.eye(len(rig._shapes(rig.mean)))[:9]) - identity.template).double().numpy()
    )
    weights, errors = shapes.fit(moved)
    assert errors["lips"]["explained"] > 0.9 and 0 <= weights.min() and weights.max() <= 1
    still, errors = shapes.fit(np.zeros((3, len(identity.template), 3)))
    assert not still.any() and errors["mouth"]["rms"] == 0


def test_a_checkout_without_the_files_is_reported(tmp_path):
    with pytest.raises(
        ValueError, match="no generic_neutral_mesh.obj, jawOpen.obj.*a checkout of https://github.com/ICT-VGL"
    ):
        arkit.load_shapes(tmp_path, corpus(Rig()), "Eve")


def test_a_face_without_connected_lips_is_reported(checkout):
    rig = Rig()
    face = corpus(rig)
    face.regions = rig.regions | {
        f"{side}_lip_middle": torch.tensor([rig.parts[f"{side}_teeth"].start]) for side in ("upper", "lower")
    }
    with pytest.raises(ValueError, match="arkit: small: expected lip vertices .* got 0 of 384"):
        arkit.load_shapes(checkout, face, "Eve")
