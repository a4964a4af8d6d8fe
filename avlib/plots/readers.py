"""How well readers read: error rates over epochs, in noise, and which visemes they confuse."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..evaluation.reader_analysis import VISEME_PHONEMES, STREAM_LABELS
from ..lipreading.expert import Expert
from .figures import placeholder

COLOURS = dict(zip(STREAM_LABELS, ("tab:blue", "tab:orange", "tab:green")))  # of what a reader is given
LINES = ("-", "--", ":")  # of readers, one after the other


def error_rate_curves(histories: dict[str, list[dict]], readers: dict[str, Expert]) -> Figure:
    """Held-out character error rates over epochs: a line for each reader and what it was given."""
    figure, axis = plt.subplots(figsize=(4.2, 2.8))
    for (stage, reader), style in zip(readers.items(), LINES):
        fields = {"audio": "cer_audio", "video": "cer_video", " and ".join(sorted(reader.modalities)): "cer"}
        for streams in (s for s in STREAM_LABELS if s in fields):
            line = [
                (i + 1, 100 * row[fields[streams]]) for i, row in enumerate(histories[stage]) if fields[streams] in row
            ]
            if line:
                axis.plot(*zip(*line), style, marker=".", color=COLOURS[streams], label=f"{stage}, {STREAM_LABELS[streams]}")
    if not axis.lines:
        plt.close(figure)
        return placeholder("No rates: no reader was trained here.")
    axis.set(xlabel="epoch", ylabel="character error rate, %", ylim=(0, None))
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def noise_curves(record: dict) -> Figure:
    """Characters read right over the level of babble, of the stage "noise": a line for each reader and what it was given."""
    figure, axis = plt.subplots(figsize=(6.2, 3.4))
    levels = record["levels_db"]
    clean = max(level for level in levels if level is not None) + 10  # where speech without babble stands
    at = [clean if level is None else level for level in levels]
    for (stage, accuracy), style in zip(record["accuracy"].items(), LINES):
        for streams in (s for s in STREAM_LABELS if s in accuracy):
            values, deaf = accuracy[streams], len(accuracy[streams]) == 1
            axis.plot(
                at,
                values * len(at) if deaf else values,
                style,
                marker="" if deaf else ".",
                color=COLOURS[streams],
                label=f"{stage}, {STREAM_LABELS[streams]}",
            )
    axis.set(
        xlabel="speech over babble, dB",
        ylabel="characters read right, %",
        xticks=at,
        xticklabels=["no babble" if level is None else level for level in levels],
    )
    axis.set_ylim(min(0, axis.get_ylim()[0]), 100)
    axis.invert_xaxis()
    axis.grid(axis="y", lw=0.3)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def confusion_matrices(record: dict) -> Figure:
    """Which visemes were read as which, of the stage "visemes": a panel for each reader, every row in % of its sum."""
    names, counts = list(VISEME_PHONEMES.values()), record["counts"]
    figure, axes = plt.subplots(
        1, len(counts), figsize=(1 + 4.5 * len(counts), 5), squeeze=False, sharey=True, layout="constrained"
    )
    for axis, (stage, table) in zip(axes[0], counts.items()):
        table = np.array(table)
        totals, said = table.sum(1), table[:-1].sum()
        share = 100 * table / np.maximum(1, totals)[:, None]
        axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for i, j in np.argwhere(share >= 0.5):
            axis.text(
                j,
                i,
                f"{share[i, j]:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                color="w" if share[i, j] > 55 else "0.2",
            )
        for line in (axis.axhline, axis.axvline):
            line(len(names) - 0.5, color="0.6", lw=0.8)
        axis.set_xticks(range(len(names) + 1), [*names, "deleted"], rotation=90)
        axis.set_yticks(range(len(names) + 1), [*(f"{name}  ({n})" for name, n in zip(names, totals)), "inserted"])
        axis.tick_params(length=0)
        axis.set(
            title=f"{stage}: {100 * table[:-1].diagonal().sum() / max(1, said):.0f} % of {said} visemes read right",
            xlabel=f"read; {totals[-1]} more inserted",
        )
    axes[0][0].set_ylabel("said (times)")
    return figure
