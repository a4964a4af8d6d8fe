"""Faces and lips over time: rows of pictures, and lip aperture beside the speech."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from ..core.rates import SPEECH_HZ
from ..corpus.corpus import Corpus
from ..corpus.pictures import faces
from ..corpus.utterance import Utterance
from ..metrics.lips import BILABIALS, lip_aperture
from .colours import RED


def subjects_at_rest(corpus: Corpus) -> Figure:
    """The template of every subject."""
    pictures = faces(corpus, torch.stack(list(corpus.templates.values())), 192)
    figure, axes = plt.subplots(2, (len(pictures) + 1) // 2, figsize=(len(pictures), 4.4), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, subject in zip(axes.flat, pictures, corpus.templates):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.set_title(subject, fontsize=8)
    figure.subplots_adjust(wspace=0.03, hspace=0.1)
    return figure


def frame_strips(videos: dict[str, torch.Tensor], every: int = 1, columns: int = 12) -> Figure:
    """A row of pictures for each video (T, H, W), uint8 or in [0, 1]: one picture every `every` frames."""
    figure, axes = plt.subplots(len(videos), columns, figsize=(columns, 1.12 * len(videos)), squeeze=False)
    for row, (name, video) in zip(axes, videos.items()):
        for k, axis in enumerate(row):
            axis.axis("off")
            if k * every < len(video):
                axis.imshow(video[k * every], cmap="gray", vmin=0, vmax=255 if video.dtype == torch.uint8 else 1)
        row[0].set_title(name, loc="left", fontsize=8)
    figure.subplots_adjust(wspace=0.03, hspace=0.3)
    return figure


def aperture(corpus: Corpus, motion: torch.Tensor) -> torch.Tensor:
    """Lip aperture over time, (T,), of motion (T, V, 3): in mm, or in 1e-3 of the corpus's unit if not metres."""
    upper, lower = corpus.regions["upper_lip_middle"], corpus.regions["lower_lip_middle"]
    return 1000 * lip_aperture(motion, int(upper[0]), int(lower[0]))


def aperture_tracks(
    corpus: Corpus,
    utterance: Utterance,
    motions: dict[str, torch.Tensor],
    speech: torch.Tensor,
    panels: list[list[str]] | None = None,
) -> Figure:
    """Waveform, phonemes and lip aperture of each motion over the same seconds.

    motions: name -> (T, V, 3); speech: (S,). panels: names of the motions that share a panel, each drawn beside the
    first motion; all share one panel by default.
    """
    first, *others = motions
    panels = [others] if panels is None else panels
    figure, (wave, *axes) = plt.subplots(
        1 + len(panels), 1, figsize=(11, 1.2 + 2.4 * len(panels)), sharex=True, height_ratios=[1] + [2] * len(panels)
    )
    wave.plot(np.arange(len(speech)) / SPEECH_HZ, speech, lw=0.4, color="0.35")
    wave.set(yticks=[], ylabel="speech", title=f"{utterance.subject}: “{utterance.text}”")
    unit = "mm" if corpus.unit == "m" else f"1e-3 {corpus.unit}"
    for axis, names in zip(axes, panels):
        for name in [first, *names]:
            axis.plot(np.arange(len(motions[name])) / corpus.fps, aperture(corpus, motions[name]), label=name, lw=1.3)
        low, high = axis.get_ylim()
        for p in utterance.phonemes:
            is_bilabial = p.label.lstrip("ˈˌ")[:1] in BILABIALS
            colour, alpha = (RED, 0.2) if is_bilabial else ("0.5", 0.04)
            axis.axvspan(p.start_s, p.end_s, color=colour, alpha=alpha, lw=0)
            axis.text((p.start_s + p.end_s) / 2, high, p.label, ha="center", fontsize=7)
        axis.set(ylabel=f"lip aperture, {unit}", ylim=(low, high + 0.12 * (high - low)))
        if names:
            axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[-1].set(xlabel="seconds")
    return figure
