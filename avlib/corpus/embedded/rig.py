"""The embedded face rig: a continuous space of identities on one mesh, with linear articulation shapes.

The coordinate frame is that of `face`. `articulation` converts phonemes to weights of the shapes.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike

from .articulation import SHAPES
from .face import BORDER, COLUMNS, CONTACT, LIP_T, MOUTH_Y, bump, columns, grid_faces, parts, ramp, sew
from .identity import Identity, identity_traits, random_complexion

HINGE = np.array([0.012, -0.005])  # y, z of the jaw's axis, metres
JAW_ANGLE = 0.21  # rad at weight 1: the lower lip drops by about 20 mm
SUBJECTS = (
    *("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gina", "Hugo"),
    *("Iris", "Jon", "Kim", "Leo", "Mia", "Ned", "Opal", "Pete"),
)


class Rig:
    """The embedded face.

    faces: (F, 3), int64, wound so that normals face the viewer.
    regions: vertex indices, int64: "lip" (surface of the lips), "upper_face" (brows, eyes, forehead), "mouth" (all that
    a lip crop may show), "upper_lip_middle" and "lower_lip_middle" (one vertex each, where the lips meet).
    parts: name -> slice of the vertices. shape_names: of the K articulation shapes. still: those that do not move.
    inside_mouth: indices of the vertices of teeth, tongue and throat.
    subjects: the sixteen named people. name: of the corpus that uses the rig.
    margin: width of the skin that a lip crop shows on each side of the lips at rest, in widths of the lips.
    """

    name = "embedded"
    margin = 0.22
    shape_names = SHAPES
    subjects: tuple[str, ...] = SUBJECTS
    still: tuple[str, ...] = ()

    def __init__(self):
        grids = parts()
        self.parts: dict[str, slice] = {}
        faces, count = [], 0
        for name, (grid, closed) in grids.items():
            faces.append(count + grid_faces(grid, closed))
            self.parts[name] = slice(count, count + grid.shape[0] * grid.shape[1])
            count = self.parts[name].stop
        seams = [
            sew(grids["skin"][0], grids[lids][0], self.parts[lids].start) for lids in ("eyelids_right", "eyelids_left")
        ]
        faces[0] = faces[0][seams[0][0] & seams[1][0]]
        self.faces = torch.from_numpy(np.concatenate(faces + [seam for _, seam in seams]))
        self.mean = np.concatenate([grid.reshape(-1, 3) for grid, _ in grids.values()])

        self._u, self._side = columns()
        skin = grids["skin"][0]
        ring = np.arange(len(skin))[:, None]
        self._on_lips = ring <= BORDER  # (R, 1)
        self._share = np.interp(ring, range(CONTACT, BORDER + 1), LIP_T)  # (R, 1)
        self._away = np.linalg.norm(skin[..., :2] - skin[BORDER, :, :2], axis=-1) * ~self._on_lips  # (R, C), metres
        lip = np.zeros(count)
        full = self._side * (1 - self._u**2) * self._share  # 0 at the corners and where the lips meet
        lip[self.parts["skin"]] = (full * np.exp(-((self._away / 0.006) ** 2))).ravel()
        self.traits = identity_traits(self.mean, lip)

        x, y = self.mean[:, 0], self.mean[:, 1]
        number = np.arange(count)
        inside = (number >= self.parts["upper_teeth"].start) & (number < self.parts["throat"].stop)
        self.inside_mouth = torch.from_numpy(np.flatnonzero(inside))
        around_mouth = (np.abs(x) < 0.064) & (np.abs(y - MOUTH_Y) < 0.064)
        nostrils = (number >= self.parts["nostril_right"].start) & (number < self.parts["nostril_left"].stop)
        self.regions = {
            name: torch.from_numpy(np.flatnonzero(mask))
            for name, mask in {
                "lip": (number >= CONTACT * COLUMNS) & (number < (BORDER + 1) * COLUMNS),
                "upper_face": ~inside & (y > 0.008) & (np.abs(x) < 0.062) & (y < 0.075),
                "mouth": around_mouth | inside | nostrils,
                "upper_lip_middle": number == CONTACT * COLUMNS + COLUMNS // 4,
                "lower_lip_middle": number == CONTACT * COLUMNS + 3 * COLUMNS // 4,
            }.items()
        }

    def identity(self, subject: int | None = None, generator: torch.Generator | None = None) -> Identity:
        """One of the sixteen subjects, or a random person drawn from the generator.

        With both arguments, the geometry is the subject's and the complexion is random. ValueError for an unknown
        subject.
        """
        if subject is None and generator is None:
            raise ValueError("identity: expected a subject or a generator, got neither")
        if subject is not None and not 0 <= subject < len(SUBJECTS):
            raise ValueError(f"identity: expected a subject from 0 to {len(SUBJECTS) - 1}, got {subject}")
        subject_generator = generator if subject is None else torch.Generator().manual_seed(7000 + subject)
        draw = torch.randn(len(self.traits), generator=subject_generator).clamp(-1.8, 1.8).double().numpy()
        template = self.mean + np.tensordot(draw, self.traits, 1)
        albedo = self._albedo(generator if generator is not None else subject_generator)
        arrays = template, self._shapes(template), albedo
        return Identity(*(torch.from_numpy(array.astype(np.float32)) for array in arrays))

    def motion(self, identity: Identity, weights: torch.Tensor) -> torch.Tensor:
        """Linear blendshapes: weights (T, K) -> vertices (T, V, 3), metres.

        ValueError for another shape of the weights.
        """
        if weights.ndim != 2 or weights.shape[1] != len(SHAPES):
            raise ValueError(f"motion: expected weights (T, {len(SHAPES)}), got {tuple(weights.shape)}")
        shapes = identity.shapes.to(weights)
        return identity.template.to(weights) + (weights @ shapes.flatten(1)).unflatten(1, (-1, 3))

    def _albedo(self, generator):
        """(V,), 0 to 1: a random complexion."""
        tone = random_complexion(self.mean, generator)
        albedo = tone.skin.copy()
        hairline = ramp(self.mean[:, 1] - 0.066 + 9 * self.mean[:, 0] ** 2, 0.0, 0.012)
        grid = albedo[self.parts["skin"]].reshape(-1, COLUMNS)
        grid[:] = grid + (tone.hair - grid) * hairline[self.parts["skin"]].reshape(grid.shape)
        red = (1 - np.abs(self._u) ** 14) * np.array([1, 1, 1, 1, 1, 0.5])[:, None]
        grid[CONTACT : BORDER + 1] += (tone.lips - grid[CONTACT : BORDER + 1]) * red
        grid[: CONTACT + 1] = tone.lips * np.array([[0.3], [0.4], [0.6]])
        albedo[self.parts["throat"]] = 0.03
        gum = np.array([1, 1, 1, 0.55])
        for name, rows in (("upper_teeth", gum), ("lower_teeth", gum * 0.93)):
            arc = np.linspace(-1, 1, 29)
            shade = tone.teeth * (1 - 0.5 * arc**2) * np.where(np.arange(29) % 2, 1, 0.86)
            albedo[self.parts[name]] = np.outer(rows, shade).ravel()
        depth = np.interp(np.arange(9), [0, 3, 5, 6, 8], [0.6, 0.75, 0.45, 0.25, 0.1])
        albedo[self.parts["tongue"]] = np.repeat(depth, 9)
        for side in ("right", "left"):
            albedo[self.parts[f"nostril_{side}"]] = 0.08
            albedo[self.parts[f"ear_{side}"]] *= 0.8
            lids = albedo[self.parts[f"eyelids_{side}"]].reshape(5, -1)
            lids[0], lids[1] = 0.12, lids[1] * 0.8
            rings = np.array([0.75, 0.88, 0.88, 0.12, 1, 1, 0.02, 0.02])
            rings[4:6] = tone.iris
            albedo[self.parts[f"eyeball_{side}"]] = np.repeat(rings, 20)
            albedo[self.parts[f"brow_{side}"]] = tone.brows
        return np.clip(albedo, 0.02, 1)

    def _shapes(self, template):
        """(K, V, 3): displacement of each articulation shape at weight 1, metres."""
        shapes = {name: np.zeros_like(template) for name in SHAPES}
        skin = template[self.parts["skin"]].reshape(-1, COLUMNS, 3)
        x, y, u, side = skin[..., 0], skin[..., 1], self._u, self._side
        middle = 1 - u**2
        upper, lower = side > 0, side < 0
        share, lips = self._share, self._on_lips
        height = y - y[CONTACT]  # of each lip point over the line where the lips meet

        def lip_move(dx: ArrayLike, dy: ArrayLike, dz: ArrayLike, reach: float) -> np.ndarray:
            """(V, 3): the skin around the lips follows their border, less with distance."""
            move = np.stack(np.broadcast_arrays(dx, dy, dz, x)[:3], -1)
            move = np.where(lips[..., None], move, move[BORDER])
            fade = np.exp(-((self._away / reach) ** 2)) * np.where(
                lips, 1, ramp(-y, 0.022, 0.04)
            )  # the nose does not move
            return (move * fade[..., None]).reshape(-1, 3)

        def jaw_turn(points, share):
            turn = np.stack([0 * points[..., 0], -(points[..., 2] - HINGE[1]), points[..., 1] - HINGE[0]], -1)
            return JAW_ANGLE * share[..., None] * turn

        side_lip = 0.45 + 0.52 * (1 - np.abs(u) ** 2.6)
        chin = ramp(y, -0.138, -0.088) * (1 - ramp(np.abs(x), 0.025, 0.075))
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
        closing = np.moveaxis(close[None] * (1 - 0.25 * share[..., None]), -1, 0)
        moves = {
            # cancels jaw_open exactly where the lips meet
            "lip_close": lip_move(*closing, reach=0.012),
            "lip_press": lip_move(0, -0.45 * height, -0.002 * (1 - share) * np.ones_like(x), 0.008),
            "lip_tuck": lip_move(
                0,
                np.where(upper, 0.0045 - 0.001 * share, 0.0015 - 0.0002 * share) * middle,
                np.where(upper, 0, -0.0032 * (1 - 0.6 * share)) * middle,
                0.011,
            ),
            "pucker": lip_move(
                -(0.46 - 0.08 * share) * x, 0.12 * height, (0.0065 + 0.003 * u**2) * (1 - 0.15 * share), 0.017
            ),
            "funnel": lip_move(
                -0.24 * x, np.where(upper, 0.0028, -0.0062) * (1 - 0.1 * share) * middle, 0.0045 + 0.003 * u**2, 0.014
            ),
            "spread": lip_move(0.2 * x, 0.002 * u**2 - 0.16 * height, -0.0045 * u**2, 0.022),
            "upper_raise": lip_move(0, np.where(upper, 0.0055 - 0.001 * share, 0) * middle, 0, 0.011),
            "lower_drop": lip_move(0, np.where(lower, -0.0065 + 0.0015 * share, 0) * middle, 0, 0.013),
            "skew": lip_move(0.003, 0.0018 * u, 0, 0.025),
        }
        for name, move in moves.items():
            shapes[name][self.parts["skin"]] = move

        across = np.linspace(-1, 1, 9)
        tip = np.array([1, 1, 1, 1, 0.9, 0.45, 0.1, 0, 0])[:, None]
        thick = np.array([0.2, 0.6, 1, 1, 0.9, 0.45, 0.1, 0, 0])[:, None]
        for name, rise, push in (
            ("tongue_tip", 0.0095 * tip * (1 - 0.35 * across**2), -0.001 * tip),
            ("tongue_out", 0.0062 * thick, 0.0085 * np.maximum(tip, 0.3)),
            ("tongue_front", 0.0075 * np.array([0.2, 0.3, 0.5, 0.8, 1, 1, 0.7, 0.3, 0])[:, None], 0.0015),
            ("tongue_back", 0.0105 * np.array([-0.3, -0.3, -0.3, -0.2, 0.1, 0.7, 1, 1, 0.4])[:, None], -0.004),
            ("tongue_low", -0.0045 * np.ones((9, 1)), -0.003),
        ):
            move = np.stack(np.broadcast_arrays(0.0, rise, push, np.zeros((9, 9)))[:3], -1)
            shapes[name][self.parts["tongue"]] = move.reshape(-1, 3)

        for part in ("eyelids_right", "eyelids_left"):
            lids = template[self.parts[part]].reshape(5, -1, 3)
            around = lids.shape[1]
            lash = lids[0]
            shut = lash[-np.arange(around) % around] - lash
            shut[around // 2 + 1 :] = 0  # the lower lid stays
            follow = np.array([1.06, 0.98, 0.6, 0.2, 0])[:, None, None]
            bulge = (
                np.array([0, 0, 0.0022]) * np.sin(np.pi * np.minimum(follow, 1)) * (shut[:, 1:2] != 0)
            )  # over the eyeball
            shapes["blink"][self.parts[part]] = (follow * shut + bulge).reshape(-1, 3)
        rise = 0.006 * bump(template[:, 0], template[:, 1], 0.03, 0.046, 0.03, 0.014)
        rise[self.parts["upper_teeth"].start : self.parts["eyelids_right"].start] = 0
        for part in ("eyeball_right", "eyeball_left"):
            rise[self.parts[part]] = 0
        shapes["brow_raise"][:, 1] = rise
        return np.stack([shapes[name] for name in SHAPES])
