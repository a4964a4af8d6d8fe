"""The t-SNE maps of notebook 05, to be explored: what lips are behind a dot, how its word sounds, and what sets two groups apart."""

import io

import anywidget
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.image import imsave
from traitlets import Dict, Unicode

from ..core.progress import HEADLESS
from ..core.rates import SAMPLES_PER_FRAME, SPEECH_HZ, VIDEO_FPS
from ..corpus.clips import Clips
from ..evaluation.spoken_words import WordFeatures
from ..metrics.feature_separation import separation
from ..plots.results import tsne_maps
from .browser_data import as_bytes, module

FINEST = 48  # pixels of a shown crop's side, at most
GROUPS = ("A", "B")


class Frames:
    """The video frames of the words that the dots of all spaces stand for, in the order of clips and time.

    spots: (clip, frame) of each; words: what is said there; runs: (first, last) of those of one word; crops: (N, H, W) uint8.
    """

    def __init__(self, spaces: dict[str, WordFeatures], clips: Clips):
        self.spaces, self.clips = spaces, clips
        said = sorted({(i, *span, word) for s in spaces.values() for i, span, word in zip(s.clips, s.spans, s.words)})
        self.spots = [(i, t) for i, first, last, _ in said for t in range(first, last + 1)]
        self.words = [word for _, first, last, word in said for _ in range(first, last + 1)]
        place = {spot: n for n, spot in enumerate(self.spots)}
        self.behind = {
            name: [place[spot] for spot in zip(s.clips, s.frames)] for name, s in spaces.items()
        }  # of each dot
        self.runs = [(place[i, first], place[i, last]) for i, first, last, _ in said]
        videos = {i: clips.video(i) for i in dict.fromkeys(i for i, _ in self.spots)}
        self.crops = torch.stack([videos[i][t] for i, t in self.spots])
        if (side := max(self.crops.shape[1:])) > FINEST:
            smaller = [round(s * FINEST / side) for s in self.crops.shape[1:]]
            self.crops = (
                torch.nn.functional.interpolate(self.crops[None].float(), smaller, mode="area")[0].round().byte()
            )

    def sound(self) -> tuple[torch.Tensor, list[float]]:
        """The words one after another, (S,) at 16 kHz, and the seconds at which each begins in it, and the last ends."""
        pieces = []
        for first, last in self.runs:
            (i, begin), (_, end) = self.spots[first], self.spots[last]
            pieces.append(self.clips.speech(i)[begin * SAMPLES_PER_FRAME : (end + 1) * SAMPLES_PER_FRAME])
        return torch.cat(pieces), [0.0, *(np.cumsum([len(p) for p in pieces]) / SPEECH_HZ).tolist()]

    def picture(self) -> tuple[bytes, int]:
        """A JPEG of all crops, row by row, and how many stand in a row."""
        count, height, width = self.crops.shape
        columns = int(np.ceil(np.sqrt(count)))
        sheet = np.zeros((-(-count // columns) * columns, height, width), np.uint8)
        sheet[:count] = self.crops
        return jpeg(sheet.reshape(-1, columns, height, width).swapaxes(1, 2).reshape(-1, columns * width)), columns

    def shown(self, space: str, frames: list[int]) -> list[int]:
        """Those of the frames that the space has dots of: one that shows whole words has few."""
        there = set(self.behind[space])
        return [n for n in frames if n in there]

    def compared(self, space: str, groups: dict[str, list[int]]) -> dict:
        """Two groups of frames that the space shows: of each its size, its words and its mean lips; and how far apart they lie there."""
        about, row = {}, {n: k for k, n in enumerate(self.behind[space])}
        for name in GROUPS:
            chosen = self.shown(space, groups[name])
            words = [self.words[n] for n in chosen]
            about[name] = {
                "told": f"{len(chosen)} dots" + "".join(f", {words.count(w)} {w}" for w in sorted(set(words))),
                "lips": jpeg(self.crops[chosen].float().mean(0).numpy()) if chosen else b"",
            }
        both = [(row[n], name) for name in GROUPS for n in groups[name] if n in row]
        frames = self.spaces[space]
        try:
            found = separation(
                frames.features[[k for k, _ in both]],
                [name for _, name in both],
                [frames.utterances[k] for k, _ in both],
            )
        except ValueError as error:
            return about | {"apart": f"too few to say how far apart they are: {error}"}
        return about | {
            "apart": f"{space}: silhouette {found['silhouette']:.2f} (1: apart, 0: mixed), a linear probe tells "
            f"{100 * found['probe']:.0f} % apart (chance: 50 %)"
        }

    def by_word(self) -> dict[str, list[int]]:
        """The first two words as groups."""
        return {
            name: [n for n, w in enumerate(self.words) if w == word]
            for name, word in zip(GROUPS, sorted(set(self.words)))
        }


def jpeg(grey: np.ndarray) -> bytes:
    """(H, W) between 0 and 255."""
    out = io.BytesIO()
    imsave(out, grey, cmap="gray", vmin=0, vmax=255, format="jpg", pil_kwargs={"quality": 85})
    return out.getvalue()


class Explorer(anywidget.AnyWidget):
    """The maps; the kernel is asked only when groups or the space are others."""

    _esm = module("tsne_explorer.js")
    content = Dict().tag(sync=True)
    space = Unicode().tag(sync=True)
    groups = Dict().tag(sync=True)  # name -> numbers of frames
    told = Dict().tag(sync=True)

    def __init__(self, record: dict, frames: Frames):
        samples, begins = frames.sound()
        sheet, columns = frames.picture()
        maps = {
            name: [
                {
                    "title": f"perplexity {m['perplexity']:.3g}, seed {m['seed']}, silhouette of the map {m['silhouette']:.2f}",
                    "points": as_bytes(m["points"], "<f4"),
                }
                for m in record["maps"][name]
            ]
            for name in frames.behind
        }
        said = [frames.clips.utterances[i] for i, _ in frames.spots]
        self.frames = frames
        super().__init__(
            space=next(iter(maps)),
            groups=frames.by_word(),
            content={
                "maps": maps,
                "behind": frames.behind,
                "words": frames.words,
                "frames": [t for _, t in frames.spots],
                "texts": [u.text for u in said],
                "speakers": [u.subject for u in said],
                "names": [u.name for u in said],
                "runs": frames.runs,
                "begins": begins,
                "sound": as_bytes((samples.clamp(-1, 1) * 32767).round(), "<i2"),
                "rate": SPEECH_HZ,
                "fps": VIDEO_FPS,
                "sheet": sheet,
                "columns": columns,
                "crop": list(frames.crops.shape[1:]),
            },
        )
        self.observe(self._compare, ["groups", "space"])
        self._compare()

    def _compare(self, _=None):
        self.told = self.frames.compared(self.space, self.groups)


def explore_tsne(record: dict, spaces: dict[str, WordFeatures], clips: Clips) -> Explorer | Figure:
    """The maps of `tsne.record` with what is behind them; where nobody watches, a picture of the first map and the words' mean lips.

    record: of these spaces; clips: those of the frames.
    """
    if not spaces:
        return tsne_maps(record)
    frames = Frames(spaces, clips)
    return still(record, frames) if HEADLESS else Explorer(record, frames)


def still(record: dict, frames: Frames) -> Figure:
    space = next(iter(frames.behind))
    figure = Figure(figsize=(9, 4), layout="constrained")
    layout = figure.subplot_mosaic([["map", "A"], ["map", "B"]], width_ratios=[3, 1])
    points, behind = np.array(record["maps"][space][0]["points"]), np.array(frames.behind[space])
    groups = {name: frames.shown(space, those) for name, those in frames.by_word().items()}
    told = frames.compared(space, groups)
    for name, colour in zip(GROUPS, ("tab:blue", "tab:orange")):
        layout["map"].scatter(*points[np.isin(behind, groups[name])].T, s=8, color=colour, alpha=0.75)
        layout[name].imshow(frames.crops[groups[name]].float().mean(0).numpy(), cmap="gray", vmin=0, vmax=255)
        layout[name].set_axis_off()
        layout[name].set_title(f"mean of {told[name]['told']}", fontsize=8, color=colour)
    layout["map"].set(xticks=[], yticks=[])
    layout["map"].set_xlabel(told["apart"], fontsize=8)
    return figure
