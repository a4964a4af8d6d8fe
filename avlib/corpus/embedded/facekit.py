"""ICT-FaceKit's scanned face in the place of the embedded rig: its identities and expressions, driven by the same weights.

https://github.com/ICT-VGL/ICT-FaceKit (MIT), "ICT Face Model Light": Li et al. 2020. Its meshes are in centimetres, x to the
viewer's right, y up, z toward the viewer; here they are in metres, with the mouth as high as the embedded rig's.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...core.files import read_json
from ..obj import PolygonMesh, read_obj
from .articulation import SHAPES
from .face import MOUTH_Y, ramp
from .rig import Rig, complexion

URL = "https://github.com/ICT-VGL/ICT-FaceKit"
# Vertices of the parts that are shown, as ICT-FaceKit's README numbers them; the tongue begins where the fewest faces join it
# to the gums. Left out are back of head and neck, eye sockets, irises (painted on the eyeballs instead), lacrimal fluid, eye
# blend and occlusion meshes and lashes, and of the rest what no picture shows (`_seen`).
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
# What of a part is shown: faces whose normal points at least so far toward the viewer.
TOWARD = {
    "skin": -0.3,
    "gums": 0.0,
    "tongue": -1.0,
    "upper_teeth": 0.2,
    "lower_teeth": 0.2,
    "eyeball_left": 0.4,
    "eyeball_right": 0.4,
}
INSIDE = 3  # rings of the mouth socket that are shown: the back of the lips
DEEP, HIGH = 0.03, 0.014  # m: gums and teeth are shown so far behind the lips, above and below them

# Articulation shapes as sums of ICT-FaceKit's expressions; a name that ends in _ stands for both sides.
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
OPTIONAL = ("blink", "brow_raise")  # no speech depends on them: they stay still where their files are missing
# Shapes that leave closed lips closed.
CLOSED = ("lip_press", "pucker", "spread", "skew")
REACH = 0.008  # m: how far from the line where the lips meet the skin follows it
SUBJECTS = ("Maya", "Noah", "Olga", "Paul", "Quinn", "Rosa", "Sven", "Tara", "Uma", "Vito", "Wren", "Yuri")


def files(folder: Path) -> dict[str, Path]:
    """Name -> file of what is read of an ICT-FaceKit checkout, or of its FaceXModel folder. ValueError names what is missing."""
    folder = Path(folder)
    if (folder / "FaceXModel").is_dir():
        folder = folder / "FaceXModel"
    there = {path.stem: path for path in sorted(folder.glob("*.obj"))}
    needed = ["generic_neutral_mesh", *(e for name in EXPRESSIONS if name not in OPTIONAL for e in _expressions(name))]
    missing = [f"{name}.obj" for name in needed if name not in there]
    missing += [] if (folder / "vertex_indices.json").is_file() else ["vertex_indices.json"]
    missing += [] if any(name.startswith("identity") for name in there) else ["identity000.obj"]
    if missing:
        raise ValueError(f"{folder}: no {', '.join(missing)}; a checkout of {URL} has them")
    used = {e for name in EXPRESSIONS for e in _expressions(name)} | {"generic_neutral_mesh"}
    found = {name: path for name, path in there.items() if name in used or name.startswith("identity")}
    return found | {"vertex_indices": folder / "vertex_indices.json"}


def _expressions(shape: str) -> dict[str, float]:
    """Files of an articulation shape and their weights."""
    return {
        name + side: weight
        for name, weight in EXPRESSIONS[shape].items()
        for side in ("LR" if name[-1] == "_" else ("",))
    }


def mouth_grid(mesh: PolygonMesh, skin: range, socket: range) -> np.ndarray:
    """Rings x columns of vertex indices around the mouth: rings from the back of the lips outward as long as every column goes
    on, columns from the right corner of the mouth over the upper lip."""
    beside = {v: set() for v in (*skin, *socket)}
    for a, b in mesh.edges().tolist():
        if a in beside and b in beside:
            beside[a].add(b)
            beside[b].add(a)
    rim = {v for v in skin if any(w in socket for w in beside[v])}
    if not rim or any(len(beside[v] & rim) != 2 for v in rim):
        raise ValueError("generic_neutral_mesh.obj: expected skin and mouth socket to meet in a closed line")
    around = [max(rim, key=lambda v: mesh.vertices[v, 0])]
    step = max(beside[around[0]] & rim, key=lambda v: mesh.vertices[v, 1])
    while step != around[0]:
        around.append(step)
        step = next(iter((beside[step] & rim) - {around[-2]}))
    rings = [around]
    for outward, other in ((False, skin), (True, socket)):
        passed, ring = rim | set(other), around
        while outward or len(rings) <= INSIDE:
            ways = [beside[v] - passed for v in ring]
            ring = [next(iter(way)) for way in ways if len(way) == 1]
            if len(set(ring)) < len(around):
                break
            passed |= set(ring)
            rings = [*rings, ring] if outward else [ring, *rings]
    return np.array(rings)


@dataclass(frozen=True)
class Neutral:
    """The face at rest. vertices: (V, 3) as in its file; points: the same in metres, raised; landmarks: (68,) of the vertices;
    grid: see `mouth_grid`; keep: (V,) mask of the vertices that are shown; faces: (F, 3) among those, by their own numbers."""

    vertices: np.ndarray
    points: np.ndarray
    landmarks: np.ndarray
    grid: np.ndarray
    keep: np.ndarray
    faces: np.ndarray

    def moved(self, path: Path) -> np.ndarray:
        """(V', 3): how far the mesh in another file is from this one, where it is shown, metres."""
        other = read_obj(path, polygons=False).vertices
        if other.shape != self.vertices.shape:
            raise ValueError(f"{path}: {len(other)} vertices, generic_neutral_mesh.obj has {len(self.vertices)}")
        return 0.01 * (other - self.vertices)[self.keep]


def read_neutral(paths: dict[str, Path]) -> Neutral:
    """paths: of `files`."""
    mesh = read_obj(paths["generic_neutral_mesh"])
    if len(mesh.vertices) != PARTS["whole"][1]:
        raise ValueError(
            f"{paths['generic_neutral_mesh']}: {len(mesh.vertices)} vertices, ICT-FaceKit has {PARTS['whole'][1]}"
        )
    landmarks = np.array(read_json(paths["vertex_indices"]).get("idx_to_landmark_verts", []))
    if len(landmarks) != 68:
        raise ValueError(f"{paths['vertex_indices']}: expected 68 idx_to_landmark_verts, got {len(landmarks)}")
    grid = mouth_grid(mesh, *(range(*PARTS[part]) for part in ("skin", "socket")))
    points, middles = 0.01 * mesh.vertices, landmarks[[62, 66]]
    points[:, 1] += MOUTH_Y - points[middles, 1].mean()
    keep, triangles = _seen(points, mesh.triangles(), grid, points[middles].mean(0))
    return Neutral(mesh.vertices, points, landmarks, grid, keep, (np.cumsum(keep) - 1)[triangles])


class FaceKit(Rig):
    """The scanned face, with the interface of the embedded rig: see there.

    still: articulation shapes that do not move, as the files of their expressions are not there.
    """

    name = "facekit"
    margin = 0.3  # its lips are narrower and open as wide
    subjects = SUBJECTS

    def __init__(self, folder: Path):
        paths = files(folder)
        neutral = read_neutral(paths)
        grid, keep, mean = neutral.grid, neutral.keep, neutral.points[neutral.keep]
        contact, border = (_ring_of(neutral.landmarks[points], grid) for points in (slice(60, 68), slice(48, 60)))
        middles = neutral.landmarks[[62, 66]]
        place = np.cumsum(keep) - 1
        self.faces = torch.from_numpy(neutral.faces)
        self.parts = {part: slice(*(int(keep[:end].sum()) for end in PARTS[part])) for part in PARTS}
        self._grid, self._contact, self._border = place[grid], contact.round().astype(int), border
        self._landmarks = place[neutral.landmarks]

        moved = {}
        for name, path in paths.items():
            if path.suffix == ".obj" and name != "generic_neutral_mesh":
                moved[name] = neutral.moved(path)

        self._hold_lips(mean)
        self._mean = self._met(mean)
        self._traits = np.stack([self._met(move) for name, move in moved.items() if name.startswith("identity")])
        self.still = tuple(name for name in EXPRESSIONS if not all(e in moved for e in _expressions(name)))
        self._moves = np.stack(list(self._articulation(moved).values()))

        x, y = self._mean[:, 0], self._mean[:, 1]
        number = np.arange(len(x))
        brows, eyes = self._mean[self._landmarks[17:27]], self._mean[self._landmarks[36:48]]
        near = (np.abs(x) < 0.06) & (y < MOUTH_Y + 0.054) & (y > MOUTH_Y - 0.08)
        ring = np.arange(len(grid))[:, None]
        self.regions = {
            name: torch.from_numpy(np.flatnonzero(mask))
            for name, mask in {
                "lip": np.isin(number, self._grid[(ring >= self._contact) & (ring <= border.round())]),
                "upper_face": (number < self.parts["skin"].stop)
                & (y > eyes[:, 1].min() - 0.003)
                & (y < brows[:, 1].max() + 0.03)
                & (np.abs(x) < np.abs(brows[:, 0]).max() + 0.005),
                "mouth": near & (number < self.parts["eyeball_left"].start),
                "upper_lip_middle": number == place[middles[0]],
                "lower_lip_middle": number == place[middles[1]],
            }.items()
        }

    def _hold_lips(self, mean):
        """What `_met` needs: the line along which the lips meet, with the point of the other lip that each of its vertices
        meets, and by how much each vertex of the skin follows which vertex of the line."""
        columns = np.arange(self._grid.shape[1])
        self._line = self._grid[self._contact, columns]
        left = int(
            np.argwhere(self._grid == self._landmarks[60])[0, 1]
        )  # column of the left corner; the right one's is 0
        upper, lower = columns[: left + 1], np.r_[0, columns[: left - 1 : -1]]
        self._other = np.zeros((len(columns), len(columns)))  # rows: weights of the other lip's vertices
        for half, other in ((upper, lower), (lower, upper)):
            at, there = (_along(mean[self._line[lip]]) for lip in (half, other))
            self._other[np.ix_(half, other)] = np.stack([np.interp(at, there, unit) for unit in np.eye(len(there))], -1)

        skin = np.r_[self.parts["skin"], self._grid.ravel()]
        self._column, self._follow = np.zeros(len(mean), int), np.zeros(len(mean))
        self._column[skin] = np.linalg.norm(mean[skin, None] - mean[self._grid[-1]], axis=-1).argmin(1)
        self._column[self._grid] = columns
        away = np.linalg.norm(mean - mean[self._line[self._column]], axis=1)
        self._follow[skin] = np.exp(-((away[skin] / REACH) ** 2))

    def _met(self, field):
        """Positions or displacements (V, 3) of a face whose lips then meet, or stay together: each lip goes half the way."""
        gap = (self._other - np.eye(len(self._other))) @ field[self._line]
        return field + 0.5 * self._follow[:, None] * gap[self._column]

    def _articulation(self, moved):
        """shape -> (V, 3): what it moves at weight 1, metres."""
        shapes = {name: np.zeros_like(self._mean) for name in SHAPES}
        for name in EXPRESSIONS:
            if name not in self.still:
                shapes[name] = sum(weight * moved[e] for e, weight in _expressions(name).items())
        for name in CLOSED:
            shapes[name] = self._met(shapes[name])
        shapes["lip_close"] = self._met(shapes["jaw_open"] + shapes["lip_close"]) - shapes["jaw_open"]

        tongue = self._mean[self.parts["tongue"]]
        back = (tongue[:, 2].max() - tongue[:, 2]) / np.ptp(tongue[:, 2])  # 0 at the tip, 1 in the throat
        loose = ramp(tongue[:, 1], tongue[:, 1].min(), tongue[:, 1].min() + 0.009)  # its root is fixed
        tip = ramp(-back, -0.38, -0.13)
        for name, rise, push in (
            ("tongue_tip", 0.013 * tip, 0.0),
            ("tongue_out", 0.0055 * tip, 0.017 * np.maximum(tip, 0.3)),
            ("tongue_front", 0.008 * np.exp(-(((back - 0.35) / 0.28) ** 2)), 0.0015),
            ("tongue_back", 0.011 * np.exp(-(((back - 0.7) / 0.28) ** 2)), -0.004),
            ("tongue_low", -0.0045, -0.003),
        ):
            shapes[name][self.parts["tongue"], 1:] = np.stack(np.broadcast_arrays(rise * loose, push * loose), -1)
        return shapes

    def _shapes(self, template):
        """(K, V, 3): expressions are the same for every identity."""
        return self._moves

    def _albedo(self, generator):
        """(V,): a random complexion."""
        tone = complexion(self._mean, generator)
        x, y, z = self._mean.T
        albedo = tone.skin + (tone.hair - tone.skin) * ramp(y - 0.072 + 6 * x**2, 0.0, 0.014)
        brow = self._mean[self._landmarks[17:27]].reshape(2, 5, 3)
        along = np.linspace(0, 4, 17)
        brow = np.concatenate([np.stack([np.interp(along, range(5), axis) for axis in side.T], -1) for side in brow])
        away = np.linalg.norm(self._mean[:, None] - brow, axis=-1).min(1)
        albedo += (tone.brows - albedo) * ramp(-away, -0.006, -0.002)

        rings = np.arange(len(self._grid))[:, None]
        inner, share = rings < self._contact, np.clip((self._border + 0.5 - rings) / 1.5, 0, 1)  # the border is soft
        lips = np.where(inner, tone.lips * np.clip(1 - 0.14 * (self._contact - rings), 0.1, 1), tone.lips)
        albedo[self._grid] += (lips - albedo[self._grid]) * share

        deep = 1 / (1 + ((z[self._line].max() - z).clip(0) / 0.035) ** 2)  # light fades toward the throat
        for part, own in (
            ("gums", 0.5),
            ("tongue", 0.65),
            ("upper_teeth", tone.teeth),
            ("lower_teeth", 0.93 * tone.teeth),
        ):
            albedo[self.parts[part]] = own * deep[self.parts[part]]
        for part in ("eyeball_left", "eyeball_right"):
            ball = self._mean[self.parts[part]]
            off = np.linalg.norm((ball - (ball.min(0) + ball.max(0)) / 2)[:, :2], axis=1)
            albedo[self.parts[part]] = np.select([off < 0.0024, off < 0.0058], [0.03, tone.iris], 0.85)
        return np.clip(albedo, 0.02, 1)


def _along(points):
    """(N,): how far along a line through the points (N, 3) each of them is, from 0 to 1."""
    way = np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()
    return np.r_[0, way / way[-1]]


def _ring_of(points, grid):
    """(C,) float: the ring on which a closed line through vertices of the grid passes each column."""
    at = [np.argwhere(grid == point) for point in points]
    if not all(len(a) for a in at):
        raise ValueError(f"landmarks {points.tolist()}: expected all within the rings around the mouth")
    ring, column = np.concatenate(at).T
    return np.interp(np.arange(grid.shape[1]), column, ring, period=grid.shape[1])


def _seen(points, triangles, grid, lips):
    """(V,) mask of the vertices that pictures need, and the triangles (F, 3) among them."""
    keep = np.zeros(len(points), bool)
    keep[grid] = True
    a, b, c = points[triangles].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    toward = normals[:, 2] / np.linalg.norm(normals, axis=1).clip(1e-20)
    for part, least in TOWARD.items():
        mine = ((triangles >= PARTS[part][0]) & (triangles < PARTS[part][1])).all(1) & (toward >= least)
        if part in ("gums", "upper_teeth", "lower_teeth"):
            off = np.abs(points - lips)[triangles].max(1)
            mine &= (off[:, 2] < DEEP) & (off[:, 1] < HIGH)
        keep[triangles[mine]] = True
    return keep, triangles[keep[triangles].all(1)]
