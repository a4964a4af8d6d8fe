"""Learning curves over the number of scans."""

from statistics import mean, stdev

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ..evaluation.few_scans import Curves
from ..metrics.protocols import KIT, read_protocols
from .figures import placeholder

METRICS = ("LVE", "CER", "CER_judge")


def scan_curves(curves: Curves, unit: str) -> Figure:
    """A row for each animator and a column for each of `METRICS`: the mean over the seeds against the number of scans,
    with the standard deviation over the seeds as a bar.

    unit: of the corpus.
    """
    if not curves:
        return placeholder("No curves: the run has no variants of few scans.")
    scores = read_protocols()[KIT].scores
    units = {metric: scores[metric].printed(unit) for metric in METRICS}
    figure, axes = plt.subplots(
        len(curves),
        len(units),
        figsize=(2.7 * len(units), 2.6 * len(curves) + 0.4),
        squeeze=False,
        layout="constrained",
    )
    for row, (animator, methods) in zip(axes, curves.items()):
        for axis, (metric, (scale, unit)) in zip(row, units.items()):
            for method, points in methods.items():
                values = [[value / scale for value in point.values[metric]] for point in points]
                bars = [stdev(v) if len(v) > 1 else 0.0 for v in values]
                scans = [point.scans for point in points]
                axis.errorbar(scans, list(map(mean, values)), bars, marker="o", ms=3, lw=1.2, capsize=2, label=method)
            numbers = sorted({point.scans for points in methods.values() for point in points})
            axis.set(xscale="log", title=f"{animator}: {metric} ({unit})", xlabel="scans of each subject")
            axis.title.set_fontsize(9)
            axis.xaxis.set_major_locator(FixedLocator(numbers))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.set_xticklabels([f"{number:g}" for number in numbers])
            axis.spines[["right", "top"]].set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure
