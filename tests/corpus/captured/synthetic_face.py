"""A synthetic face with MediaPipe's 478 landmarks: a head with a nose, and a mouth whose lower lip and chin go down.

Its pictures carry the state of the face as grey levels of blocks at their top, from which the landmarks of just this
state are read again. So films can be made whose landmarks, motion and speech belong together.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import Delaunay, KDTree

from avlib.corpus.captured.landmarks import (
    COUNT,
    INNER_LOWER,
    INNER_UPPER,
    LEFT_IRIS,
    MESH_COUNT,
    OUTER_LOWER,
    OUTER_UPPER,
    RIGHT_IRIS,
)
from avlib.corpus.embedded.face import MOUTH_Y
from avlib.corpus.video.face_landmarker import BLENDSHAPES, Face
from avlib.render.camera import Camera
from avlib.render.renderer import Renderer

MODEL = b"a model of the synthetic face"  # content of the file in place of face_landmarker.task
SIDE = 160  # of a picture, pixels
BLOCK = 8  # side of a block of one grey level, pixels
INNER_WIDTH, OUTER_WIDTH = 0.0245, 0.027  # half the widths of the lines along the lips, metres
PARTED = 0.0006  # between the landmarks of closed lips
HALF_WIDTH, TOP, BOTTOM = 0.072, 0.1, -0.115  # of the outline, metres
OUTLINE = (10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)  # to the chin
OUTLINE_LEFT = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152)
EYE = (0.0315, 0.018)
RIGHT_EYE, LEFT_EYE = (33, 160, 159, 158, 133, 153, 145, 144), (263, 387, 386, 385, 362, 380, 374, 373)
MIDLINE = {151: 0.083, 9: 0.052, 8: 0.04, 168: 0.029, 6: 0.016, 197: 0.005, 5: -0.008, 4: -0.014, 2: -0.024}
# (right, left): (x, y) of the left one, metres
PAIRS = {
    (108, 337): (0.016, 0.084),
    (69, 299): (0.032, 0.076),
    (104, 333): (0.046, 0.066),
    (68, 298): (0.055, 0.054),
    (71, 301): (0.06, 0.046),
    (139, 368): (0.063, 0.036),
    (34, 264): (0.065, 0.024),
    (193, 417): (0.01, 0.03),
    (122, 351): (0.011, 0.012),
    (97, 326): (0.006, -0.026),
    (98, 327): (0.012, -0.022),
    (70, 300): (0.05, 0.038),
    (63, 293): (0.041, 0.042),
    (105, 334): (0.031, 0.043),
    (66, 296): (0.022, 0.041),
    (107, 336): (0.013, 0.038),
}


class State(NamedTuple):
    """A face in a picture.

    opening: metres between the lips. yaw, pitch, roll: rad, towards the viewer's right, upwards and clockwise. x, y:
    pixels by which the head is shifted to the right and down. size: pixels per metre. person: a number. faces: that
    are seen, 0 to 2.
    """

    opening: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    size: float = 530.0
    person: int = 0
    faces: int = 1


RANGES = State((0, 0.0223), *[(-1.115, 1.115)] * 3, *[(-111.5, 111.5)] * 2, (200, 1092), (0, 223), (0, 223))
DARK, BRIGHT = 16, 239  # levels of the ends of a range


def lip(u: np.ndarray, width: float, height: float) -> np.ndarray:
    """(N, 2): points of a line along the lips. u: from -1, the right corner, to 1. height: above its middle."""
    return np.stack([width * u, MOUTH_Y + height * (1 - u**2)], -1)


@cache
def layout() -> np.ndarray:
    """(478, 2): where the landmarks are in a front view of the face at rest, metres; x to the viewer's right, y up."""
    places = np.full((COUNT, 2), np.nan)
    u = np.linspace(-1, 1, 11)
    for line, width, height in (
        (OUTER_UPPER, OUTER_WIDTH, 0.008),
        (OUTER_LOWER, OUTER_WIDTH, -0.0105),
        (INNER_UPPER, INNER_WIDTH, PARTED / 2),
        (INNER_LOWER, INNER_WIDTH, -PARTED / 2),
    ):
        places[list(line)] = lip(u, width, height)
    angle = np.pi * np.arange(len(OUTLINE)) / (len(OUTLINE) - 1)
    middle, reach = (TOP + BOTTOM) / 2, (TOP - BOTTOM) / 2
    for side, line in ((-1, OUTLINE), (1, OUTLINE_LEFT)):
        places[list(line)] = np.stack([side * HALF_WIDTH * np.sin(angle), middle + reach * np.cos(angle)], -1)
    turn = np.pi * (1 - np.arange(8) / 4)  # from the outer corner of the right eye over its upper lid
    for side, eye in ((1, RIGHT_EYE), (-1, LEFT_EYE)):
        places[list(eye)] = side * np.array([-EYE[0], 0]) + np.stack(
            [side * 0.014 * np.cos(turn), 0.005 * np.sin(turn)], -1
        )
        places[list(eye), 1] += EYE[1]
    for index, y in MIDLINE.items():
        places[index] = 0, y
    for (right, left), (x, y) in PAIRS.items():
        places[right], places[left] = (-x, y), (x, y)
    for side, iris in ((-1, RIGHT_IRIS), (1, LEFT_IRIS)):
        ring = np.array([(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)]) * 0.005
        places[iris : iris + 5] = np.array([side * EYE[0], EYE[1]]) + ring
    missing = np.flatnonzero(np.isnan(places[:MESH_COUNT, 0]))
    places[missing] = filling(places[np.isfinite(places[:, 0])], len(missing))
    return places


def filling(taken: np.ndarray, count: int) -> np.ndarray:
    """(count, 2): places spread over the face, beside those that are taken and outside of eyes and mouth."""
    n = np.arange(2000)
    radius, angle = np.sqrt((n + 0.5) / len(n)), n * np.pi * (3 - 5**0.5)
    middle, reach = (TOP + BOTTOM) / 2, (TOP - BOTTOM) / 2
    places = np.stack([0.95 * HALF_WIDTH * radius * np.cos(angle), middle + 0.95 * reach * radius * np.sin(angle)], -1)
    x, y = places.T
    in_eye = ((np.abs(x) - EYE[0]) / 0.016) ** 2 + ((y - EYE[1]) / 0.007) ** 2 < 1
    in_mouth = (x / 0.03) ** 2 + ((y - MOUTH_Y + 0.001) / 0.013) ** 2 < 1
    distance, _ = KDTree(taken).query(places)
    places = places[~in_eye & ~in_mouth & (np.asarray(distance) > 0.0025)]
    return places[np.linspace(0, len(places) - 1, count).round().astype(int)]


@cache
def rest() -> np.ndarray:
    """(478, 3), metres: the face with closed lips; z towards the viewer, the lips' middle near 0."""
    x, y = layout().T
    z = 0.085 * np.sqrt((1 - (x / 0.09) ** 2 - ((y + 0.005) / 0.14) ** 2).clip(0.01))
    z += 0.024 * np.exp(-((x / 0.009) ** 2) - (((y + 0.014) / 0.018) ** 2))
    lips = np.exp(-((x / 0.024) ** 2) - ((y - MOUTH_Y) / 0.01) ** 2)
    return np.stack([x, y, z + 0.005 * lips - 0.08], -1)


@cache
def drop() -> np.ndarray:
    """(478,): how far each landmark goes down when the lips are opened by one metre."""
    x, y = layout().T
    share = ((MOUTH_Y - y) / 0.012).clip(0, 1) * 0.9 * np.exp(-((x / 0.06) ** 2))
    u = np.linspace(-1, 1, 11)
    for line, most in ((OUTER_UPPER, -0.1), (INNER_UPPER, -0.1), (OUTER_LOWER, 0.9), (INNER_LOWER, 0.9)):
        share[list(line)] = most * (1 - u**4)
    return share


def proportions(person: int) -> tuple[float, float, float]:
    """Width, height and depth of a person's face, in those of the first one's."""
    return 1 + 0.03 * (person % 3), 1 - 0.02 * (person % 4), 1.0


def vertices(state: State) -> np.ndarray:
    """(478, 3), metres: the landmarks of a person's face without a pose."""
    face = rest().copy()
    face[:, 1] -= state.opening * drop()
    return face * proportions(state.person)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3), for column vectors: a turn towards the viewer's right, after one upwards, after a clockwise one."""
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return turn @ nod @ tilt


def posed(state: State) -> np.ndarray:
    """(478, 3), metres: in front of the camera."""
    shift = np.array([state.x, -state.y, 0]) / state.size
    return vertices(state) @ rotation(state.yaw, state.pitch, state.roll).T + shift


def landmarks(state: State) -> np.ndarray:
    """(478, 3), pixels, as in `face_landmarker.Face`: y down, z away from the viewer."""
    return (SIDE - 1) / 2 * np.array([1, 1, 0]) + state.size * posed(state) * (1, -1, -1)


@cache
def triangles() -> np.ndarray:
    """(F, 3): of the first 468 landmarks, with normals towards the viewer. Eyes and mouth are open."""
    places = vertices(State(opening=0.02))[:MESH_COUNT, :2]
    corners = Delaunay(places).simplices  # counterclockwise
    for hole in (INNER_UPPER + INNER_LOWER, RIGHT_EYE, LEFT_EYE):
        corners = corners[~np.isin(corners, hole).all(1)]
    return corners.astype(np.int64)


def albedo() -> np.ndarray:
    """(468,): brighter on the viewer's right, with dark lips."""
    x = layout()[:MESH_COUNT, 0]
    skin = 0.5 + 2 * x
    lips = [i for line in (OUTER_UPPER, OUTER_LOWER, INNER_UPPER, INNER_LOWER) for i in line]
    skin[lips] -= 0.15
    return skin


def write_state(picture: np.ndarray, state: State) -> None:
    """Writes a state into the blocks at the top of a picture (H, W) uint8."""
    for n, (value, (low, high)) in enumerate(zip(state, RANGES)):
        level = DARK + (BRIGHT - DARK) * (value - low) / (high - low)
        picture[:BLOCK, n * BLOCK : (n + 1) * BLOCK] = round(float(np.clip(level, DARK, BRIGHT)))


def read_state(picture: np.ndarray) -> State:
    """The state in a picture (H, W)."""
    levels = [picture[2 : BLOCK - 2, n * BLOCK + 2 : (n + 1) * BLOCK - 2].mean() for n in range(len(State._fields))]
    values = [low + (level - DARK) / (BRIGHT - DARK) * (high - low) for level, (low, high) in zip(levels, RANGES)]
    return State(*values)._replace(person=round(values[7]), faces=round(values[8]))


def rounded(state: State) -> State:
    """The state as a picture tells it."""
    picture = np.zeros((BLOCK, SIDE), np.uint8)
    write_state(picture, state)
    return read_state(picture)


def pictures(states: list[State]) -> list[np.ndarray]:
    """Pictures (160, 160) uint8 of a face under the renderer's lights, on black; its mouth is dark."""
    camera = Camera(scale=2 / SIDE, image_size=SIDE)
    renderer = Renderer(torch.from_numpy(triangles()), camera, albedo=torch.from_numpy(albedo()).float())
    faces = np.stack([state.size * posed(state)[:MESH_COUNT] for state in states]).astype(np.float32)
    shown = (renderer(torch.from_numpy(faces)) * 255).round().byte().numpy()
    for picture, state in zip(shown, states):
        write_state(picture, state)
    return list(shown)


def seen(picture: np.ndarray) -> list[Face]:
    """The faces in a picture (H, W, 3), largest first: the second is beside the first, and 0.8 times as large."""
    state = read_state(picture[..., 0])
    faces = []
    for n in range(state.faces):
        one = state._replace(size=state.size * 0.8**n, x=state.x + 0.6 * SIDE * n)
        scores = np.zeros(len(BLENDSHAPES), np.float32)
        scores[BLENDSHAPES.index("jawOpen")] = min(1.0, state.opening / 0.03)
        pose = np.eye(4, dtype=np.float32)
        pose[:3, :3], pose[:3, 3] = rotation(one.yaw, one.pitch, one.roll), (0, 0, -50)
        faces.append(Face(landmarks(one).astype(np.float32), scores, pose))
    return faces
