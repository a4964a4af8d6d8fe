"""Losses over epochs, and each loss term's share of the gradient."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .figures import placeholder


def learning_curves(histories: dict[str, list[dict]], fields: list[str]) -> Figure:
    """A panel for each field that occurs in any history, with a line for each history over epochs.

    histories: label -> one dict for each epoch.
    """
    fields = [f for f in fields if any(f in row for history in histories.values() for row in history)]
    if not fields:
        return placeholder("No curves: nothing was trained in this run.")
    figure, axes = plt.subplots(1, len(fields), figsize=(3.3 * len(fields), 2.5), squeeze=False)
    for axis, field in zip(axes[0], fields):
        for label, history in histories.items():
            points = [(epoch, row[field]) for epoch, row in enumerate(history, 1) if field in row]
            if points:
                axis.plot(*zip(*points), marker=".", label=label)
        axis.set(title=field, xlabel="epoch", ylim=(0, None))
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    return figure


def gradient_shares(history: list[dict]) -> Figure:
    """Each loss term's share of the gradient on the predicted vertices, stacked over epochs."""
    fields = sorted({field for row in history for field in row if field.startswith("share_")})
    figure, axis = plt.subplots(figsize=(4.5, 2.5))
    axis.stackplot(
        range(1, len(history) + 1),
        [[row.get(field, 0.0) for row in history] for field in fields],
        labels=[field.removeprefix("share_") for field in fields],
        alpha=0.8,
    )
    axis.set(xlabel="epoch", ylabel="share of the gradient", ylim=(0, 1))
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
