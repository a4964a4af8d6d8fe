"""Predictions as FaceFormer and CodeTalker write them, to be scored here, and ours to be scored elsewhere:
<sequence>_condition_<subject>.npy."""

import re
from pathlib import Path

import numpy as np
import torch

from ..core.files import write_atomic
from ..corpus.corpus import Corpus
from ..corpus.specification import MAX_MEAN_DISPLACEMENT
from ..corpus.utterance import Utterance
from ..metrics.vertices import LENGTH_TOLERANCE

CONDITION = "_condition_"


def named_folder(given: str) -> tuple[str, Path]:
    """The name of a method and the folder of its predictions, from "NAME=FOLDER" or a folder, which is then its own name."""
    name, _, folder = given.rpartition("=")
    name = name or Path(folder).name
    if not re.fullmatch(r"\w[\w.+ -]*", name):
        raise ValueError(f"--predictions: expected NAME=FOLDER with a plain name, got {given!r}")
    if not Path(folder).is_dir():
        raise ValueError(f"--predictions: {folder}: no such folder")
    return name, Path(folder)


def find_predictions(folder: Path, utterances: list[Utterance]) -> dict[str, dict[str, Path]]:
    """style -> utterance -> file. Files of other utterances are left alone; ValueError for an utterance without any."""
    styles, names = {}, {u.name for u in utterances}
    for path in sorted(folder.glob(f"*{CONDITION}*.npy")):
        name, _, style = path.stem.partition(CONDITION)
        if name in names:
            styles.setdefault(style, {})[name] = path
    for missing in sorted(names - {name for files in styles.values() for name in files}):
        raise ValueError(
            f"{folder / missing}{CONDITION}<subject>.npy: missing; expected a prediction of each of {len(names)} test "
            "sequences"
        )
    return styles


def write_prediction(folder: Path, utterance: str, style: str, motion: torch.Tensor) -> Path:
    """Vertices (T, V, 3) in a file of their own, (T, V * 3)."""
    path = folder / f"{utterance}{CONDITION}{style}.npy"
    return write_atomic(path, lambda p: np.save(p, motion.flatten(1).float().numpy()))


def read_prediction(path: Path, corpus: Corpus, utterance: Utterance) -> torch.Tensor:
    """(T, V, 3), at most two frames longer or shorter than the scan. ValueError names the file and what is wrong with it."""
    try:
        flat = np.load(path, "r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a whole array of numbers ({error})") from None
    if flat.size % (3 * corpus.vertices) or flat.shape[-1] not in (3, 3 * corpus.vertices):
        raise ValueError(f"{path}: shape {flat.shape}, expected (frames, {3 * corpus.vertices})")
    motion = np.array(flat, np.float32).reshape(-1, corpus.vertices, 3)
    if abs(len(motion) - utterance.frames) > LENGTH_TOLERANCE:
        raise ValueError(
            f"{path}: {len(motion)} frames, the scan has {utterance.frames} at {corpus.fps:g} a second; at most "
            f"{LENGTH_TOLERANCE} may differ"
        )
    if not np.isfinite(motion).all():
        raise ValueError(f"{path}: holds NaN or infinite values")
    rest = corpus.templates[utterance.subject].numpy()
    away, side = float(np.linalg.norm(motion - rest, axis=-1).mean()), float(np.ptp(rest, axis=0).max())
    if away > MAX_MEAN_DISPLACEMENT * side:
        raise ValueError(
            f"{path}: {away:.4g} {corpus.unit} from the template of {utterance.subject} on average, whose largest side "
            f"is {side:.3g}: another unit or subject?"
        )
    return torch.from_numpy(motion)
