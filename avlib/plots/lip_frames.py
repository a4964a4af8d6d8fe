"""Where lips close and open: the frames at which unguided and guided model differ most, as pictures."""

import matplotlib.pyplot as plt
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..evaluation.qualitative_frames import QUANTILE, QualitativeFrame, select_frames
from ..render.camera import camera_for
from ..render.renderer import Renderer
from .figures import placeholder, save_figure

SIDE, MARGIN = 160, 0.6  # pixels; skin around the lips
COLOURS = "YlOrRd"  # no error is nearly white: the face's own shading


@torch.no_grad()
def error_colours(corpus: Corpus, face: torch.Tensor, error: torch.Tensor, limit: float) -> torch.Tensor:
    """The mouth of a face (V, 3) from the front, shaded, in the colours of the error (V,) up to the limit: (H, W, 3) in [0, 1]."""
    lips = torch.stack([t[corpus.regions["lip"]] for t in corpus.templates.values()]).flatten(0, 1)
    renderer = Renderer(corpus.faces, camera_for(lips, SIDE, margin=MARGIN), albedo=1.0, antialias=True)
    shaded, pale = renderer(face), renderer(face, (error / limit).clamp(0, 1))
    share = torch.where(shaded > 0, pale / shaded.clamp_min(1e-6), 0)  # the error, interpolated over the pixel
    return torch.from_numpy(plt.get_cmap(COLOURS)(share.numpy())[..., :3]) * shaded[..., None]


def draw_qualitative_frames(corpus: Corpus, moments: list[QualitativeFrame]) -> Figure:
    """A column for each moment: the scan, and each model in the colours of its distance from the scan."""
    if not moments:
        return placeholder("No moments: no test sentence has such a sound.")
    names, unit = list(moments[0].faces), "mm" if corpus.unit == "m" else f"1e-3 {corpus.unit}"
    errors = [{name: 1000 * (face - m.faces["scan"]).norm(dim=-1) for name, face in m.faces.items()} for m in moments]
    near = corpus.regions["mouth"]
    limit = float(torch.cat([e[near] for error in errors for e in error.values()]).quantile(QUANTILE)) or 1.0
    drawn, axes = plt.subplots(
        len(names),
        len(moments),
        figsize=(1.9 * len(moments) + 0.8, 1.9 * len(names)),
        squeeze=False,
        layout="constrained",
    )
    for column, (m, error) in enumerate(zip(moments, errors)):
        for row, name in enumerate(names):
            axis = axes[row][column]
            axis.imshow(error_colours(corpus, m.faces[name], error[name], limit).numpy())
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if name != "scan":
                axis.set_xlabel(
                    f"lips {float(error[name][corpus.regions['lip']].max()):.1f} {unit} off at most", fontsize=7
                )
        seconds = m.frame / corpus.fps
        axes[0][column].set_title(
            f"{m.sound}, {seconds:.2f} s, {m.utterance.subject}\n“{around(m.utterance, seconds)}”", fontsize=7
        )
    for row, name in enumerate(names):
        axes[row][0].set_ylabel(name, fontsize=8)
    drawn.colorbar(
        ScalarMappable(Normalize(0, limit), COLOURS), ax=axes, label=f"distance from the scan, {unit}", shrink=0.6
    )
    return drawn


def save_qualitative_frames(run: Run, corpus: Corpus, pairs: list[list[str]]) -> None:
    """Draws a figure for each pair of models, unguided and guided, and saves it in the run."""
    for pair in pairs:
        save_figure(draw_qualitative_frames(corpus, select_frames(run, corpus, pair)), run.folder / "figures" / f"4_moments_{pair[-1]}.png")


def around(utterance: Utterance, seconds: float, reach_s: float = 0.4) -> str:
    """The words that are said about that time; the whole text where their times are unknown."""
    return (
        " ".join(w.label for w in utterance.words if w.start_s < seconds + reach_s and w.end_s > seconds - reach_s)
        or utterance.text
    )
