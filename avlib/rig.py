"""The embedded face: one procedural talking head, a continuous space of identities, linear articulation shapes.

Frame: metres, x to the viewer's right, y up, z toward the viewer, origin in the middle of the head; the mouth lies where
the VOCASET camera looks. Every identity shares the topology. `avlib.articulation` turns phonemes into shape weights.
"""
from dataclasses import dataclass

import numpy as np
import torch

from .articulation import SHAPES

MOUTH_Y = -0.049  # height of the closed lips
EYE = np.array([0.0315, 0.018])  # centre of the eye opening (right of the picture)
COLUMNS = 64  # rays of the skin around the mouth, from the right corner over the upper lip
LIP_T = (0.0, 0.12, 0.35, 0.65, 0.88, 1.0)  # rings from the line where the lips meet (0) to the vermilion border (1)
CONTACT, BORDER = 2, 7  # ring numbers; rings 0 and 1 are the inside of the lips
SKIN_RINGS = 22
HINGE = np.array([0.012, -0.005])  # y, z of the jaw's axis
JAW_ANGLE = 0.21  # rad at weight 1: the lower lip drops about 20 mm

SUBJECTS = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gina", "Hugo", "Iris", "Jon", "Kim", "Leo")


@dataclass(frozen=True)
class Identity:
    """One person. template: (V, 3), metres; shapes: (K, V, 3), displacement per unit weight; albedo: (V,), 0 to 1."""

    template: torch.Tensor
    shapes: torch.Tensor
    albedo: torch.Tensor


def _bump(x, y, cx, cy, sx, sy):
    """Gaussian hill of height 1, mirrored to both sides of the face."""
    return np.exp(-(((np.abs(x) - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)


def _ramp(value, start, end):
    """0 before start, 1 after end, smooth between."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _head(x, y):
    """How far out a point of the front view lies: 0 in the middle, 1 on the silhouette of the head."""
    half_width = 0.074 - 0.012 * _ramp(-y, 0.0, 0.075) - 0.012 * _ramp(-y, 0.06, 0.1)
    half_height = np.where(y > 0.01, 0.106, 0.113)
    return (np.abs(x) / half_width) ** 2.3 + (np.abs(y - 0.01) / half_height) ** np.where(y > 0.01, 2.7, 3.9)


def _skin_z(x, y, sockets=True):
    """Height field of the face without lips: head, neck, then the features, metres."""
    q = _head(x, y)
    head = 0.086 * np.sqrt(np.maximum(1 - q, 0)) - 0.1 * np.maximum(q - 1, 0)
    neck = 0.035 - 6.0 * x * x
    z = np.logaddexp(head / 0.004, neck / 0.004) * 0.004
    along = np.clip((0.026 - y) / 0.042, 0, 1)  # 0 at the root of the nose, 1 at its tip
    ridge = (0.005 + 0.018 * along**1.3) * _ramp(y, -0.0265, -0.0165) * _ramp(-y, -0.042, -0.018)
    width = 0.0065 + 0.0045 * along**2
    z = z + ridge * np.exp(-np.abs(x / width) ** 2.2)
    z = z + 0.0085 * _bump(x, y, 0.0122, -0.0195, 0.0050, 0.0050)  # wings of the nose
    z = z + 0.0045 * _bump(x, y, 0.024, 0.0385, 0.021, 0.008)  # brow ridge
    z = z + 0.004 * _bump(x, y, 0.041, -0.008, 0.018, 0.016)  # cheekbones
    z = z - 0.003 * _bump(x, y, 0.05, -0.05, 0.014, 0.022)  # hollow of the cheeks
    z = z + 0.007 * _bump(x, y, 0, MOUTH_Y - 0.002, 0.027, 0.021)  # the dental arches push the lips forward
    z = z - 0.0013 * _bump(x, y, 0, -0.034, 0.0035, 0.007)  # philtrum
    z = z - 0.0016 * np.exp(-(((np.abs(x) - 0.021 - 0.35 * (-0.025 - y)) / 0.004) ** 2)) * _ramp(y, -0.056, -0.04) \
        * _ramp(-y, 0.016, 0.026)  # nasolabial fold
    z = z - 0.0032 * _bump(x, y, 0, -0.068, 0.018, 0.0055)  # below the lower lip
    z = z + 0.0075 * _bump(x, y, 0, -0.084, 0.017, 0.011)  # chin
    socket = ((np.abs(x) - EYE[0]) / 0.0205) ** 2 + ((y - EYE[1]) / 0.0125) ** 2
    return z - (0.014 * np.exp(-(socket**2)) if sockets else 0)


def _ball_z(dx, dy):
    """Height of the eyeball's front at an offset from its centre."""
    front = _skin_z(EYE[0], EYE[1], sockets=False) - 0.0045
    return front - 0.018 + np.sqrt(np.maximum(0.018**2 - dx**2 - dy**2, 1e-6))


def _columns():
    """u: (C,), position along the mouth, 1 at its right corner and -1 at the left; side: (C,), 1 upper, -1 lower."""
    angle = 2 * np.pi * np.arange(COLUMNS) / COLUMNS
    half = np.minimum(angle, 2 * np.pi - angle)
    return 0.5 * np.cos(half) + 0.5 - half / np.pi, np.sign(np.round(np.sin(angle), 9))


def _skin():
    """Rings x columns x 3: inside of the lips, lips, face, back of the head."""
    u, side = _columns()
    line = 0.0005 * np.cos(2 * np.pi * u) - 0.0008 * u**2
    upper = 0.0082 * (1 - np.abs(u) ** 1.5) - 0.0012 * np.exp(-((u / 0.11) ** 2)) + 0.0006 * (1 - u**2)
    height = np.where(side > 0, upper, 0.0102 * (1 - np.abs(u) ** 2.3))
    fullness = np.where(side > 0, 0.0036, 0.0048) * (1 - 0.9 * np.abs(u) ** 3)
    rings = []
    for t in LIP_T:
        x, y = (0.0245 + 0.0025 * t) * u, MOUTH_Y + line + t * side * height
        rings.append(np.stack([x, y, _skin_z(x, y) + 0.0006 + fullness * np.sin(np.pi * t**0.75)], -1))
    inside = [rings[0] + np.stack([-0.001 * u * back, side * 0.25 * height * back, np.full_like(u, -0.0018 * back)], -1)
              for back in (2.0, 0.8)]
    border = rings[-1][:, :2]
    turn = np.pi * np.arange(COLUMNS) * 2 / COLUMNS
    way = np.stack([np.cos(turn), np.sin(turn)], -1)
    reach = np.linspace(0.03, 0.25, 1101)[:, None, None]
    ray = np.array([0, MOUTH_Y]) + reach * way
    x, y = ray[..., 0], ray[..., 1]
    inside_head = (_head(x, y) < 0.985) | ((np.abs(x) < 0.046) & (y < -0.03) & (y > -0.14))
    outline = np.take_along_axis(ray, np.argmin(inside_head, 0)[None, :, None], 0)[0]
    outline = sum(np.roll(outline, k, 0) * w for k, w in ((-1, 0.25), (0, 0.5), (1, 0.25)))
    t = np.arange(1, SKIN_RINGS + 1) / SKIN_RINGS
    for s in 0.55 * t + 0.45 * t**3:  # denser near the mouth and nose
        xy = border + s * (outline - border)
        rings.append(np.concatenate([xy, _skin_z(xy[:, 0], xy[:, 1])[:, None]], 1))
    rings.append(rings[-1] * np.array([1.0, 1.0, 0]) + np.array([0, 0, -0.04]))
    return np.stack(inside + rings)


def _eyelids():
    """Rings x columns x 3 around the right eye, from the lash line outward; the outer edge floats on the skin."""
    turn = 2 * np.pi * np.arange(36) / 36
    cos, sin = np.cos(turn), np.sin(turn)
    rings = []
    for grow, lift, skin in ((0, 0.6, 0), (0.1, 1.7, 0), (0.3, 1.8, 0.2), (0.55, 1.3, 0.6), (0.85, 1.0, 0.95), (1.1, 1.0, 1)):
        dx = (0.0142 + 0.010 * grow) * cos
        dy = np.where(sin > 0, 0.0056 + 0.010 * grow, 0.0042 + 0.009 * grow) * np.sign(sin) * np.abs(sin) ** 1.15
        dy = dy + 0.0008 * cos  # the outer corner lies higher
        x, y = EYE[0] + dx, EYE[1] + dy
        rings.append(np.stack([x, y, (1 - skin) * _ball_z(dx, dy) + skin * _skin_z(x, y) + 1e-3 * lift], -1))
    return np.stack(rings)


def _eyeball():
    """Rings x columns x 3, from the edge of the white to the pupil's centre."""
    turn = 2 * np.pi * np.arange(20) / 20
    radius = np.array([0.0165, 0.012, 0.0064, 0.0060, 0.0042, 0.0029, 0.0026, 0.0001])[:, None]
    dx, dy = radius * np.cos(turn), radius * np.sin(turn) * np.where(radius > 0.01, 0.75, 1) + 0.0008
    return np.stack([EYE[0] + dx, EYE[1] + dy, _ball_z(dx, dy)], -1)


def _brow():
    """3 x 14 x 3, from the nose outward, lower edge first."""
    along = np.linspace(0, 1, 14)
    x = 0.0125 + 0.037 * along
    y = 0.0355 + 0.0075 * np.sin(np.pi * np.minimum(along * 0.78, 1)) - 0.004 * along**2
    thick = 0.0032 * (1 - 0.7 * along**2)
    rows = [np.stack([x, y + k * thick, _skin_z(x, y + k * thick) + lift], -1)
            for k, lift in ((-1, 0.0014), (0, 0.0026), (1, 0.0014))]
    return np.stack(rows)


def _nostril():
    """2 x 12 x 3, a dark ellipse under the nose."""
    turn = 2 * np.pi * np.arange(12) / 12
    rows = []
    for radius in (1.0, 0.02):
        dx, dy = 0.0033 * radius * np.cos(turn), 0.0016 * radius * np.sin(turn)
        x, y = 0.0066 + dx, -0.0243 + dy - 0.25 * dx
        rows.append(np.stack([x, y, np.full(12, _skin_z(0.0066, -0.0225) + 0.001) - 0.3 * (-0.0225 - y)], -1))
    return np.stack(rows)


def _ear():
    """4 x 12 x 3 flap at the right side of the head, from the rim inward."""
    turn = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 12)
    rows = [np.stack([0.069 + 0.017 * r * np.cos(turn), 0.004 + 0.031 * r * np.sin(turn) + 0.002 * np.cos(turn),
                      np.full(12, z)], -1) for r, z in ((1.0, -0.012), (0.88, -0.002), (0.62, -0.012), (0.1, -0.004))]
    return np.stack(rows)


def _teeth(front, edge, root, wide):
    """5 x 29 x 3 arc of teeth and gum, lower row first. front: z of the incisors; edge, root: y, from the lips' line."""
    arc = np.linspace(-1, 1, 29)
    x = wide * arc * (1 - 0.08 * np.abs(arc))
    notch = 0.0007 * (np.arange(29) % 2 == 0)  # gaps between the teeth
    z = front - 24 * x**2
    way = np.sign(root - edge)
    crown = edge + way * 0.0066
    rows = [(edge + way * 0.001, -0.0025), (edge, -0.0006), (edge + way * 0.002, 0), (crown, -0.001), (root, -0.004)]
    grid = np.stack([np.stack([x, MOUTH_Y + y + way * (notch if k < 2 else 0) + 0.0006 * arc**2 * way, z + dz - 0.0004 * (notch > 0)], -1)
                     for k, (y, dz) in enumerate(rows)])
    return grid[::-1] if way < 0 else grid


TONGUE_PROFILE = np.array([[-0.5, -8.0], [1.0, -6.4], [1.5, -5.2], [0.8, -4.2], [-2, -3.3], [-8, -1.8], [-15, -0.3], [-22, -0.5],
                           [-27, -2.0]]) * 1e-3  # z from the tip, y from the lips' line; from below the tip over it backward


def _tongue(tip):
    """9 x 13 x 3. tip: z of the tongue's tip, metres."""
    across = np.linspace(-1, 1, 13)
    half_width = np.array([8, 9, 9.5, 10, 12, 15, 17, 17, 15])[:, None] * 1e-3
    z, y = TONGUE_PROFILE[:, :1], TONGUE_PROFILE[:, 1:]
    rounding = 0.007 * across**2 * np.array([1, 1, 1, 1, 0.8, 0.4, 0, 0, 0])[:, None]
    groove = 0.0006 * np.exp(-((across / 0.15) ** 2)) - 0.0025 * across**4
    top = np.array([-0.5, 0, 0, 1, 1, 1, 1, 1, 1])[:, None]
    return np.stack([half_width * across, MOUTH_Y + y + top * np.minimum(groove, 0) - 0.0006 * top * np.exp(-((across / 0.15) ** 2)),
                     tip + z - rounding], -1)


def _grid_faces(grid, closed):
    """(F, 3) triangles of a grid of points (rows, columns, 3) facing the viewer, split alike on both sides of the face."""
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


def _parts():
    """name -> (grid of points, closed?), in vertex order."""
    skin = _skin()
    lips_z = skin[CONTACT, COLUMNS // 4, 2]
    mirror = np.array([-1.0, 1, 1])
    throat = np.stack(np.meshgrid(np.linspace(-0.032, 0.032, 5), MOUTH_Y + np.linspace(-0.032, 0.024, 5),
                                  [lips_z - 0.055], indexing="xy"), -1)[:, :, 0]
    parts = {
        "skin": (skin, True),
        "upper_teeth": (_teeth(lips_z - 0.005, edge=-0.0022, root=0.011, wide=0.0235), False),
        "lower_teeth": (_teeth(lips_z - 0.0085, edge=-0.0014, root=-0.0100, wide=0.0210), False),
        "tongue": (_tongue(lips_z - 0.0115), False),
        "throat": (throat, False),
    }
    for name, points, closed in (("eyelids", _eyelids(), True), ("eyeball", _eyeball(), True), ("nostril", _nostril(), True), ("brow", _brow(), False),
                                 ("ear", _ear(), False)):
        parts[f"{name}_right"] = (points, closed)
        parts[f"{name}_left"] = (points * mirror, closed)
    return parts


def _modes(points, lip):
    """(M, V, 3), the identity space: one standard deviation of each trait. lip: (V,), signed share in the lips' height."""
    x, y = points[:, 0], points[:, 1]
    none = np.zeros_like(x)
    out = np.sign(x)
    eye = _bump(x, y, EYE[0], EYE[1], 0.019, 0.015)
    mouth = _bump(x, y, 0, MOUTH_Y, 0.036, 0.02)
    nose = _bump(x, y, 0, -0.019, 0.02, 0.012)
    upper, lower = np.maximum(lip, 0), np.maximum(-lip, 0)
    return np.stack([np.stack(np.broadcast_arrays(*mode), -1) for mode in (
        (0.05 * x, none, none),  # width of the head
        (none, 0.0035 * _ramp(y, -0.035, 0.02) + 0.004 * _ramp(y, 0.045, 0.1), none),  # length above the mouth
        (none, -0.0045 * _ramp(-y, 0.058, 0.09), none),  # length of the chin
        (0.09 * x * _ramp(-y, 0.005, 0.07) * _ramp(np.abs(x), 0.02, 0.045), none, none),  # jaw
        (none, none, 0.0035 * _bump(x, y, 0, -0.084, 0.02, 0.013)),  # chin forward
        (none, none, 0.0035 * _bump(x, y, 0.045, -0.04, 0.018, 0.025)),  # full cheeks
        (none, none, 0.0025 * _bump(x, y, 0.043, -0.006, 0.016, 0.012)),  # cheekbones
        (none, -0.0022 * nose, none),  # length of the nose
        (0.16 * x * nose, none, none),  # width of the nose
        (none, none, 0.0032 * _bump(x, y, 0, -0.016, 0.011, 0.014)),  # tip of the nose
        (none, none, 0.0025 * _bump(x, y, 0, 0.012, 0.008, 0.018)),  # bridge of the nose
        (0.09 * x * mouth, none, none),  # width of the mouth
        (none, 0.0017 * upper, 0.0009 * upper),  # upper lip
        (none, -0.0020 * lower, 0.0010 * lower),  # lower lip
        (0.11 * (x - out * EYE[0]) * eye, 0.13 * (y - EYE[1]) * eye, none),  # size of the eyes
        (0.0018 * out * _bump(x, y, EYE[0], EYE[1], 0.02, 0.03), none, none),  # distance of the eyes
        (none, 0.11 * (np.abs(x) - EYE[0]) * eye, none),  # slant of the eyes
        (none, 0.0020 * _bump(x, y, 0.03, 0.041, 0.026, 0.0085), none),  # height of the brows
        (none, none, 0.0022 * _bump(x, y, 0.024, 0.038, 0.022, 0.008)),  # brow ridge
    )])


class Rig:
    """The embedded face.

    faces: (F, 3), long, wound so that normals face the viewer.
    regions: vertex indices, long: "lip" (surface of the lips), "upper_face" (brows, eyes, forehead), "mouth" (everything a
    lip crop may show), "upper_lip_middle" and "lower_lip_middle" (one vertex each, where the lips meet).
    parts: name -> slice of the vertices. shape_names: the K articulation shapes. subjects: the twelve named people.
    """

    shape_names = SHAPES
    subjects = SUBJECTS

    def __init__(self):
        parts = _parts()
        self.parts, faces, first = {}, [], 0
        for name, (grid, closed) in parts.items():
            faces.append(first + _grid_faces(grid, closed))
            self.parts[name] = slice(first, first + grid.shape[0] * grid.shape[1])
            first = self.parts[name].stop
        self.faces = torch.from_numpy(np.concatenate(faces).copy())
        self._mean = np.concatenate([grid.reshape(-1, 3) for grid, _ in parts.values()])
        self._rings = parts["skin"][0].shape[0]
        ring, column = np.divmod(np.arange(self._rings * COLUMNS), COLUMNS)
        self._u, self._side = _columns()
        from_border = self._skin(self._mean)[..., :2] - self._skin(self._mean)[BORDER, :, :2]
        self._away = np.linalg.norm(from_border, axis=-1) * (np.arange(self._rings)[:, None] > BORDER)  # metres
        share = np.interp(np.arange(self._rings), range(CONTACT, BORDER + 1), LIP_T)[:, None]
        lip = np.zeros(first)
        lip[self.parts["skin"]] = (self._side * share * np.exp(-((self._away / 0.006) ** 2))).ravel() * (ring >= CONTACT)
        self._basis = _modes(self._mean, lip)
        x, y = self._mean[:, 0], self._mean[:, 1]
        skin_part = np.arange(first) < self.parts["skin"].stop
        inside = np.zeros(first, bool)
        inside[self.parts["upper_teeth"].start : self.parts["throat"].stop] = True
        crop = skin_part & (np.abs(x) < 0.058) & (np.abs(y - MOUTH_Y) < 0.058)
        lip_ring = np.concatenate([ring, np.zeros(first - len(ring))])
        where = {
            "lip": skin_part & (lip_ring >= CONTACT) & (lip_ring <= BORDER),
            "upper_face": ~inside & (y > 0.008) & (np.abs(x) < 0.062) & (y < 0.075),
            "mouth": crop | inside,
        }
        self.regions = {name: torch.from_numpy(np.flatnonzero(mask)) for name, mask in where.items()}
        self.regions["upper_lip_middle"] = torch.tensor([CONTACT * COLUMNS + COLUMNS // 4])
        self.regions["lower_lip_middle"] = torch.tensor([CONTACT * COLUMNS + 3 * COLUMNS // 4])

    def _skin(self, points):
        return points[self.parts["skin"]].reshape(self._rings, COLUMNS, 3)

    def identity(self, subject: int | None = None, generator: torch.Generator | None = None) -> Identity:
        """One of the twelve subjects, or a random person drawn from the generator.

        With both, the subject's geometry under a random complexion.
        """
        if subject is None and generator is None:
            raise ValueError("identity: expected a subject or a generator, got neither")
        if subject is not None and not 0 <= subject < len(SUBJECTS):
            raise ValueError(f"identity: expected a subject from 0 to {len(SUBJECTS) - 1}, got {subject}")
        own = generator if subject is None else torch.Generator().manual_seed(7000 + subject)
        traits = torch.randn(len(self._basis), generator=own).clamp(-1.8, 1.8).double().numpy()
        template = self._mean + np.tensordot(traits, self._basis, 1)
        shapes = self._shapes(template)
        albedo = self._albedo(generator if generator is not None else own)
        return Identity(*(torch.from_numpy(array.astype(np.float32)) for array in (template, shapes, albedo)))

    def motion(self, identity: Identity, weights: torch.Tensor) -> torch.Tensor:
        """Linear blendshapes. weights: (T, K) -> vertices: (T, V, 3), metres."""
        if weights.ndim != 2 or weights.shape[1] != len(SHAPES):
            raise ValueError(f"motion: expected weights (T, {len(SHAPES)}), got {tuple(weights.shape)}")
        shapes = identity.shapes.to(weights)
        return identity.template.to(weights) + (weights @ shapes.flatten(1)).unflatten(1, (-1, 3))

    def _albedo(self, generator):
        """(V,): a random complexion."""
        draw = torch.randn(40, generator=generator).double().numpy()
        tone, lips, brows, hair, iris, teeth, beard = draw[:7]
        x, y = self._mean[:, 0], self._mean[:, 1]
        skin = np.clip(0.60 + 0.11 * tone, 0.36, 0.82)
        albedo = np.full(len(x), skin)
        for k, (fx, fy, phase) in enumerate(draw[7:40].reshape(-1, 3)):  # blotches, coarse to fine
            albedo += skin * 0.012 * np.cos(2 * np.pi * (fx * x + fy * y) / (0.02 + 0.01 * (k % 4)) + 6 * phase)
        albedo *= 1 - np.clip(0.14 * beard - 0.05, 0, 0.3) * _ramp(-y, 0.028, 0.04) * _ramp(-y, -0.125, -0.095)
        hairline = _ramp(y - 0.066 + 9 * x**2, 0.0, 0.012)
        hair_tone = np.clip(0.16 + 0.12 * hair, 0.05, 0.45)
        grid = albedo[self.parts["skin"]].reshape(self._rings, COLUMNS)
        grid[:] = grid + (hair_tone - grid) * hairline[self.parts["skin"]].reshape(grid.shape)
        lip_tone = skin * np.clip(0.62 + 0.06 * lips, 0.5, 0.78)
        red = (1 - np.abs(self._u) ** 14) * np.array([1, 1, 1, 1, 1, 0.5])[:, None]
        grid[CONTACT : BORDER + 1] += (lip_tone - grid[CONTACT : BORDER + 1]) * red
        grid[:CONTACT + 1] = lip_tone * np.array([[0.3], [0.4], [0.6]])
        albedo[self.parts["throat"]] = 0.03
        gum = np.array([0.6, 1, 1, 1, 0.55])
        for name, rows in (("upper_teeth", gum), ("lower_teeth", gum * 0.93)):
            arc = np.linspace(-1, 1, 29)
            shade = np.clip(0.93 + 0.04 * teeth, 0.8, 1) * (1 - 0.5 * arc**2) * np.where(np.arange(29) % 2, 1, 0.86)
            albedo[self.parts[name]] = np.outer(rows, shade).ravel()
        depth = np.interp(np.arange(9), [0, 2, 4, 8], [0.40, 0.60, 0.50, 0.10])
        albedo[self.parts["tongue"]] = np.repeat(depth, 13)
        for side in ("right", "left"):
            albedo[self.parts[f"nostril_{side}"]] = 0.08
            albedo[self.parts[f"ear_{side}"]] *= 0.8
            lids = albedo[self.parts[f"eyelids_{side}"]].reshape(6, -1)
            lids[0], lids[1] = 0.12, lids[1] * 0.8
            rings = np.array([0.75, 0.88, 0.88, 0.12, 1, 1, 0.02, 0.02])
            rings[4:6] = np.clip(0.3 + 0.1 * iris, 0.1, 0.55)
            albedo[self.parts[f"eyeball_{side}"]] = np.repeat(rings, 20)
            albedo[self.parts[f"brow_{side}"]] = np.clip(0.17 + 0.06 * brows + 0.3 * (hair_tone - 0.16), 0.06, 0.35)
        return np.clip(albedo, 0.02, 1)

    def _shapes(self, template):
        """(K, V, 3): what each articulation shape moves at weight 1, metres."""
        shapes = {name: np.zeros_like(template) for name in SHAPES}
        skin = self._skin(template)
        x, y, u, side = skin[..., 0], skin[..., 1], self._u, self._side
        middle = 1 - u**2
        upper, lower = side > 0, side < 0
        share = np.interp(np.arange(self._rings), range(CONTACT, BORDER + 1), LIP_T)[:, None]
        height = y - y[CONTACT]  # of each lip point over the line where the lips meet
        lips = np.arange(self._rings)[:, None] <= BORDER

        def lip_move(dx=0.0, dy=0.0, dz=0.0, reach=0.012):
            """Moves the lips; the skin around them follows their border and fades with distance."""
            move = np.stack(np.broadcast_arrays(dx, dy, dz, x)[:3], -1)
            move = np.where(lips[..., None], move, move[BORDER])
            return (move * np.exp(-((self._away / reach) ** 2))[..., None]).reshape(-1, 3)

        def jaw_turn(points, share):
            turn = np.stack([0 * points[..., 0], -(points[..., 2] - HINGE[1]), points[..., 1] - HINGE[0]], -1)
            return JAW_ANGLE * share[..., None] * turn

        side_lip = 0.45 + 0.52 * (1 - np.abs(u) ** 2.6)
        chin = _ramp(y, -0.138, -0.088) * (1 - _ramp(np.abs(x), 0.025, 0.075))
        near = np.exp(-((self._away / 0.03) ** 2))
        blend = 1 - np.abs(u) ** 2.6
        jaw = np.where(lower, side_lip * (blend * chin + (1 - blend) * near), 0.45 * np.abs(u) ** 5 * near)
        skin_jaw = jaw_turn(skin, jaw)
        shapes["jaw_open"][self.parts["skin"]] = skin_jaw.reshape(-1, 3)
        for part in ("lower_teeth", "tongue"):
            points = template[self.parts[part]]
            shapes["jaw_open"][self.parts[part]] = jaw_turn(points, np.ones(len(points)))

        opposite = -np.arange(COLUMNS) % COLUMNS
        gap = np.where(lower, 1, -1)[:, None] * (skin_jaw[CONTACT] - skin_jaw[CONTACT, opposite])
        close = np.where(lower, -0.7, 0.3)[:, None] * gap * (side != 0)[:, None]
        moves = {
            # exactly undoes jaw_open where the lips meet
            "lip_close": lip_move(*np.moveaxis(close[None] * (1 - 0.25 * share[..., None]), -1, 0)),
            "lip_press": lip_move(0, -0.45 * height, -0.002 * (1 - share) * np.ones_like(x), 0.008),
            "lip_tuck": lip_move(0, np.where(upper, 0.0045 - 0.001 * share, 0.0015 - 0.0002 * share) * middle,
                                 np.where(upper, 0, -0.0036 * (1 - 0.5 * share)) * middle, 0.011),
            "pucker": lip_move(-(0.46 - 0.08 * share) * x, 0.12 * height,
                               (0.0065 + 0.003 * u**2) * (1 - 0.15 * share), 0.017),
            "funnel": lip_move(-0.24 * x, side * (0.0045 - 0.0004 * share) * middle, 0.0045 + 0.003 * u**2, 0.014),
            "spread": lip_move(0.2 * x, 0.002 * u**2 - 0.16 * height, -0.0045 * u**2, 0.022),
            "upper_raise": lip_move(0, np.where(upper, 0.0055 - 0.001 * share, 0) * middle, 0, 0.011),
            "lower_drop": lip_move(0, np.where(lower, -0.0065 + 0.0015 * share, 0) * middle, 0, 0.013),
            "skew": lip_move(0.003, 0.0018 * u, 0, 0.025),
        }
        for name, move in moves.items():
            shapes[name][self.parts["skin"]] = move

        across = np.linspace(-1, 1, 13)
        tip = np.array([1, 1, 1, 1, 0.9, 0.45, 0.1, 0, 0])[:, None]
        for name, rise, push in (
            ("tongue_tip", 0.0095 * tip * (1 - 0.35 * across**2), -0.001 * tip),
            ("tongue_out", 0.0062 * tip, 0.0085 * np.maximum(tip, 0.3)),
            ("tongue_front", 0.0075 * np.array([0.2, 0.3, 0.5, 0.8, 1, 1, 0.7, 0.3, 0])[:, None], 0.0015),
            ("tongue_back", 0.0105 * np.array([-0.3, -0.3, -0.3, -0.2, 0.1, 0.7, 1, 1, 0.4])[:, None], -0.004),
            ("tongue_low", -0.0045 * np.ones((9, 1)), -0.003),
        ):
            move = np.stack(np.broadcast_arrays(0.0, rise, push, np.zeros((9, 13)))[:3], -1)
            shapes[name][self.parts["tongue"]] = move.reshape(-1, 3)

        for part in ("eyelids_right", "eyelids_left"):
            lids = template[self.parts[part]].reshape(6, -1, 3)
            columns = lids.shape[1]
            lash = lids[0]
            shut = lash[-np.arange(columns) % columns] - lash
            shut[columns // 2 + 1 :] = 0  # the lower lid stays
            follow = np.array([1, 0.95, 0.6, 0.25, 0, 0])[:, None, None]
            move = follow * shut + np.array([0, 0, 0.0022]) * np.sin(np.pi * np.minimum(1, follow)) * (shut[None, :, 1:2] != 0)
            shapes["blink"][self.parts[part]] = move.reshape(-1, 3)
        rise = 0.006 * _bump(template[:, 0], template[:, 1], 0.03, 0.046, 0.03, 0.014)
        rise[self.parts["upper_teeth"].start : self.parts["eyelids_right"].start] = 0
        for part in ("eyeball_right", "eyeball_left"):
            rise[self.parts[part]] = 0
        shapes["brow_raise"][:, 1] = rise
        return np.stack([shapes[name] for name in SHAPES])
