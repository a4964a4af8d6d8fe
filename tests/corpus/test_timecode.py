"""Timecodes state the time of each frame, wrap at midnight, and give the frame rate back."""

import numpy as np
import pytest

from avlib.corpus.timecode import DAY, TICKS, frame_rate, parse_timecode, timecodes


def test_sixtieths_are_counted_at_any_rate():
    assert timecodes(3, 60) == ["00:00:00:00.000", "00:00:00:01.000", "00:00:00:02.000"]
    assert timecodes(3, 25)[1:] == ["00:00:00:02.400", "00:00:00:04.800"]
    assert timecodes(61, 29.97)[60] == "00:00:02:00.120"
    assert timecodes(2, 30, start=3725 + 58 / 60) == ["01:02:05:58.000", "01:02:06:00.000"]


def test_midnight_comes_after_the_last_frame_of_a_day():
    assert timecodes(2, 60, start=86400 - 1 / 60) == ["23:59:59:59.000", "00:00:00:00.000"]
    assert timecodes(1, 60, start=86400 - 1e-7) == ["00:00:00:00.000"]


def test_timecodes_are_read_as_written():
    starts = np.random.default_rng(0).uniform(0, 86400, 50)
    for start in starts:
        assert parse_timecode(timecodes(1, 60, start)[0]) == round(start * TICKS) % DAY
    assert parse_timecode(" 23:59:59:59.999 ") == DAY - 1 and parse_timecode("00:00:01:30") == 1.5 * TICKS


@pytest.mark.parametrize(
    "text",
    ["", "12", "1:2:3:4.5", "24:00:00:00.000", "00:60:00:00", "00:00:00:60.000", "00:00:00:0\u0661", "-1:00:00:00"],
)
def test_other_texts_are_no_timecodes(text):
    assert parse_timecode(text) is None


@pytest.mark.parametrize("fps", [12.5, 23.976, 24, 25, 29.97, 30, 50, 59.904, 59.94, 60, 120, 240])
def test_the_rate_is_found_exactly(fps):
    numbers = np.array([0, 1, 2, 5, *range(6, 60)])  # some are missing
    assert frame_rate(numbers, np.rint(numbers * TICKS / fps)) == fps


def test_the_rate_of_a_jittering_clock_is_found():
    numbers = np.arange(1000)
    jitter = np.random.default_rng(0).integers(-3, 4, 1000) * (numbers > 0)
    assert frame_rate(numbers, np.rint(numbers * 1001.6) + jitter) == pytest.approx(TICKS / 1001.6, abs=2e-3)
