"""Differences between models with their intervals, and t-SNE maps."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..evaluation.variant_results import EffectRows
from .colours import BLUE, YELLOW
from .figures import placeholder


def effects(groups: dict[str, EffectRows], units: dict[str, tuple[float, str]]) -> Figure:
    """Differences with their 95 % intervals: a column for each metric, a row for each comparison, under group titles.

    Takes the members of `evaluation.Effects`. Blue and pointing to the left: the metric falls; yellow and pointing to
    the right: it rises; a grey dot: the interval contains zero.
    """
    lines = [line for title, rows in groups.items() for line in [(title, {}), *rows.items()]]
    figure, axes = plt.subplots(1, len(units), figsize=(2.6 * len(units) + 3, 0.23 * len(lines) + 0.7), sharey=True)
    for axis, (metric, (scale, unit)) in zip(axes, units.items()):
        axis.axvline(0, color="0.7", lw=0.8)
        for y, (_, differences) in enumerate(lines):
            if difference := differences.get(metric):
                low, middle, high = (difference[k] / scale for k in ("low", "difference", "high"))
                colour, marker = (BLUE, "<") if high < 0 else (YELLOW, ">") if low > 0 else ("0.6", "o")
                axis.plot([low, high], [y, y], "-", color=colour, lw=1.5)
                axis.plot(middle, y, marker, color=colour, ms=5)
        axis.set_title(f"{metric} ({unit})", fontsize=9)
        axis.spines[["left", "right", "top"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0].set(yticks=range(len(lines)), yticklabels=[label for label, _ in lines], ylim=(len(lines) - 0.5, -0.5))
    for label in axes[0].get_yticklabels():
        label.set_weight("bold" if label.get_text() in groups else "normal")
    return figure


def tsne_maps(record: dict, points: str, lips: Sequence[str], both: bool = True) -> Figure:
    """The maps of stage "tsne": a row for each space of a kind of point and some lips, a column for each map.

    both: with and without words that open a sentence; otherwise without them, or with them where too few others are.
    """
    rows = [row for row in record["rows"] if row["points"] == points and row["lips"] in lips and row["spaces"]]
    if not both:
        rows = [row for n, row in enumerate(rows) if row["lips"] not in {earlier["lips"] for earlier in rows[:n]}]
    names = [name for row in rows for name in row["spaces"].values()]
    if not names:
        return placeholder("No maps: too few sentences contain the words.")
    words = sorted({word for name in names for word, *_ in record["points"][name]})
    columns = max(len(record["maps"][name]) for name in names)
    figure, axes = plt.subplots(
        len(names), columns, figsize=(11, 2.9 * len(names)), squeeze=False, layout="constrained"
    )
    for row, name in zip(axes, names):
        labels = np.array([word for word, *_ in record["points"][name]])
        for axis, tsne_map in zip(row, record["maps"][name]):
            dots = np.array(tsne_map["points"])
            for word, colour, marker in zip(words, (BLUE, YELLOW), "o^"):
                axis.scatter(*dots[labels == word].T, s=10, alpha=0.8, lw=0, color=colour, marker=marker, label=word)
            axis.set(xticks=[], yticks=[], xlabel=f"silhouette {tsne_map['silhouette']:.2f}")
            axis.set_title(f"perplexity {tsne_map['perplexity']:.3g}, seed {tsne_map['seed']}", fontsize=8)
        row[0].set_ylabel(name.replace(", ", "\n"))
    axes[0][0].legend(frameon=False)
    return figure
