"""Captured motion beside its film: sounds that lips show, and the lip aperture where lips have to close."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..core.rates import VIDEO_FPS
from ..corpus.captured.quality import CLOSED_MM, SEARCH_S
from ..corpus.corpus import Corpus
from ..corpus.media import frames_at
from ..corpus.pictures import faces, lips
from ..corpus.utterance import Utterance
from ..metrics.lips import BILABIALS
from ..render.lip_video import resample_motion
from ..speech.segment import Segment
from ..speech.visemes import phoneme_to_viseme
from .colours import RED
from .figures import placeholder, save_figure
from .motion import aperture, aperture_tracks

CLOSED, OPEN = "bilabial", "open"
SOUNDS = {CLOSED: "p", "labiodental": "f", "rounded": "u", OPEN: "a", "spread": "is"}  # row -> visemes
MARGIN = 0.15  # around the face in a film's frame, as a share of the face
FACE_SIDE = 192  # pixels

Picture = np.ndarray | torch.Tensor  # (H, W) or (H, W, 3), uint8


class Column(NamedTuple):
    """Pictures of all rows, None where there is none; missing: why."""

    title: str
    pictures: list[Picture | None]
    missing: str = ""


class Moment(NamedTuple):
    """A sound of an utterance, and the frame at 25 fps that shows it."""

    sound: str
    utterance: Utterance
    phoneme: Segment
    frame: int


def save_capture_sounds(corpus: Corpus, folder: Path) -> None:
    """Saves the figure of `capture_sounds` in a folder, if the corpus is captured."""
    if corpus.capture:
        save_figure(capture_sounds(corpus), folder / "1_capture_sounds.png")


def save_capture_aperture(corpus: Corpus, folder: Path) -> None:
    """Saves the figure of `capture_aperture` in a folder, if the corpus is captured."""
    if corpus.capture:
        save_figure(capture_aperture(corpus), folder / "1_capture_aperture.png")


def capture_sounds(corpus: Corpus) -> Figure:
    """A row for each kind of sound: the film's frame, the readers' crop of it, the crop of the motion, and the face.

    A column without any picture is left out; a line below the figure says why.
    """
    moments = select_moments(corpus)
    if not moments:
        return placeholder("No sounds: no training sentence has phonemes with known times.")
    motions = [corpus.motion(moment.utterance) for moment in moments]
    columns = [
        Column("film", [film_picture(corpus, moment) for moment in moments], "no film found"),
        Column("film, as readers get it", reader_crops(corpus, moments), "not in the 2D part"),
        Column("motion, as readers get it", [lips(corpus, m)[moment.frame] for m, moment in zip(motions, moments)]),
        Column("motion", [whole_face(corpus, m, moment.frame) for m, moment in zip(motions, moments)]),
    ]
    shown = [column for column in columns if any(picture is not None for picture in column.pictures)]
    size = (1.7 * len(shown) + 1.2, 1.75 * len(moments))
    figure, axes = plt.subplots(len(moments), len(shown), figsize=size, squeeze=False, layout="constrained")
    for column, column_axes in zip(shown, axes.T):
        column_axes[0].set_title(column.title, fontsize=8)
        for picture, axis in zip(column.pictures, column_axes):
            _show(axis, picture, column.missing)
    for moment, axis in zip(moments, axes[:, 0]):
        axis.set_ylabel(label(moment), fontsize=8, rotation=0, ha="right", va="center")
    left_out = [f"no column “{column.title}”: {column.missing}" for column in columns if column not in shown]
    figure.supxlabel("; ".join(left_out), fontsize=7)
    return figure


def select_moments(corpus: Corpus) -> list[Moment]:
    """For each of `SOUNDS` the first such sound in the training sentences of the 3D part, if there is one."""
    moments = []
    for sound, visemes in SOUNDS.items():
        spoken = (
            (utterance, phoneme)
            for utterance in corpus.utterances("train")
            for phoneme in utterance.phonemes
            if phoneme_to_viseme().get(phoneme.label.lstrip("ˈˌ"), "-") in visemes
        )
        moments += [Moment(sound, *found, _frame(corpus, sound, *found)) for found in islice(spoken, 1)]
    return moments


def _frame(corpus: Corpus, sound: str, utterance: Utterance, phoneme: Segment) -> int:
    """The frame at 25 fps: with the lips nearest together near the beginning of a bilabial, or widest apart in an open
    vowel; of other sounds the middle."""
    opening = aperture(corpus, corpus.motion(utterance))
    if sound == CLOSED:
        seconds = closest(opening, phoneme, corpus.fps) / corpus.fps
    elif sound == OPEN:
        during = span(phoneme.start_s, phoneme.end_s, corpus.fps, len(opening))
        seconds = (during.start + int(opening[during].argmax())) / corpus.fps
    else:
        seconds = (phoneme.start_s + phoneme.end_s) / 2
    last = int(utterance.frames * VIDEO_FPS / corpus.fps + 1e-6) - 1
    return min(round(seconds * VIDEO_FPS), last)


def closest(opening: torch.Tensor, phoneme: Segment, fps: float) -> int:
    """The frame of a lip aperture (T,) at which lips are nearest together around the beginning of a sound."""
    near = span(phoneme.start_s - SEARCH_S, phoneme.start_s + SEARCH_S, fps, len(opening))
    return near.start + int(opening[near].argmin())


def span(start_s: float, end_s: float, fps: float, frames: int) -> slice:
    """The frames from start_s to end_s, at least one of them."""
    first = max(0, min(round(start_s * fps), frames - 1))
    return slice(first, max(first, round(end_s * fps)) + 1)


def film_picture(corpus: Corpus, moment: Moment) -> np.ndarray | None:
    """The face in the film, (H, W, 3) uint8; None if the film is not there any more, or never was."""
    path, begin_s = corpus.capture["films"][moment.utterance.name]
    box = corpus.capture["face_boxes"][moment.utterance.name]
    if box is None or not Path(path).is_file():
        return None
    *_, picture = islice(frames_at(path, VIDEO_FPS, begin_s), moment.frame + 1)
    return cut_square(picture.rgb(), box)


def cut_square(picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The part of a picture (H, W, ...) around a box, as far as the picture reaches.

    box: left, top, right, bottom, pixels.
    """
    left, top, right, bottom = box
    reach = (0.5 + MARGIN) * max(right - left, bottom - top)
    x, y = (left + right) / 2, (top + bottom) / 2
    rows, columns = (slice(max(0, round(c - reach)), max(1, round(c + reach))) for c in (y, x))
    return picture[rows, columns]


def whole_face(corpus: Corpus, motion: torch.Tensor, frame: int) -> torch.Tensor:
    """The face at a frame at 25 fps, (FACE_SIDE, FACE_SIDE) uint8. motion: (T, V, 3)."""
    return faces(corpus, resample_motion(motion[None], corpus.fps, frame + 1)[0, -1:], FACE_SIDE)[0]


def reader_crops(corpus: Corpus, moments: list[Moment]) -> list[Picture | None]:
    """The frames of the 2D part's clips of the same films; None where it does not contain the film."""
    clips = corpus.clips("train")
    place = {utterance.name: i for i, utterance in enumerate(clips.utterances)}
    found = [place.get(f"film-{moment.utterance.name}") for moment in moments]
    return [None if i is None else clips.video(i)[moment.frame] for i, moment in zip(found, moments)]


def label(moment: Moment) -> str:
    """Sound, word and time."""
    begin_s = moment.phoneme.start_s
    words = [w.label for w in moment.utterance.words if w.start_s <= begin_s < w.end_s] or [moment.utterance.text]
    phoneme = moment.phoneme.label.lstrip("ˈˌ")
    return f"{moment.sound}, {phoneme}\nin “{words[0]}”\nat {moment.frame / VIDEO_FPS:.2f} s"


def capture_aperture(corpus: Corpus) -> Figure:
    """The speech and the lip aperture of the training sentence with the most p, b and m.

    A dot marks where the lips are nearest together in each of them, as the quality of the capture measures it.
    """
    utterance = max(corpus.utterances("train"), key=lambda u: len(bilabials(u)))
    motion = corpus.motion(utterance)
    figure = aperture_tracks(corpus, utterance, {"motion": motion}, corpus.speech(utterance))
    axis, opening = figure.axes[-1], aperture(corpus, motion)
    axis.axhline(CLOSED_MM, color="0.4", lw=0.8, ls="--")
    axis.text(1, CLOSED_MM, f" {CLOSED_MM:g} mm", va="center", fontsize=7, transform=axis.get_yaxis_transform())
    frames = [closest(opening, phoneme, corpus.fps) for phoneme in bilabials(utterance)]
    axis.plot(np.array(frames) / corpus.fps, opening[frames], "o", color=RED, ms=5)
    return figure


def bilabials(utterance: Utterance) -> list[Segment]:
    return [p for p in utterance.phonemes if p.label in BILABIALS]


def _show(axis: Axes, picture: Picture | None, missing: str) -> None:
    """A picture without ticks and frame, or the reason why it is missing."""
    if picture is None:
        axis.text(0.5, 0.5, missing, ha="center", va="center", fontsize=7, transform=axis.transAxes)
    else:
        axis.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
