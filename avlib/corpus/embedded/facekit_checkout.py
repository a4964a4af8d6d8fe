"""Reads an ICT-FaceKit checkout: the neutral mesh, the vertices that pictures show, and the grid around the mouth.

https://github.com/ICT-VGL/ICT-FaceKit (MIT), "ICT Face Model Light": Li et al. 2020. Its meshes are in centimetres, x
to the viewer's right, y up, z towards the viewer. Here they are in metres, with the mouth at the height of the embedded
rig's.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.files import find_visible, read_json
from ..obj import PolygonMesh, read_obj
from .face import MOUTH_Y

URL = "https://github.com/ICT-VGL/ICT-FaceKit"
# Vertices of the visible parts, as numbered in ICT-FaceKit's README. The tongue begins where the fewest faces join it
# to the gums. Omitted are the back of head and neck, the eye sockets, the irises (painted on the eyeballs instead),
# lacrimal fluid, eye blend and occlusion meshes and lashes, and the vertices that no picture shows (`_visible`).
PARTS = {
    "whole": (0, 26719),
    "skin": (0, 9409),
    "socket": (11248, 13294),
    "gums": (14062, 16611),
    "tongue": (16611, 17039),
    "upper_teeth": (17039, 19247),
    "lower_teeth": (19247, 21451),
    "eyeball_left": (21451, 22221),
    "eyeball_right": (23021, 23791),
}
# Faces of a part are visible if the z component of their unit normal is at least this.
MIN_NORMAL_Z = {
    "skin": -0.3,
    "gums": 0.0,
    "tongue": -1.0,
    "upper_teeth": 0.2,
    "lower_teeth": 0.2,
    "eyeball_left": 0.4,
    "eyeball_right": 0.4,
}
INNER_RINGS = 3  # rings of the mouth socket that are visible: the back of the lips
MAX_DEPTH, MAX_HEIGHT = 0.03, 0.014  # metres: gums and teeth are visible this far behind, above and below the lips

# Articulation shapes as weighted sums of ICT-FaceKit's expressions; a name that ends in _ stands for both sides.
EXPRESSIONS = {
    "jaw_open": {"jawOpen": 0.55},
    "lip_close": {"mouthClose": 0.55},
    "lip_press": {"mouthRollUpper": 0.25, "mouthRollLower": 0.25},
    "lip_tuck": {"mouthRollLower": 0.55, "mouthUpperUp_": 0.3},
    "pucker": {"mouthPucker": 0.9},
    "funnel": {"mouthFunnel": 0.65},
    "spread": {"mouthSmile_": 0.3, "mouthStretch_": 0.45},
    "upper_raise": {"mouthUpperUp_": 0.6},
    "lower_drop": {"mouthLowerDown_": 0.9},
    "skew": {"jawLeft": 0.35},
    "blink": {"eyeBlink_": 1.0},
    "brow_raise": {"browInnerUp_": 0.7, "browOuterUp_": 0.7},
}
OPTIONAL = ("blink", "brow_raise")  # speech does not depend on them: they do not move if their files are missing


def expressions(shape: str) -> dict[str, float]:
    """The expressions of an articulation shape, both sides, with their weights."""
    return {
        name + side: weight
        for name, weight in EXPRESSIONS[shape].items()
        for side in ("LR" if name[-1] == "_" else ("",))
    }


def checkout_files(folder: Path) -> dict[str, Path]:
    """Name -> path of the files to read, from an ICT-FaceKit checkout or its FaceXModel folder.

    ValueError names the missing files.
    """
    folder = Path(folder)
    if (folder / "FaceXModel").is_dir():
        folder = folder / "FaceXModel"
    meshes = {path.stem: path for path in find_visible(folder, "*.obj")}
    needed = ["generic_neutral_mesh", *(e for name in EXPRESSIONS if name not in OPTIONAL for e in expressions(name))]
    missing = [f"{name}.obj" for name in needed if name not in meshes]
    missing += [] if (folder / "vertex_indices.json").is_file() else ["vertex_indices.json"]
    missing += [] if any(name.startswith("identity") for name in meshes) else ["identity000.obj"]
    if missing:
        raise ValueError(f"{folder}: no {', '.join(missing)}; a checkout of {URL} has them")
    used = {e for name in EXPRESSIONS for e in expressions(name)} | {"generic_neutral_mesh"}
    files = {name: path for name, path in meshes.items() if name in used or name.startswith("identity")}
    return files | {"vertex_indices": folder / "vertex_indices.json"}


def mouth_grid(mesh: PolygonMesh, skin: range, socket: range) -> np.ndarray:
    """(R, C): vertex indices around the mouth, in rings and columns.

    Rings go from the back of the lips outward, as far as all columns continue. Columns go from the right corner of the
    mouth over the upper lip. ValueError if skin and mouth socket do not meet in a closed line.
    """
    neighbours: dict[int, set[int]] = {v: set() for v in (*skin, *socket)}
    for a, b in mesh.edges().tolist():
        if a in neighbours and b in neighbours:
            neighbours[a].add(b)
            neighbours[b].add(a)
    rim = {v for v in skin if any(w in socket for w in neighbours[v])}
    if not rim or any(len(neighbours[v] & rim) != 2 for v in rim):
        raise ValueError("generic_neutral_mesh.obj: expected skin and mouth socket to meet in a closed line")
    around = [max(rim, key=lambda v: mesh.vertices[v, 0])]
    step = max(neighbours[around[0]] & rim, key=lambda v: mesh.vertices[v, 1])
    while step != around[0]:
        around.append(step)
        step = next(iter((neighbours[step] & rim) - {around[-2]}))
    rings = [around]
    for outward, other_side in ((False, skin), (True, socket)):
        passed, ring = rim | set(other_side), around
        while outward or len(rings) <= INNER_RINGS:
            onward = [neighbours[v] - passed for v in ring]
            ring = [next(iter(candidates)) for candidates in onward if len(candidates) == 1]
            if len(set(ring)) < len(around):
                break
            passed |= set(ring)
            rings = [*rings, ring] if outward else [ring, *rings]
    return np.array(rings)


@dataclass(frozen=True)
class Neutral:
    """The face at rest.

    vertices: (V, 3), centimetres, as in its file. points: (V, 3), metres, with the mouth at MOUTH_Y. landmarks: (68,)
    vertex indices. grid: see `mouth_grid`. keep: (V,), mask of the V' visible vertices. faces: (F, 3) indices among the
    visible vertices. parts: name -> slice of the visible vertices.
    """

    vertices: np.ndarray
    points: np.ndarray
    landmarks: np.ndarray
    grid: np.ndarray
    keep: np.ndarray
    faces: np.ndarray
    parts: dict[str, slice]

    def displacement(self, path: Path) -> np.ndarray:
        """(V', 3), metres: from this mesh to the one in another file, at the visible vertices.

        ValueError for another mesh.
        """
        other = read_obj(path, polygons=False).vertices
        if other.shape != self.vertices.shape:
            raise ValueError(f"{path}: {len(other)} vertices, generic_neutral_mesh.obj has {len(self.vertices)}")
        return 0.01 * (other - self.vertices)[self.keep]


def read_neutral(files: dict[str, Path]) -> Neutral:
    """files: of `checkout_files`. ValueError names a file that is not ICT-FaceKit's."""
    mesh = read_obj(files["generic_neutral_mesh"])
    if len(mesh.vertices) != PARTS["whole"][1]:
        raise ValueError(
            f"{files['generic_neutral_mesh']}: {len(mesh.vertices)} vertices, ICT-FaceKit has {PARTS['whole'][1]}"
        )
    landmarks = np.array(read_json(files["vertex_indices"]).get("idx_to_landmark_verts", []))
    if len(landmarks) != 68:
        raise ValueError(f"{files['vertex_indices']}: expected 68 idx_to_landmark_verts, got {len(landmarks)}")
    grid = mouth_grid(mesh, range(*PARTS["skin"]), range(*PARTS["socket"]))
    points, lip_middles = 0.01 * mesh.vertices, landmarks[[62, 66]]
    points[:, 1] += MOUTH_Y - points[lip_middles, 1].mean()
    keep, triangles = _visible(points, mesh.triangles(), grid, points[lip_middles].mean(0))
    parts = {part: slice(*(int(keep[:end].sum()) for end in PARTS[part])) for part in PARTS}
    return Neutral(mesh.vertices, points, landmarks, grid, keep, (np.cumsum(keep) - 1)[triangles], parts)


def _visible(
    points: np.ndarray, triangles: np.ndarray, grid: np.ndarray, mouth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(V,) mask of the vertices that pictures show, and the triangles (F, 3) among them.

    mouth: (3,), middle of the lips.
    """
    keep = np.zeros(len(points), bool)
    keep[grid] = True
    a, b, c = points[triangles].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    normal_z = normals[:, 2] / np.linalg.norm(normals, axis=1).clip(1e-20)
    for part, minimum in MIN_NORMAL_Z.items():
        first, last = PARTS[part]
        visible = ((triangles >= first) & (triangles < last)).all(1) & (normal_z >= minimum)
        if part in ("gums", "upper_teeth", "lower_teeth"):
            distance = np.abs(points - mouth)[triangles].max(1)
            visible &= (distance[:, 2] < MAX_DEPTH) & (distance[:, 1] < MAX_HEIGHT)
        keep[triangles[visible]] = True
    return keep, triangles[keep[triangles].all(1)]
