"""The embedded face at rest: the procedural geometry of one average talking head.

Coordinates are in metres, x to the viewer's right, y up, z towards the viewer, with the origin in the middle of the
head. The mouth lies where VOCASET's camera looks. Every part is a grid of points (rows, columns, 3).
"""

import numpy as np

MOUTH_Y = -0.049  # height of the closed lips
EYE = np.array([0.0315, 0.018])  # centre of the eye opening (right of the picture)
COLUMNS = 64  # rays of the skin around the mouth, from the right corner over the upper lip
LIP_T = (0.0, 0.12, 0.35, 0.65, 0.88, 1.0)  # rings from the line where the lips meet (0) to the vermilion border (1)
CONTACT, BORDER = 2, 7  # ring numbers; rings 0 and 1 are the inside of the lips
SKIN_RINGS = 22


def bump(x, y, cx, cy, sx, sy):
    """Gaussian of height 1 at (cx, cy) with widths (sx, sy), mirrored to both sides of the face."""
    return np.exp(-(((np.abs(x) - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)


def ramp(value, start, end):
    """Smooth step: 0 below start, 1 above end."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _head(x, y):
    """Position of a point of the front view: 0 in the middle, 1 on the silhouette of the head."""
    half_width = 0.074 - 0.012 * ramp(-y, 0.0, 0.075) - 0.012 * ramp(-y, 0.06, 0.1)
    half_height = np.where(y > 0.01, 0.106, 0.113)
    return (np.abs(x) / half_width) ** 2.3 + (np.abs(y - 0.01) / half_height) ** np.where(y > 0.01, 2.7, 3.9)


def _skin_z(x, y, sockets=True):
    """Height field of the face without lips, metres: head, neck, then the features."""
    q = _head(x, y)
    head = 0.086 * np.sqrt(np.maximum(1 - q, 0)) - 0.1 * np.maximum(q - 1, 0)
    neck = 0.035 - 6.0 * x * x
    z = np.logaddexp(head / 0.004, neck / 0.004) * 0.004
    along = np.clip((0.026 - y) / 0.042, 0, 1)  # 0 at the root of the nose, 1 at its tip
    ridge = (0.005 + 0.018 * along**1.3) * ramp(y, -0.0265, -0.0165) * ramp(-y, -0.042, -0.018)
    width = 0.0065 + 0.0045 * along**2
    z = z + ridge * np.exp(-(np.abs(x / width) ** 2.2))
    z = z + 0.0085 * bump(x, y, 0.0122, -0.0195, 0.0050, 0.0050)  # wings of the nose
    z = z + 0.0045 * bump(x, y, 0.024, 0.0385, 0.021, 0.008)  # brow ridge
    z = z + 0.004 * bump(x, y, 0.041, -0.008, 0.018, 0.016)  # cheekbones
    z = z - 0.003 * bump(x, y, 0.05, -0.05, 0.014, 0.022)  # hollow of the cheeks
    z = z + 0.007 * bump(x, y, 0, MOUTH_Y - 0.002, 0.027, 0.021)  # the dental arches push the lips forward
    z = z - 0.0013 * bump(x, y, 0, -0.034, 0.0035, 0.007)  # philtrum
    fold = np.exp(-(((np.abs(x) - 0.021 - 0.35 * (-0.025 - y)) / 0.004) ** 2))  # from the nose to the mouth's corners
    z = z - 0.0016 * fold * ramp(y, -0.056, -0.04) * ramp(-y, 0.016, 0.026)
    z = z - 0.0032 * bump(x, y, 0, -0.068, 0.018, 0.0055)  # below the lower lip
    z = z + 0.0075 * bump(x, y, 0, -0.084, 0.017, 0.011)  # chin
    return z - (0.0045 * bump(x, y, EYE[0], EYE[1], 0.02, 0.012) if sockets else 0)


def _ball_z(dx, dy):
    """Height of the eyeball's front at an offset from its centre, metres."""
    front = _skin_z(EYE[0], EYE[1], sockets=False) - 0.0045
    return front - 0.018 + np.sqrt(np.maximum(0.018**2 - dx**2 - dy**2, 1e-6))


def columns() -> tuple[np.ndarray, np.ndarray]:
    """u: (C,), position along the mouth, 1 at its right corner, -1 at its left.

    side: (C,), 1 upper lip, -1 lower lip.
    """
    angle = 2 * np.pi * np.arange(COLUMNS) / COLUMNS
    half = np.minimum(angle, 2 * np.pi - angle)
    return 0.5 * np.cos(half) + 0.5 - half / np.pi, np.sign(np.round(np.sin(angle), 9))


def _skin():
    """(R, C, 3): inside of the lips, lips, face, back of the head."""
    u, side = columns()
    line = 0.0005 * np.cos(2 * np.pi * u) - 0.0008 * u**2
    upper = 0.0082 * (1 - np.abs(u) ** 1.5) - 0.0012 * np.exp(-((u / 0.11) ** 2)) + 0.0006 * (1 - u**2)
    height = np.where(side > 0, upper, 0.0102 * (1 - np.abs(u) ** 2.3))
    fullness = np.where(side > 0, 0.0036, 0.0048) * (1 - 0.9 * np.abs(u) ** 3)
    rings = []
    for t in LIP_T:
        x, y = (0.0245 + 0.0025 * t) * u, MOUTH_Y + line + t * side * height
        rings.append(np.stack([x, y, _skin_z(x, y) + 0.0006 + fullness * np.sin(np.pi * t**0.75)], -1))
    inside = [
        rings[0] + np.stack([-0.001 * u * back, side * 0.25 * height * back, np.full_like(u, -0.0018 * back)], -1)
        for back in (2.0, 0.8)
    ]
    border = rings[-1][:, :2]
    turn = 2 * np.pi * np.arange(COLUMNS) / COLUMNS
    direction = np.stack([np.cos(turn), np.sin(turn)], -1)
    reach = np.linspace(0.03, 0.25, 1101)[:, None, None]
    ray = np.array([0, MOUTH_Y]) + reach * direction
    x, y = ray[..., 0], ray[..., 1]
    inside_head = (_head(x, y) < 0.985) | ((np.abs(x) < 0.046) & (y < -0.03) & (y > -0.14))
    outline = np.take_along_axis(ray, np.argmin(inside_head, 0)[None, :, None], 0)[0]
    outline = np.roll(outline, -1, 0) * 0.25 + np.roll(outline, 0, 0) * 0.5 + np.roll(outline, 1, 0) * 0.25
    for t in np.arange(1, SKIN_RINGS + 1) / SKIN_RINGS:  # denser over the nose than over the chin
        xy = border + (t + 0.22 * (t**3 - t) * (1 + direction[:, 1:])) * (outline - border)
        rings.append(np.concatenate([xy, _skin_z(xy[:, 0], xy[:, 1])[:, None]], 1))
    rings.append(rings[-1] * np.array([1.0, 1.0, 0]) + np.array([0, 0, -0.04]))
    return np.stack(inside + rings)


def _eyelids():
    """(R, C, 3) around the right eye, from the lash line outward to the skin."""
    turn = 2 * np.pi * np.arange(36) / 36
    cos, sin = np.cos(turn), np.sin(turn)
    rings = []
    for grow, lift, skin in ((0, 0.6, 0), (0.1, 1.7, 0), (0.3, 1.4, 0.35), (0.55, 0.6, 0.75), (0.8, 0, 1)):
        dx = (0.0142 + 0.010 * grow) * cos
        dy = np.where(sin > 0, 0.0056 + 0.010 * grow, 0.0042 + 0.009 * grow) * np.sign(sin) * np.abs(sin) ** 1.15
        dy = dy + 0.0008 * cos  # the outer corner lies higher
        x, y = EYE[0] + dx, EYE[1] + dy
        rings.append(np.stack([x, y, (1 - skin) * _ball_z(dx, dy) + skin * _skin_z(x, y) + 1e-3 * lift], -1))
    return np.stack(rings)


def _eyeball():
    """(R, C, 3), from the edge of the white to the pupil's centre."""
    turn = 2 * np.pi * np.arange(20) / 20
    radius = np.array([0.0165, 0.012, 0.0064, 0.0060, 0.0042, 0.0029, 0.0026, 0.0001])[:, None]
    dx, dy = radius * np.cos(turn), radius * np.sin(turn) * np.where(radius > 0.01, 0.75, 1) + 0.0008
    return np.stack([EYE[0] + dx, EYE[1] + dy, _ball_z(dx, dy)], -1)


def _brow():
    """(3, 14, 3), from the nose outward, lower edge first."""
    along = np.linspace(0, 1, 14)
    x = 0.0125 + 0.037 * along
    y = 0.0368 + 0.0052 * np.sin(np.pi * along * 0.8) - 0.003 * along**2
    thick = 0.003 * (1 - 0.7 * along**2) * (0.55 + 0.45 * ramp(along, 0, 0.25))
    rows = [
        np.stack([x, y + k * thick, _skin_z(x, y + k * thick) + lift], -1)
        for k, lift in ((-1, 0.0014), (0, 0.0026), (1, 0.0014))
    ]
    return np.stack(rows)


def _nostril():
    """(2, 12, 3): a dark ellipse under the nose."""
    turn = 2 * np.pi * np.arange(12) / 12
    rows = []
    for radius in (1.0, 0.02):
        dx, dy = 0.0033 * radius * np.cos(turn), 0.0016 * radius * np.sin(turn)
        x, y = 0.0066 + dx, -0.0243 + dy - 0.25 * dx
        rows.append(np.stack([x, y, np.full(12, _skin_z(0.0066, -0.0225) + 0.001) - 0.3 * (-0.0225 - y)], -1))
    return np.stack(rows)


def _ear():
    """(4, 12, 3): a flap at the right side of the head, from the rim inward."""
    turn = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 12)
    rows = [
        np.stack(
            [0.069 + 0.017 * r * np.cos(turn), 0.004 + 0.031 * r * np.sin(turn) + 0.002 * np.cos(turn), np.full(12, z)],
            -1,
        )
        for r, z in ((1.0, -0.012), (0.88, -0.002), (0.62, -0.012), (0.1, -0.004))
    ]
    return np.stack(rows)


def _teeth(front, edge, root, wide):
    """(4, 29, 3): an arc of teeth and gum, from the edge.

    front: z of the incisors. edge, root: y from the lips' line.
    """
    arc = np.linspace(-1, 1, 29)
    x = wide * arc * (1 - 0.08 * np.abs(arc))
    notch = 0.0007 * (np.arange(29) % 2 == 0)  # gaps between the teeth
    z = front - 24 * x**2
    upward = np.sign(root - edge)
    crown = edge + upward * 0.0066
    rows = [(edge, -0.0006), (edge + upward * 0.002, 0), (crown, -0.001), (root, -0.004)]
    curve = MOUTH_Y + upward * 0.0006 * arc**2
    return np.stack(
        [np.stack([x, curve + y + upward * notch * (y == edge), z + dz - 0.6 * notch], -1) for y, dz in rows]
    )


# z from the tip and y from the lips' line, millimetres: from below the tip, over it, to the back
TONGUE_PROFILE = (
    (-0.5, -8.0),
    (1.0, -6.4),
    (1.5, -5.2),
    (0.8, -4.2),
    (-2, -3.3),
    (-8, -1.8),
    (-15, -0.3),
    (-22, -0.5),
    (-27, -2.0),
)


def _tongue(tip):
    """(9, 9, 3). tip: z of the tongue's tip, metres."""
    across = np.linspace(-1, 1, 9)
    half_width = np.array([8, 9, 9.5, 10, 12, 15, 17, 17, 15])[:, None] * 1e-3
    z, y = 1e-3 * np.array(TONGUE_PROFILE).T[..., None]
    rounding = 0.007 * across**2 * np.array([1, 1, 1, 1, 0.8, 0.4, 0, 0, 0])[:, None]
    groove = 0.0006 * np.exp(-((across / 0.15) ** 2)) + 0.0025 * across**4
    top = np.array([-0.5, 0, 0, 1, 1, 1, 1, 1, 1])[:, None]
    return np.stack([half_width * across, MOUTH_Y + y - top * groove, tip + z - rounding], -1)


def grid_faces(grid: np.ndarray, closed: bool) -> np.ndarray:
    """(F, 3): triangles of a grid of points (rows, columns, 3) that face the viewer, mirrored left and right.

    closed: the last column joins the first.
    """
    rows, columns = grid.shape[:2]
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a, b = (r * columns + c).ravel(), (r * columns + (c + 1) % columns).ravel()
    d, e = a + columns, b + columns
    points = grid.reshape(-1, 3)
    falling = np.stack([a, d, e, a, e, b], -1).reshape(-1, 6)
    rising = np.stack([a, d, b, b, d, e], -1).reshape(-1, 6)
    turn = np.cross(points[e] - points[a], points[b] - points[d])[:, 2].sum() < 0
    faces = np.where((points[[a, b, d, e], 0].sum(0) > 0)[:, None], falling, rising).reshape(-1, 3)
    return faces[:, ::-1] if turn else faces


def sew(skin: np.ndarray, lids: np.ndarray, first_lid: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the skin's faces under one eye out and joins the hole to the outermost ring of its eyelids.

    skin: (R, C, 3). lids: (R', C', 3). first_lid: number of the first vertex of the lids. Returns the mask (F,) of the
    skin's faces to keep, and the faces (F', 3) of the seam.
    """
    points, ring = skin.reshape(-1, 3), lids[-1]
    centre = ring.mean(0)
    reach = np.abs(ring - centre).max(0)[:2] + 0.0025
    faces = grid_faces(skin, True)
    cut = ((((points - centre)[:, :2] / reach) ** 2).sum(1) < 1)[faces].any(1)
    steps = {(a, b) for face in faces[cut] for a, b in zip(face, np.roll(face, -1))}
    after = {a: b for a, b in steps if (b, a) not in steps}  # the rim of the hole, counter-clockwise
    rim = [min(after, key=lambda v: np.arctan2(*(points[v] - centre)[1::-1]))]
    while after[rim[-1]] != rim[0]:
        rim.append(after[rim[-1]])

    def around(at, index):
        """Pairs of angle and vertex along a closed line that starts at the left."""
        angle = np.unwrap(np.arctan2(at[:, 1] - centre[1], at[:, 0] - centre[0]))
        return [*zip(angle, index), (angle[0] + 2 * np.pi, index[0])]

    turn = np.argsort(np.arctan2(ring[:, 1] - centre[1], ring[:, 0] - centre[0]))
    outer, inner = around(points[rim], rim), around(ring[turn], first_lid + (len(lids) - 1) * len(ring) + turn)
    seam, i, j = [], 0, 0
    while i + 1 < len(outer) or j + 1 < len(inner):
        step_out = j + 1 == len(inner) or (i + 1 < len(outer) and outer[i + 1][0] < inner[j + 1][0])
        seam.append((inner[j][1], outer[i][1], outer[i + 1][1] if step_out else inner[j + 1][1]))
        i, j = i + step_out, j + (not step_out)
    return ~cut, np.array(seam)


def parts() -> dict[str, tuple[np.ndarray, bool]]:
    """Name -> grid of points and whether it is closed, in vertex order."""
    skin = _skin()
    lips_z = skin[CONTACT, COLUMNS // 4, 2]
    throat = np.stack(
        np.meshgrid(
            np.linspace(-0.032, 0.032, 3), MOUTH_Y + np.linspace(-0.032, 0.024, 3), [lips_z - 0.055], indexing="xy"
        ),
        -1,
    )[:, :, 0]
    grids = {
        "skin": (skin, True),
        "upper_teeth": (_teeth(lips_z - 0.005, edge=-0.0022, root=0.011, wide=0.0235), False),
        "lower_teeth": (_teeth(lips_z - 0.0085, edge=-0.0014, root=-0.0100, wide=0.0210), False),
        "tongue": (_tongue(lips_z - 0.0115), False),
        "throat": (throat, False),
    }
    for name, points, closed in (
        ("eyelids", _eyelids(), True),
        ("eyeball", _eyeball(), True),
        ("brow", _brow(), False),
        ("ear", _ear(), False),
        ("nostril", _nostril(), True),
    ):
        grids[f"{name}_right"] = (points, closed)
        grids[f"{name}_left"] = (points * np.array([-1.0, 1, 1]), closed)
    return grids
