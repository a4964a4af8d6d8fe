"""Parameters of FLAME (Li et al. 2017) fitted to vertices of its topology.

The user gives the model's file, which has a licence of its own: https://flame.is.tue.mpg.de. A face that speaks is the
subject's template, plus expressions, plus what the rotation of the jaw moves; neck, eyes and the head as a whole rest.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..core.files import ARRAY_FAULTS, HEADER_FAULTS, write_atomic
from ..core.scratch import row_blocks
from ..corpus.scans.pickles import load_pickle

FIELDS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
FIRST_EXPRESSION = 300  # components of identity come first in shapedirs
MAX_SHAPES, MAX_EXPRESSIONS = 100, 50
JOINTS, JAW = 5, 2  # neck and head, neck, jaw, eyes
TURNS = np.array(  # dR / d angle at R = I, of turns about x, y and z
    [
        [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
        [[0, 0, 1], [0, 0, 0], [-1, 0, 0]],
        [[0, -1, 0], [1, 0, 0], [0, 0, 0]],
    ]
)
ZIP_FAULTS = (zipfile.BadZipFile, zlib.error, NotImplementedError)  # the last for an unknown compression
MAX_BYTES = 1 << 28  # of the arrays in an .npz; FLAME 2020 has 53 MB of them
BLOCK = 25  # frames fitted at once
PRECISION, MAX_STEPS = 1e-5, 50  # steps end when none changes an expression or an angle (rad) by more than this


@dataclass(frozen=True)
class Flame:
    """What of FLAME moves a speaking face.

    path: its file. template: (V, 3), metres. shapes: (S, V, 3) and expressions: (E, V, 3), displacements at weight 1.
    jaw_corrections: (9, V, 3), displacements for the entries of the jaw's rotation minus identity. jaw_weights: (V,),
    how far a vertex turns with the jaw. jaw_joint: (V,), weights of the vertices whose sum is the joint.
    """

    path: Path
    template: np.ndarray
    shapes: np.ndarray
    expressions: np.ndarray
    jaw_corrections: np.ndarray
    jaw_weights: np.ndarray
    jaw_joint: np.ndarray


def read_flame(path: Path) -> Flame:
    """The model of a .pkl, as FLAME is handed out, or an .npz with the same arrays; neither executes code.

    ValueError names the file, the array and what is wrong with it.
    """
    arrays = _read_arrays(Path(path))
    vertices = len(arrays["v_template"])
    wanted = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "posedirs": (vertices, 3, 9 * (JOINTS - 1)),
        "J_regressor": (JOINTS, vertices),
        "weights": (vertices, JOINTS),
    }
    for name, shape in wanted.items():
        got = arrays[name].shape
        if len(got) != len(shape) or any(n not in (None, m) for n, m in zip(shape, got)):
            expected = " x ".join("N" if n is None else str(n) for n in shape)
            raise ValueError(f"{path}: {name}: expected the shape {expected}, got {' x '.join(map(str, got))}")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{path}: {name}: expected finite numbers")
    components = np.moveaxis(arrays["shapedirs"], -1, 0)
    if len(components) <= FIRST_EXPRESSION:
        raise ValueError(
            f"{path}: shapedirs: expected {FIRST_EXPRESSION} components of identity and then those of expression, "
            f"got {len(components)} in all"
        )
    corrections = np.moveaxis(arrays["posedirs"], -1, 0)[9 * (JAW - 1) : 9 * JAW]
    return Flame(
        Path(path),
        arrays["v_template"],
        components[:MAX_SHAPES],
        components[FIRST_EXPRESSION : FIRST_EXPRESSION + MAX_EXPRESSIONS],
        corrections,
        arrays["weights"][:, JAW],
        arrays["J_regressor"][JAW],
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if path.suffix.lower() == ".npz":
        content = _read_npz(path)
    else:
        content = load_pickle(path)
    fields = content if isinstance(content, dict) else {}
    if missing := [name for name in FIELDS if name not in fields]:
        raise ValueError(f"{path}: no {missing[0]}; expected a FLAME model, with {', '.join(FIELDS)}")
    arrays = {name: np.asarray(fields[name]) for name in FIELDS}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not array.ndim:
            raise ValueError(f"{path}: {name}: expected an array of numbers")
    return {name: array.astype(float) for name, array in arrays.items()}


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """ValueError for a damaged file, and for one that claims to be larger than any FLAME model."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"{size} bytes of arrays, expected at most {MAX_BYTES}")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in FIELDS if name in file}
    except (*ARRAY_FAULTS, *HEADER_FAULTS, *ZIP_FAULTS) as error:
        raise ValueError(f"{path}: not loaded: {error}") from None


@dataclass(frozen=True)
class FlameMotion:
    """Parameters of a moving face.

    shape: (S,) and translation: (3,), metres, the identity nearest to the subject's template, `shape_rms` away from it.
    expression: (T, E). jaw_pose: (T, 3), axis times angle, rad. rms, largest: how far expression and jaw, on the
    subject's own template, miss the vertices. All errors are in metres.
    """

    shape: np.ndarray
    translation: np.ndarray
    shape_rms: float
    expression: np.ndarray
    jaw_pose: np.ndarray
    rms: float
    largest: float


class FaceFit:
    """Fits FLAME's expressions and jaw to the motion of one subject.

    Gauss-Newton, whose matrix is that of the face at rest, and whose gradient is exact: the matrix hardly changes with
    the angle of a jaw, so that few steps suffice. R is the jaw's rotation and D = R - I; a vertex at x moves by
    w D (x - joint), w its weight. Rotations change as R exp(turn).
    """

    def __init__(self, model: Flame, template: np.ndarray):
        self.template, self.joint = template.T, model.jaw_joint @ template
        self.weights = model.jaw_weights
        # Coordinates come before vertices, so that products with them are products of matrices.
        self.expressions, self.corrections = (
            array.transpose(0, 2, 1).reshape(len(array), -1) for array in (model.expressions, model.jaw_corrections)
        )
        self.joint_shifts = model.expressions.transpose(0, 2, 1) @ model.jaw_joint  # (E, 3), of the joint
        turned = self.weights * np.einsum("kij,jv->kiv", TURNS, self.template - self.joint[:, None])
        turns = turned.reshape(3, -1) + TURNS.reshape(3, 9) @ self.corrections
        jacobian = np.concatenate([self.expressions, turns])
        self.inverse = np.linalg.inv(jacobian @ jacobian.T)

    def __call__(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vertices (T, V, 3), metres -> expressions (T, E), rotations (T, 3, 3) and squared distances (T, V)."""
        target, count = vertices.transpose(0, 2, 1), len(self.expressions)
        expression, rotation = np.zeros((len(target), count)), np.repeat(np.eye(3)[None], len(target), 0)
        for _ in range(MAX_STEPS):
            residual, arm = self._residual(target, expression, rotation)
            step = self._gradient(residual, arm, rotation) @ self.inverse
            expression += step[:, :count]
            rotation = rotation @ Rotation.from_rotvec(step[:, count:]).as_matrix()
            if np.abs(step).max() < PRECISION:
                break
        residual, _ = self._residual(target, expression, rotation)
        return expression, rotation, np.square(residual).sum(1)

    def _residual(
        self, target: np.ndarray, expression: np.ndarray, rotation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Target minus face, and the vertices seen from the joint before they turn with it: (T, 3, V)."""
        change = rotation - np.eye(3)
        moved = expression @ self.expressions + change.reshape(-1, 9) @ self.corrections
        posed = self.template + moved.reshape(target.shape)
        arm = posed - (self.joint + expression @ self.joint_shifts)[..., None]
        return target - posed - self.weights * (change @ arm), arm

    def _gradient(self, residual: np.ndarray, arm: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """(T, E + 3): along which expressions and turns of the jaw the residual shrinks."""
        turned_back = (rotation - np.eye(3)).transpose(0, 2, 1) @ (self.weights * residual)
        unposed = (residual + turned_back).reshape(len(residual), -1)
        of_expression = unposed @ self.expressions.T - turned_back.sum(2) @ self.joint_shifts.T
        of_entries = (unposed @ self.corrections.T).reshape(-1, 3, 3)
        of_entries += (self.weights * residual) @ arm.transpose(0, 2, 1)
        of_turn = np.einsum("tij,kij->tk", rotation.transpose(0, 2, 1) @ of_entries, TURNS)
        return np.concatenate([of_expression, of_turn], 1)


def fit_flame(model: Flame, template: np.ndarray, motion: np.ndarray, metres: float = 1.0) -> FlameMotion:
    """The parameters of a subject's template (V, 3) and motion (T, V, 3). metres: the size of their unit."""
    template = metres * template.astype(float)
    identity = np.concatenate([model.shapes.reshape(len(model.shapes), -1), np.tile(np.eye(3), len(template))])
    difference = (template - model.template).reshape(-1)
    shape = np.linalg.lstsq(identity.T, difference, rcond=None)[0]
    away = (difference - shape @ identity).reshape(-1, 3)
    fit = FaceFit(model, template)
    blocks = [fit(metres * block.astype(float)) for block in row_blocks(motion, BLOCK)]
    expression, rotation, squares = (np.concatenate(part) for part in zip(*blocks))
    return FlameMotion(
        shape[:-3],
        shape[-3:],
        float(np.sqrt(np.square(away).sum(1).mean())),
        expression,
        Rotation.from_matrix(rotation).as_rotvec(),
        float(np.sqrt(squares.mean())),
        float(np.sqrt(squares.max())),
    )


def write_flame(path: Path, found: FlameMotion, template: np.ndarray, fps: float) -> None:
    """Writes the parameters as an .npz; template: (V, 3), metres, of the subject."""

    def write(temporary: Path) -> None:
        np.savez(
            temporary,
            expression=found.expression.astype(np.float32),
            jaw_pose=found.jaw_pose.astype(np.float32),
            shape=found.shape.astype(np.float32),
            translation=found.translation.astype(np.float32),
            template=template.astype(np.float32),
            fps=np.float32(fps),
        )

    write_atomic(path, write)
