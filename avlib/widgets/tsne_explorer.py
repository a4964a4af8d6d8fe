"""The t-SNE explorer of notebook 05: maps with the lips and sound behind each dot, and a comparison of two groups."""

import io

import anywidget
import matplotlib.pyplot as plt
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
from ..plots.figures import placeholder
from .browser_data import as_bytes, module

MAX_CROP_SIDE = 48  # pixels
GROUPS = ("A", "B")
Groups = dict[str, list[int]]  # name -> numbers of frames


class Frames:
    """The video frames of the words in all spaces, in the order of clips and time.

    spots: (clip, frame in the clip); words: the word of each frame; runs: first and last frame of each spoken word;
    of_dots: space -> the frame of each dot; crops: (N, H, W), uint8.
    """

    def __init__(self, spaces: dict[str, WordFeatures], clips: Clips):
        self.spaces, self.clips = spaces, clips
        spans = sorted({(i, *span, word) for s in spaces.values() for i, span, word in zip(s.clips, s.spans, s.words)})
        self.spots = [(i, t) for i, first, last, _ in spans for t in range(first, last + 1)]
        self.words = [word for _, first, last, word in spans for _ in range(first, last + 1)]
        numbers = {spot: n for n, spot in enumerate(self.spots)}
        self.runs = [(numbers[i, first], numbers[i, last]) for i, first, last, _ in spans]
        self.of_dots = {name: [numbers[spot] for spot in zip(s.clips, s.frames)] for name, s in spaces.items()}
        videos = {i: clips.video(i) for i in dict.fromkeys(i for i, _ in self.spots)}
        self.crops = reduced(torch.stack([videos[i][t] for i, t in self.spots]))

    def sound(self) -> tuple[torch.Tensor, list[float]]:
        """The words one after another, (S,) at 16 kHz, and the start of each word and the end of the last, seconds."""
        pieces = []
        for first, last in self.runs:
            (i, begin), (_, end) = self.spots[first], self.spots[last]
            pieces.append(self.clips.speech(i)[begin * SAMPLES_PER_FRAME : (end + 1) * SAMPLES_PER_FRAME])
        return torch.cat(pieces), [0.0, *(np.cumsum([len(p) for p in pieces]) / SPEECH_HZ).tolist()]

    def sprite_sheet(self) -> tuple[bytes, int]:
        """A JPEG of all crops, row by row, and the number of crops in a row."""
        count, height, width = self.crops.shape
        columns = int(np.ceil(np.sqrt(count)))
        sheet = np.zeros((-(-count // columns) * columns, height, width), np.uint8)
        sheet[:count] = self.crops
        return jpeg(sheet.reshape(-1, columns, height, width).swapaxes(1, 2).reshape(-1, columns * width)), columns

    def with_dots(self, space: str, frames: list[int]) -> list[int]:
        """Those of the frames that have a dot in the space: a space of whole words has one dot for each word."""
        in_space = set(self.of_dots[space])
        return [n for n in frames if n in in_space]

    def compare(self, space: str, groups: Groups) -> dict:
        """For each group a "summary" and the JPEG of its mean "lips"; "separation", a sentence on the two groups."""
        result = {name: self._describe(self.with_dots(space, groups[name])) for name in GROUPS}
        return result | {"separation": self._separation(space, groups)}

    def _describe(self, frames: list[int]) -> dict:
        words = [self.words[n] for n in frames]
        counts = "".join(f", {words.count(word)} {word}" for word in sorted(set(words)))
        lips = jpeg(self.crops[frames].float().mean(0).numpy()) if frames else b""
        return {"summary": f"{len(frames)} dots{counts}", "lips": lips}

    def _separation(self, space: str, groups: Groups) -> str:
        """Silhouette and linear probe between the groups, in the features of the space."""
        row_of = {n: row for row, n in enumerate(self.of_dots[space])}
        labelled = [(row_of[n], name) for name in GROUPS for n in groups[name] if n in row_of]
        features = self.spaces[space]
        try:
            scores = separation(
                features.features[[row for row, _ in labelled]],
                [name for _, name in labelled],
                [features.utterances[row] for row, _ in labelled],
            )
        except ValueError as error:
            return f"too few dots to measure the separation: {error}"
        return (
            f"{space}: silhouette {scores['silhouette']:.2f} (1: separate, 0: mixed), accuracy of a linear probe "
            f"{100 * scores['probe']:.0f} % (chance: 50 %)"
        )

    def by_word(self) -> Groups:
        """The frames of the first two words, in alphabetical order, as groups."""
        return {
            name: [n for n, w in enumerate(self.words) if w == word]
            for name, word in zip(GROUPS, sorted(set(self.words)))
        }


def reduced(crops: torch.Tensor) -> torch.Tensor:
    """Crops (N, H, W), uint8, with sides of at most MAX_CROP_SIDE pixels."""
    side = max(crops.shape[1:])
    if side <= MAX_CROP_SIDE:
        return crops
    size = [round(s * MAX_CROP_SIDE / side) for s in crops.shape[1:]]
    return torch.nn.functional.interpolate(crops[None].float(), size, mode="area")[0].round().byte()


def jpeg(grey: np.ndarray) -> bytes:
    """grey: (H, W), 0 to 255."""
    file = io.BytesIO()
    imsave(file, grey, cmap="gray", vmin=0, vmax=255, format="jpg", pil_kwargs={"quality": 85})
    return file.getvalue()


class Explorer(anywidget.AnyWidget):
    """The maps. The kernel compares the groups whenever the browser changes them or the space."""

    _esm = module("tsne_explorer.js")
    content = Dict().tag(sync=True)
    space = Unicode().tag(sync=True)
    groups = Dict().tag(sync=True)
    comparison = Dict().tag(sync=True)  # of `Frames.compare`

    def __init__(self, record: dict, frames: Frames):
        self.frames = frames
        super().__init__(
            space=next(iter(frames.of_dots)), groups=frames.by_word(), content=explorer_content(record, frames)
        )
        self.observe(self._compare, ["groups", "space"])
        self._compare()

    def _compare(self, _=None):
        self.comparison = self.frames.compare(self.space, self.groups)


def explorer_content(record: dict, frames: Frames) -> dict:
    """Plain values and bytes for the browser: maps, frames, crops and sound."""
    samples, starts = frames.sound()
    sheet, columns = frames.sprite_sheet()
    utterances = [frames.clips.utterances[i] for i, _ in frames.spots]
    return {
        "maps": {name: [map_content(tsne_map) for tsne_map in record["maps"][name]] for name in frames.of_dots},
        "of_dots": frames.of_dots,
        "words": frames.words,
        "frames": [t for _, t in frames.spots],
        "texts": [u.text for u in utterances],
        "speakers": [u.subject for u in utterances],
        "names": [u.name for u in utterances],
        "runs": frames.runs,
        "starts": starts,
        "sound": as_bytes((samples.clamp(-1, 1) * 32767).round(), "<i2"),
        "rate": SPEECH_HZ,
        "fps": VIDEO_FPS,
        "sheet": sheet,
        "columns": columns,
        "crop": list(frames.crops.shape[1:]),
    }


def map_content(tsne_map: dict) -> dict:
    title = (
        f"perplexity {tsne_map['perplexity']:.3g}, seed {tsne_map['seed']}, "
        f"silhouette of the map {tsne_map['silhouette']:.2f}"
    )
    return {"title": title, "points": as_bytes(tsne_map["points"], "<f4")}


def explore_tsne(record: dict, spaces: dict[str, WordFeatures], clips: Clips) -> Explorer | Figure:
    """The explorer; in an executed notebook a figure of the first map and the words' mean lips.

    record: of `tsne.tsne_record`; spaces: of `tsne.mapped_spaces`; clips: those of the features' frames.
    """
    if not spaces:
        figure = placeholder("No maps: too few sentences contain the words.")
        plt.close(figure)  # the notebook shows it once, as the value of the cell
        return figure
    frames = Frames(spaces, clips)
    return still_map(record, frames) if HEADLESS else Explorer(record, frames)


def still_map(record: dict, frames: Frames) -> Figure:
    space = next(iter(frames.of_dots))
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplot_mosaic([["map", "A"], ["map", "B"]], width_ratios=[3, 1])
    points, frame_of_dot = np.array(record["maps"][space][0]["points"]), np.array(frames.of_dots[space])
    groups = {name: frames.with_dots(space, numbers) for name, numbers in frames.by_word().items()}
    comparison = frames.compare(space, groups)
    for name, colour in zip(GROUPS, ("tab:blue", "tab:orange")):
        axes["map"].scatter(*points[np.isin(frame_of_dot, groups[name])].T, s=8, color=colour, alpha=0.75)
        axes[name].imshow(frames.crops[groups[name]].float().mean(0).numpy(), cmap="gray", vmin=0, vmax=255)
        axes[name].set_axis_off()
        axes[name].set_title(f"mean of {comparison[name]['summary']}", fontsize=8, color=colour)
    axes["map"].set(xticks=[], yticks=[])
    axes["map"].set_xlabel(comparison["separation"], fontsize=8)
    return figure
