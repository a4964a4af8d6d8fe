"""Reads the motion and the speech of one sequence from any layout of files."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import soxr
import torch
from torch import Tensor

from ...core.files import open_array
from ...core.rates import SPEECH_HZ, WINDOW
from ...speech.sound import read_speech
from ..media import read_sound
from ..specification import CorpusSpec
from ..utterance import Excluded
from .meshes import read_vl, surface_area

LONGEST_GAP_S = 0.1  # longest gap of missing frames that is interpolated
MAX_HEAD_ROTATION = 0.2  # rad, relative to the template; beyond it, the head pose is removed


class MotionSource(Protocol):
    """The motion of a sequence in its file or folder `path`."""

    @property
    def path(self) -> Path: ...

    def read(self, spec: CorpusSpec) -> tuple[int, np.ndarray]:
        """The number of frames at the scans' rate, and the used frames (T, V, 3), float32.

        ValueError names the file.
        """
        ...


class SpeechSource(Protocol):
    """The speech of a sequence in its file `path`."""

    @property
    def path(self) -> Path: ...

    def read(self) -> Tensor:
        """(S,), 16 kHz. ValueError names the file."""
        ...


@dataclass(frozen=True)
class StackedMotion:
    """A sequence in VOCASET's array of all frames. numbers: of its frames, ascending. rows: their rows in the array."""

    path: Path
    numbers: list[int]
    rows: list[int]

    def read(self, spec: CorpusSpec) -> tuple[int, np.ndarray]:
        used = used_frames(self.numbers, spec, self.path)
        scans = open_scans(self.path)  # mapped anew each time, so that the pages of earlier sequences are released
        if max(self.rows) >= len(scans):
            raise Excluded(f"{self.path}: {len(scans)} frames, the index asks for frame {max(self.rows)}")
        rows = np.asarray(self.rows)
        motion = reshape_scans(scans[rows[used.before]], spec, self.path)
        missing = np.flatnonzero(used.weight)
        following = reshape_scans(scans[rows[used.after[missing]]], spec, self.path)
        motion[missing] += used.weight[missing, None, None].astype(np.float32) * (following - motion[missing])
        return used.count, motion


@dataclass(frozen=True)
class ArrayMotion:
    """A sequence in its own .npy file, (T, V * 3) or (T, V, 3)."""

    path: Path

    def read(self, spec: CorpusSpec) -> tuple[int, np.ndarray]:
        scans = open_scans(self.path)
        return len(scans), reshape_scans(scans[:: spec.step], spec, self.path)


@dataclass(frozen=True)
class FrameFiles:
    """A sequence in one file per frame. template: (V, 3), upright and scaled. faces: (F, 3)."""

    paths: list[Path]
    template: np.ndarray
    faces: np.ndarray

    @property
    def path(self) -> Path:
        return self.paths[0].parent

    def read(self, spec: CorpusSpec) -> tuple[int, np.ndarray]:
        used = used_frames([frame_number(p) for p in self.paths], spec, self.path)

        def frame(i: int) -> np.ndarray:
            return normalise_scan(read_vl(self.paths[i], spec.vertices), self.faces, spec)

        frames = [
            frame(before) if not weight else (1 - weight) * frame(before) + weight * frame(after)
            for before, after, weight in zip(used.before, used.after, used.weight)
        ]
        return used.count, remove_head_pose(np.stack(frames), self.template).astype(np.float32)


@dataclass(frozen=True)
class SampleArray:
    """Speech as an array inside a file. rate: of its samples, Hz."""

    path: Path
    rate: int
    samples: np.ndarray

    def read(self) -> Tensor:
        if self.samples.size < WINDOW:
            raise Excluded(f"{self.path}: {self.samples.size} samples of speech")
        samples = torch.tensor(self.samples, dtype=torch.float32)
        if np.issubdtype(self.samples.dtype, np.integer):
            samples = samples / np.iinfo(self.samples.dtype).max
        samples = samples if samples.ndim == 1 else samples.mean(int(samples.shape[0] > samples.shape[1]))
        if not samples.isfinite().all():
            raise Excluded(f"{self.path}: contains samples that are not finite")
        return torch.from_numpy(soxr.resample(samples.numpy(), self.rate, SPEECH_HZ))  # as `read_speech` does


@dataclass(frozen=True)
class SoundFile:
    """Speech in an audio file, or in the sound of a video."""

    path: Path

    def read(self) -> Tensor:
        if self.path.suffix.lower() == ".wav":
            return read_speech(self.path)
        samples, delay_s = read_sound(self.path)
        return torch.nn.functional.pad(samples.float() / 32768, (max(0, round(delay_s * SPEECH_HZ)), 0))


def open_scans(path: Path) -> np.ndarray:
    """The array of a .npy file, memory-mapped. Excluded names a file that is not an array of frames."""
    try:
        scans = open_array(path)
    except ValueError as error:
        raise Excluded(str(error)) from None
    if scans.ndim < 2 or not len(scans):
        raise Excluded(f"{path}: not an array of frames of numbers")
    return scans


def reshape_scans(scans: np.ndarray, spec: CorpusSpec, path: Path) -> np.ndarray:
    """(T, V, 3), float32. Excluded names the file if the number of vertices is another."""
    if math.prod(scans.shape[1:]) != 3 * spec.vertices:
        raise Excluded(
            f"{path}: {math.prod(scans.shape[1:]) / 3:g} vertices per frame, {spec.name} has {spec.vertices}"
        )
    return scans.reshape(-1, spec.vertices, 3).astype(np.float32)


class UsedFrames(NamedTuple):
    """Which scans form the T used frames, missing ones interpolated.

    count: frames at the scans' rate, with the missing ones. before, after: (T,), indices of the scans around each used
    frame.
    weight: (T,), of the scan after it; 0 if the frame is not missing.
    """

    count: int
    before: np.ndarray
    after: np.ndarray
    weight: np.ndarray


def used_frames(frame_numbers: list[int], spec: CorpusSpec, path: Path) -> UsedFrames:
    """frame_numbers: of the scans that exist, ascending, from 0 or 1 on. Excluded for a gap that is too long."""
    numbers = np.asarray(frame_numbers)
    first = min(int(numbers[0]), 1)
    steps = np.diff(numbers, prepend=first - 1)
    if (missing := int(steps.max()) - 1) > LONGEST_GAP_S * spec.scan_fps:
        last = int(numbers[steps.argmax()]) - 1
        raise Excluded(f"{path}: frames {last - missing + 1} to {last} are missing")
    used = np.arange(first, numbers[-1] + 1, spec.step)
    after = np.searchsorted(numbers, used)
    before = np.where(numbers[after] == used, after, (after - 1).clip(0))
    weight = ((used - numbers[before]) / np.maximum(1, numbers[after] - numbers[before])).clip(0)
    return UsedFrames(int(numbers[-1]) - first + 1, before, after, weight)


def normalise_scan(vertices: np.ndarray, faces: np.ndarray, spec: CorpusSpec) -> np.ndarray:
    """A raw scan (V, 3) in the form that published work uses.

    It is turned upright and, if the specification says so, centred and scaled to a surface area of 1.
    """
    vertices = vertices * np.asarray(spec.raw.get("axes", (1, 1, 1)), np.float64)
    if not spec.raw.get("normalised"):
        return vertices
    vertices = vertices - vertices.mean(0)
    return vertices / np.sqrt(surface_area(vertices, faces))


def remove_head_pose(motion: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Motion (T, V, 3) with each frame aligned to the template (V, 3), if the head rotates (Kabsch 1976)."""
    centre = motion.mean(1, keepdims=True)
    rest = template - template.mean(0)
    left, _, right = np.linalg.svd(np.einsum("tvi,vj->tij", motion - centre, rest))
    left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
    rotation = left @ right  # of row vectors: frame @ rotation is aligned with the template
    angle = np.arccos(((np.trace(rotation, axis1=1, axis2=2) - 1) / 2).clip(-1, 1))
    if angle.max() <= MAX_HEAD_ROTATION:
        return motion
    return (motion - centre) @ rotation + template.mean(0)


def frame_number(path: Path) -> int:
    """The last number in the name of a file. ValueError if there is none."""
    if not (numbers := re.findall(r"\d+", path.stem)):
        raise ValueError(f"{path}: expected a frame number in its name")
    return int(numbers[-1])
