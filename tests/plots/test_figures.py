"""Figures are saved as papers need them, and show without colours what they show with colours."""

import re
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from avlib.plots import readers, results, training
from avlib.plots.colours import COLOURS, LINES
from avlib.plots.figures import DENSE, save_figure
from tests.plots.test_plots import READERS

# How dichromats see linear RGB. Machado, Oliveira and Fernandes 2009, severity 1.
VISIONS = {
    "all": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    "grey": [[0.2126, 0.7152, 0.0722]] * 3,
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def lab(colour: str, vision: str) -> np.ndarray:
    """A colour in CIELAB as seen with a colour vision."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISIONS[vision]) @ linear, 0, 1)
    xyz = TO_XYZ @ seen / TO_XYZ.sum(1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: str, other: str, vision: str) -> float:
    """In CIELAB. About 2.3 are just noticed side by side."""
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_differ_with_any_colour_vision_in_grey_and_from_paper(vision):
    pairs = {pair: distance(*pair, vision) for pair in combinations([*COLOURS, "#ffffff"], 2)}
    assert min(pairs.values()) > 18, min(pairs, key=pairs.__getitem__)
    assert distance("#ff0000", "#008000", "deuteranopia") < 60 < distance("#ff0000", "#008000", "all")


def looks(line) -> tuple[str, str]:
    """What a line shows without colour."""
    return line.get_linestyle(), line.get_marker()


def test_no_two_lines_look_alike():
    assert len({tuple(line.values()) for line in LINES}) == 16
    assert len({line["linestyle"] for line in LINES[:4]}) == len({line["color"] for line in LINES[:4]}) == 4


def history(*values: float) -> list[dict]:
    return [{"loss": value, "held_out_lve": value, "cer": value, "cer_audio": value} for value in values]


def objective(*values: float) -> list[dict]:
    return [{"history": history(*values), "epochs": 2, "steps": 4, "convergence": {"plateau": None}}]


FIGURES = {
    "losses": lambda: training.learning_curves({name: history(2.0, 1.0) for name in "abcd"}, ["loss"]),
    "held out": lambda: training.held_out_curves({"One": {name: objective(2, 1) for name in "abc"}}, "m"),
    "rates": lambda: readers.error_rate_curves({"expert": history(0.9, 0.5), "reader": history(0.7, 0.6)}, READERS),
    "noise": lambda: readers.noise_curves(
        {
            "levels_db": [None, 0],
            "accuracy": {
                "expert": {"video": [30.0], "audio": [90.0, 10.0], "audio and video": [95.0, 35.0]},
                "reader": {"video": [40.0]},
            },
        }
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_lines_of_a_figure_differ_without_their_colours(name):
    for axis in FIGURES[name]().axes:
        seen = [looks(line) for line in axis.lines]
        assert len(seen) > 1 and len(set(seen)) == len(seen)


def test_effects_and_words_differ_without_their_colours():
    def difference(low: float, high: float) -> dict:
        return dict.fromkeys(("LVE", "CER"), {"low": low, "difference": (low + high) / 2, "high": high})

    rows = {"falls": difference(-2, -1), "rises": difference(1, 2), "undecided": difference(-1, 1)}
    axis, _ = results.effects({"Group": rows}, {"LVE": (1.0, "mm"), "CER": (1.0, "%")}).axes
    assert {line.get_marker() for line in axis.lines if len(line.get_xdata()) == 1} == {"<", ">", "o"}
    dots = [["at", 0], ["at", 1], ["eight", 0]]
    record = {
        "rows": [{"points": "frames", "lips": "clips", "spaces": {"reader": "one"}}],
        "points": {"one": dots},
        "maps": {"one": [{"points": [[0, 0], [1, 1], [2, 0]], "silhouette": 0.1, "perplexity": 5, "seed": 0}]},
    }
    (axis,) = results.tsne_maps(record, "frames", ["clips"]).axes
    at, eight = (dots.get_paths()[0].vertices for dots in axis.collections)
    assert at.shape != eight.shape


def saved(path: Path, points: int) -> bytes:
    """The PDF of a figure with lines, dots, a picture and letters of several scripts."""
    figure, (line, dots) = plt.subplots(1, 2)
    line.plot(np.sin(np.arange(points)), label="ˈpˌʊʃ, λ ± 1")
    line.legend()
    dots.scatter(np.cos(np.arange(points)), np.arange(points))
    dots.imshow(np.arange(4).reshape(2, 2), cmap="gray")
    plt.close(save_figure(figure, path))
    assert path.read_bytes().startswith(b"\x89PNG")
    return path.with_suffix(".pdf").read_bytes()


def test_a_pdf_has_vectors_and_fonts_and_equal_figures_are_equal_files(tmp_path):
    few = saved(tmp_path / "a.png", 100)
    assert few == saved(tmp_path / "b.png", 100)
    fonts = re.findall(rb"/Type /Font\b.*?/Subtype /(\w+)", few, re.S) + re.findall(rb"/Subtype /(Type\d)\b", few)
    assert fonts and b"Type3" not in fonts and b"/FontFile2" in few and b"CreationDate" not in few


def test_dense_points_are_pixels_and_do_not_swell_the_pdf(tmp_path):
    pictures = {n: saved(tmp_path / f"{n}.png", n).count(b"/Subtype /Image") for n in (100, 4 * DENSE)}
    assert pictures[4 * DENSE] > pictures[100]
    assert (tmp_path / f"{4 * DENSE}.pdf").stat().st_size < 300_000


def test_a_figure_shows_the_same_after_it_was_saved(tmp_path):
    figure, axis = plt.subplots()
    axis.plot(range(3 * DENSE))
    first = save_figure(figure, tmp_path / "a.png")
    save_figure(first, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
