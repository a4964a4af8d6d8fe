"""Finds the lip vertices of an unannotated face: points that are close in space but far apart along the surface."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

STRIP = 0.04  # of the face's width: half-width of the strip below the nose that is searched for the middle of the lips
MAX_LIP_GAP = 0.06  # of the face's width: largest distance between the lips at rest
LIP_HEIGHT = 0.27  # of the mouth's width: how far the lips extend from the line where they meet


class Surface:
    """A mesh as a graph, to measure distances along its edges.

    vertices: (V, 3), y up, the face towards +z. faces: (F, 3) vertex indices.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray):
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
        self._edges = np.unique(edges, axis=0)  # (E, 2), lower index first
        self._lengths = np.linalg.norm(vertices[self._edges[:, 0]] - vertices[self._edges[:, 1]], axis=1)
        self._vertex_count = len(vertices)

    def distances(self, starts, limit: float = np.inf) -> np.ndarray:
        """(V,): distance along edges from the nearest of the start vertices; inf beyond `limit`."""
        return dijkstra(self._graph(), directed=False, indices=list(starts), limit=limit, min_only=True)

    def path(self, start: int, end: int, blocked: np.ndarray | None = None) -> list[int]:
        """The vertices of the shortest path, from `end` to `start`, that avoids the `blocked` vertices.

        ValueError if there is none.
        """
        _, predecessors = dijkstra(self._graph(blocked), directed=False, indices=start, return_predecessors=True)
        path = [end]
        while predecessors[path[-1]] >= 0:
            path.append(int(predecessors[path[-1]]))
        if path[-1] != start:
            raise ValueError("no way around the mouth")
        return path

    def _graph(self, blocked: np.ndarray | None = None) -> coo_array:
        """(V, V), sparse: the length of each edge that touches no blocked vertex."""
        allowed = np.ones(len(self._edges), bool) if blocked is None else ~np.isin(self._edges, blocked).any(1)
        rows, columns = self._edges[allowed].T
        return coo_array((self._lengths[allowed], (rows, columns)), shape=(self._vertex_count, self._vertex_count))


def find_lips(vertices: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    """Vertex indices of "lip", "upper_lip_middle" and "lower_lip_middle" on a neutral face.

    The lips meet where two points below the nose are neighbours in space but not on the surface: the shortest path
    between them goes around a corner of the mouth. The paths around both corners form the line between the lips, and
    the lips are the vertices near that line.

    vertices: (V, 3), any unit, y up, the face towards +z. faces: (F, 3). ValueError if there is no mouth below the
    nose.
    """
    surface = Surface(vertices, faces)
    nose = int(np.where(np.isin(np.arange(len(vertices)), faces), vertices[:, 2], -np.inf).argmax())
    from_nose = surface.distances([nose])
    x, y, z = (vertices - vertices[nose]).T
    face_width = np.ptp(vertices[np.isfinite(from_nose), 0])
    strip = np.flatnonzero(
        np.isfinite(from_nose) & (np.abs(x) < STRIP * face_width) & (y < 0) & (z > -0.5 * face_width)
    )
    gap = np.linalg.norm(vertices[strip, None] - vertices[strip], axis=-1)
    candidates = (gap < MAX_LIP_GAP * face_width) & (y[strip, None] >= y[strip])
    detour = np.where(candidates, from_nose[strip] - from_nose[strip, None], -np.inf) - 4 * gap
    upper, lower = (int(strip[i]) for i in np.unravel_index(detour.argmax(), detour.shape))
    if detour.max() < 0.05 * face_width:
        raise ValueError("no mouth below the nose: name the lip vertices in the corpus specification (regions)")
    first_path = surface.path(lower, upper)
    corner = max(first_path, key=lambda v: abs(x[v] - x[upper]))
    near_corner = np.linalg.norm(vertices - vertices[corner], axis=1) < 0.3 * abs(x[corner] - x[upper])
    line = first_path + surface.path(lower, upper, np.flatnonzero(near_corner))
    height = LIP_HEIGHT * np.ptp(x[line])
    lip = np.isfinite(surface.distances(line, height)) & (z > z[line].min() - height / 2)
    return {"lip": np.flatnonzero(lip), "upper_lip_middle": np.array([upper]), "lower_lip_middle": np.array([lower])}


def find_upper_face(vertices: np.ndarray, faces: np.ndarray, lip: np.ndarray) -> np.ndarray:
    """Vertex indices of the upper face, from the eyes to the forehead, on a neutral face.

    What the skin has in a box in multiples of the width of the mouth: 1.2 to 2.5 above the middle of the lips, 1.25 to
    either side of it, and at most 1.3 behind the foremost point of the lips. The box was read off the mean face of
    ICT-FaceKit, of whose upper face it has all but 0.1 %. Eyeballs are no part of the skin.

    vertices: (V, 3), any unit, y up, the face towards +z. faces: (F, 3). lip: vertex indices.
    """
    lips = vertices[lip]
    offset = (vertices - [*lips.mean(0)[:2], lips[:, 2].max()]) / np.ptp(lips[:, 0])
    x, y, z = offset.T
    is_skin = np.isfinite(Surface(vertices, faces).distances(list(lip)))
    return np.flatnonzero(is_skin & (1.2 < y) & (y < 2.5) & (np.abs(x) < 1.25) & (z > -1.3))
