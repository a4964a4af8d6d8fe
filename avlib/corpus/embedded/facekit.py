"""ICT-FaceKit's scanned face instead of the embedded rig: its identities and expressions, with the same weights."""

from pathlib import Path

import numpy as np
import torch

from .articulation import SHAPES
from .face import MOUTH_Y, ramp
from .facekit_checkout import EXPRESSIONS, Neutral, checkout_files, expressions, read_neutral
from .identity import random_complexion
from .rig import Rig

CLOSED = ("lip_press", "pucker", "spread", "skew")  # shapes that keep closed lips closed
REACH = 0.008  # metres: how far from the line where the lips meet the skin follows it
SUBJECTS = (
    *("Maya", "Noah", "Olga", "Paul", "Quinn", "Rosa", "Sven", "Tara"),
    *("Uma", "Vito", "Wren", "Yuri", "Zoe", "Alan", "Bea", "Carl"),
)


class FaceKit(Rig):
    """The scanned face, with the interface of the embedded rig.

    still: articulation shapes that do not move, because the files of their expressions are missing.
    mean: (V, 3), metres, the average face with closed lips. traits: (M, V, 3), displacements of its identities.
    landmarks: (68,) vertices, in the order of the iBUG annotation.
    """

    name = "facekit"
    margin = 0.3  # its lips are narrower and open as wide
    subjects = SUBJECTS

    def __init__(self, folder: Path):
        """folder: an ICT-FaceKit checkout. ValueError names missing files and files of other meshes."""
        files = checkout_files(folder)
        neutral = read_neutral(files)
        self.faces = torch.from_numpy(neutral.faces)
        self.parts = neutral.parts
        visible_index = np.cumsum(neutral.keep) - 1
        self._grid, self.landmarks = visible_index[neutral.grid], visible_index[neutral.landmarks]
        # rings of the grid, for each column: where the lips meet, and the border of the lips
        self._contact = _ring_of(neutral.landmarks[60:68], neutral.grid).round().astype(int)
        self._border = _ring_of(neutral.landmarks[48:60], neutral.grid)

        moved = {
            name: neutral.displacement(path)
            for name, path in files.items()
            if path.suffix == ".obj" and name != "generic_neutral_mesh"
        }
        mean = neutral.points[neutral.keep]
        self._prepare_closing(mean)
        self.mean = self.close_lips(mean)
        self.traits = np.stack([self.close_lips(move) for name, move in moved.items() if name.startswith("identity")])
        self.still = tuple(name for name in EXPRESSIONS if not all(e in moved for e in expressions(name)))
        self._moves = np.stack(list(self._articulation(moved).values()))
        self.regions = self._find_regions(neutral)
        inside = [np.r_[self.parts[name]] for name in ("gums", "tongue", "upper_teeth", "lower_teeth")]
        self.inside_mouth = torch.from_numpy(np.unique(np.concatenate(inside)))

    def _find_regions(self, neutral: Neutral) -> dict[str, torch.Tensor]:
        """Vertex indices by region: see `Rig`."""
        x, y = self.mean[:, 0], self.mean[:, 1]
        number = np.arange(len(x))
        brows, eyes = self.mean[self.landmarks[17:27]], self.mean[self.landmarks[36:48]]
        near_mouth = (np.abs(x) < 0.06) & (y < MOUTH_Y + 0.054) & (y > MOUTH_Y - 0.08)
        ring = np.arange(len(self._grid))[:, None]
        upper_face = (y > eyes[:, 1].min() - 0.003) & (y < brows[:, 1].max() + 0.03)
        upper_face &= np.abs(x) < np.abs(brows[:, 0]).max() + 0.005
        masks = {
            "lip": np.isin(number, self._grid[(ring >= self._contact) & (ring <= self._border.round())]),
            "upper_face": (number < self.parts["skin"].stop) & upper_face,
            "mouth": near_mouth & (number < self.parts["eyeball_left"].start),
            "upper_lip_middle": number == self.landmarks[62],
            "lower_lip_middle": number == self.landmarks[66],
        }
        return {name: torch.from_numpy(np.flatnonzero(mask)) for name, mask in masks.items()}

    def _prepare_closing(self, mean: np.ndarray) -> None:
        """Prepares `close_lips`: the line where the lips meet, and how vertices of the skin follow it.

        mean: (V, 3), metres. Sets _line (C,), vertices of the line; _other (C, C), weights of the points of the other
        lip that each vertex of the line meets; _column (V,), nearest column of each vertex; _follow (V,), how much it
        follows.
        """
        columns = np.arange(self._grid.shape[1])
        self._line = self._grid[self._contact, columns]
        left_corner = int(np.argwhere(self._grid == self.landmarks[60])[0, 1])  # the right corner is column 0
        upper, lower = columns[: left_corner + 1], np.r_[0, columns[: left_corner - 1 : -1]]
        self._other = np.zeros((len(columns), len(columns)))
        for half, other in ((upper, lower), (lower, upper)):
            position, other_position = (_relative_length(mean[self._line[lip]]) for lip in (half, other))
            weights = [np.interp(position, other_position, unit) for unit in np.eye(len(other_position))]
            self._other[np.ix_(half, other)] = np.stack(weights, -1)

        skin = np.r_[self.parts["skin"], self._grid.ravel()]
        self._column, self._follow = np.zeros(len(mean), int), np.zeros(len(mean))
        self._column[skin] = np.linalg.norm(mean[skin, None] - mean[self._grid[-1]], axis=-1).argmin(1)
        self._column[self._grid] = columns
        distance = np.linalg.norm(mean - mean[self._line[self._column]], axis=1)
        self._follow[skin] = np.exp(-((distance[skin] / REACH) ** 2))

    def close_lips(self, field: np.ndarray) -> np.ndarray:
        """Positions or displacements (..., V, 3), changed so that the lips meet: each lip moves by half the gap."""
        gap = (self._other - np.eye(len(self._other))) @ field[..., self._line, :]
        return field + 0.5 * self._follow[:, None] * gap[..., self._column, :]

    def lip_lines(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Vertices along the border of the upper and of the lower lip, then along the lines where they meet.

        Each line goes from the corner of the mouth on the viewer's left to the one on the right.
        """
        columns = np.arange(self._grid.shape[1])
        left_corner = int(np.argwhere(self._grid == self.landmarks[60])[0, 1])  # the right corner is column 0
        lines = []
        for line in (self._grid[self._border.round().astype(int), columns], self._line):
            lines += [line[: left_corner + 1][::-1], np.r_[line[left_corner:], line[0]]]
        return tuple(lines)

    def _articulation(self, moved: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Shape -> displacement (V, 3) at weight 1, metres. moved: the same of ICT-FaceKit's expressions."""
        shapes = {name: np.zeros_like(self.mean) for name in SHAPES}
        for name in EXPRESSIONS:
            if name not in self.still:
                for expression, weight in expressions(name).items():
                    shapes[name] = shapes[name] + weight * moved[expression]
        for name in CLOSED:
            shapes[name] = self.close_lips(shapes[name])
        shapes["lip_close"] = self.close_lips(shapes["jaw_open"] + shapes["lip_close"]) - shapes["jaw_open"]

        tongue = self.mean[self.parts["tongue"]]
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
        """(K, V, 3), metres: expressions are the same for every identity."""
        return self._moves

    def _albedo(self, generator):
        """(V,), 0 to 1: a random complexion."""
        tone = random_complexion(self.mean, generator)
        x, y, z = self.mean.T
        albedo = tone.skin + (tone.hair - tone.skin) * ramp(y - 0.072 + 6 * x**2, 0.0, 0.014)
        brows = self.mean[self.landmarks[17:27]].reshape(2, 5, 3)
        along = np.linspace(0, 4, 17)
        brow = np.concatenate([np.stack([np.interp(along, range(5), axis) for axis in side.T], -1) for side in brows])
        distance = np.linalg.norm(self.mean[:, None] - brow, axis=-1).min(1)
        albedo += (tone.brows - albedo) * ramp(-distance, -0.006, -0.002)

        rings = np.arange(len(self._grid))[:, None]
        inner, share = rings < self._contact, np.clip((self._border + 0.5 - rings) / 1.5, 0, 1)  # the border is soft
        lips = np.where(inner, tone.lips * np.clip(1 - 0.14 * (self._contact - rings), 0.1, 1), tone.lips)
        albedo[self._grid] += (lips - albedo[self._grid]) * share

        light = 1 / (1 + ((z[self._line].max() - z).clip(0) / 0.035) ** 2)  # it fades towards the throat
        for part, part_albedo in (
            ("gums", 0.5),
            ("tongue", 0.65),
            ("upper_teeth", tone.teeth),
            ("lower_teeth", 0.93 * tone.teeth),
        ):
            albedo[self.parts[part]] = part_albedo * light[self.parts[part]]
        for part in ("eyeball_left", "eyeball_right"):
            ball = self.mean[self.parts[part]]
            radius = np.linalg.norm((ball - (ball.min(0) + ball.max(0)) / 2)[:, :2], axis=1)
            albedo[self.parts[part]] = np.select([radius < 0.0024, radius < 0.0058], [0.03, tone.iris], 0.85)
        return np.clip(albedo, 0.02, 1)


def _relative_length(points: np.ndarray) -> np.ndarray:
    """(N,): position of each point along the line through the points (N, 3), from 0 to 1."""
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()
    return np.r_[0, length / length[-1]]


def _ring_of(points: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """(C,) float: the ring at which a closed line through vertices of the grid crosses each column."""
    positions = [np.argwhere(grid == point) for point in points]
    if not all(len(position) for position in positions):
        raise ValueError(f"landmarks {points.tolist()}: expected all within the rings around the mouth")
    ring, column = np.concatenate(positions).T
    return np.interp(np.arange(grid.shape[1]), column, ring, period=grid.shape[1])
