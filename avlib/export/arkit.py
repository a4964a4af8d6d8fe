"""Motion as weights of ARKit's 52 blendshapes: those of ICT-FaceKit's expressions, which carry ARKit's names.

Motion of ICT-FaceKit's own mesh is fitted with its expressions as they are. To another face they are carried over: the two are
laid mouth on mouth, as wide as each other, and each vertex near the lips moves as the nearest ones of ICT-FaceKit's on the same
side of the mouth do.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..corpus.corpus import Corpus
from ..corpus.embedded.facekit import Neutral, files, read_neutral
from ..corpus.lip_vertices import Surface

# In the order of Apple's ARFaceAnchor.BlendShapeLocation: left eye, right eye, jaw and mouth, brows, cheeks, nose, tongue.
_EYE = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")
NAMES = tuple(f"{name}{side}" for side in ("Left", "Right") for name in _EYE) + tuple(
    """
jawForward jawLeft jawRight jawOpen mouthClose mouthFunnel mouthPucker mouthLeft mouthRight mouthSmileLeft mouthSmileRight
mouthFrownLeft mouthFrownRight mouthDimpleLeft mouthDimpleRight mouthStretchLeft mouthStretchRight mouthRollLower mouthRollUpper
mouthShrugLower mouthShrugUpper mouthPressLeft mouthPressRight mouthLowerDownLeft mouthLowerDownRight mouthUpperUpLeft
mouthUpperUpRight browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
cheekSquintRight noseSneerLeft noseSneerRight tongueOut""".split()
)

REACH = 1.1  # of the mouth's width: how far from the middle of the lips, over the skin, motion is fitted
MOUTHS = 0.5  # of how far a shape moves anything: it takes part if it moves what is fitted as far, others are of eyes and brows
NEAREST = 4  # vertices that each vertex of another face follows, the nearer the more
LIPS = 4.0  # what a vertex of the lips counts, beside one of the skin around them
SMOOTH = 0.01  # weight of the second difference over time, of a weight in the size of what it moves
SHRINK = 1e-3  # of the weight's own size: of shapes that do the same, all take part
STEPS, PRECISION = 3000, 1e-5


@dataclass(frozen=True)
class Shapes:
    """What the shapes of the mouth move on one face. moves: (K, N, 3) at weight 1, of the vertices (N,) that are fitted, of which
    the mask `lips` (N,) says which are the lips'; missing: names without a file; own: the mesh is ICT-FaceKit's."""

    names: tuple[str, ...]
    moves: np.ndarray
    vertices: np.ndarray
    lips: np.ndarray
    missing: tuple[str, ...]
    own: bool

    def fit(self, moved: np.ndarray) -> tuple[np.ndarray, dict]:
        """Displacements (T, V, 3) of the whole face -> weights (T, 52) in the order of NAMES, and what they do not reach: "rms"
        in the mesh's unit and "explained", the share of the squared motion, of the "lips" and of all that was fitted, "mouth"."""
        wanted, count = moved[:, self.vertices], np.sqrt(np.where(self.lips, LIPS, 1))[:, None]
        own = bounded((self.moves * count).reshape(len(self.moves), -1), (wanted * count).reshape(len(moved), -1))
        weights = np.zeros((len(moved), len(NAMES)))
        weights[:, [NAMES.index(name) for name in self.names]] = own
        left, size = (np.square(x).sum(-1) for x in (np.tensordot(own, self.moves, 1) - wanted, wanted))
        return weights, {
            name: {
                "rms": float(np.sqrt(left[:, at].mean())),
                "explained": float(1 - left[:, at].sum() / max(size[:, at].sum(), 1e-30)),
            }
            for name, at in (("lips", self.lips), ("mouth", slice(None)))
        }


def bounded(moves: np.ndarray, wanted: np.ndarray, smooth: float = SMOOTH) -> np.ndarray:
    """Weights x (T, K) within 0 and 1 for which |x @ moves - wanted|² + smooth |second difference of x in time|² is least, with x
    measured in the size of each shape; moves: (K, M), wanted: (T, M). All frames at once, by accelerated projected gradients
    that start afresh where they overshoot (Beck and Teboulle 2009; O'Donoghue and Candès 2015)."""
    size = np.linalg.norm(moves, axis=1)
    unit = moves / size[:, None]
    square, aim = unit @ unit.T + SHRINK * np.eye(len(unit)), wanted.astype(float) @ unit.T
    x = ahead = np.zeros_like(aim)
    pace, stride, enough = 1.0, 1 / (np.linalg.eigvalsh(square)[-1] + 16 * smooth), PRECISION * size.max()
    for _ in range(STEPS):
        slope = ahead @ square - aim
        bend = np.diff(ahead, 2, axis=0)
        for k, share in enumerate((smooth, -2 * smooth, smooth)):
            slope[k : len(slope) - 2 + k] += share * bend
        new = np.clip(ahead - stride * slope, 0, size)
        if np.abs(new - ahead).max() < enough:
            break
        over = ((ahead - new) * (new - x)).sum() > 0
        later = 1.0 if over else (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = new if over else new + (pace - 1) / later * (new - x)
        x, pace = new, later
    return new / size


def expressions(folder: Path) -> dict[str, list[Path]]:
    """Name -> the files of a checkout whose sum it is, for those of NAMES that are there. ValueError as of facekit.files."""
    folder = files(folder)["vertex_indices"].parent
    found = {}
    for name in NAMES:
        one_side = name[:-4] + "_L" if name.endswith("Left") else name[:-5] + "_R" if name.endswith("Right") else name
        for choice in ([name], [one_side], [f"{name}_L", f"{name}_R"]):
            paths = [folder / f"{part}.obj" for part in choice]
            if all(path.is_file() for path in paths):
                found[name] = paths
                break
    return found


def shapes(folder: Path, corpus: Corpus, subject: str) -> Shapes:
    """ICT-FaceKit's, on a subject's face. ValueError where the checkout lacks them, or the face lacks lips to lay them on."""
    there, neutral = expressions(folder), read_neutral(files(folder))
    template, lip = corpus.templates[subject].double().numpy(), corpus.regions["lip"].numpy()
    middles = [int(corpus.regions[f"{side}_lip_middle"][0]) for side in ("upper", "lower")]
    width = np.ptp(template[lip, 0])
    far = walks(template, corpus.faces.numpy(), middles, REACH * width)
    vertices = np.flatnonzero(np.isfinite(far).any(0))
    if np.isin(lip, vertices).mean() < 0.5:
        raise ValueError(
            f"arkit: the {corpus.name} face lacks what ARKit's shapes are carried over by: "
            f"{np.isin(lip, vertices).sum()} of the {len(lip)} vertices of its lips hang together with their "
            f"middles {middles}"
        )
    moves = np.stack([sum(map(neutral.moved, paths)) for paths in there.values()])
    farthest = np.linalg.norm(moves, axis=-1).max(1)
    own = np.array_equal(corpus.faces.numpy(), neutral.faces)
    if not own:
        moves, scale = carried(moves, neutral, template, middles, far, width)
        farthest *= scale
    moves = moves[:, vertices]
    taken = np.linalg.norm(moves, axis=-1).max(1) > MOUTHS * farthest
    return Shapes(
        tuple(name for name, take in zip(there, taken) if take),
        moves[taken],
        vertices,
        np.isin(vertices, lip),
        tuple(name for name in NAMES if name not in there),
        own,
    )


def carried(
    moves: np.ndarray, neutral: Neutral, template: np.ndarray, middles: list[int], far: np.ndarray, width: float
) -> tuple[np.ndarray, float]:
    """ICT-FaceKit's displacements (K, V', 3) on a template (V, 3) whose lips are `width` wide, where `far`, of `walks`, reaches;
    and how much larger than ICT-FaceKit's the template is."""
    points = neutral.points[neutral.keep]
    landmarks = (np.cumsum(neutral.keep) - 1)[neutral.landmarks]
    scale = width / np.ptp(points[landmarks[48:68], 0])
    beyond = walks(points, neutral.faces, landmarks[[62, 66]].tolist(), 1.5 * REACH * width / scale)
    points = scale * (points - points[landmarks[[62, 66]]].mean(0)) + template[middles].mean(0)
    moved = np.zeros((len(moves), len(template), 3))
    for upper in (True, False):
        source, reached = (np.flatnonzero(np.isfinite(f).any(0) & ((f[0] < f[1]) == upper)) for f in (beyond, far))
        away = np.linalg.norm(template[reached, None] - points[source], axis=-1)
        nearest = np.argpartition(away, NEAREST, 1)[:, :NEAREST]
        share = 1 / (np.take_along_axis(away, nearest, 1) + 1e-3 * width)
        share /= share.sum(1, keepdims=True)
        moved[:, reached] = scale * np.einsum("knmc,nm->knc", moves[:, source[nearest]], share)
    return moved, scale


def walks(points: np.ndarray, faces: np.ndarray, middles: list[int], within: float) -> np.ndarray:
    """(2, V): how far every vertex is from the middle of the upper and of the lower lip over the surface; inf beyond `within`."""
    near = np.linalg.norm(points - points[middles].mean(0), axis=1) < 1.2 * within
    surface = Surface(points, faces[near[faces].all(1)])
    return np.stack([surface.distances([middle], within) for middle in middles])
