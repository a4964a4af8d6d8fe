"""The paper's second figure: frames in which lips have to close or to open wide, picked by a rule and not by hand, with the error of
each model in colour on the face."""
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from .camera import camera_for
from .corpus import Corpus, Utterance
from .joint import load_animator, predict
from .metrics import BILABIALS, lip_aperture
from .render import Renderer
from .run import Run
from .view import nothing, save

OPEN = frozenset("aæɑɐ")                # vowels, and beginnings of diphthongs, that want an open mouth
SIDE, MARGIN = 160, 0.6                 # pixels; skin around the lips
COLOURS = "YlOrRd"                      # no error is nearly white: the face's own shading
QUANTILE = 0.98                         # of the errors shown: where the colours end


@dataclass(frozen=True)
class Moment:
    """A frame of a test sentence: what is said there, and the faces of the scan and of each model, (V, 3)."""
    utterance: Utterance
    frame: int
    sound: str
    faces: dict[str, torch.Tensor]
    apart: float                        # by how much the models' lip apertures differ


def kind(label: str) -> str | None:
    """"closing", "opening" or neither, of a phoneme (IPA)."""
    first = label.lstrip("ˈˌ")[:1]
    return "closing" if first in BILABIALS else "opening" if first in OPEN else None


def find(corpus: Corpus, utterance: Utterance, motions: dict[str, torch.Tensor]) -> dict[str, list[Moment]]:
    """A moment of every closing and every opening sound: the frame in which the first of the motions (T, V, 3), the scan, has its
    lips closest or furthest apart while the sound lasts."""
    upper, lower = (corpus.regions[f"{side}_lip_middle"] for side in ("upper", "lower"))
    gaps = {name: lip_aperture(motion, upper, lower) for name, motion in motions.items()}
    truth, *models = gaps.values()
    frames, found = min(map(len, gaps.values())), {"closing": [], "opening": []}
    for s in utterance.phonemes:
        begin, end = round(s.start_s * corpus.fps), max(round(s.start_s * corpus.fps) + 1, round(s.end_s * corpus.fps))
        if kind(s.label) and begin < frames:
            during = truth[begin:min(end, frames)]
            frame = begin + int(during.argmin() if kind(s.label) == "closing" else during.argmax())
            at = torch.stack([gap[frame] for gap in models])
            found[kind(s.label)].append(Moment(utterance, frame, s.label, {name: m[frame] for name, m in motions.items()},
                                               float(at.max() - at.min())))
    return found


def picked(run: Run, corpus: Corpus, models: list[str], each: int = 3) -> list[Moment]:
    """Of all test sentences, in the first training style, the closing and the opening sounds at which the models' lip apertures
    differ most, whichever is nearer to the scan; one a sentence and kind. None where the corpus has no phoneme times."""
    loaded = {name: load_animator(run, corpus, name)[0] for name in models}
    every = {"closing": [], "opening": []}
    for u in (u for u in corpus.utterances("test") if u.phonemes):
        motions = {"scan": corpus.motion(u)} | {name: predict(run, corpus, model, u) for name, model in loaded.items()}
        for sort, moments in find(corpus, u, motions).items():
            every[sort] += sorted(moments, key=lambda m: -m.apart)[:1]
    return [m for moments in every.values() for m in sorted(moments, key=lambda m: -m.apart)[:each]]


@torch.no_grad()
def coloured(corpus: Corpus, face: torch.Tensor, error: torch.Tensor, limit: float) -> torch.Tensor:
    """The mouth of a face (V, 3) from the front, shaded, in the colours of the error (V,) up to the limit: (H, W, 3) in [0, 1]."""
    lips = torch.stack([t[corpus.regions["lip"]] for t in corpus.templates.values()]).flatten(0, 1)
    renderer = Renderer(corpus.faces, camera_for(lips, SIDE, margin=MARGIN), albedo=1.0, antialias=True)
    shaded, pale = renderer(face), renderer(face, (error / limit).clamp(0, 1))
    share = torch.where(shaded > 0, pale / shaded.clamp_min(1e-6), 0)       # the error, interpolated over the pixel
    return torch.from_numpy(plt.get_cmap(COLOURS)(share.numpy())[..., :3]) * shaded[..., None]


def figure(corpus: Corpus, moments: list[Moment]) -> Figure:
    """A column for each moment: the scan, and each model in the colours of its distance from the scan."""
    if not moments:
        return nothing("No moments: no test sentence has such a sound.")
    names, unit = list(moments[0].faces), "mm" if corpus.unit == "m" else f"1e-3 {corpus.unit}"
    errors = [{name: 1000 * (face - m.faces["scan"]).norm(dim=-1) for name, face in m.faces.items()} for m in moments]
    near = corpus.regions["mouth"]
    limit = float(torch.cat([e[near] for error in errors for e in error.values()]).quantile(QUANTILE)) or 1.0
    drawn, axes = plt.subplots(len(names), len(moments), figsize=(1.9 * len(moments) + 0.8, 1.9 * len(names)), squeeze=False,
                               layout="constrained")
    for column, (m, error) in enumerate(zip(moments, errors)):
        for row, name in enumerate(names):
            axis = axes[row][column]
            axis.imshow(coloured(corpus, m.faces[name], error[name], limit).numpy())
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if name != "scan":
                axis.set_xlabel(f"lips {float(error[name][corpus.regions['lip']].max()):.1f} {unit} off at most", fontsize=7)
        seconds = m.frame / corpus.fps
        axes[0][column].set_title(f"{m.sound}, {seconds:.2f} s, {m.utterance.subject}\n“{around(m.utterance, seconds)}”", fontsize=7)
    for row, name in enumerate(names):
        axes[row][0].set_ylabel(name, fontsize=8)
    drawn.colorbar(ScalarMappable(Normalize(0, limit), COLOURS), ax=axes, label=f"distance from the scan, {unit}", shrink=0.6)
    return drawn


def figures(run: Run, corpus: Corpus, pairs: list[list[str]]) -> None:
    """Draws a figure for each pair of models, baseline and guided, and saves it in the run."""
    for pair in pairs:
        save(figure(corpus, picked(run, corpus, pair)), run.folder / "figures" / f"4_moments_{pair[-1]}.png")


def around(utterance: Utterance, seconds: float, reach_s: float = 0.4) -> str:
    """The words that are said about that time; the whole text where their times are unknown."""
    return " ".join(w.label for w in utterance.words if w.start_s < seconds + reach_s and w.end_s > seconds - reach_s) or utterance.text
