"""A .glb describes its content, and a viewer plays the motion from it."""

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from avlib.export.gltf import write_glb
from avlib.export.morph_targets import MorphTargets, principal_motions
from tests.export.test_morph_targets import motion, off, sheet, sheet_mesh

FPS = 30
KINDS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
TYPES = {5126: np.dtype("<f4"), 5125: np.dtype("<u4"), 5121: np.dtype("u1")}
VALIDATE = """
require("gltf-validator").validateBytes(new Uint8Array(require("fs").readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report.issues)))"""


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


def write(path: Path, moving: np.ndarray, max_targets: int = 64) -> MorphTargets:
    targets = principal_motions(moving, sheet()[0], max_targets=max_targets)
    write_glb(path, sheet_mesh(), targets, FPS)
    return targets


def test_a_viewer_plays_the_motion(tmp_path):
    moving = motion(12)
    targets = write(tmp_path / "a.glb", moving)
    times, vertices, _, faces = played(tmp_path / "a.glb")
    np.testing.assert_allclose(times, np.arange(len(moving)) / FPS, rtol=1e-6)
    np.testing.assert_array_equal(faces, sheet()[1])
    rms, largest = off(vertices, moving)
    assert rms <= 2e-5 and targets.errors(sheet()[0], moving) == pytest.approx((rms, largest), rel=0.05)
    assert read(tmp_path / "a.glb")[0]["meshes"][0]["extras"]["targetNames"] == list(targets.names)


@pytest.mark.parametrize("frames", [1, 5])
def test_a_still_face_is_written(tmp_path, frames):
    still = np.repeat(sheet()[0][None], frames, 0)
    assert len(write(tmp_path / "a.glb", still).names) == 1
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
