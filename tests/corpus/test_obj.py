"""Wavefront OBJ files are read, and faults are named with their line."""

import numpy as np
import pytest

from avlib.corpus.obj import read_obj

MESH = """# one quad, one triangle, one pentagon
mtllib some.mtl
o thing
v 0 0 0
v 1.5 0 -2e-1 1.0
v 1 1 0 0.5 0.5 0.5
\tv 0 1 0

vt 0 0
vn 0 0 1
g front left
usemtl skin
s off
f 1 2 3 4
f 1/1 2/1 3/1
v 2 2 0
g
f 1//1 2//1 3/1/1 -1 4
"""


def write(tmp_path, text):
    path = tmp_path / "mesh.obj"
    path.write_text(text)
    return path


def test_vertices_and_polygons(tmp_path):
    mesh = read_obj(write(tmp_path, MESH))
    np.testing.assert_array_equal(mesh.vertices, [[0, 0, 0], [1.5, 0, -0.2], [1, 1, 0], [0, 1, 0], [2, 2, 0]])
    assert mesh.sizes.tolist() == [4, 3, 5] and mesh.corners.tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 4, 3]
    assert mesh.triangles().tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 1, 2], [0, 2, 4], [0, 4, 3]]
    assert mesh.edges().tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3], [2, 4], [3, 4]]


def test_positions_only(tmp_path):
    path = write(tmp_path, MESH)
    mesh = read_obj(path, polygons=False)
    assert len(mesh.vertices) == 5 and len(mesh.corners) == len(mesh.sizes) == 0
    assert mesh.triangles().shape == (0, 3) and mesh.edges().shape == (0, 2)


def test_negative_numbers_count_back_from_their_line(tmp_path):
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 0 0 1\nf -3 -2 -1\n"
    assert read_obj(write(tmp_path, text)).corners.tolist() == [0, 1, 2, 1, 2, 3]


@pytest.mark.parametrize(
    "bad, message",
    [
        ("v 1 2", "line 4: expected a vertex of three finite numbers, got 'v 1 2'"),
        ("v 1 2 x", "line 4: expected a vertex"),
        ("v 1 nan 2", "line 4: expected a vertex"),
        ("f 1 2", "line 4: expected a face of three or more of the 3 vertices"),
        ("f 1 2 4", "line 4: expected a face"),
        ("f 0 1 2", "line 4: expected a face"),
        ("f -4 1 2", "line 4: expected a face"),
        ("f 1 2 3/x", "line 4: expected a face"),
        ("f 1/1/1/1 2 3", "line 4: expected a face"),
        ("f 1 2 2.5", "line 4: expected a face"),
        ("solid cube", "line 4: expected a statement of Wavefront OBJ, got 'solid cube'"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, bad, message):
    with pytest.raises(ValueError, match=f"mesh.obj, {message}"):
        read_obj(write(tmp_path, f"v 0 0 0\nv 1 0 0\nv 0 1 0\n{bad}\nf 1 2 3\n"))


def test_files_without_a_mesh(tmp_path):
    with pytest.raises(ValueError, match="mesh.obj: expected lines 'v x y z'"):
        read_obj(write(tmp_path, "# nothing\n"))
    path = tmp_path / "mesh.obj"
    path.write_bytes(b"\x80\x02\xff\xfe")
    with pytest.raises(ValueError, match="mesh.obj: cannot be read as an OBJ file"):
        read_obj(path)
    with pytest.raises(ValueError, match="none.obj: cannot be read"):
        read_obj(tmp_path / "none.obj")
