"""Takes of the Live Link Face app: CSV files of ARKit's weights and of the angles of head and eyes, read and written.

The form is that of the app's own recordings: one row a frame, numbers with ten decimals. The names of the shapes begin
with capitals, and the right jaw and mouth come before the left ones. Unreal Engine's importer expects the second column
to be called BlendShapeCount, in any case of letters; newer versions of the app write BlendshapeCount.

Values are taken as their columns are named. In recordings of the app, JawLeft and MouthLeft go with shapes of the right
half of the mouth, JawRight and MouthRight with those of the left half: the app seems to exchange the sides of these.
"""

import csv
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np

from ..core.files import write_atomic
from .arkit_names import NAMES
from .timecode import DAY, TICKS, frame_rate, parse_timecode, timecodes

ANGLES = tuple(part + angle for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))


def _header() -> tuple[str, ...]:
    names = list(NAMES)
    for left in (NAMES.index("jawLeft"), NAMES.index("mouthLeft")):
        names[left], names[left + 1] = names[left + 1], names[left]
    return ("Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in names), *ANGLES)


HEADER = _header()
_VALUES = (*(name[0].upper() + name[1:] for name in NAMES), *ANGLES)
_DECIMALS = 10
_TO_HEADER = [_VALUES.index(name) for name in HEADER[2:]]

MIN_FRAMES, MAX_FRAMES = 5, 60 * 3600  # of a take: an hour at 60 frames a second
MIN_FPS, MAX_FPS = 1.0, 240.0
MAX_MISSING = 0.1  # seconds without a frame that are interpolated, about a phoneme
MAX_LINE = 65536  # characters; the app's lines have 830
MIN_WEIGHT, MAX_WEIGHT = -1.0, 2.0  # calibrated weights leave [0, 1] a little; percent would leave this range
MAX_ANGLE = 2 * np.pi


@dataclass(frozen=True)
class Take:
    """A recording at a constant frame rate.

    fps: frames a second. weights: (T, 52), in the order of NAMES, from 0 to 1 or a little beyond if calibrated.
    head: (T, 3); eyes: (T, 2, 3), left and right: yaw, pitch and roll, rad. The yaw of eyes is positive to the person's
    right, their pitch downwards. start: of the first frame, seconds since midnight. interpolated: numbers of the frames
    that the file lacks.
    """

    fps: float
    weights: np.ndarray
    head: np.ndarray
    eyes: np.ndarray
    start: float
    interpolated: tuple[int, ...]


def write_live_link(
    path: Path,
    weights: np.ndarray,
    fps: float,
    head: np.ndarray | None = None,
    eyes: np.ndarray | None = None,
    start: float = 0.0,
) -> Path:
    """Writes a take, atomically. Arguments as of `Take`; without head or eyes, their angles are 0.

    Numbers have ten decimals, and more where a reader would otherwise not get the same 64-bit number. ValueError for
    arrays of other shapes, values that are not finite and frame rates beyond MIN_FPS and MAX_FPS.
    """
    frames = len(weights)
    parts = {"weights": np.asarray(weights, float)}
    parts["head"] = np.zeros((frames, 3)) if head is None else np.asarray(head, float)
    parts["eyes"] = np.zeros((frames, 2, 3)) if eyes is None else np.asarray(eyes, float)
    for (name, part), shape in zip(parts.items(), ((frames, len(NAMES)), (frames, 3), (frames, 2, 3))):
        if part.shape != shape or not np.isfinite(part).all():
            raise ValueError(f"{path}: expected finite {name} of shape {shape}, got shape {part.shape}")
    if not MIN_FPS <= fps <= MAX_FPS:
        raise ValueError(f"{path}: expected {MIN_FPS:g} to {MAX_FPS:g} frames a second, got {fps:g}")
    values = np.concatenate([part.reshape(frames, -1) for part in parts.values()], 1)[:, _TO_HEADER]

    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="\n") as file:  # line by line: an hour of them is large
            file.write(",".join(HEADER) + "\n")
            for timecode, row in zip(timecodes(frames, fps, start), values):
                numbers = [np.format_float_positional(number, min_digits=_DECIMALS) for number in row]
                file.write(",".join([timecode, str(len(numbers)), *numbers]) + "\n")

    return write_atomic(Path(path), write)


def read_live_link(path: Path) -> Take:
    """The take of a file of the app, raw or calibrated.

    Columns are found by their names; others than those of `HEADER` are ignored, and so is BlendShapeCount. Frames that
    the app has dropped are interpolated. ValueError names the file, and the line and column, for what is not such a
    file: missing columns, numbers out of range, timecodes that do not rise, longer gaps than MAX_MISSING, fewer frames
    than MIN_FRAMES or more than MAX_FRAMES.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines, ticks, values = _read_rows(path, csv.reader(_bounded_lines(path, file)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as CSV ({error})") from None
    if len(ticks) < MIN_FRAMES:
        raise ValueError(f"{path}: expected at least {MIN_FRAMES} frames, got {len(ticks)}")
    numbers, fps = _frame_numbers(path, lines, ticks)
    if numbers[-1] >= MAX_FRAMES:
        raise ValueError(f"{path}: expected at most {MAX_FRAMES} frames, got {numbers[-1] + 1}")
    frames = np.arange(numbers[-1] + 1)
    if len(frames) > len(numbers):
        values = np.stack([np.interp(frames, numbers, column) for column in values.T], 1)
    return Take(
        fps,
        values[:, : len(NAMES)],
        values[:, len(NAMES) : len(NAMES) + 3],
        values[:, len(NAMES) + 3 :].reshape(-1, 2, 3),
        ticks[0] / TICKS,
        tuple(np.setdiff1d(frames, numbers).tolist()),
    )


def _bounded_lines(path: Path, file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise ValueError(f"{path}, line {number}: expected at most {MAX_LINE} characters, got more")
        yield line


def _read_rows(path: Path, reader) -> tuple[list[int], list[int], np.ndarray]:
    """Of each frame: its line in the file, its ticks since midnight, and its values (N, 61) in the order of _VALUES."""
    header = next(reader, [])
    columns = _find_columns(path, header)
    lines, ticks, values = [], [], array("d")
    for row in reader:
        if not row:
            continue
        where = f"{path}, line {reader.line_num}"
        if len(row) != len(header):
            raise ValueError(f"{where}: expected {len(header)} fields as in the header, got {len(row)}")
        if len(lines) == MAX_FRAMES:
            raise ValueError(f"{where}: expected at most {MAX_FRAMES} frames, got more")
        tick = parse_timecode(row[columns[0]])
        if tick is None:
            raise ValueError(f"{where}, column Timecode: expected HH:MM:SS:FF.mmm, got {row[columns[0]][:40]!r}")
        numbers = [_number(row[column]) for column in columns[1:]]
        weights, angles = numbers[: len(NAMES)], numbers[len(NAMES) :]
        good = [MIN_WEIGHT <= w <= MAX_WEIGHT for w in weights] + [-MAX_ANGLE <= a <= MAX_ANGLE for a in angles]
        if not all(good):
            wrong = good.index(False)
            wanted = f"a weight from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}" if wrong < len(NAMES) else "an angle in rad"
            raise ValueError(
                f"{where}, column {_VALUES[wrong]}: expected {wanted}, got {row[columns[1 + wrong]][:40]!r}"
            )
        lines.append(reader.line_num)
        ticks.append(tick)
        values.extend(numbers)
    return lines, ticks, np.array(values).reshape(-1, len(_VALUES))


def _find_columns(path: Path, header: list[str]) -> list[int]:
    """Where Timecode and _VALUES are, in any case of letters."""
    names = [name.strip().lower() for name in header]
    wanted = ("Timecode", *_VALUES)
    if missing := [name for name in wanted if name.lower() not in names]:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise ValueError(f"{path}, line 1: no column {', '.join(missing[:4])}{more}; Live Link Face writes them")
    if twice := [name for name in wanted if names.count(name.lower()) > 1]:
        raise ValueError(f"{path}, line 1: expected one column {twice[0]}, got {names.count(twice[0].lower())}")
    return [names.index(name.lower()) for name in wanted]


def _number(text: str) -> float:
    """NaN for what is not a number."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def _frame_numbers(path: Path, lines: list[int], ticks: list[int]) -> tuple[np.ndarray, float]:
    """The frames' numbers (N,) from 0, with gaps where frames were dropped, and the frame rate."""
    steps = np.array([(later - tick) % DAY for tick, later in pairwise(ticks)])  # a take may go on after midnight
    step = float(np.median(steps))
    if not TICKS / MAX_FPS <= step <= TICKS / MIN_FPS:
        got = f"{TICKS / step:g}" if step else "no time between frames"
        raise ValueError(f"{path}: expected timecodes of {MIN_FPS:g} to {MAX_FPS:g} frames a second, got {got}")
    passed = np.rint(np.where(steps < DAY // 2, steps, 0) / step).astype(int)
    for k in np.flatnonzero((passed < 1) | ((passed - 1) * step > MAX_MISSING * TICKS)).tolist():
        where = f"{path}, line {lines[k + 1]}, column Timecode"
        if passed[k] < 1:
            raise ValueError(f"{where}: expected a later frame than that of line {lines[k]}")
        raise ValueError(
            f"{where}: {passed[k] - 1} frames are missing before it, {(passed[k] - 1) * step / TICKS:.2f} s; "
            f"expected at most {MAX_MISSING:g} s (FF counts sixtieths of a second)"
        )
    numbers = np.concatenate([[0], np.cumsum(passed)])
    return numbers, frame_rate(numbers, np.concatenate([[0], np.cumsum(steps)]))
