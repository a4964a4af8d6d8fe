"""Predictions in the file format of FaceFormer and CodeTalker: <sequence>_condition_<subject>.npy.

Those of other methods are read to be scored here; those of the kit's models are written to be scored elsewhere. In
place of predictions, published weights may be named: `published_animators` makes the predictions then.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..core.files import find_visible, open_array, write_atomic
from ..corpus.corpus import Corpus
from ..corpus.specification import MAX_MEAN_DISPLACEMENT
from ..corpus.utterance import Utterance
from ..metrics.vertices import LENGTH_TOLERANCE

CONDITION = "_condition_"


class OtherMethod(NamedTuple):
    """A method that the run does not train.

    paths: a folder of its predictions; or one or two files of published weights, see `load_published_animator`.
    """

    name: str
    paths: tuple[Path, ...]

    @classmethod
    def parse(cls, argument: str) -> "OtherMethod":
        """From NAME=FOLDER, NAME=WEIGHTS or NAME=STAGE_TWO,STAGE_ONE. Without NAME, the last part of the path is it.

        ValueError if the name is not plain or a path does not exist.
        """
        name, _, text = argument.rpartition("=")
        paths = (Path(text),) if Path(text).exists() else tuple(map(Path, text.split(",")))
        name = name or paths[0].name
        if not re.fullmatch(r"\w[\w.+ -]*", name):
            raise ValueError(f"--predictions: expected NAME=FOLDER or NAME=WEIGHTS, a plain name, got {argument!r}")
        if missing := [path for path in paths if not path.exists()]:
            raise ValueError(f"--predictions: {missing[0]}: no such folder or file")
        if len(paths) > 2 or (len(paths) == 2 and any(path.is_dir() for path in paths)):
            raise ValueError(f"--predictions: expected a folder, or one or two files of weights, got {text!r}")
        return cls(name, paths)

    def __str__(self) -> str:
        """As the command line has it, with paths from the root of the file system."""
        return f"{self.name}={','.join(str(path.resolve()) for path in self.paths)}"

    @property
    def is_folder(self) -> bool:
        return self.paths[0].is_dir()

    def files(self) -> list[Path]:
        """The files of predictions or of weights."""
        return find_visible(self.paths[0], "*.npy") if self.is_folder else list(self.paths)


def find_predictions(folder: Path, utterances: list[Utterance]) -> dict[str, dict[str, Path]]:
    """{style: {utterance: file}}. Files of other utterances are ignored; ValueError if an utterance has no file."""
    styles: dict[str, dict[str, Path]] = {}
    names = {u.name for u in utterances}
    for path in find_visible(folder, f"*{CONDITION}*.npy"):
        name, _, style = path.stem.partition(CONDITION)
        if name in names:
            styles.setdefault(style, {})[name] = path
    if missing := names.difference(*styles.values()):
        raise ValueError(
            f"{folder / min(missing)}{CONDITION}<subject>.npy: missing; expected a prediction of each of {len(names)} "
            "test sequences"
        )
    return styles


def write_prediction(folder: Path, utterance: str, style: str, motion: torch.Tensor) -> Path:
    """Writes vertices (T, V, 3) to a file of shape (T, V * 3)."""
    path = folder / f"{utterance}{CONDITION}{style}.npy"
    return write_atomic(path, lambda p: np.save(p, motion.flatten(1).float().numpy()))


def read_prediction(path: Path, corpus: Corpus, utterance: Utterance) -> torch.Tensor:
    """Vertices (T, V, 3) in the corpus's unit.

    ValueError for a damaged file, another number of vertices, a length that differs from the scan's by more than
    `LENGTH_TOLERANCE` frames, values that are not finite, or a face far from the subject's template.
    """
    array = open_array(path)
    if not array.ndim or array.size % (3 * corpus.vertices) or array.shape[-1] not in (3, 3 * corpus.vertices):
        raise ValueError(f"{path}: shape {array.shape}, expected (frames, {3 * corpus.vertices})")
    motion = np.array(array, np.float32).reshape(-1, corpus.vertices, 3)
    if abs(len(motion) - utterance.frames) > LENGTH_TOLERANCE:
        raise ValueError(
            f"{path}: {len(motion)} frames, expected {utterance.frames} as in the scan at {corpus.fps:g} fps, within "
            f"{LENGTH_TOLERANCE}"
        )
    if not np.isfinite(motion).all():
        raise ValueError(f"{path}: holds NaN or infinite values")
    template = corpus.templates[utterance.subject].numpy()
    mean_distance = float(np.linalg.norm(motion - template, axis=-1).mean())
    template_side = float(np.ptp(template, axis=0).max())
    if mean_distance > MAX_MEAN_DISPLACEMENT * template_side:
        raise ValueError(
            f"{path}: {mean_distance:.4g} {corpus.unit} from the template of {utterance.subject} on average, whose "
            f"longest side is {template_side:.3g}: another unit or subject?"
        )
    return torch.from_numpy(motion)
