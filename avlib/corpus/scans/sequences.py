"""Motion and speech of one sequence, wherever a layout keeps them."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample

from ...core.rates import SPEECH_HZ, WINDOW
from ...speech.sound import read_speech
from ..media import sound
from ..specification import CorpusSpec
from ..utterance import Excluded
from .meshes import surface_area, read_vl

LONGEST_GAP_S = 0.1  # of frames that the scanner lost, bridged by those before and after
HEAD_TURN = 0.2  # rad that a head turns against its template before it is taken to have a pose


@dataclass(frozen=True)
class Rows:
    """A sequence in VOCASET's one array of all frames. numbers: its frames, ascending; rows: where they are."""

    path: Path
    numbers: list[int]
    rows: list[int]

    def read(self, facts: CorpusSpec) -> tuple[int, np.ndarray]:
        """How many frames there are at the scans' rate, and those that are used, (T, V, 3) float32."""
        count, before, after, weight = every(self.numbers, facts, self.path)
        scans = mapped(self.path)  # anew each time: pages that were read are given back
        if max(self.rows) >= len(scans):
            raise Excluded(f"{self.path}: {len(scans)} frames, the index asks for frame {max(self.rows)}")
        rows = np.asarray(self.rows)
        motion = shaped(scans[rows[before]], facts, self.path)
        lost = np.flatnonzero(weight)
        follows = shaped(scans[rows[after[lost]]], facts, self.path)
        motion[lost] += weight[lost, None, None].astype(np.float32) * (follows - motion[lost])
        return count, motion


@dataclass(frozen=True)
class Array:
    """A sequence in a file of its own, (T, V * 3) or (T, V, 3)."""

    path: Path

    def read(self, facts: CorpusSpec) -> tuple[int, np.ndarray]:
        scans = mapped(self.path)
        return len(scans), shaped(scans[:: facts.step], facts, self.path)


@dataclass(frozen=True)
class Frames:
    """A sequence in a file for each frame, and the mesh that says which way up it is and how large."""

    paths: list[Path]
    template: np.ndarray
    faces: np.ndarray

    @property
    def path(self) -> Path:
        return self.paths[0].parent

    def read(self, facts: CorpusSpec) -> tuple[int, np.ndarray]:
        numbers = [frame_number(p) for p in self.paths]
        count, before, after, weight = every(numbers, facts, self.path)
        one = lambda i: normalised(read_vl(self.paths[i], facts.vertices), self.faces, facts)
        frames = [one(a) if not w else (1 - w) * one(a) + w * one(b) for a, b, w in zip(before, after, weight)]
        return count, unposed(np.stack(frames), self.template).astype(np.float32)


@dataclass(frozen=True)
class Samples:
    """Speech inside another file."""

    path: Path
    rate: int
    samples: np.ndarray

    def read(self) -> Tensor:
        """(S,) at 16 kHz."""
        if self.samples.size < WINDOW:
            raise Excluded(f"{self.path}: {self.samples.size} samples of speech")
        samples = torch.tensor(self.samples, dtype=torch.float32)
        if np.issubdtype(self.samples.dtype, np.integer):
            samples = samples / np.iinfo(self.samples.dtype).max
        samples = samples if samples.ndim == 1 else samples.mean(int(samples.shape[0] > samples.shape[1]))
        if not samples.isfinite().all():
            raise Excluded(f"{self.path}: holds samples that are not finite")
        return resample(samples, self.rate, SPEECH_HZ)


@dataclass(frozen=True)
class Sound:
    """Speech in an audio file, or in the sound of a video."""

    path: Path

    def read(self) -> Tensor:
        """(S,) at 16 kHz."""
        if self.path.suffix.lower() == ".wav":
            return read_speech(self.path)
        samples, late_s = sound(self.path)
        return torch.nn.functional.pad(samples.float() / 32768, (max(0, round(late_s * SPEECH_HZ)), 0))


def mapped(path: Path) -> np.ndarray:
    """A .npy file's array, of which nothing is read yet. ValueError names the file."""
    try:
        scans = np.load(path, "r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Excluded(f"{path}: not a whole array of numbers ({error})") from None
    if not isinstance(scans, np.ndarray) or scans.dtype.kind not in "fiu" or scans.ndim < 2 or not len(scans):
        raise Excluded(f"{path}: no frames of numbers in it")
    return scans


def shaped(scans: np.ndarray, facts: CorpusSpec, path: Path) -> np.ndarray:
    """(T, V, 3) float32."""
    if math.prod(scans.shape[1:]) != 3 * facts.vertices:
        raise Excluded(
            f"{path}: {math.prod(scans.shape[1:]) / 3:g} vertices a frame, {facts.name} has {facts.vertices}"
        )
    return scans.reshape(-1, facts.vertices, 3).astype(np.float32)


def every(numbers: list[int], facts: CorpusSpec, path: Path) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Of frames with these ascending numbers, from 0 or 1 on: how many there were at the scans' rate, and for each frame that is
    used the places of the one before and the one after it, and how far on to the latter it lies: 0 where it is there itself."""
    numbers = np.asarray(numbers)
    first = min(int(numbers[0]), 1)
    steps = np.diff(numbers, prepend=first - 1)
    if (lost := int(steps.max()) - 1) > LONGEST_GAP_S * facts.scan_fps:
        last = int(numbers[steps.argmax()]) - 1
        raise Excluded(f"{path}: frames {last - lost + 1} to {last} are missing")
    wanted = np.arange(first, numbers[-1] + 1, facts.step)
    after = np.searchsorted(numbers, wanted)
    before = np.where(numbers[after] == wanted, after, (after - 1).clip(0))
    weight = ((wanted - numbers[before]) / np.maximum(1, numbers[after] - numbers[before])).clip(0)
    return int(numbers[-1]) - first + 1, before, after, weight


def normalised(vertices: np.ndarray, faces: np.ndarray, facts: CorpusSpec) -> np.ndarray:
    """Vertices (V, 3) as recorded -> as published work uses them: turned upright and, where facts say so, their mean at 0 and
    their surface 1."""
    vertices = vertices * np.asarray(facts.raw.get("axes", (1, 1, 1)), np.float64)
    if not facts.raw.get("normalised"):
        return vertices
    vertices = vertices - vertices.mean(0)
    return vertices / np.sqrt(surface_area(vertices, faces))


def unposed(motion: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Motion (T, V, 3) without the pose of the head, if it has one: each frame laid onto the template (Kabsch 1976)."""
    middle = motion.mean(1, keepdims=True)
    rest = template - template.mean(0)
    left, _, right = np.linalg.svd(np.einsum("tvi,vj->tij", motion - middle, rest))
    left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
    turn = left @ right  # row vectors: frame @ turn is the template's way up
    angle = np.arccos(((np.trace(turn, axis1=1, axis2=2) - 1) / 2).clip(-1, 1))
    if angle.max() <= HEAD_TURN:
        return motion
    return (motion - middle) @ turn + template.mean(0)


def frame_number(path: Path) -> int:
    """ValueError for a name without any."""
    if not (figures := re.findall(r"\d+", path.stem)):
        raise ValueError(f"{path}: expected the frame's number in its name")
    return int(figures[-1])
