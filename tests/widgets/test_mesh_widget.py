"""A face in a notebook: the mesh and its vertices reach the browser; mesh.js draws the nearest surface."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from avlib.widgets.browser_data import module
from avlib.widgets.mesh_widget import FaceWidget

# two squares: the nearer one (grey 120) covers the left half of the farther one (grey 60)
CORNERS = torch.tensor(
    [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [-1, -1, 1], [0, -1, 1], [0, 1, 1], [-1, 1, 1.0]]
)
FACES = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 6, 5], [4, 7, 6]])  # the nearer one shows its back
ALBEDO = torch.tensor([60] * 4 + [120] * 4) / 255


def in_node(*names: str, script: str, **given):
    """Runs a script after a widget's module in node; `given` holds its input. Returns the JSON that it prints."""
    if not (node := shutil.which("node")):
        pytest.skip("needs node, which runs the widgets' JavaScript")
    text = f"{module(*names)}\nconst given = {json.dumps(given)};\n{script}"
    done = subprocess.run([node, "--input-type=module"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def picture(view: str = "", side: int = 40) -> np.ndarray:
    """Red, green, blue and opacity of each pixel, (side, side, 4). view: script that changes the view."""
    pixels = in_node(
        "mesh.js",
        "mesh_widget.js",
        script="""
        const corners = Float32Array.from(given.corners), faces = Uint32Array.from(given.faces);
        const mesh = new Mesh(corners, faces, Uint8Array.from(given.albedo));
        const pixels = new Uint32Array(given.side ** 2), view = newView();
        """
        + view
        + """
        mesh.draw(pixels, new Float32Array(given.side ** 2), given.side, given.side, view);
        console.log(JSON.stringify([...pixels]));""",
        corners=CORNERS.flatten().tolist(),
        faces=FACES.flatten().tolist(),
        albedo=(255 * ALBEDO).round().int().tolist(),
        side=side,
    )
    return np.array(pixels, "<u4").view(np.uint8).reshape(side, side, 4)


def test_nearer_surfaces_hide_farther_ones_and_both_sides_are_lit():
    pixels = picture()
    inside = pixels[..., 3] == 255
    assert inside[20, 20] and not inside[0].any() and not inside[:, 0].any() and 0.8 < inside.mean() < 0.95
    near, far = pixels[20, 10, :3].astype(float), pixels[20, 30, :3].astype(float)
    assert near.mean() > 1.9 * far.mean() and near[0] > near[2]
    filled = pixels[4:-4, 4:-4, 3]
    assert (filled == 255).all()  # no seams between triangles


def test_a_turned_face_shows_its_other_side():
    behind = picture("view.yaw = Math.PI;")
    assert behind[20, 10, :3].mean() < 0.6 * picture()[20, 10, :3].mean()  # now the farther square hides the nearer
    edge = picture("view.yaw = Math.PI / 2;")
    assert (edge[..., 3] == 255).mean() < 0.05


def test_vertices_reach_the_browser_unchanged():
    face = FaceWidget(CORNERS, FACES, ALBEDO)
    assert np.frombuffer(face.mesh["faces"], "<u4").reshape(-1, 3).tolist() == FACES.tolist()
    assert list(face.mesh["albedo"]) == [60] * 4 + [120] * 4
    face.move(CORNERS.double() + 0.25)
    assert np.frombuffer(face.vertices, "<f4").reshape(-1, 3).tolist() == (CORNERS + 0.25).tolist()
    for wrong, message in (
        (CORNERS[1:], r"expected finite vertices \(8, 3\), got \(7, 3\)"),
        (CORNERS * float("nan"), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            face.move(wrong)
    assert np.frombuffer(face.vertices, "<f4")[0] == -0.75  # the vertices before stay
