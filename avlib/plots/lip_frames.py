"""The paper's second figure: frames at which lips close and open, with each model's error in colour on the face."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..evaluation.qualitative_frames import COLOUR_QUANTILE, QualitativeFrame, select_frames
from ..evaluation.results import model_label
from ..render.camera import camera_for
from ..render.renderer import Renderer
from .figures import placeholder, save_figure

SIDE, MARGIN = 160, 0.6  # pixels; skin around the lips as a share of their size
COLOURS = "YlOrRd"  # its lowest colour is nearly white, so that a face without error keeps its shading


def save_qualitative_frames(run: Run, corpus: Corpus, groups: list[list[str]]) -> None:
    """Draws a figure for each group of models, those of an animator, and saves it in the run."""
    for models in groups:
        figure = draw_qualitative_frames(corpus, select_frames(run, corpus, models))
        save_figure(figure, run.folder / "figures" / f"4_qualitative_frames_{models[-1]}.png")


def draw_qualitative_frames(corpus: Corpus, frames: list[QualitativeFrame]) -> Figure:
    """A column for each frame: the scan, and below it each model in the colours of its distance from the scan."""
    if not frames:
        return placeholder("No frames: no test sentence has p, b, m or an open vowel with known times.")
    names, unit = list(frames[0].faces), "mm" if corpus.unit == "m" else f"1e-3 {corpus.unit}"
    errors = [{name: 1000 * (face - f.faces["scan"]).norm(dim=-1) for name, face in f.faces.items()} for f in frames]
    mouth_errors = torch.cat([e[corpus.regions["mouth"]] for column in errors for e in column.values()])
    limit = float(mouth_errors.quantile(COLOUR_QUANTILE)) or 1.0
    size = (1.9 * len(frames) + 0.8, 1.9 * len(names))
    figure, axes = plt.subplots(len(names), len(frames), figsize=size, squeeze=False, layout="constrained")
    for column, (frame, error) in enumerate(zip(frames, errors)):
        for row, name in enumerate(names):
            axis = axes[row][column]
            _show(axis, error_colours(corpus, frame.faces[name], error[name], limit))
            if name != "scan":
                largest = float(error[name][corpus.regions["lip"]].max())
                axis.set_xlabel(f"largest lip error {largest:.1f} {unit}", fontsize=7)
        seconds = frame.frame / corpus.fps
        axes[0][column].set_title(
            f"{frame.phoneme}, {seconds:.2f} s, {frame.utterance.subject}\n“{words_around(frame.utterance, seconds)}”",
            fontsize=7,
        )
    for row, name in enumerate(names):
        axes[row][0].set_ylabel(model_label(name), fontsize=8)
    scale = ScalarMappable(Normalize(0, limit), COLOURS)
    figure.colorbar(scale, ax=axes, label=f"distance from the scan, {unit}", shrink=0.6)
    return figure


@torch.no_grad()
def error_colours(corpus: Corpus, face: torch.Tensor, error: torch.Tensor, limit: float) -> torch.Tensor:
    """The mouth of a face from the front, shaded and coloured by error: (H, W, 3) in [0, 1].

    face: (V, 3); error: (V,), in the unit of `limit`, the error of the strongest colour.
    """
    lips = torch.stack([t[corpus.regions["lip"]] for t in corpus.templates.values()]).flatten(0, 1)
    renderer = Renderer(corpus.faces, camera_for(lips, SIDE, margin=MARGIN), albedo=1.0, antialias=True)
    shading, error_times_shading = renderer(face), renderer(face, (error / limit).clamp(0, 1))
    pixel_error = torch.where(shading > 0, error_times_shading / shading.clamp_min(1e-6), 0)
    return torch.from_numpy(plt.get_cmap(COLOURS)(pixel_error.numpy())[..., :3]) * shading[..., None]


def words_around(utterance: Utterance, seconds: float, reach_s: float = 0.4) -> str:
    """The words spoken within `reach_s` of a time; the whole text where word times are unknown."""
    words = [w.label for w in utterance.words if w.start_s < seconds + reach_s and w.end_s > seconds - reach_s]
    return " ".join(words) or utterance.text


def _show(axis: Axes, picture: torch.Tensor) -> None:
    """A picture without ticks and frame."""
    axis.imshow(picture.numpy())
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
