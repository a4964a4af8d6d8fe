"""Saving figures, and a placeholder for a figure without data."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..core.files import write_atomic

DENSE = 2000  # from so many points on, a PDF shows them as pixels
DENSE_DPI = 300


def save_figure(figure: Figure, path: Path) -> Figure:
    """Writes the figure to the path, a .png, and beside it as a .pdf with vectors and embedded fonts; returns it.

    The PDF has no date, so that equal figures are equal files.
    """
    write_atomic(path, lambda p: figure.savefig(p))
    _rasterize_dense(figure)
    pdf = {"dpi": DENSE_DPI, "metadata": {"CreationDate": None}}
    write_atomic(path.with_suffix(".pdf"), lambda p: figure.savefig(p, **pdf))
    return figure


def _rasterize_dense(figure: Figure) -> None:
    for line in figure.findobj(Line2D):
        line.set_rasterized(np.size(line.get_xdata()) >= DENSE)
    for dots in figure.findobj(PathCollection):
        dots.set_rasterized(np.shape(dots.get_offsets())[0] >= DENSE)


def placeholder(message: str) -> Figure:
    """A line of text in place of a figure, which says why there is none."""
    figure, axis = plt.subplots(figsize=(5, 0.4))
    axis.set_axis_off()
    axis.text(0, 0.5, message, va="center", fontsize=9)
    return figure
