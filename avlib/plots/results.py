"""Differences between models with their intervals, and t-SNE maps."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .figures import placeholder


def effects(groups: dict[str, dict[str, dict]], metrics: dict[str, tuple[float, str]]) -> Figure:
    """Differences with their intervals, a column for each metric: {group: {row: {metric: `tables.difference`}}}, and of each metric what
    one printed unit is, and its name. Grey where the interval holds zero."""
    lines = [line for title, group in groups.items() for line in [(title, {}), *group.items()]]
    figure, axes = plt.subplots(1, len(metrics), figsize=(2.6 * len(metrics) + 3, 0.23 * len(lines) + 0.7), sharey=True)
    for axis, (metric, (scale, unit)) in zip(axes, metrics.items()):
        axis.axvline(0, color="0.7", lw=0.8)
        for y, (_, found) in enumerate(lines):
            if found.get(metric):
                low, middle, high = (found[metric][k] / scale for k in ("low", "difference", "high"))
                colour = "tab:blue" if high < 0 else "tab:orange" if low > 0 else "0.6"
                axis.plot([low, high], [y, y], color=colour, lw=1.5)
                axis.plot(middle, y, "o", color=colour, ms=4)
        axis.set_title(f"{metric} ({unit})", fontsize=9)
        axis.spines[["left", "right", "top"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0].set(yticks=range(len(lines)), yticklabels=[name for name, _ in lines], ylim=(len(lines) - 0.5, -0.5))
    for label in axes[0].get_yticklabels():
        label.set_weight("bold" if label.get_text() in groups else "normal")
    return figure


def tsne_maps(record: dict, of: str = "") -> Figure:
    """t-SNE maps of `tsne.record`: a row for each space whose name ends with `of`, a column for each perplexity and seed."""
    rows = {name: drawn for name, drawn in record["maps"].items() if name.endswith(of)}
    words = sorted({word for points in record["points"].values() for word, *_ in points})
    if not rows:
        return placeholder("No maps: too few sentences say the words.")
    figure, axes = plt.subplots(
        len(rows), max(map(len, rows.values())), figsize=(11, 2.9 * len(rows)), squeeze=False, layout="constrained"
    )
    for line, (name, drawn) in zip(axes, rows.items()):
        labels = np.array([word for word, *_ in record["points"][name]])
        for axis, m in zip(line, drawn):
            for word, colour in zip(words, ("tab:blue", "tab:orange")):
                axis.scatter(*np.array(m["points"])[labels == word].T, s=6, alpha=0.75, color=colour, label=word)
            axis.set(xticks=[], yticks=[], xlabel=f"silhouette {m['silhouette']:.2f}")
            axis.set_title(f"perplexity {m['perplexity']:.3g}, seed {m['seed']}", fontsize=8)
        line[0].set_ylabel(name)
    axes[0][0].legend(frameon=False)
    return figure
