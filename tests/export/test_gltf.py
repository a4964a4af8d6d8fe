"""A .glb describes its content, and its morph targets add up to the motion."""

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from avlib.export.gltf import components, one_sided, write_glb

FPS = 30
KINDS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
TYPES = {5126: np.dtype("<f4"), 5125: np.dtype("<u4"), 5121: np.dtype("u1")}
VALIDATE = """
require("gltf-validator").validateBytes(new Uint8Array(require("fs").readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report.issues)))"""


def sheet(side: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """A wavy sheet, and one vertex that is in no face."""
    y, x = np.meshgrid(*2 * [np.linspace(-0.1, 0.1, side)], indexing="ij")
    vertices = np.stack([x, y, 0.02 * np.sin(30 * x)], -1).reshape(-1, 3)
    at = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate([np.stack([at, at + 1, at + side], 1), np.stack([at + 1, at + side + 1, at + side], 1)])
    return np.concatenate([vertices, [[0, 0, 0.3]]]).astype(np.float32), faces


def motion(ways: int, frames: int = 41) -> np.ndarray:
    """(T, V, 3) on the sheet: `ways` independent motions, the first about 5 mm, each next one half as large."""
    draw, (rest, _) = np.random.default_rng(0), sheet()
    size = 0.005 * 0.5 ** np.arange(ways)
    moved = (draw.standard_normal((frames, ways)) * size) @ draw.standard_normal((ways, rest.size))
    return (rest + moved.reshape(frames, *rest.shape)).astype(np.float32)


def read(path: Path) -> tuple[dict, callable]:
    """The JSON of a .glb, and a function that returns the array of an accessor."""
    data = path.read_bytes()
    magic, version, length, size, kind = struct.unpack_from("<4sII I4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON") and size % 4 == 0
    about = json.loads(data[20 : 20 + size])
    rest, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0" and rest % 4 == 0 and about["buffers"][0]["byteLength"] == rest == len(data) - 28 - size

    def array(number: int) -> np.ndarray:
        accessor = about["accessors"][number]
        view, dtype, width = (
            about["bufferViews"][accessor["bufferView"]],
            TYPES[accessor["componentType"]],
            KINDS[accessor["type"]],
        )
        assert view["byteOffset"] % 4 == 0 and view["byteLength"] == accessor["count"] * width * dtype.itemsize
        values = np.frombuffer(data, dtype, accessor["count"] * width, 28 + size + view["byteOffset"]).reshape(
            -1, width
        )
        if "min" in accessor:
            assert accessor["min"] == values.min(0).tolist() and accessor["max"] == values.max(0).tolist()
        return values

    return about, array


def played(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times, vertices (T, V, 3), normals (T, V, 3) and faces, as a viewer computes them."""
    about, array = read(path)
    primitive, (animation,) = about["meshes"][0]["primitives"][0], about["animations"]
    sampler = animation["samplers"][animation["channels"][0]["sampler"]]
    assert animation["channels"][0]["target"]["path"] == "weights" and sampler["interpolation"] == "LINEAR"
    times = array(sampler["input"])[:, 0]
    weights = array(sampler["output"]).reshape(len(times), -1).clip(0, 1)  # as Blender clamps them
    assert (
        "min" in about["accessors"][sampler["input"]]
        and "min" in about["accessors"][primitive["attributes"]["POSITION"]]
    )
    vertices, normals = (
        array(primitive["attributes"][name])
        + np.tensordot(weights, np.stack([array(target[name]) for target in primitive["targets"]]), 1)
        for name in ("POSITION", "NORMAL")
    )
    assert len(about["meshes"][0]["extras"]["targetNames"]) == weights.shape[1]
    return times, vertices, normals, array(primitive["indices"]).reshape(-1, 3)


def write(path: Path, moving: np.ndarray, **options) -> dict:
    rest, faces = sheet()
    return write_glb(path, rest, faces, moving, FPS, np.linspace(0, 1, len(rest)), **options)


def off(vertices: np.ndarray, moving: np.ndarray) -> tuple[float, float]:
    square = np.square(vertices - moving).sum(-1)
    return float(np.sqrt(square.mean())), float(np.sqrt(square.max()))


def test_a_viewer_plays_the_motion(tmp_path):
    moving = motion(12)
    about = write(tmp_path / "a.glb", moving)
    times, vertices, _, faces = played(tmp_path / "a.glb")
    np.testing.assert_allclose(times, np.arange(len(moving)) / FPS, rtol=1e-6)
    np.testing.assert_array_equal(faces, sheet()[1])
    rms, largest = off(vertices, moving)
    assert rms <= 2e-5 and (about["rms"], about["largest"]) == pytest.approx((rms, largest), rel=0.05)


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


def test_the_number_of_targets_is_limited_and_the_error_returned(tmp_path):
    about = write(tmp_path / "a.glb", motion(12), max_targets=3)
    assert about["targets"] == 6 and about["rms"] == pytest.approx(
        off(played(tmp_path / "a.glb")[1], motion(12))[0], rel=0.01
    )
    assert about["rms"] > 2e-5


def test_a_motion_that_goes_one_way_is_one_target():
    weights = np.array([[0.5, -1.0], [1.0, 0.25], [0.0, 0.0]])
    targets = np.arange(12.0).reshape(2, 2, 3)
    one_way, split, names = one_sided(weights, targets)
    assert names == ["motion00+", "motion01+", "motion01-"] and one_way.min() == 0 and (one_way.max(0) == 1).all()
    np.testing.assert_allclose(np.tensordot(one_way, split, 1), np.tensordot(weights, targets, 1), atol=1e-12)


def test_a_long_motion_is_as_accurate(monkeypatch):
    monkeypatch.setattr("avlib.export.gltf.MAX_FIT_FRAMES", 20)
    moving = motion(6, 200) - sheet()[0]
    weights, targets = components(moving)
    assert off(np.tensordot(weights, targets, 1), moving)[0] <= 2e-5


@pytest.mark.parametrize("frames", [1, 5])
def test_a_still_face_is_written(tmp_path, frames):
    still = np.repeat(sheet()[0][None], frames, 0)
    assert write(tmp_path / "a.glb", still) == {"targets": 1, "rms": 0, "largest": 0}
    np.testing.assert_array_equal(played(tmp_path / "a.glb")[1], still)


def test_normals_turn_with_the_face(tmp_path):
    """Along with the largest motion, here alone: where its weight is 1 they are those of the moved mesh."""
    rest, faces = sheet()
    bend = np.zeros_like(rest)
    bend[:, 2] = 0.5 * rest[:, 0]
    bend[-1] = 0
    moving = rest + np.linspace(0, 1, 9, dtype=np.float32)[:, None, None] * bend
    write(tmp_path / "a.glb", moving)
    _, vertices, normals, _ = played(tmp_path / "a.glb")
    a, b, c = vertices[-1][faces].transpose(1, 0, 2)
    true = np.zeros_like(rest)
    for corner in faces.T:
        np.add.at(true, corner, np.cross(b - a, c - a))
    turned = normals[-1][:-1] / np.linalg.norm(normals[-1][:-1], axis=1, keepdims=True)
    np.testing.assert_allclose(turned, true[:-1] / np.linalg.norm(true[:-1], axis=1, keepdims=True), atol=1e-4)
    np.testing.assert_allclose(normals[0][-1], [0, 0, 1])  # of a vertex in no face
    assert np.abs(turned - normals[0][:-1]).max() > 0.1


def test_the_khronos_validator_finds_no_error(tmp_path):
    """The Khronos glTF validator: `npm install gltf-validator`, and NODE_PATH names its node_modules."""
    found = (
        shutil.which("node")
        and subprocess.run(
            ["node", "-e", "require.resolve('gltf-validator')"], capture_output=True, env=os.environ
        ).returncode
        == 0
    )
    if not found:
        pytest.skip("needs node with gltf-validator: npm install gltf-validator; NODE_PATH names its node_modules")
    write(tmp_path / "a.glb", motion(12))
    done = subprocess.run(["node", "-e", VALIDATE, str(tmp_path / "a.glb")], capture_output=True, text=True, check=True)
    issues = json.loads(done.stdout)
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]
