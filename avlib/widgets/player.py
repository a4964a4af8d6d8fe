"""The player of notebook 04: two faces that speak the same sentence, side by side, synchronised with its sound."""

import html
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import ipywidgets
from ipywidgets import Layout
from matplotlib.figure import Figure
from traitlets import Dict

from ..core.files import write_atomic
from ..core.progress import HEADLESS
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..evaluation.few_scans import few_scans_run, few_scans_variants, scan_curves
from ..evaluation.labels import SHORT_OBJECTIVE_LABELS
from ..training.objectives import OBJECTIVES
from .browser_data import mesh_bytes, module
from .cell_output import Markdown
from .player_clip import SCAN, ClipSource, FaceChoice
from .player_figure import still_figure

COMPARED = ("baseline", "guided")  # objectives of the two faces at first


class Player(anywidget.AnyWidget):
    """Plays a clip of `build_clip`. The audio element's clock sets the faces' frame and the plots' cursor."""

    _esm = module("mesh.js", "player.js")
    mesh = Dict().tag(sync=True)
    clip = Dict().tag(sync=True)


class FaceControls(NamedTuple):
    """The controls of one face. The value of `animator` is (name, seed); the name may be "scan"."""

    animator: ipywidgets.Dropdown
    objective: ipywidgets.Dropdown
    style: ipywidgets.Dropdown

    def choice(self) -> FaceChoice:
        name, seed = selected(self.animator)
        if name == SCAN:
            return FaceChoice()
        return FaceChoice(name, selected(self.objective), selected(self.style), seed)


def selected(control: ipywidgets.Dropdown) -> Any:
    """The selected value, which is never None here: every dropdown has options."""
    return control.value


def face_controls(animators: tuple[str, ...], styles: list[str], seeds: list[int], objective: str) -> FaceControls:
    models = [(a if len(seeds) == 1 else f"{a}, seed {s}", (a, s)) for a in animators for s in seeds]
    narrow = Layout(width="auto", flex="1 1 6em")
    return FaceControls(
        ipywidgets.Dropdown(options=[*models, (SCAN, (SCAN, 0))], layout=narrow, tooltip="What moves the face"),
        ipywidgets.Dropdown(
            options=[(SHORT_OBJECTIVE_LABELS[o], o) for o in OBJECTIVES],
            value=objective,
            layout=narrow,
            tooltip="Trained on L_mse alone, + L_rlv, or guided by the expert as well",
        ),
        ipywidgets.Dropdown(options=styles, layout=narrow, tooltip="Speaking style, that of a training subject"),
    )


class ComparisonPlayer(ipywidgets.VBox):
    """The player with its controls. An error is shown in one line, and the clip before it stays."""

    def __init__(self, source: ClipSource):
        self.source, corpus = source, source.corpus
        wide = Layout(width="auto", flex="1 1 16em")
        self.sentence = ipywidgets.Dropdown(
            options=[(f"{u.subject}: {u.text}", u) for u in corpus.utterances("test")],
            layout=wide,
            tooltip="A sentence of the test split",
        )
        self.custom_speech = ipywidgets.Text(
            placeholder="or words, or the path of a recording; then Enter",
            layout=wide,
            continuous_update=False,
            tooltip="A sound file of any sample rate, or words that espeak-ng speaks",
        )
        self.upload = ipywidgets.FileUpload(
            accept="audio/*",
            description="sound",
            layout=Layout(width="7em"),
            tooltip="A recording, which is stored in the run's folder speech/",
        )
        subject = corpus.subjects["test"][0]
        self.subject = ipywidgets.Dropdown(
            options=list(corpus.templates),
            value=subject,
            layout=Layout(width="6em"),
            tooltip="Whose face speaks the recording or the words",
        )
        animators, styles = source.run.config.animators, corpus.subjects["train"]
        self.faces = [face_controls(animators, styles, source.seeds, objective) for objective in COMPARED]
        self.message = ipywidgets.HTML()
        self.player = Player(mesh=mesh_bytes(corpus.templates[subject], corpus.faces, corpus.albedo))
        super().__init__(self._rows())
        self.sentence.observe(self._sentence_changed, "value")
        self.upload.observe(self._file_uploaded, "value")
        self.subject.observe(self._subject_changed, "value")
        for control in (self.custom_speech, *self.faces[0], *self.faces[1]):
            control.observe(self._show, "value")
        self._show()

    def _rows(self) -> list[ipywidgets.Widget]:
        wrapped = Layout(flex_flow="row wrap")
        faces = [ipywidgets.HBox(controls, layout=Layout(flex="1 1 20em")) for controls in self.faces]
        speech = [self.sentence, self.custom_speech, self.upload, self.subject]
        return [
            ipywidgets.HBox(speech, layout=wrapped),
            ipywidgets.HBox(faces, layout=wrapped),
            self.message,
            self.player,
        ]

    def _sentence_changed(self, _):
        """A test sentence replaces custom speech."""
        if self.custom_speech.value:
            self.custom_speech.value = ""  # its observer shows the sentence
        else:
            self._show()

    def _subject_changed(self, _):
        """A test sentence has its own subject."""
        if self._custom_speech():
            self._show()

    def _file_uploaded(self, _):
        """Stores the file in the run's folder speech/ and plays it. A file that is not audio is deleted again."""
        if not self.upload.value:
            return
        (file,) = self.upload.value
        path = self.source.run.folder / "speech" / Path(file["name"]).name
        write_atomic(path, lambda p: p.write_bytes(file["content"]))
        self.source.clear_cache()  # an earlier file may have had the same name
        if self.custom_speech.value == str(path):
            self._show()
        else:
            self.custom_speech.value = str(path)
        if self.message.value:
            path.unlink()

    def _custom_speech(self) -> str:
        return (self.custom_speech.value or "").strip()

    def _show(self, _=None):
        """Computes and shows the chosen clip."""
        for controls in self.faces:
            controls.objective.disabled = controls.style.disabled = controls.choice().animator == SCAN
        custom = self._custom_speech()
        speech, subject = (custom, selected(self.subject)) if custom else (selected(self.sentence), "")
        self.message.value = "animating …"
        try:
            self.player.clip = self.source.clip(speech, subject, [controls.choice() for controls in self.faces])
            self.message.value = ""
        except ValueError as error:
            self.message.value = f"<b>avlib: {html.escape(str(error))}</b>"


def compare_models(run: Run, corpus: Corpus, seeds: list[int]) -> ComparisonPlayer | Figure:
    """The player; in an executed notebook a figure of the first test sentence by the first animator, trained on each of
    `COMPARED`."""
    source = ClipSource(run, corpus, seeds)
    if not HEADLESS:
        return ComparisonPlayer(source)
    utterance, style = corpus.utterances("test")[0], corpus.subjects["train"][0]
    choices = [FaceChoice(run.config.animators[0], objective, style, seeds[0]) for objective in COMPARED]
    motions = {str(choice): source.motion(utterance, "", choice) for choice in choices}
    return still_figure(corpus, source.clip(utterance, "", choices), motions)


def compare_few_scans(run: Run, corpus: Corpus, seeds: list[int], scans: int) -> ComparisonPlayer | Figure | Markdown:
    """`compare_models` for the run's models that learned from so many scanned sentences of each subject, 0 for the
    fewest, the guided ones also from speech without scans; a line of text if the run has no such models yet. ValueError
    for a number of scans that no variant has."""
    if not few_scans_variants(run) or not scan_curves(run, seeds):
        return Markdown("Nothing to compare: this run has no models of few scans.")
    return compare_models(few_scans_run(run, scans), corpus, seeds)
