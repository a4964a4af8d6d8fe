"""Mesh files: every format gives the same mesh, and damaged files are named."""

import numpy as np
import pytest

from avlib.corpus.scans.meshes import read_mesh, read_vl, surface_area
from tests import scan_corpora

POINTS = np.array([(0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0), (1, 2, 0.5)])
TRIANGLES = [(0, 1, 2), (0, 2, 3), (2, 4, 3)]
ASCII = (
    b"ply\nformat ascii 1.0\n"
    b"element vertex 5\nproperty float z\nproperty float x\nproperty float y\nproperty uchar red\n"
    b"element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    + b"".join(b"%g %g %g 255\n" % (z, x, y) for x, y, z in POINTS)
    + b"4 0 1 2 3\n3 2 4 3\n"
)
BIG = (
    b"ply\nformat binary_big_endian 1.0\n"
    b"element vertex 5\nproperty double x\nproperty double y\nproperty double z\nproperty uchar red\n"
    b"element face 2\nproperty list uchar ushort vertex_index\nend_header\n"
    + b"".join(np.array(p, ">f8").tobytes() + b"\xff" for p in POINTS)
    + b"\x04"
    + np.array([0, 1, 2, 3], ">u2").tobytes()
    + b"\x03"
    + np.array([2, 4, 3], ">u2").tobytes()
)
OBJ = (
    b"# a/b\r\nmtllib a.mtl\r\n"
    + b"".join(b"v %g %g %g 0.5 0.5 0.5\r\n" % tuple(p) for p in POINTS)
    + b"vt 0 0\r\nvn 0 0 1\r\nf 1/1/1 2/1/1 3/1/1 4/1/1\r\nf 3//1 -1//1 4//1\r\n"
)
FILES = {
    "a.ply": ASCII,
    "b.ply": BIG,
    "c.obj": OBJ,
    "d.ply": scan_corpora.ply(POINTS, np.array(TRIANGLES)),
    "e.ply": scan_corpora.ply(POINTS, np.array(TRIANGLES), "double", "uint16"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_mesh(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    vertices, faces = read_mesh(tmp_path / name)
    assert np.array_equal(vertices, POINTS) and sorted(map(tuple, faces.tolist())) == sorted(TRIANGLES)
    assert surface_area(vertices, faces) == pytest.approx(
        2 + np.linalg.norm(np.cross(POINTS[4] - POINTS[2], POINTS[3] - POINTS[2])) / 2
    )


@pytest.mark.parametrize(
    "name, content",
    [
        *((name, content[:-1]) for name, content in FILES.items() if name != "c.obj" and name != "a.ply"),
        ("a.ply", ASCII[:-8]),
        ("none.ply", b""),
        ("a.stl", ASCII),
        ("text.ply", b"no mesh"),
        ("odd.obj", b"v 1 2\nv 1 2 3\n"),
        ("odd.obj", b"v a b c\n"),
        ("far.obj", OBJ.replace(b"3//1 -1//1", b"3//1 9//1")),
        ("nan.obj", OBJ.replace(b"v 1 2 0.5", b"v 1 nan 0.5")),
        ("form.ply", ASCII.replace(b"ascii", b"binary")),
        ("type.ply", BIG.replace(b"double x", b"string x")),
        ("axis.ply", ASCII.replace(b"float y", b"float w")),
        ("far.ply", ASCII.replace(b"3 2 4 3", b"3 2 5 3")),
        ("line.ply", ASCII.replace(b"3 2 4 3", b"2 2 4")),
        ("nan.ply", ASCII.replace(b"0.5 1 2 255", b"nan 1 2 255")),
        ("corners.ply", ASCII.replace(b"vertex_indices", b"corners")),
    ],
)
def test_a_damaged_mesh_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name) as error:
        read_mesh(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [b"", b"\x02\0\0\0", b"\x02\0\0\0\0\0\0\0"])
def test_a_frame_is_read_with_and_without_its_vertex_count(tmp_path, count):
    points = np.arange(6, dtype="<f4").reshape(2, 3)
    (tmp_path / "frame_001.vl").write_bytes(count + points.tobytes())
    assert np.array_equal(read_vl(tmp_path / "frame_001.vl", 2), points)
    (tmp_path / "frame_001.vl").write_bytes(b"\x03\0\0\0" + points.tobytes())
    with pytest.raises(ValueError, match="frame_001.vl: 28 bytes, expected 2 vertices of 12"):
        read_vl(tmp_path / "frame_001.vl", 2)
