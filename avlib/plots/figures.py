"""Saving figures, and a placeholder for a figure without data."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..core.files import write_atomic


def save_figure(figure: Figure, path: Path) -> Figure:
    """Writes the figure in the format of the path's suffix; returns the figure."""
    write_atomic(path, lambda p: figure.savefig(p))
    return figure


def placeholder(message: str) -> Figure:
    """A line of text in place of a figure, which says why there is none."""
    figure, axis = plt.subplots(figsize=(5, 0.4))
    axis.set_axis_off()
    axis.text(0, 0.5, message, va="center", fontsize=9)
    return figure
