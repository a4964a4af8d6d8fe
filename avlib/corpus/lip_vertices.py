"""Lips on a face that nobody has marked: where the surface of a template comes close to itself, yet is far to walk."""

import heapq

import numpy as np

STRIP = 0.04  # of the face's width: how far from the nose's tip, to either side, the middle of the lips is looked for
NEAR = 0.06  # of the face's width: how far apart the lips may be at rest
HEIGHT = 0.27  # of the mouth's width: how far the lips reach from the line where they meet


class Surface:
    """A mesh to walk on. vertices (V, 3), y up, the face towards +z; faces (F, 3)."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray):
        ends = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1), axis=0)
        lengths = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)
        self.neighbours = [[] for _ in vertices]
        for (a, b), length in zip(ends.tolist(), lengths.tolist()):
            self.neighbours[a].append((b, length))
            self.neighbours[b].append((a, length))

    def walk(self, starts, within: float = np.inf, closed=frozenset()) -> tuple[np.ndarray, np.ndarray]:
        """How far every vertex is from the nearest start along edges (V,), inf beyond `within`, and the vertex before it on
        the way (V,), or -1. closed: vertices that nobody may pass. Dijkstra 1959."""
        far, before = np.full(len(self.neighbours), np.inf), np.full(len(self.neighbours), -1)
        far[list(starts)] = 0
        queue = [(0.0, s) for s in starts]
        while queue:
            so_far, a = heapq.heappop(queue)
            if so_far > far[a]:
                continue
            for b, length in self.neighbours[a]:
                if so_far + length < min(far[b], within) and b not in closed:
                    far[b], before[b] = so_far + length, a
                    heapq.heappush(queue, (far[b], b))
        return far, before

    def path(self, start: int, end: int, closed=frozenset()) -> list[int]:
        _, before = self.walk([start], closed=closed)
        way = [end]
        while before[way[-1]] >= 0:
            way.append(int(before[way[-1]]))
        if way[-1] != start:
            raise ValueError("no way around the mouth")
        return way


def find_lips(vertices: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    """ "lip", "upper_lip_middle" and "lower_lip_middle" of a neutral face (V, 3), y up and looking towards +z, by geometry.

    The lips meet where two points below the nose are neighbours in space but not on the surface, for the way from one to the other
    goes around a corner of the mouth; both such ways are the line between the lips, and the lips all that is near it.
    """
    surface = Surface(vertices, faces)
    nose = int(np.where(np.isin(np.arange(len(vertices)), faces), vertices[:, 2], -np.inf).argmax())
    far, _ = surface.walk([nose])
    x, y, z = (vertices - vertices[nose]).T
    width = np.ptp(vertices[np.isfinite(far), 0])
    middle = np.flatnonzero(np.isfinite(far) & (np.abs(x) < STRIP * width) & (y < 0) & (z > -0.5 * width))
    apart = np.linalg.norm(vertices[middle, None] - vertices[middle], axis=-1)
    gain = (
        np.where((apart < NEAR * width) & (y[middle, None] >= y[middle]), far[middle] - far[middle, None], -np.inf)
        - 4 * apart
    )
    upper, lower = (int(middle[i]) for i in np.unravel_index(gain.argmax(), gain.shape))
    if gain.max() < 0.05 * width:
        raise ValueError("no mouth below the nose: give the lips in the corpus's facts")
    one = surface.path(lower, upper)
    corner = max(one, key=lambda v: abs(x[v] - x[upper]))
    beside = np.linalg.norm(vertices - vertices[corner], axis=1) < 0.3 * abs(x[corner] - x[upper])
    line = one + surface.path(lower, upper, frozenset(np.flatnonzero(beside).tolist()))
    reach = HEIGHT * np.ptp(x[line])
    near, _ = surface.walk(line, reach)
    lip = np.isfinite(near) & (z > z[line].min() - reach / 2)
    return {"lip": np.flatnonzero(lip), "upper_lip_middle": np.array([upper]), "lower_lip_middle": np.array([lower])}
