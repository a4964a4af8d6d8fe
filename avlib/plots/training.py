"""Losses over epochs, held-out LVE over steps, and each loss term's share of the gradient."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..evaluation.convergence import Trainings
from ..metrics.protocols import KIT, read_protocols
from .colours import LINES
from .figures import placeholder


def learning_curves(histories: dict[str, list[dict]], fields: list[str], plateau: int | None = None) -> Figure:
    """A panel for each field that occurs in any history, with a line for each history over epochs.

    histories: label -> one dict for each epoch. plateau: epoch at which the held-out LVE has stopped falling; a dotted
    line marks it.
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
        if plateau is not None and field == "held_out_lve":
            axis.axvline(plateau, color="0.5", ls=":", label="plateau")
            axis.legend(frameon=False)
        axis.set(title=field, xlabel="epoch", ylim=(0, None))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    return figure


def held_out_curves(trainings: Trainings, unit: str) -> Figure:
    """A panel for each animator: held-out LVE over training steps, a line for each training, a dot for a plateau.

    unit: of the corpus. Seeds of an objective have the same line.
    """
    scale, name = read_protocols()[KIT].scores["LVE"].printed(unit)
    figure, axes = plt.subplots(1, len(trainings), figsize=(4.2 * len(trainings), 2.8), squeeze=False, sharey=True)
    for axis, (animator, records_by_objective) in zip(axes[0], trainings.items()):
        for n, (objective, records) in enumerate(records_by_objective.items()):
            for record in records:
                steps_per_epoch = record["steps"] / record["epochs"]
                curve = [row["held_out_lve"] / scale for row in record["history"]]
                steps = [steps_per_epoch * epoch for epoch in range(1, len(curve) + 1)]
                label = objective if record is records[0] else None
                axis.plot(steps, curve, **LINES[n], lw=1, label=label)
                if plateau := record["convergence"]["plateau"]:
                    axis.plot(steps[plateau - 1], curve[plateau - 1], "o", color=LINES[n]["color"], ms=5)
        axis.set(title=animator, xlabel="training steps")
    axes[0][0].set_ylabel(f"held-out LVE ({name})")
    axes[0][0].set_ylim(0, None)  # of all panels, so only now that all lines are there
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
