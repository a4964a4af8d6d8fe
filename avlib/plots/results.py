"""Differences between models with their intervals, and t-SNE maps."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..evaluation.variant_results import EffectRows
from .figures import placeholder


def effects(groups: dict[str, EffectRows], units: dict[str, tuple[float, str]]) -> Figure:
    """Differences with their 95 % intervals: a column for each metric, a row for each comparison, under group titles.

    Takes the members of `evaluation.Effects`. Colours: blue, the metric falls; orange, it rises; grey, the interval
    contains zero.
    """
    lines = [line for title, rows in groups.items() for line in [(title, {}), *rows.items()]]
    figure, axes = plt.subplots(1, len(units), figsize=(2.6 * len(units) + 3, 0.23 * len(lines) + 0.7), sharey=True)
    for axis, (metric, (scale, unit)) in zip(axes, units.items()):
        axis.axvline(0, color="0.7", lw=0.8)
        for y, (_, differences) in enumerate(lines):
            if difference := differences.get(metric):
                low, middle, high = (difference[k] / scale for k in ("low", "difference", "high"))
                colour = "tab:blue" if high < 0 else "tab:orange" if low > 0 else "0.6"
                axis.plot([low, high], [y, y], color=colour, lw=1.5)
                axis.plot(middle, y, "o", color=colour, ms=4)
        axis.set_title(f"{metric} ({unit})", fontsize=9)
        axis.spines[["left", "right", "top"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0].set(yticks=range(len(lines)), yticklabels=[label for label, _ in lines], ylim=(len(lines) - 0.5, -0.5))
    for label in axes[0].get_yticklabels():
        label.set_weight("bold" if label.get_text() in groups else "normal")
    return figure


def tsne_maps(record: dict, suffix: str = "") -> Figure:
    """The maps of stage "tsne": a row for each feature space, a column for each perplexity and seed.

    suffix: limits the rows to spaces whose names end with it, such as "frames".
    """
    maps_by_space = {name: maps for name, maps in record["maps"].items() if name.endswith(suffix)}
    if not maps_by_space:
        return placeholder("No maps: too few sentences contain the words.")
    words = sorted({word for points in record["points"].values() for word, *_ in points})
    columns = max(map(len, maps_by_space.values()))
    figure, axes = plt.subplots(
        len(maps_by_space), columns, figsize=(11, 2.9 * len(maps_by_space)), squeeze=False, layout="constrained"
    )
    for row, (name, maps) in zip(axes, maps_by_space.items()):
        labels = np.array([word for word, *_ in record["points"][name]])
        for axis, tsne_map in zip(row, maps):
            points = np.array(tsne_map["points"])
            for word, colour in zip(words, ("tab:blue", "tab:orange")):
                axis.scatter(*points[labels == word].T, s=6, alpha=0.75, color=colour, label=word)
            axis.set(xticks=[], yticks=[], xlabel=f"silhouette {tsne_map['silhouette']:.2f}")
            axis.set_title(f"perplexity {tsne_map['perplexity']:.3g}, seed {tsne_map['seed']}", fontsize=8)
        row[0].set_ylabel(name)
    axes[0][0].legend(frameon=False)
    return figure
