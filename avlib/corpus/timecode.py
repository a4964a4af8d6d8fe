"""Timecodes HH:MM:SS:FF.mmm of the Live Link Face app, where FF counts sixtieths of a second at any frame rate.

Times are counted in ticks, thousandths of a sixtieth: the smallest difference that a timecode can state.
"""

import re

import numpy as np

TICKS = 60_000  # a second
DAY = 24 * 3600 * TICKS
_TIMECODE = re.compile(r"(\d\d):([0-5]\d):([0-5]\d):([0-5]\d)(?:\.(\d{1,3}))?", re.ASCII)


def timecodes(frames: int, fps: float, start: float = 0.0) -> list[str]:
    """The timecodes of so many frames. start: of the first one, seconds since midnight, when they begin again."""
    ticks = (round(start * TICKS) + np.rint(np.arange(frames) * TICKS / fps).astype(int)) % DAY
    return [_timecode(tick) for tick in ticks.tolist()]


def _timecode(ticks: int) -> str:
    second, within = divmod(ticks, TICKS)
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}:{within // 1000:02d}.{within % 1000:03d}"


def parse_timecode(text: str) -> int | None:
    """Ticks since midnight, or None if the text is not a timecode. The thousandths may be absent."""
    match = _TIMECODE.fullmatch(text.strip())
    if match is None:
        return None
    hour, minute, second, sixtieth = (int(group) for group in match.groups()[:4])
    ticks = TICKS * (3600 * hour + 60 * minute + second) + 1000 * sixtieth + int((match[5] or "0").ljust(3, "0"))
    return ticks if ticks < DAY else None


def frame_rate(numbers: np.ndarray, ticks: np.ndarray) -> float:
    """The frame rate of frames with these numbers (N,), rising from 0, and these ticks (N,), rising from 0.

    It is the number with the fewest decimals that gives exactly these timecodes. If none does, because a clock has
    jitter, it is that of the line of regression, to 0.001.
    """
    slowest = float(TICKS / ((ticks[1:] + 0.5) / numbers[1:]).min())
    fastest = float(TICKS / ((ticks[1:] - 0.5) / numbers[1:]).max())
    for decimals in range(16 if slowest <= fastest else 0):
        # If a number with so many decimals lies between two others, it is what one of them or their middle rounds to.
        for bound in ((slowest + fastest) / 2, slowest, fastest):
            fps = round(bound, decimals)
            if fps > 0 and np.array_equal(np.rint(numbers * TICKS / fps), ticks):
                return fps
    return round(float(TICKS / np.polyfit(numbers, ticks, 1)[0]), 3)
