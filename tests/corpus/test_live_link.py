"""Live Link Face's files: the app's header, exact round trips, takes as the app records them, and bad files."""

import os

import numpy as np
import pytest

from avlib.corpus import live_link
from avlib.corpus.arkit_names import NAMES
from avlib.corpus.live_link import HEADER, read_live_link, write_live_link

# the first line of the app's recordings
APP_HEADER = (
    "Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,EyeLookUpLeft,EyeSquintLeft,"
    "EyeWideLeft,EyeBlinkRight,EyeLookDownRight,EyeLookInRight,EyeLookOutRight,EyeLookUpRight,EyeSquintRight,"
    "EyeWideRight,JawForward,JawRight,JawLeft,JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthRight,MouthLeft,"
    "MouthSmileLeft,MouthSmileRight,MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,MouthStretchLeft,"
    "MouthStretchRight,MouthRollLower,MouthRollUpper,MouthShrugLower,MouthShrugUpper,MouthPressLeft,MouthPressRight,"
    "MouthLowerDownLeft,MouthLowerDownRight,MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,"
    "BrowOuterUpLeft,BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,NoseSneerLeft,NoseSneerRight,TongueOut,"
    "HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
)


def random_take(draw: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return draw.uniform(0, 1.05, (frames, 52)), draw.normal(0, 0.3, (frames, 3)), draw.normal(0, 0.3, (frames, 2, 3))


def write_again(take: live_link.Take, path) -> str:
    return write_live_link(path, take.weights, take.fps, take.head, take.eyes, take.start).read_text()


def column(path, name: str) -> list[str]:
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    return [row[header.index(name)] for row in rows]


def test_the_header_is_that_of_the_app(tmp_path):
    path = write_live_link(tmp_path / "a.csv", np.zeros((1, 52)), 60)
    header, row = path.read_text().splitlines()
    assert header == APP_HEADER and row == "00:00:00:00.000,61" + 61 * ",0.0000000000"


def test_each_weight_is_in_its_column(tmp_path):
    weights, head = np.arange(52)[None] / 100, np.array([[0.1, 0.2, 0.3]])
    eyes = np.arange(6).reshape(1, 2, 3) / 10
    path = write_live_link(tmp_path / "a.csv", weights, 30, head, eyes)
    for name, weight in zip(NAMES, weights[0]):
        assert float(column(path, name[0].upper() + name[1:])[0]) == weight
    assert [float(column(path, name)[0]) for name in ("HeadYaw", "HeadPitch", "HeadRoll")] == [0.1, 0.2, 0.3]
    assert [float(column(path, name)[0]) for name in ("LeftEyeRoll", "RightEyeYaw")] == [0.2, 0.3]


@pytest.mark.parametrize("seed", range(12))
def test_what_was_written_is_read_exactly(tmp_path, seed):
    draw = np.random.default_rng(seed)
    frames, start = int(draw.integers(5, 200)), float(draw.uniform(0, 86400))
    fps = float(draw.choice([24, 25, 29.97, 30, 59.94, 60, draw.uniform(1, 240)]))
    weights, head, eyes = random_take(draw, frames)
    if seed % 2:
        weights, weights[0, :3] = weights.round(4), (1e-12, 5e-7, 0)
    path = write_live_link(tmp_path / "a.csv", weights, fps, head, eyes, start)
    take = read_live_link(path)
    np.testing.assert_array_equal(take.weights, weights)
    np.testing.assert_array_equal(take.head, head)
    np.testing.assert_array_equal(take.eyes, eyes)
    assert take.fps == pytest.approx(fps, rel=1 / (frames - 1) / 250)
    assert take.start == pytest.approx(start, abs=1e-5) and take.interpolated == ()
    assert write_again(take, tmp_path / "b.csv") == path.read_text()


def test_the_numbers_of_the_app_are_written_as_read(tmp_path):
    """They are 32-bit numbers with ten decimals."""
    draw = np.random.default_rng(0)
    rows = [[f"{value:.10f}" for value in row] for row in draw.uniform(-1, 1, (40, 61)).astype(np.float32)]
    text = "\n".join([APP_HEADER, *(f"19:17:23:{t:02d}.429,61,{','.join(row)}" for t, row in enumerate(rows))]) + "\n"
    (tmp_path / "a.csv").write_text(text)
    assert write_again(read_live_link(tmp_path / "a.csv"), tmp_path / "b.csv") == text


def app_lines(times: list[str], weights: np.ndarray) -> list[str]:
    """Lines of a file in another order, in the small spelling of newer versions, and with columns of its own."""
    names = [*NAMES[::-1], *HEADER[-9:]]
    lines = [",".join(["TIMECODE", "Note", *names, "BlendshapeCount", "Extra"])]
    for time, row in zip(times, weights):
        lines.append(",".join([time, '"a, b"', *(f"{w:.10f}" for w in row[::-1]), *9 * ["0.25"], "61", "x"]))
    return lines


def test_other_spellings_orders_and_line_ends_are_read(tmp_path):
    weights = np.random.default_rng(0).uniform(0, 1, (300, 52)).round(10)
    ticks = 23_432 + np.rint(1001.6 * np.arange(300)).astype(int) + np.resize([0, 1, 0, -1], 300)
    times = [f"09:05:{t // 60000:02d}:{t // 1000 % 60:02d}.{t % 1000:03d}" for t in ticks.tolist()]
    text = "\ufeff" + "\r\n".join([*app_lines(times, weights), "", ""])
    (tmp_path / "MySlate_1_iPhone_cal.csv").write_bytes(text.encode())
    take = read_live_link(tmp_path / "MySlate_1_iPhone_cal.csv")
    np.testing.assert_array_equal(take.weights, weights)
    assert take.fps == pytest.approx(60 / 1.0016, abs=2e-3) and (take.head == 0.25).all() and (take.eyes == 0.25).all()
    assert take.start == pytest.approx(9 * 3600 + 5 * 60 + 23.432 / 60)


def test_a_take_goes_on_after_midnight(tmp_path):
    weights = np.random.default_rng(0).uniform(0, 1, (120, 52))
    path = write_live_link(tmp_path / "a.csv", weights, 60, start=86399)
    assert column(path, "Timecode")[59:61] == ["23:59:59:59.000", "00:00:00:00.000"]
    take = read_live_link(path)
    np.testing.assert_array_equal(take.weights, weights)
    assert (take.fps, take.start) == (60, 86399)


@pytest.mark.parametrize("fps, dropped", [(60, (1, 7, 8, 20, 21, 22, 23, 24, 25)), (30, (4, 5, 6)), (25, (10, 11))])
def test_dropped_frames_are_interpolated(tmp_path, fps, dropped):
    ramp = np.linspace(0, 1, 40)[:, None] * np.linspace(0.1, 1, 52)
    path = write_live_link(tmp_path / "a.csv", ramp, fps, start=86399.8)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for k, line in enumerate(lines) if k - 1 not in dropped))
    take = read_live_link(path)
    assert take.interpolated == dropped and take.fps == fps
    np.testing.assert_allclose(take.weights, ramp, atol=1e-12)
    kept = np.setdiff1d(np.arange(40), dropped)
    np.testing.assert_array_equal(take.weights[kept], ramp[kept])


def test_a_long_gap_is_reported(tmp_path):
    path = write_live_link(tmp_path / "a.csv", np.zeros((40, 52)), 60)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:12] + lines[19:]))
    with pytest.raises(
        ValueError, match=r"a.csv, line 13, column Timecode: 7 frames are missing before it, 0.12 s; .* 0.1 s"
    ):
        read_live_link(path)


def edited(line: int, name: str, value: str):
    def edit(rows: list[list[str]]) -> None:
        rows[line - 1][rows[0].index(name)] = value

    return edit


def without(*names: str):
    def edit(rows: list[list[str]]) -> None:
        for k in sorted((rows[0].index(name) for name in names), reverse=True):
            for row in rows:
                del row[k]

    return edit


@pytest.mark.parametrize(
    "edit, message",
    [
        (without("JawOpen"), "a.csv, line 1: no column JawOpen; "),
        (without("Timecode"), "a.csv, line 1: no column Timecode; "),
        (without(*HEADER[-9:]), "no column HeadYaw, HeadPitch, HeadRoll, LeftEyeYaw and 5 more; "),
        (edited(1, "MouthLeft", "jawopen"), "a.csv, line 1: no column MouthLeft"),
        (lambda rows: [row.append(row[19]) for row in rows], "a.csv, line 1: expected one column JawOpen, got 2"),
        (edited(4, "JawOpen", "nan"), "a.csv, line 4, column JawOpen: expected a weight from -1 to 2, got 'nan'"),
        (edited(4, "JawOpen", "inf"), "line 4, column JawOpen: .* got 'inf'"),
        (edited(4, "JawOpen", "1e999"), "line 4, column JawOpen: .* got '1e999'"),
        (edited(4, "JawOpen", ""), "line 4, column JawOpen: .* got ''"),
        (edited(4, "JawOpen", '"a\nb"'), r"line 5, column JawOpen: .* got 'a\\nb'"),
        (edited(5, "MouthLeft", "__import__('os')"), 'line 5, column MouthLeft: .* got "__import__'),
        (edited(5, "MouthLeft", "55.2"), "line 5, column MouthLeft: expected a weight from -1 to 2, got '55.2'"),
        (edited(5, "LeftEyeYaw", "12"), "line 5, column LeftEyeYaw: expected an angle in rad, got '12'"),
        (edited(6, "Timecode", "1.5"), "line 6, column Timecode: expected HH:MM:SS:FF.mmm, got '1.5'"),
        (
            edited(6, "Timecode", "00:00:00:03.000"),
            "line 6, column Timecode: expected a later frame than that of line 5",
        ),
        (edited(6, "Timecode", "00:00:00:01.000"), "line 6, column Timecode: expected a later frame"),
        (edited(6, "Timecode", "00:00:09:04.000"), "line 6, column Timecode: 540 frames are missing before it, 9.00 s"),
        (lambda rows: rows[6].pop(), "line 7: expected 63 fields as in the header, got 62"),
        (lambda rows: rows[6].append("0"), "line 7: expected 63 fields as in the header, got 64"),
        (lambda rows: rows.__delitem__(slice(5, None)), "a.csv: expected at least 5 frames, got 4"),
        (lambda rows: rows.__delitem__(slice(1, None)), "a.csv: expected at least 5 frames, got 0"),
        (lambda rows: rows.clear(), "a.csv, line 1: no column Timecode, EyeBlinkLeft, .* and 58 more"),
        (
            lambda rows: [row.__setitem__(0, "00:00:00:00.000") for row in rows[1:]],
            "a.csv: expected timecodes of 1 to 240 frames a second, got no time between frames",
        ),
    ],
)
def test_a_bad_file_is_reported_in_one_line(tmp_path, edit, message):
    path = write_live_link(tmp_path / "a.csv", np.zeros((8, 52)), 60)
    rows = [line.split(",") for line in path.read_text().splitlines()]
    edit(rows)
    path.write_text("\n".join(map(",".join, rows)))
    with pytest.raises(ValueError, match=message) as raised:
        read_live_link(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"x" * 100_000, "line 1: expected at most 65536 characters, got more"),
        (APP_HEADER.encode() + b"\n" + b"0," * 50_000, "line 2: expected at most 65536 characters, got more"),
        (b'"' + b"x\n" * 100_000, r"cannot be read as CSV \(field larger than field limit"),
        (b"\xff\xfe\x00T", r"cannot be read as CSV \('utf-8' codec"),
        (b"PK\x03\x04\x00\x00\n", "a.csv"),
        (b"", "line 1: no column"),
    ],
)
def test_a_file_of_another_kind_is_reported(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_live_link(tmp_path / "a.csv")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def test_what_is_no_file_is_reported(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")  # reading it would wait for ever
    for path in (tmp_path, tmp_path / "none.csv", tmp_path / "pipe.csv"):
        with pytest.raises(ValueError, match="no such file"):
            read_live_link(path)


def test_the_number_of_frames_is_bounded(tmp_path, monkeypatch):
    path = write_live_link(tmp_path / "a.csv", np.zeros((30, 52)), 60)
    monkeypatch.setattr(live_link, "MAX_FRAMES", 20)
    with pytest.raises(ValueError, match="line 22: expected at most 20 frames, got more"):
        read_live_link(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + [line for k, line in enumerate(lines[1:]) if k % 7 not in (2, 5)][:19]))
    with pytest.raises(ValueError, match="a.csv: expected at most 20 frames, got 26"):  # dropped ones count
        read_live_link(path)


@pytest.mark.parametrize(
    "weights, fps, head, message",
    [
        (np.zeros((5, 51)), 60, None, r"expected finite weights of shape \(5, 52\), got shape \(5, 51\)"),
        (np.full((5, 52), np.nan), 60, None, "expected finite weights"),
        (np.zeros((5, 52)), 60, np.zeros((4, 3)), r"expected finite head of shape \(5, 3\)"),
        (np.zeros((5, 52)), 0, None, "expected 1 to 240 frames a second, got 0"),
        (np.zeros((5, 52)), np.nan, None, "expected 1 to 240 frames a second, got nan"),
    ],
)
def test_a_bad_take_is_not_written(tmp_path, weights, fps, head, message):
    with pytest.raises(ValueError, match=message):
        write_live_link(tmp_path / "a.csv", weights, fps, head)
    assert not list(tmp_path.iterdir())
