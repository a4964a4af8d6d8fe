"""A small ICT-FaceKit checkout for tests, written from the embedded rig."""

import json
from pathlib import Path

import numpy as np

from avlib.corpus.embedded.articulation import SHAPES
from avlib.corpus.embedded.face import BORDER, CONTACT, parts
from avlib.corpus.embedded.rig import Rig

PARTED = 0.04  # of the opening of the jaw: the lips of the scanned face are not quite closed


def write_obj(path: Path, vertices: np.ndarray, quads: np.ndarray):
    """Writes vertices (V, 3), metres, of the embedded rig in centimetres and with another origin."""
    positions = 100 * vertices + [0, 1.5, 0]
    lines = ["# written by a test", "mtllib none.mtl", *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in positions)]
    lines += ["vt 0 0", "usemtl M_Face", *("f " + " ".join(f"{v + 1}/1" for v in quad) for quad in quads)]
    path.write_text("\n".join(lines) + "\n")


def write_checkout(folder: Path) -> dict[str, tuple[int, int]]:
    """Writes the embedded rig in the layout of an ICT-FaceKit checkout, and returns the vertex ranges of its parts.

    Its skin and the back of its lips become face and mouth socket, and its shapes become expressions.
    """
    rig, grids = Rig(), parts()
    number = {
        name: np.arange(part.start, part.stop).reshape(grids[name][0].shape[:2]) for name, part in rig.parts.items()
    }
    skin = number["skin"]
    order = [
        ("skin", skin[CONTACT:]),
        ("socket", skin[:CONTACT]),
        ("gums", number["throat"]),
        *((part, number[part]) for part in ("tongue", "upper_teeth", "lower_teeth")),
        *((f"eyeball_{side}", number[f"eyeball_{side}"]) for side in ("left", "right")),
    ]
    quads = []
    for name, grid in (("skin", skin), *order[2:]):
        if name == "skin" or "eyeball" in name:
            grid = np.concatenate([grid, grid[:, :1]], 1)
        quads.append(np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], -1).reshape(-1, 4))
        a, b, _, d = rig.mean[quads[-1]].transpose(1, 0, 2)
        if np.cross(b - a, d - a)[:, 2].sum() < 0:
            quads[-1] = quads[-1][:, ::-1]
    old = np.concatenate([grid.ravel() for _, grid in order])
    place = np.full(len(rig.mean), -1)
    place[old] = np.arange(len(old))
    quads = place[np.concatenate(quads)]
    ends = np.cumsum([0, *(grid.size for _, grid in order)]).tolist()
    where = {name: (first, last) for (name, _), first, last in zip(order, ends, ends[1:])} | {"whole": (0, len(old))}

    shape = dict(zip(SHAPES, rig._shapes(rig.mean)))
    neutral = rig.mean + PARTED * shape["jaw_open"]
    expressions = {
        "jawOpen": shape["jaw_open"] / 0.55,
        "mouthClose": 1.1 * shape["lip_close"] / 0.55,
        "jawLeft": 2 * shape["skew"],
        "mouthPucker": shape["pucker"] + 0.2 * shape["funnel"],
        "mouthFunnel": shape["funnel"],
        "mouthRollLower": shape["lip_tuck"],
        "mouthRollUpper": shape["lip_press"],
    }
    left = np.clip(0.5 + rig.mean[:, :1] / 0.004, 0, 1)
    for name, both in (
        ("mouthUpperUp", shape["upper_raise"]),
        ("mouthLowerDown", shape["lower_drop"]),
        ("mouthSmile", shape["spread"]),
        ("mouthStretch", shape["spread"]),
        ("eyeBlink", shape["brow_raise"]),
        ("browInnerUp", shape["brow_raise"]),
        ("browOuterUp", shape["brow_raise"]),
    ):
        expressions |= {f"{name}_L": left * both, f"{name}_R": (1 - left) * both}
    meshes = {"generic_neutral_mesh": neutral} | {name: neutral + move for name, move in expressions.items()}
    meshes |= {f"identity{k:03d}": neutral + rig.traits[trait] for k, trait in enumerate((0, 2, 12))}
    folder.mkdir(parents=True)
    for name, vertices in meshes.items():
        write_obj(folder / f"{name}.obj", vertices[old], quads)

    def nearest(x, y):
        return int(np.linalg.norm(rig.mean[old[: skin[CONTACT:].size], :2] - [x, y], axis=1).argmin())

    landmarks = [0] * 17 + [
        nearest(x, 0.038) for x in (-0.05, -0.04, -0.03, -0.02, -0.012, 0.012, 0.02, 0.03, 0.04, 0.05)
    ]
    landmarks += [nearest(0, y) for y in (0.022, 0.01, -0.002, -0.014)]  # the nose
    landmarks += [nearest(x, -0.026) for x in (-0.01, -0.005, 0, 0.005, 0.01)]
    landmarks += [
        nearest(x, 0.018)
        for x in (-0.045, -0.035, -0.025, -0.018, -0.025, -0.035, 0.018, 0.025, 0.035, 0.045, 0.035, 0.025)
    ]
    landmarks += place[skin[BORDER, [32, 27, 22, 16, 10, 5, 0, 59, 54, 48, 42, 37]]].tolist()
    landmarks += place[skin[CONTACT, [32, 24, 16, 8, 0, 56, 48, 40]]].tolist()
    (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": landmarks}))
    return where
