"""Takes on disk: one file a recording, so that an interrupted capture goes on where it stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ...core.digest import digest
from ...core.files import read_json, write_atomic, write_json
from ...speech.languages import ENGLISH
from ..utterance import Excluded
from ..video.face_landmarker import FaceLandmarker
from ..video.sources import Source
from .screening import check_sound, lag_profile, times_of_speech
from .takes import Take, read_take
from .weights_take import WeightsTake, read_weights_take


def take_path(folder: Path, source: Source) -> Path:
    return folder / f"{digest(source.name)}.safetensors"


def record_take(
    source: Source,
    folder: Path,
    state: str,
    create_landmarker: Callable[[], FaceLandmarker],
    language: str = ENGLISH,
) -> tuple[str, str]:
    """Writes a recording's take and, last, its record; returns its name, and the reason if it is excluded, else "".

    state: of its files and its transcript, which the record repeats; see `recorded`.
    """
    path = take_path(folder, source)
    record: dict[str, Any] = {"name": source.name, "state": state}
    try:
        take = read_take(source, create_landmarker) if source.is_film else read_weights_take(source)
        correlations = lag_profile(take)
        check_sound(take, correlations)
        words, phonemes = times_of_speech(take, source, language)
    except Excluded as error:
        record["excluded"] = str(error)
        path.unlink(missing_ok=True)  # of an earlier state
    else:
        record |= {
            "fps": take.fps,
            "frames": take.frames,
            "correlations": correlations.round(3).tolist(),
            "words": [[w.label, w.start_s, w.end_s] for w in words],
            "phonemes": [[p.label, p.start_s, p.end_s] for p in phonemes],
        }
        write_atomic(path, lambda p: write_take(p, take))
    write_json(path.with_suffix(".json"), record)
    return source.name, record.get("excluded", "")


def write_take(path: Path, take: Take | WeightsTake) -> None:
    """Writes a file that `load_take` or `load_weights` reads."""
    metadata = {"fps": repr(take.fps)}
    if isinstance(take, WeightsTake):
        tensors = {"weights": torch.from_numpy(take.weights), "speech": take.speech}
    else:
        metadata |= {"size": json.dumps(take.size), "late_s": repr(take.late_s)}
        tensors = {
            "times": torch.from_numpy(take.times),
            "landmarks": torch.from_numpy(take.landmarks),
            "scores": torch.from_numpy(take.scores),
            "video": take.video,
            "speech": take.speech,
        }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def recorded(source: Source, folder: Path, state: str) -> dict | None:
    """The record of a take, if it was made from the film and the transcript in this state and, unless the film is
    excluded, the take exists."""
    path = take_path(folder, source)
    record = read_json(path.with_suffix(".json")) if path.with_suffix(".json").is_file() else {}
    complete = "excluded" in record or path.is_file()
    return record if complete and record.get("state") == state else None


def load_take(source: Source, folder: Path) -> Take:
    """The take of a film. ValueError names a damaged file."""
    metadata, tensors = read_file(take_path(folder, source))
    times, landmarks, scores = (np.asarray(tensors[name]) for name in ("times", "landmarks", "scores"))
    height, width = json.loads(metadata["size"])
    fps, late_s = float(metadata["fps"]), float(metadata["late_s"])
    return Take(fps, times, landmarks, scores, (height, width), tensors["video"], tensors["speech"], late_s)


def load_weights(source: Source, folder: Path) -> WeightsTake:
    """The take of Live Link Face. ValueError names a damaged file."""
    metadata, tensors = read_file(take_path(folder, source))
    return WeightsTake(float(metadata["fps"]), tensors["weights"].numpy(), tensors["speech"])


def read_file(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors of a file. ValueError for a damaged one."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:  # safetensors has an error class of its own without a public name
        raise ValueError(f"{path}: not a complete take ({error}); delete it and run again") from None
