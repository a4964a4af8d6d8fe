"""Morph targets add up to the motion, with the fewest of them and weights from 0 to 1."""

import numpy as np
import pytest

from avlib.export.morph_targets import components, one_sided, principal_motions
from avlib.export.subject_mesh import SubjectMesh


def sheet(side: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """A wavy sheet, and one vertex that is in no face."""
    y, x = np.meshgrid(*2 * [np.linspace(-0.1, 0.1, side)], indexing="ij")
    vertices = np.stack([x, y, 0.02 * np.sin(30 * x)], -1).reshape(-1, 3)
    at = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate([np.stack([at, at + 1, at + side], 1), np.stack([at + 1, at + side + 1, at + side], 1)])
    return np.concatenate([vertices, [[0, 0, 0.3]]]).astype(np.float32), faces


def sheet_mesh(unit: str = "m") -> SubjectMesh:
    vertices, faces = sheet()
    return SubjectMesh("sheet", "Ann", vertices, faces, np.linspace(0, 1, len(vertices)), {}, unit)


def motion(ways: int, frames: int = 41) -> np.ndarray:
    """(T, V, 3) on the sheet: `ways` independent motions, the first about 5 mm, each next one half as large."""
    draw, (rest, _) = np.random.default_rng(0), sheet()
    size = 0.005 * 0.5 ** np.arange(ways)
    moved = (draw.standard_normal((frames, ways)) * size) @ draw.standard_normal((ways, rest.size))
    return (rest + moved.reshape(frames, *rest.shape)).astype(np.float32)


def off(vertices: np.ndarray, moving: np.ndarray) -> tuple[float, float]:
    square = np.square(vertices - moving).sum(-1)
    return float(np.sqrt(square.mean())), float(np.sqrt(square.max()))


def test_the_fewest_targets_within_the_bound_are_used():
    rest, moving = sheet()[0], motion(12)
    counts = []
    for bound in (1e-3, 1e-4, 1e-5):
        weights, targets = components(moving, rest, bound)
        fewer = np.tensordot(weights[:, :-1], targets[:-1], 1) + rest
        assert off(np.tensordot(weights, targets, 1) + rest, moving)[0] <= bound < off(fewer, moving)[0]
        assert weights.max(0) == pytest.approx(1) and weights.min() >= -1
        counts.append(len(targets))
    assert counts == sorted(set(counts)) and counts[-1] <= 12


def test_the_number_of_motions_is_limited_and_the_error_told():
    rest, moving = sheet()[0], motion(12)
    targets = principal_motions(moving, rest, max_targets=3)
    assert len(targets.names) == 6 and targets.weights.min() >= 0 and targets.weights.max() <= 1
    rms, largest = off(np.tensordot(targets.weights, targets.displacements, 1) + rest, moving)
    assert targets.errors(rest, moving) == pytest.approx((rms, largest), rel=1e-3) and rms > 2e-5


def test_the_extent_holds_every_frame(monkeypatch):
    rest, moving = sheet()[0], motion(3, 9)
    targets = principal_motions(moving, rest, 1e-8)
    for block in (100, 2):
        monkeypatch.setattr("avlib.export.morph_targets.BLOCK", block)
        np.testing.assert_allclose(targets.extent(rest), [moving.min((0, 1)), moving.max((0, 1))], atol=1e-6)


def test_a_motion_that_goes_one_way_is_one_target():
    weights = np.array([[0.5, -1.0], [1.0, 0.25], [0.0, 0.0]])
    targets = np.arange(12.0).reshape(2, 2, 3)
    split = one_sided(weights, targets)
    assert split.names == ["motion00+", "motion01+", "motion01-"]
    assert split.weights.min() == 0 and (split.weights.max(0) == 1).all()
    summed = np.tensordot(split.weights, split.displacements, 1)
    np.testing.assert_allclose(summed, np.tensordot(weights, targets, 1), atol=1e-6)


def test_a_long_motion_is_as_accurate(monkeypatch):
    monkeypatch.setattr("avlib.export.morph_targets.MAX_FIT_FRAMES", 20)
    moving = motion(6, 200) - sheet()[0]
    weights, targets = components(moving)
    assert off(np.tensordot(weights, targets, 1), moving)[0] <= 2e-5


def test_a_still_face_has_one_target_and_no_error():
    still = np.repeat(sheet()[0][None], 5, 0)
    targets = principal_motions(still, still[0])
    assert len(targets.names) == 1 and targets.errors(still[0], still) == (0, 0)
