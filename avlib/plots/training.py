"""How networks learned: losses over epochs, and each term's share of the gradient."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .figures import placeholder


def learning_curves(histories: dict[str, list[dict]], fields: list[str]) -> Figure:
    """One panel a field that any history has, one line a history, over epochs."""
    fields = [f for f in fields if any(f in row for history in histories.values() for row in history)]
    if not fields:
        return placeholder("No curves: nothing was trained here.")
    figure, axes = plt.subplots(1, len(fields), figsize=(3.3 * len(fields), 2.5), squeeze=False)
    for axis, name in zip(axes[0], fields):
        for label, history in histories.items():
            line = [(i + 1, row[name]) for i, row in enumerate(history) if name in row]
            if line:
                axis.plot(*zip(*line), marker=".", label=label)
        axis.set(title=name, xlabel="epoch", ylim=(0, None))
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    return figure


def gradient_shares(history: list[dict]) -> Figure:
    """Each term's share of the gradient on the predicted vertices, over epochs."""
    names = sorted({k for row in history for k in row if k.startswith("share_")})
    figure, axis = plt.subplots(figsize=(4.5, 2.5))
    axis.stackplot(
        range(1, len(history) + 1),
        [[row.get(k, 0.0) for row in history] for k in names],
        labels=[k[6:] for k in names],
        alpha=0.8,
    )
    axis.set(xlabel="epoch", ylabel="share of the gradient", ylim=(0, 1))
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
