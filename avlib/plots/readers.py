"""How well readers read: error rates over epochs, accuracy in noise, and viseme confusions."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..evaluation.labels import STREAM_LABELS, VISEME_PHONEMES
from ..lipreading.reader import Reader
from .colours import BLUE, RED, YELLOW
from .figures import placeholder

# Of the streams that a reader receives; and of readers, in order.
COLOURS, MARKERS = (dict(zip(STREAM_LABELS, looks)) for looks in ((BLUE, RED, YELLOW), "os^"))
LINE_STYLES = ("-", "--", ":")


def error_rate_curves(histories: dict[str, list[dict]], readers: Mapping[str, Reader]) -> Figure:
    """Held-out character error rates over epochs: a line for each reader and the streams that it received."""
    figure, axis = plt.subplots(figsize=(4.2, 2.8))
    for (stage, reader), style in zip(readers.items(), LINE_STYLES):
        fields = {"audio": "cer_audio", "video": "cer_video", " and ".join(sorted(reader.modalities)): "cer"}
        for streams, label in STREAM_LABELS.items():
            field = fields.get(streams)
            points = [(epoch, 100 * row[field]) for epoch, row in enumerate(histories[stage], 1) if field in row]
            if points:
                looks = {"color": COLOURS[streams], "marker": MARKERS[streams], "ms": 4}
                axis.plot(*zip(*points), style, **looks, label=f"{stage}, {label}")
    if not axis.lines:
        plt.close(figure)
        return placeholder("No rates: no reader was trained in this run.")
    axis.set(xlabel="epoch", ylabel="character error rate, %", ylim=(0, None))
    axis.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def noise_curves(record: dict) -> Figure:
    """Characters read correctly over the level of babble, of stage "noise".

    A line for each reader and the streams that it received; a reader without audio has a horizontal line.
    """
    figure, axis = plt.subplots(figsize=(6.2, 3.4))
    levels = record["levels_db"]
    no_babble_x = max(level for level in levels if level is not None) + 10
    x = [no_babble_x if level is None else level for level in levels]
    for (stage, accuracy), style in zip(record["accuracy"].items(), LINE_STYLES):
        for streams, label in STREAM_LABELS.items():
            values = accuracy.get(streams)
            if values is None:
                continue
            marker = MARKERS[streams] if len(values) > 1 else ""
            y = values if len(values) > 1 else values * len(x)
            axis.plot(x, y, style, marker=marker, ms=4, color=COLOURS[streams], label=f"{stage}, {label}")
    axis.set(
        xlabel="signal-to-noise ratio of speech in babble, dB",
        ylabel="characters read correctly, %",
        xticks=x,
        xticklabels=["no babble" if level is None else level for level in levels],
    )
    axis.set_ylim(min(0, axis.get_ylim()[0]), 100)
    axis.invert_xaxis()
    axis.grid(axis="y", lw=0.3)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def confusion_matrices(record: dict) -> Figure:
    """Viseme confusions of stage "visemes": a panel for each reader, each row in % of its sum."""
    names, counts_by_reader = list(VISEME_PHONEMES.values()), record["counts"]
    width = 1 + 4.5 * len(counts_by_reader)
    figure, axes = plt.subplots(
        1, len(counts_by_reader), figsize=(width, 5), squeeze=False, sharey=True, layout="constrained"
    )
    for axis, (stage, counts) in zip(axes[0], counts_by_reader.items()):
        counts = np.array(counts)
        totals, spoken = counts.sum(1), counts[:-1].sum()
        _draw_matrix(axis, 100 * counts / np.maximum(1, totals)[:, None])
        for draw_line in (axis.axhline, axis.axvline):  # in front of insertions and deletions
            draw_line(len(names) - 0.5, color="0.6", lw=0.8)
        axis.set_xticks(range(len(names) + 1), [*names, "deleted"], rotation=90)
        axis.set_yticks(range(len(names) + 1), [*(f"{name}  ({n})" for name, n in zip(names, totals)), "inserted"])
        axis.tick_params(length=0)
        correct = 100 * counts[:-1].diagonal().sum() / max(1, spoken)
        axis.set(
            title=f"{stage}: {correct:.0f} % of {spoken} visemes read correctly",
            xlabel=f"read; {totals[-1]} more inserted",
        )
    axes[0][0].set_ylabel("spoken (count)")
    return figure


def _draw_matrix(axis: Axes, percentages: np.ndarray) -> None:
    """Colours and, from 0.5 % on, numbers."""
    axis.imshow(percentages, cmap="Blues", vmin=0, vmax=100)
    for i, j in np.argwhere(percentages >= 0.5):
        colour = "w" if percentages[i, j] > 55 else "0.2"
        axis.text(j, i, f"{percentages[i, j]:.0f}", ha="center", va="center", fontsize=7, color=colour)
