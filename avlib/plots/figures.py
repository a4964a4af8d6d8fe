"""Figures: their look, saving them, and what stands in place of one that cannot be drawn."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..core.files import write_atomic


def save_figure(figure: Figure, path: Path) -> Figure:
    write_atomic(path, lambda p: figure.savefig(p))
    return figure


def placeholder(told: str) -> Figure:
    """In place of a picture, what there is not."""
    figure, axis = plt.subplots(figsize=(5, 0.4))
    axis.set_axis_off()
    axis.text(0, 0.5, told, va="center", fontsize=9)
    return figure
