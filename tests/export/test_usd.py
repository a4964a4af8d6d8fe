"""A .usdc plays the motion, states unit and rate, and is valid for OpenUSD's own validators."""

import sys

import numpy as np
import pytest
from pxr import Gf, Usd, UsdGeom, UsdSkel, UsdValidation

from avlib.export.animation import parse_formats
from avlib.export.morph_targets import principal_motions
from avlib.export.subject_mesh import SKIN
from avlib.export.usd import write_usd
from tests.export.test_morph_targets import motion, off, sheet, sheet_mesh

FPS = 25


def played_usd(path) -> np.ndarray:
    """Vertices (T, V, 3), as OpenUSD's skinning computes them."""
    stage = Usd.Stage.Open(str(path))
    frames = int(stage.GetEndTimeCode()) + 1
    UsdSkel.BakeSkinning(UsdSkel.Root(stage.GetDefaultPrim()), Gf.Interval(0, frames - 1))
    points = UsdGeom.Mesh(stage.GetPrimAtPath("/face/mesh")).GetPointsAttr()
    return np.stack([np.array(points.Get(t)) for t in range(frames)])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file of six motions, more than come within the usual error."""
    path = tmp_path_factory.mktemp("usd") / "a.usdc"
    write_usd(path, sheet_mesh(), principal_motions(motion(12), sheet()[0]), FPS)
    return path


def test_openusd_plays_the_motion(file):
    targets = principal_motions(motion(12), sheet()[0])
    vertices = played_usd(file)
    assert vertices.shape == motion(12).shape
    assert off(vertices, motion(12)) == pytest.approx(targets.errors(sheet()[0], motion(12)), rel=0.05)


def test_the_stage_states_unit_rate_and_colours(file):
    stage = Usd.Stage.Open(str(file))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1 and UsdGeom.GetStageUpAxis(stage) == "Y"
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == FPS
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, len(motion(1)) - 1)
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/face/mesh"))
    np.testing.assert_allclose(mesh.GetDisplayColorAttr().Get()[-1], SKIN, atol=1e-6)
    np.testing.assert_array_equal(np.reshape(mesh.GetFaceVertexIndicesAttr().Get(), (-1, 3)), sheet()[1])
    low, high = np.array(mesh.GetExtentAttr().Get())
    np.testing.assert_allclose(low, motion(12).min((0, 1)), atol=2e-4)
    np.testing.assert_allclose(high, motion(12).max((0, 1)), atol=2e-4)


@pytest.mark.parametrize("unit, metres", [("mm", 0.001), ("cm", 0.01), ("normalised", None)])
def test_only_lengths_are_stated_as_units(tmp_path, unit, metres):
    write_usd(tmp_path / "a.usdc", sheet_mesh(unit), principal_motions(motion(1), sheet()[0]), FPS)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    assert UsdGeom.StageHasAuthoredMetersPerUnit(stage) == bool(metres)
    assert not metres or UsdGeom.GetStageMetersPerUnit(stage) == metres


def test_openusd_validators_find_nothing_and_would(file):
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    stage = Usd.Stage.Open(str(file))
    assert len(validators) > 20 and UsdValidation.ValidationContext(validators).Validate(stage) == []
    stage.ClearDefaultPrim()
    assert UsdValidation.ValidationContext(validators).Validate(stage)


def test_without_openusd_one_line_says_how_to_get_it(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "pxr"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pxr", None)
    assert parse_formats("npy,glb") == ["npy", "glb"]
    with pytest.raises(ValueError, match=r"^usd: OpenUSD does not load .*: ./run_all.sh installs it, or pip install"):
        parse_formats("npy,usd-arkit")
    with pytest.raises(ValueError, match="^usd: OpenUSD does not load"):
        write_usd(tmp_path / "a.usdc", sheet_mesh(), principal_motions(motion(1), sheet()[0]), FPS)
    assert not list(tmp_path.iterdir())
