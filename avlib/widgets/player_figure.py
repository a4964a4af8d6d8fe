"""The figure that takes the player's place in executed notebooks."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..corpus import pictures
from ..corpus.corpus import Corpus

COLOURS = ("tab:blue", "tab:orange", "0.45")  # first face, second face, and the scan where no face shows it
LABELS = {"aperture": "lip aperture", "error": "lip vertex error"}


def still_figure(corpus: Corpus, clip: dict, motions: dict[str, torch.Tensor]) -> Figure:
    """Two faces at the frame in which the first opens its mouth widest, beside the curves over time.

    clip: of `build_clip`; motions: name of a face -> vertices (T, V, 3).
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplot_mosaic([["0", "1", "aperture"], ["0", "1", "error"]], width_ratios=[1, 1, 2])
    frame = int(np.frombuffer(clip["tracks"][0]["aperture"], "<f4").argmax())
    for k, (name, motion) in enumerate(motions.items()):
        show_face(axes[str(k)], corpus, name, motion[frame])
    for name, unit in (("aperture", clip["unit"]), ("error", clip["error_unit"])):
        plot_curves(axes[name], clip, name, frame)
        axes[name].set_ylabel(f"{LABELS[name]}, {unit}", fontsize=8)
    axes["aperture"].legend(frameon=False, fontsize=7)
    axes["error"].set_xlabel("seconds")
    figure.suptitle(clip["title"], fontsize=9)
    return figure


def show_face(axis: Axes, corpus: Corpus, name: str, vertices: torch.Tensor) -> None:
    """vertices: (V, 3)."""
    axis.imshow(pictures.faces(corpus, vertices[None])[0].numpy(), cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()
    axis.set_title(name.replace(", in", ",\nin"), fontsize=8)


def plot_curves(axis: Axes, clip: dict, name: str, frame: int) -> None:
    """The clip's curves of that name over its phonemes, with a line at the frame."""
    for track, colour in zip(clip["tracks"], COLOURS):
        values = np.frombuffer(track[name], "<f4")
        axis.plot(np.arange(len(values)) / clip["fps"], values, color=colour, lw=1.3, label=track["name"])
    for label, begin, end, bilabial in clip["phonemes"]:
        axis.axvspan(begin, end, color="tab:red" if bilabial else "0.5", alpha=0.15 if bilabial else 0.04, lw=0)
        axis.text((begin + end) / 2, 1.01, label, ha="center", fontsize=6, transform=axis.get_xaxis_transform())
    axis.axvline(frame / clip["fps"], color="k", lw=0.8)
