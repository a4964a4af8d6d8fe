"""The report of a run: one HTML page with its tables, figures, clips and settings, which opens without a server."""

import base64
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import mistune
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from ..core.files import find_visible, read_json, write_atomic
from ..core.parallel import cpu_count
from ..core.run import Run, commit
from ..training.objectives import OBJECTIVES

# Tables that are shown; others unfold.
OPEN_TABLES = (
    "table",
    "table_differences",
    "table_verdicts",
    "table_seen",
    "table_convergence",
    "table_ablation_lve",
    "table_ablation_cer",
    "table_ablation_cer_judge",
    "table_published_differences",
    "table_scans_worth",
)
# Chapters of the page, by the number of the notebook that their figures' names begin with.
CHAPTERS = {
    "4": "Evaluation",
    "5": "Feature analysis",
    "6": "Guidance with few scans",
    "3": "Joint training",
    "2": "Pre-training",
    "1": "Data preparation",
}
# Captions of figures and clips by how their names begin, in their order on the page. A model's name may follow.
FIGURE_CAPTIONS = {
    "4_effects": "Effects of L_rlv, of guidance and, on validation data where stated, of each variant with 95 % "
    "intervals: blue, to the left, the error falls; yellow, to the right, it rises; a grey dot, the interval contains "
    "zero",
    "4_convergence": "Lip vertex error on held-out sentences over the training steps; a dot: a plateau",
    "4_faces": "A test sentence: the scan, and each animator trained on L_mse (baseline), + L_rlv, and guided",
    "4_lips": "Lip crops of the same sentence, as the reader receives them",
    "4_tracks": "Lip aperture of the same sentence; in the shaded p, b and m the lips should meet",
    "4_qualitative_frames_": "The p, b, m and open vowels at which baseline, + L_rlv and guided model differ most; "
    "colours: distance from the scan",
    "5_tsne_words": "Whole words of held-out clips: four t-SNE maps of each reader's features",
    "5_tsne_lips": "Whole words on the lips of the scans and of an animator",
    "5_tsne_frames": "Single frames of the words of held-out clips",
    "6_scans": "Errors over the number of scanned sentences of each subject; bars: standard deviation over the seeds",
    "3_scan_beside_": "A held-out sentence: the scan and the prediction",
    "3_tracks_": "Lip aperture of the same sentence",
    "3_losses_": "Losses of the training steps and on held-out sentences",
    "3_shares_": "Share of each weighted loss term in the gradient on the vertices",
    "2_learning": "Losses of the readers on training clips, in nats",
    "2_rates": "Character error rate on held-out clips by greedy CTC",
    "2_noise": "Characters read correctly in babble, by signal-to-noise ratio",
    "2_visemes": "Viseme confusions of the readers",
    "2_codes": "CodeTalker's motion VQ-VAE: reconstruction error relative to the RMS of the training motion, "
    "and codebook loss",
    "2_sync": "Sync encoder: contrastive loss, agreement of held-out lips and speech, and the share found in sync",
    "1_scan": "A sentence of a training subject",
    "1_strip": "The same sentence and its lip crop as the reader receives it, five pictures per second",
    "1_tracks": "Speech, phonemes and lip aperture of the same sentence",
    "1_capture_sounds": "Sounds that lips show: the film, the readers' crop of it, and the captured motion",
    "1_capture_aperture": "Lip aperture of captured motion; dots: the lips nearest together in p, b and m",
    "1_people": "The subjects at rest",
    "1_lips": "A held-out clip of the 2D part",
    "1_clips": "Four held-out clips of the 2D part, every fifth frame",
}
PACKAGES = ("torch", "torchaudio", "transformers", "numpy", "scikit-learn")
_markdown = mistune.create_markdown(plugins=["table"])
_templates = Environment(
    loader=PackageLoader("avlib.evaluation", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


class ReportTable(NamedTuple):
    """A table; latex: the content of its .tex file, "" if it has none."""

    title: str
    caption: Markup
    html: Markup
    latex: str
    is_open: bool


class Medium(NamedTuple):
    """A figure or clip; url: a data URL that holds the file; pdf: where the figure lies as PDF, or ""."""

    caption: str
    url: str
    is_video: bool
    pdf: str


class Chapter(NamedTuple):
    title: str
    media: list[Medium]


class Preference(NamedTuple):
    """The run's pages of preference studies, and the command that makes one."""

    pages: list[str]
    command: str


def write_report(run: Run) -> Path:
    """report.html of the run: a single file that holds all that it shows. Beside it lie the PDFs and pages it links."""
    return _write_page(
        run.folder / "report.html",
        heading="Audio-visual guidance for speech-driven faces",
        title=f"Run “{run.name}”",
        tables=_tables(run.folder / "tables"),
        chapters=_chapters(run),
        preference=_preference(run),
        machine=_machine(str(run.device)),
        notebooks=_notebooks(run.folder / "notebooks"),
        settings=(run.folder / "config.json").read_text(),
    )


def _notebooks(folder: Path) -> list[dict]:
    """Name, seconds, share of all seconds in %, and peak memory of the executed notebooks."""
    found = [{"name": path.stem, **read_json(path)} for path in find_visible(folder, "*.json")]
    total = sum(notebook["seconds"] for notebook in found)
    return [{**notebook, "share": 100 * notebook["seconds"] / total} for notebook in found]


def write_tables_page(folder: Path, title: str, names: Sequence[str]) -> Path:
    """scores.html of a folder with tables of these names."""
    tables = [_table(folder / f"{name}.md", is_open=True) for name in names]
    return _write_page(folder / "scores.html", heading="Scores", title=title, tables=tables, machine=_machine("cpu"))


def _write_page(path: Path, **content) -> Path:
    """A page of the template. content: what is left out is not shown."""
    empty = {"chapters": [], "preference": None, "notebooks": [], "settings": ""}
    text = _templates.get_template("report.html").render(commit=commit(), **empty | content)
    return write_atomic(path, lambda p: p.write_text(text))


def place_and_caption(path: Path) -> tuple[int, str]:
    """Position of a figure or clip on the page, and its caption. Unknown files come last, named after the file."""
    for place, (name, caption) in enumerate(FIGURE_CAPTIONS.items()):
        if path.stem.startswith(name):
            model = path.stem.removeprefix(name)
            return place, caption + (f" ({model})" if model else "")
    return len(FIGURE_CAPTIONS), path.stem.replace("_", " ")


def _tables(folder: Path) -> list[ReportTable]:
    """The run's tables, those of `OPEN_TABLES` first."""

    def place(path: Path) -> tuple[int, str]:
        return OPEN_TABLES.index(path.stem) if path.stem in OPEN_TABLES else len(OPEN_TABLES), path.stem

    return [_table(path, path.stem in OPEN_TABLES) for path in sorted(find_visible(folder, "*.md"), key=place)]


def _table(path: Path, is_open: bool) -> ReportTable:
    """A table's Markdown file as HTML, and its LaTeX."""
    title, latex = read_json(path.with_suffix(".json"))["title"], path.with_suffix(".tex")
    caption, _, rows = path.read_text().partition("\n\n")
    caption, html = (Markup(_markdown(text)) for text in (caption, rows))  # mistune has escaped them
    return ReportTable(title, caption, html, latex.read_text() if latex.exists() else "", is_open)


def _chapters(run: Run) -> list[Chapter]:
    """The chapters that have figures or clips."""
    media: dict[str, list[Medium]] = {number: [] for number in CHAPTERS}
    paths = find_visible(run.folder / "clips", "*.mp4") + find_visible(run.folder / "figures", "*.png")
    for path in sorted(paths, key=media_order):
        is_video = path.suffix == ".mp4"
        url = _data_url(path, "video/mp4" if is_video else "image/png")
        pdf = f"figures/{quote(path.stem)}.pdf" if path.with_suffix(".pdf").exists() else ""
        media[path.name[0]].append(Medium(place_and_caption(path)[1], url, is_video, pdf))
    titles = CHAPTERS | {"5": CHAPTERS["5"] + _compared_words(run)}
    return [Chapter(title, media[number]) for number, title in titles.items() if media[number]]


def _compared_words(run: Run) -> str:
    """The words that notebook 05 compared, as the end of a title, ": “just” and “must”"; "" if there are none."""
    path = run.folder / "records" / "tsne.json"
    words = read_json(path).get("words", ()) if path.exists() else ()
    return ": " + " and ".join(f"“{word}”" for word in words) if words else ""


def _preference(run: Run) -> Preference | None:
    """None if the run has no two scored models to compare."""
    guided = find_visible(run.folder / "records", "evaluation-*-guided-s*.json")
    if not guided:
        return None
    model = guided[0].stem.removeprefix("evaluation-")
    models = [shlex.quote(f"{run.name}/{name}") for name in (model.replace("-guided-", "-baseline-"), model)]
    pages = find_visible(run.folder / "preference", "study-*.html")
    command = f"./run_all.sh preference --a {models[0]} --b {models[1]} --out preference_study"
    return Preference([f"preference/{quote(page.name)}" for page in pages], command)


def media_order(path: Path) -> tuple[int, str]:
    """By place on the page, then by animator, in the order of `OBJECTIVES`."""
    name = path.name
    for number, objective in enumerate(OBJECTIVES):
        name = name.replace(f"-{objective}-", f"-{number}-")
    return place_and_caption(path)[0], name


def _machine(device: str) -> str:
    """Versions, system, cores and device in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.machine()}, {cpu_count()} cores, {device}"
    return f"Python {platform.python_version()}, {versions}; {system}"


def _data_url(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
