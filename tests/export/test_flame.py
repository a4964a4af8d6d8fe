"""FLAME's parameters are recovered from vertices, from a made-up model in the layout of FLAME's files."""

import json
import pickle
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix
from scipy.spatial.transform import Rotation

from avlib.export.animation import Animation
from avlib.export.flame import FIRST_EXPRESSION, fit_flame, read_flame
from avlib.export.models import models_for
from avlib.export.speaker import Sound
from avlib.export.subject_mesh import SubjectMesh

V, EXPRESSIONS, FRAMES = 80, 7, 12
PARENTS = [-1, 0, 1, 1, 1]  # FLAME's root, neck, jaw and eyes


def made_up_model(vertices: int) -> dict[str, np.ndarray]:
    """The arrays of a FLAME file, of so many vertices."""
    draw = np.random.default_rng(0)
    weights = draw.uniform(0, 1, (vertices, 5)) ** 4
    regressor = draw.uniform(0, 1, (5, vertices)) * (draw.uniform(0, 1, (5, vertices)) < 0.2)
    return {
        "v_template": 0.1 * draw.standard_normal((vertices, 3)),
        "shapedirs": 0.003 * draw.standard_normal((vertices, 3, FIRST_EXPRESSION + EXPRESSIONS)),
        "posedirs": 0.003 * draw.standard_normal((vertices, 3, 36)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([PARENTS, range(5)]).astype(np.uint32),
        "f": ((np.arange(vertices)[:, None] + [0, 1, 2]) % vertices).astype(np.uint32),
    }


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return made_up_model(V)


def posed(model: dict[str, np.ndarray], template: np.ndarray, expression: np.ndarray, jaw: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) by linear blend skinning over the whole tree of joints, as FLAME's own code does it."""
    shaped = template + model["shapedirs"][..., FIRST_EXPRESSION:] @ expression
    joints, rotations = model["J_regressor"] @ shaped, np.repeat(np.eye(3)[None], 5, 0)
    rotations[2] = Rotation.from_rotvec(jaw).as_matrix()
    moved = shaped + model["posedirs"] @ (rotations[1:] - np.eye(3)).ravel()
    world = np.zeros((5, 4, 4))
    for k, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = rotations[k], joints[k] - (joints[parent] if parent >= 0 else 0)
        world[k] = local if parent < 0 else world[parent] @ local
    world[:, :3, 3] -= np.einsum("kij,kj->ki", world[:, :3, :3], joints)
    blended = np.einsum("vk,kij->vij", model["weights"], world)
    return np.einsum("vij,vj->vi", blended[:, :3, :3], moved) + blended[:, :3, 3]


@pytest.fixture(scope="module")
def spoken(arrays):
    """A subject's template, expressions, angles of the jaw, and the vertices (T, V, 3) that they give."""
    draw = np.random.default_rng(1)
    identity = arrays["shapedirs"][..., :30] @ draw.standard_normal(30)
    template = arrays["v_template"] + identity + [0.01, -0.02, 0.03]
    expression = draw.standard_normal((FRAMES, EXPRESSIONS))
    jaw = np.array([0.2, 0, 0]) + 0.08 * draw.standard_normal((FRAMES, 3))
    return template, expression, jaw, np.stack([posed(arrays, template, e, j) for e, j in zip(expression, jaw)])


class Ch:
    """Stands for chumpy.ch.Ch in a pickle."""

    def __init__(self, x):
        self.x, self._dirty_vars, self._itr = x, set(), None


@pytest.fixture
def model_file(arrays, tmp_path, monkeypatch) -> Path:
    """A pickle as FLAME is handed out: a chumpy array and a sparse matrix in a dict, of protocol 2."""
    chumpy = ModuleType("chumpy.ch")
    chumpy.Ch = Ch
    monkeypatch.setattr(Ch, "__module__", "chumpy.ch")
    monkeypatch.setitem(sys.modules, "chumpy", ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", chumpy)
    content = arrays | {"shapedirs": Ch(arrays["shapedirs"]), "J_regressor": csc_matrix(arrays["J_regressor"])}
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(pickle.dumps(content | {"bs_type": "lrotmin"}, protocol=2))
    return path


def test_parameters_are_recovered(model_file, spoken, arrays):
    template, expression, jaw, vertices = spoken
    found = fit_flame(read_flame(model_file), template, vertices)
    np.testing.assert_allclose(found.expression, expression, atol=1e-4)
    np.testing.assert_allclose(found.jaw_pose, jaw, atol=1e-6)
    assert found.rms < 1e-7 and found.largest < 1e-6 and found.shape_rms < 1e-9
    noisy = vertices + 1e-4 * np.random.default_rng(2).standard_normal(vertices.shape)
    found = fit_flame(read_flame(model_file), template, noisy)
    again = np.stack([posed(arrays, template, e, j) for e, j in zip(found.expression, found.jaw_pose)])
    away = np.linalg.norm(again - noisy, axis=-1)
    assert found.rms == pytest.approx(np.sqrt(np.square(away).mean())) and found.largest == pytest.approx(away.max())
    assert found.rms < 3**0.5 * 1e-4  # fitted to the noise as well


def test_no_parameters_nearby_fit_better(model_file, spoken, arrays):
    """Of vertices that FLAME cannot reach."""
    template, _, _, vertices = spoken
    noisy = vertices[:3] + 5e-3 * np.random.default_rng(2).standard_normal(vertices[:3].shape)
    found = fit_flame(read_flame(model_file), template, noisy)
    for target, expression, jaw in zip(noisy, found.expression, found.jaw_pose):
        parameters, steps = np.concatenate([expression, jaw]), np.repeat([1e-3, 1e-4], [EXPRESSIONS, 3])

        def error(moved: np.ndarray, target=target) -> float:
            return np.square(posed(arrays, template, moved[:EXPRESSIONS], moved[EXPRESSIONS:]) - target).sum()

        assert all(error(parameters + sign * step) > error(parameters) for step in np.diag(steps) for sign in (1, -1))


def test_a_pickle_and_an_npz_are_the_same_model(model_file, arrays, tmp_path):
    np.savez(tmp_path / "model.npz", **arrays)
    one, other = read_flame(model_file), read_flame(tmp_path / "model.npz")
    assert one.shapes.shape == (100, V, 3) and one.expressions.shape == (EXPRESSIONS, V, 3)
    for name in ("template", "shapes", "expressions", "jaw_corrections", "jaw_weights", "jaw_joint"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"posedirs": None}, "no posedirs; expected a FLAME model, with v_template, shapedirs"),
        ({"posedirs": np.zeros((V, 3, 207))}, f"posedirs: expected the shape {V} x 3 x 36, got {V} x 3 x 207"),
        ({"weights": np.zeros((V, 24))}, f"weights: expected the shape {V} x 5, got {V} x 24"),
        ({"shapedirs": np.zeros((V, 3, 300))}, "shapedirs: expected 300 components of identity and then .* got 300"),
        ({"v_template": np.full((V, 3), np.nan)}, "v_template: expected finite numbers"),
        ({"weights": np.array(["x"])}, "weights: expected an array of numbers"),
        ({"weights": np.array([{}], object)}, "not loaded: "),
    ],
)
def test_a_file_that_is_no_flame_model_is_reported(arrays, tmp_path, change, message):
    np.savez(tmp_path / "bad.npz", **{k: v for k, v in (arrays | change).items() if v is not None})
    with pytest.raises(ValueError, match=f"^{tmp_path}/bad.npz: {message}") as raised:
        read_flame(tmp_path / "bad.npz")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["none.pkl", "none.npz", "cut.npz", "cut.pkl"])
def test_a_file_that_cannot_be_read_is_reported(tmp_path, name):
    if name.startswith("cut"):
        (tmp_path / name).write_bytes(b"PK\x03\x04\x00")
    with pytest.raises(ValueError, match=f"^{tmp_path}/{name}: ") as raised:
        read_flame(tmp_path / name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "shape, written, message", [((10**12, 3), 0, "not loaded: Unable to allocate"), ((40_000_000,), 320_000_000, "320")]
)
def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, shape, written, message):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("v_template.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
            for _ in range(written // 10**6):
                file.write(bytes(10**6))
    with pytest.raises(ValueError, match=f"bomb.npz: .*{message}"):
        read_flame(tmp_path / "bomb.npz")


def animation(spoken, arrays, unit: str = "m", vertices: int = V) -> Animation:
    template, _, _, motion = spoken
    size = {"mm": 1000.0}.get(unit, 1.0)
    mesh = SubjectMesh("vocaset", "Ann", size * template[:vertices], arrays["f"].astype(int), np.ones(V), {}, unit)
    return Animation((size * motion).astype(np.float32), 30, Sound(torch.zeros(6400), torch.zeros(6400)), mesh, {})


@pytest.mark.parametrize("unit", ["m", "mm"])
def test_the_format_writes_the_parameters_in_metres(model_file, spoken, arrays, tmp_path, unit):
    about = animation(spoken, arrays, unit).save(tmp_path / "out", "a", "flame", flame=model_file)["flame"]
    assert about["unit"] == "mm" and about["rms"] < 1e-4 and about["model"] == "generic_model.pkl"
    with np.load(tmp_path / "out" / "a-flame.npz") as file:
        np.testing.assert_allclose(file["jaw_pose"], spoken[2], atol=1e-4)
        np.testing.assert_allclose(file["expression"], spoken[1], atol=1e-2)
        np.testing.assert_allclose(file["template"], spoken[0], atol=1e-6)
        identity = arrays["v_template"] + arrays["shapedirs"][..., :100] @ file["shape"] + file["translation"]
        np.testing.assert_allclose(identity, spoken[0], atol=1e-5)
        assert file["fps"] == 30
    assert json.loads((tmp_path / "out" / "a.json").read_text())["flame"] == about


def test_another_mesh_is_refused_before_anything_is_written(model_file, spoken, arrays, tmp_path):
    for face, message in (
        (animation(spoken, arrays, vertices=V - 1), f"expected a mesh of FLAME's {V} vertices, got {V - 1}"),
        (animation(spoken, arrays, "normalised"), "expected vertices in m, cm or mm, got 'normalised'"),
    ):
        with pytest.raises(ValueError, match=f"^flame: vocaset: {message}"):
            face.save(tmp_path / "out", "a", "npy,flame", flame=model_file)
    with pytest.raises(
        ValueError, match="^flame: expected the file of the model, generic_model.pkl or .npz .--flame.$"
    ):
        models_for(face.mesh, ["flame"])
    assert not (tmp_path / "out").exists()
