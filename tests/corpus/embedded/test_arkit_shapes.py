"""ARKit's shapes of a checkout: complete, in metres, summed from both sides, and their motion."""

import numpy as np
import pytest

from avlib.corpus.arkit_names import NAMES
from avlib.corpus.embedded.arkit_shapes import expression_files, facekit_basis, motion_of_weights
from avlib.corpus.obj import read_obj


def test_every_name_is_there_or_missing(checkout):
    basis = facekit_basis(checkout)
    assert sorted([*basis.names, *basis.missing]) == sorted(NAMES) and not {*basis.names} & {*basis.missing}
    assert list(basis.names) == [name for name in NAMES if name in basis.names]
    assert {"jawOpen", "mouthSmileLeft", "browInnerUp"} <= set(basis.names) and "tongueOut" in basis.missing
    assert basis.displacements.shape == (len(basis.names), basis.neutral.keep.sum(), 3)


def test_displacements_are_those_of_the_files_in_metres(checkout):
    basis = facekit_basis(checkout)
    neutral, moved = (
        read_obj(checkout / "FaceXModel" / f"{name}.obj").vertices for name in ("generic_neutral_mesh", "jawOpen")
    )
    jaw = basis.displacements[basis.names.index("jawOpen")]
    np.testing.assert_allclose(jaw, (moved - neutral)[basis.neutral.keep] / 100, atol=1e-12)
    assert 0.005 < np.linalg.norm(jaw, axis=1).max() < 0.05


def test_a_shape_in_two_files_is_their_sum(checkout):
    paths = expression_files(checkout)["browInnerUp"]
    assert [path.name for path in paths] == ["browInnerUp_L.obj", "browInnerUp_R.obj"]
    basis = facekit_basis(checkout)
    left, right = (basis.neutral.displacement(path) for path in paths)
    np.testing.assert_array_equal(basis.displacements[basis.names.index("browInnerUp")], left + right)


def test_motion_is_the_weighted_sum(checkout):
    basis = facekit_basis(checkout)
    weights = np.zeros((3, 52))
    weights[1, NAMES.index("jawOpen")] = 0.5
    weights[2, [NAMES.index("jawOpen"), NAMES.index("mouthFunnel"), NAMES.index("tongueOut")]] = 1, 0.25, 1
    jaw, funnel = (basis.displacements[basis.names.index(name)] for name in ("jawOpen", "mouthFunnel"))
    np.testing.assert_allclose(motion_of_weights(weights, basis), [0 * jaw, 0.5 * jaw, jaw + 0.25 * funnel], atol=1e-12)


def test_a_file_of_another_mesh_is_named(checkout, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in (checkout / "FaceXModel").iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "tongueOut.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match="tongueOut.obj: 1 vertices, generic_neutral_mesh.obj has"):
        facekit_basis(folder)
