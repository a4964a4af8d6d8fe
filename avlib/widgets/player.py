"""The player of notebook 04: what two animators, or the scan, make of a sentence, side by side, in step with its sound."""

import html
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import soundfile
import torch
from matplotlib.figure import Figure
from traitlets import Dict

from ..core.files import write_atomic
from ..core.progress import HEADLESS
from ..core.rates import SPEECH_HZ
from ..core.run import Run
from ..corpus import pictures
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..export.gltf import components
from ..export.speaker import Speaker, load_sound
from ..metrics.lips import BILABIALS
from ..metrics.protocols import KIT, protocols
from ..metrics.vertices import lve_frames
from ..plots.motion import aperture
from ..speech.segment import Segment
from ..training.joint import GUIDANCE, load_animator, model_name, predict
from .mesh_widget import as_bytes, mesh_bytes, module

SCAN = "scan"
MOST_S = 60  # of a recording of one's own: its motion is held in memory whole
COLOURS = ("tab:blue", "tab:orange", "0.45")  # left, right, and the scan where it is not shown
STEP = 32767  # of targets in 16 bits: errors are far below what components leave out


@dataclass(frozen=True)
class Side:
    """Who moves a face: the scan, or an animator, guided or not, in a training subject's style."""

    animator: str = SCAN
    guided: bool = False
    style: str = ""
    seed: int = 0

    @property
    def model(self) -> str:
        return model_name(self.animator, GUIDANCE[self.guided], self.seed)

    def __str__(self) -> str:
        return (
            SCAN
            if self.animator == SCAN
            else f"{self.animator}{', guided' * self.guided}, in the style of {self.style}"
        )


@dataclass(frozen=True)
class Said:
    """What is said, speech (S,) at 16 kHz, and whose face says it; a test sentence has phonemes, and a scan (T, V, 3)."""

    speech: torch.Tensor
    subject: str
    text: str
    phonemes: tuple[Segment, ...] = ()
    scan: torch.Tensor | None = None


class Stage:
    """What of a run can be played. Sentences and motions are kept while they may be asked for again."""

    def __init__(self, run: Run, corpus: Corpus, seeds: list[int]):
        self.run, self.corpus, self.seeds = run, corpus, seeds
        self.said, self.motion = lru_cache(2)(self._said), lru_cache(4)(self._motion)

    def forget(self):
        self.said.cache_clear()
        self.motion.cache_clear()

    def _said(self, what: Utterance | str, subject: str) -> Said:
        """A test sentence; or a recording, a path, or words that espeak-ng says, with the face of `subject`."""
        if isinstance(what, Utterance):
            return Said(self.corpus.speech(what), what.subject, what.text, what.phonemes, self.corpus.motion(what))
        sound = load_sound(what)
        if sound.seconds > MOST_S:
            raise ValueError(
                f"{what}: {sound.seconds:.0f} s, expected at most {MOST_S}; ./run_all.sh animate takes any length"
            )
        return Said(sound.samples[:], subject, what)

    def _motion(self, what: Utterance | str, subject: str, side: Side) -> torch.Tensor:
        """Vertices (T, V, 3). ValueError for a scan that is not there, or a model."""
        said = self.said(what, subject)
        if side.animator == SCAN:
            if said.scan is None:
                raise ValueError(f"{what}: has no scan; choose an animator on both sides")
            return said.scan
        if said.scan is not None:
            return predict(self.run, self.corpus, load_animator(self.run, self.corpus, side.model)[0], what, side.style)
        return torch.cat(list(Speaker(self.run, side.model, subject, side.style)(load_sound(said.speech))))

    def clip(self, what: Utterance | str, subject: str, sides: list[Side]) -> dict:
        said = self.said(what, subject)
        return clip(self.corpus, said, {side: self.motion(what, subject, side) for side in sides}, sides)


def clip(corpus: Corpus, said: Said, motions: dict[Side, torch.Tensor], sides: list[Side]) -> dict:
    """All that a player shows, as plain values and bytes: sound, faces as weighted sums of few targets, and what is plotted."""
    template, sound, (scale, unit) = (
        corpus.templates[said.subject],
        io.BytesIO(),
        protocols()[KIT].scores["LVE"].printed(corpus.unit),
    )
    soundfile.write(sound, said.speech.clamp(-1, 1).numpy(), SPEECH_HZ, "PCM_16", format="WAV")
    faces, tracks = [], []
    for side in sides:
        weights, targets = components((motions[side] - template).numpy())
        largest = np.abs(targets).max((1, 2)).clip(1e-12)
        faces.append(
            {
                "name": str(side),
                "weights": as_bytes(weights * largest / STEP, "<f4"),
                "targets": as_bytes((targets / largest[:, None, None] * STEP).round(), "<i2"),
            }
        )
        tracks.append(track(corpus, str(side), motions[side], said.scan if side.animator != SCAN else None, scale))
    if said.scan is not None and SCAN not in [side.animator for side in sides]:
        tracks.append(track(corpus, SCAN, said.scan))
    lips = template[corpus.regions["lip"]]
    return {
        "title": f"{said.subject}: “{said.text}”",
        "fps": corpus.fps,
        "seconds": len(said.speech) / SPEECH_HZ,
        "sound": sound.getvalue(),
        "template": as_bytes(template, "<f4"),
        "aim": lips.mean(0).tolist(),
        "faces": faces,
        "tracks": tracks,
        "unit": "mm" if corpus.unit == "m" else f"1e-3 {corpus.unit}",
        "error_unit": unit,
        "phonemes": [[p.label, p.start_s, p.end_s, p.label.lstrip("ˈˌ")[:1] in BILABIALS] for p in said.phonemes],
    }


def track(
    corpus: Corpus, name: str, motion: torch.Tensor, scan: torch.Tensor | None = None, scale: float = 1.0
) -> dict:
    """Lip aperture of each frame, and where there is a scan, the largest squared distance of a lip vertex from it."""
    error = torch.zeros(0) if scan is None else lve_frames(motion, scan, corpus.regions["lip"]) / scale
    return {"name": name, "aperture": as_bytes(aperture(corpus, motion), "<f4"), "error": as_bytes(error, "<f4")}


class Player(anywidget.AnyWidget):
    """Plays a clip; the sound's clock says which frame is shown, and the plots' cursor where that is."""

    _esm = module("mesh.js", "player.js")
    mesh = Dict().tag(sync=True)
    clip = Dict().tag(sync=True)


class Compare(ipywidgets.VBox):
    """The player with what is chosen for it; what cannot be shown is told in a line, and what was shown stays."""

    def __init__(self, stage: Stage):
        corpus, run = stage.corpus, stage.run
        wide = ipywidgets.Layout(width="auto", flex="1 1 16em")
        self.stage, sentences, styles = stage, corpus.utterances("test"), corpus.subjects["train"]
        self.sentence = ipywidgets.Dropdown(
            options=[(f"{u.subject}: {u.text}", u) for u in sentences],
            layout=wide,
            tooltip="A sentence of the test split",
        )
        self.own = ipywidgets.Text(
            placeholder="or words to say, or the path of a recording; then Enter",
            layout=wide,
            continuous_update=False,
            tooltip="A sound file of any rate, or words that espeak-ng says",
        )
        self.upload = ipywidgets.FileUpload(
            accept="audio/*",
            description="sound",
            layout=ipywidgets.Layout(width="7em"),
            tooltip="A recording of your own, kept in the run's folder speech/",
        )
        self.subject = ipywidgets.Dropdown(
            options=list(corpus.templates),
            value=corpus.subjects["test"][0],
            layout=ipywidgets.Layout(width="6em"),
            tooltip="Whose face says your own",
        )
        self.sides = [chooser(run.config.animators, styles, stage.seeds, guided) for guided in (False, True)]
        self.message = ipywidgets.HTML()
        some = corpus.templates[self.subject.value]
        self.player = Player(mesh=mesh_bytes(some, corpus.faces, corpus.albedo))
        row = ipywidgets.Layout(flex_flow="row wrap")
        super().__init__(
            [
                ipywidgets.HBox([self.sentence, self.own, self.upload, self.subject], layout=row),
                ipywidgets.HBox(
                    [ipywidgets.HBox(side, layout=ipywidgets.Layout(flex="1 1 20em")) for side in self.sides],
                    layout=row,
                ),
                self.message,
                self.player,
            ]
        )
        self.sentence.observe(self._chosen, "value")
        self.upload.observe(self._uploaded, "value")
        for control in (self.own, self.subject, *self.sides[0], *self.sides[1]):
            control.observe(self.show, "value")
        self.show()

    def _chosen(self, _):
        """A sentence takes the place of one's own."""
        if self.own.value:
            self.own.value = ""  # which shows it
        else:
            self.show()

    def _uploaded(self, _):
        """The browser's file becomes one of the run's, whose path is what is said."""
        if not self.upload.value:
            return
        (file,) = self.upload.value
        path = self.stage.run.folder / "speech" / Path(file["name"]).name
        write_atomic(path, lambda p: p.write_bytes(file["content"]))
        self.stage.forget()  # what else had that name
        if self.own.value == str(path):
            self.show()
        else:
            self.own.value = str(path)
        if self.message.value:
            path.unlink()  # no sound

    def show(self, change: dict | None = None):
        own = self.own.value.strip()
        if change and change["owner"] is self.subject and not own:
            return
        sides = []
        for animator, guided, style in self.sides:
            name, seed = animator.value
            guided.disabled = style.disabled = name == SCAN
            sides.append(Side(name, guided.value, style.value, seed) if name != SCAN else Side())
        self.message.value = "animates …"
        try:
            self.player.clip = self.stage.clip(own or self.sentence.value, self.subject.value if own else "", sides)
            self.message.value = ""
        except ValueError as error:
            self.message.value = f"<b>avlib: {html.escape(str(error))}</b>"


def chooser(animators: tuple[str, ...], styles: list[str], seeds: list[int], guided: bool) -> list:
    """Controls of a side: an animator and a seed, or the scan; guided or not; a style."""
    models = [(a if len(seeds) == 1 else f"{a}, seed {s}", (a, s)) for a in animators for s in seeds]
    short = ipywidgets.Layout(width="auto", flex="1 1 6em")
    return [
        ipywidgets.Dropdown(options=[*models, (SCAN, (SCAN, 0))], layout=short, tooltip="Who moves the face"),
        ipywidgets.ToggleButton(
            value=guided,
            description="guided",
            layout=ipywidgets.Layout(width="5em"),
            tooltip="Trained with audio-visual guidance, or without",
        ),
        ipywidgets.Dropdown(
            options=styles, layout=short, tooltip="Style: the training subject whose way of speaking it is"
        ),
    ]


def compare_models(run: Run, corpus: Corpus, seeds: list[int]) -> Compare | Figure:
    """The player; where nobody watches, a picture of what it shows first: the first test sentence, without and with guidance."""
    stage = Stage(run, corpus, seeds)
    if not HEADLESS:
        return Compare(stage)
    what, style = corpus.utterances("test")[0], corpus.subjects["train"][0]
    sides = [Side(run.config.animators[0], guided, style, seeds[0]) for guided in (False, True)]
    return still(corpus, stage.clip(what, "", sides), {str(side): stage.motion(what, "", side) for side in sides})


def still(corpus: Corpus, clip: dict, motions: dict[str, torch.Tensor]) -> Figure:
    """The faces when the first has its mouth furthest open, beside the plots over time, with a cursor there."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    layout = figure.subplot_mosaic([["0", "1", "aperture"], ["0", "1", "error"]], width_ratios=[1, 1, 2])
    plotted = [{k: np.frombuffer(t[k], "<f4") for k in ("aperture", "error")} for t in clip["tracks"]]
    frame = int(plotted[0]["aperture"].argmax())
    for k, (name, motion) in enumerate(motions.items()):
        layout[str(k)].imshow(
            pictures.faces(corpus, motion[frame : frame + 1])[0].numpy(), cmap="gray", vmin=0, vmax=255
        )
        layout[str(k)].set_axis_off()
        layout[str(k)].set_title(name.replace(", in", ",\nin"), fontsize=8)
    for name, unit in (("aperture", clip["unit"]), ("error", clip["error_unit"])):
        axis = layout[name]
        for values, told, colour in zip(plotted, clip["tracks"], COLOURS):
            axis.plot(
                np.arange(len(values[name])) / clip["fps"], values[name], color=colour, lw=1.3, label=told["name"]
            )
        for label, begin, end, closed in clip["phonemes"]:
            axis.axvspan(begin, end, color="tab:red" if closed else "0.5", alpha=0.15 if closed else 0.04, lw=0)
            axis.text((begin + end) / 2, 1.01, label, ha="center", fontsize=6, transform=axis.get_xaxis_transform())
        axis.axvline(frame / clip["fps"], color="k", lw=0.8)
        axis.set_ylabel(f"{'lip aperture' if name == 'aperture' else 'lip vertex error'}, {unit}", fontsize=8)
    layout["aperture"].legend(frameon=False, fontsize=7)
    layout["error"].set_xlabel("seconds")
    figure.suptitle(clip["title"], fontsize=9)
    return figure
