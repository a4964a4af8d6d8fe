"""Records to tables, and everything that a run made to one page that opens without a server."""

import base64
import html
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import mistune

from ..core.files import read_json, write_atomic
from ..core.run import Run, commit
from ..training.joint import GUIDANCE, model_name
from . import external_predictions, tables
from .evaluate import STILL, TRUTH
from .tables import PUBLISHED, PUBLISHED_UNITS, QUOTED, Records

ANIMATOR_LABELS = {"faceformer": "FaceFormer", "codetalker": "CodeTalker"}
_markdown = mistune.create_markdown(plugins=["table"])


def evaluation_records(run: Run, seeds: list[int], others: Sequence[str] = ()) -> dict[str, Records]:
    """Evaluations of each method, over the seeds. others: NAME=FOLDER of predictions."""
    models = {"Ground truth": [TRUTH], "Still face": [STILL]}
    for animator in run.config.animators:
        for guidance in GUIDANCE:
            models[method_label(animator, guidance)] = [model_name(animator, guidance, s) for s in seeds]
    models |= {name: [name] for name, _ in map(external_predictions.named_folder, others)}
    return {name: [run.record(f"evaluation-{m}") for m in those] for name, those in models.items()}


def method_label(animator: str, guidance: str) -> str:
    """As tables call it."""
    return ANIMATOR_LABELS.get(animator, animator) + (" + AV guidance" if guidance == "guided" else "")


def run_description(run: Run, seeds: list[int], corpus: str) -> str:
    return (
        f"on the {corpus}, preset {run.config.preset}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    )


def results_table(run: Run, seeds: list[int], corpus: str, others: Sequence[str] = ()) -> str:
    """Writes the methods' table and that of what guidance changes into the run's tables/; returns their Markdown. The published
    figures of the run's own corpus, if there are any, stand beside."""
    found, folder, where = evaluation_records(run, seeds, others), run.folder / "tables", run_description(run, seeds, corpus)
    corpus_name = found["Ground truth"][0]["corpus_name"]
    published = [p for p in next(iter(PUBLISHED.values())) if p.split()[0].lower() == corpus_name]
    pairs = {
        f"{ANIMATOR_LABELS.get(a, a)}, guided less unguided": (found[method_label(a, "guided")], found[method_label(a, "unguided")])
        for a in run.config.animators
    }
    return "\n".join(
        [
            tables.methods(found, f"Measured {where}", published=published).write(
                folder, "table", corpus=corpus, seeds=seeds
            ),
            tables.differences(pairs, f"What guidance changes {where}").write(
                folder, "table_differences", corpus=corpus, seeds=seeds
            ),
        ]
    )


def protocols_table(run: Run, seeds: list[int], corpus: str, others: Sequence[str] = ()) -> str:
    """Writes the same predictions' numbers under every protocol into the run's tables/; returns the Markdown."""
    title = f"The same predictions under every protocol, {run_description(run, seeds, corpus)}"
    table = tables.all_protocols(evaluation_records(run, seeds, others), title)
    return table.write(run.folder / "tables", "table_protocols", corpus=corpus, seeds=seeds)


def transcripts_table(run: Run, models: list[str], count: int = 6) -> str:
    """What the reader read from the same sentences, under the first style, of each model; Markdown."""
    read = [run.record(f"evaluation-{m}")["rows"][:count] for m in models]
    lines = ["| said | " + " | ".join(models) + " |", "|---" * (1 + len(models)) + "|"]
    lines += [f"| {row[0]['text']} | " + " | ".join(r["read"] for r in row) + " |" for row in zip(*read)]
    return "\n".join(lines) + "\n"


def published_table() -> str:
    """The published rows as Markdown, to be shown apart from measured ones."""
    names = list(next(iter(PUBLISHED.values())))
    return (
        "\n".join(
            [
                f"Published on BIWI and VOCASET ({QUOTED}; not comparable with the rows above):",
                "",
                "| Method | " + " | ".join(f"{n} ({PUBLISHED_UNITS[n]})" for n in names) + " |",
                "|---" * (1 + len(names)) + "|",
                *(f"| {m} | " + " | ".join(str(v[n]) for n in names) + " |" for m, v in PUBLISHED.items()),
            ]
        )
        + "\n"
    )


OPEN_TABLES = ("table", "table_differences", "table_ablation_lve", "table_ablation_cer")  # tables shown open; others unfold
CHAPTERS = {"4": "Evaluation", "5": "“Just” and “must”", "3": "Joint training", "2": "The readers", "1": "The corpus"}
# What is shown in them, in that order: files that begin so, often with a model's name behind, and their captions.
FIGURE_CAPTIONS = {
    "4_effects": "What guidance and each variant change, with 95 % intervals: blue less of an error, orange more, grey where the interval holds zero",
    "4_scan_unguided_guided": "A test sentence: the scan, and each animator without and with guidance",
    "4_lips": "Its lips, as the reader sees them",
    "4_tracks": "How far its lips are open; in the shaded p, b and m they should meet",
    "4_moments_": "The p, b, m and open vowels at which guidance changes most; colours are distances from the scan",
    "5_tsne_words": "Whole words of held-out clips, in four t-SNE maps of each reader's features",
    "5_tsne_lips": "Whole words on the scans' lips and on an animator's",
    "5_tsne_frames": "Single frames of the words of held-out clips",
    "3_scan_beside_": "A held-out sentence: the scan and the prediction",
    "3_tracks_": "How far its lips are open",
    "3_losses_": "Losses of the training steps, and on what is held out",
    "3_shares_": "Each weighted term's share of the gradient on the vertices",
    "2_learning": "Losses of the readers on training clips, in nats",
    "2_rates": "Character error rate on held-out clips, by greedy CTC",
    "2_noise": "Characters read right, with babble in the speech",
    "2_visemes": "Which visemes are taken for which",
    "2_codes": "CodeTalker's codes: error of the reconstruction, in units of the corpus's motion, and loss of the codes",
    "1_scan": "A sentence of a training subject",
    "1_strip": "The same, and the crop that a reader sees of it, five pictures a second",
    "1_tracks": "Its speech, phonemes and lips",
    "1_people": "The subjects at rest",
    "1_lips": "A held-out clip of the 2D part",
    "1_clips": "Four of them, every fifth picture",
}
PACKAGES = ("torch", "torchaudio", "transformers", "numpy", "scikit-learn")
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto;font-size:.9rem}
td,th{padding:.25rem .6rem;text-align:left;border-bottom:1px solid #ccc;white-space:nowrap}th{white-space:normal;vertical-align:bottom}p,figure,pre{max-width:60rem}
figure{margin:2rem 0}img,video{max-width:100%}figcaption{color:#555}summary{cursor:pointer;padding:.25rem 0}
pre{overflow-x:auto;background:#f6f6f6;padding:1rem}"""


def write_report(run: Run) -> Path:
    """report.html: tables, figures, clips and settings of the run, all inside the one file."""
    parts = {"first": [], "more": [], **{number: [] for number in CHAPTERS}}
    for path in sorted(
        (run.folder / "tables").glob("*.md"), key=lambda p: (OPEN_TABLES.index(p.stem) if p.stem in OPEN_TABLES else 9, p.stem)
    ):
        table = _markdown(path.read_text())
        title = html.escape(read_json(path.with_suffix(".json"))["title"])
        parts["first" if path.stem in OPEN_TABLES else "more"].append(
            table if path.stem in OPEN_TABLES else f"<details><summary>{title}</summary>{table}</details>"
        )
    shown = [*(run.folder / "clips").glob("*.mp4"), *(run.folder / "figures").glob("*.png")]
    for path in sorted(shown, key=lambda p: (place_and_caption(p)[0], p.name)):  # their names begin with the notebook's number
        caption = html.escape(place_and_caption(path)[1])
        shape = (
            f"<video controls preload=auto src='{_data(path, 'video/mp4')}'></video>"
            if path.suffix == ".mp4"
            else f"<img alt='{caption}' src='{_data(path, 'image/png')}'>"
        )
        parts[path.name[0]].append(f"<figure>{shape}<figcaption>{caption}</figcaption></figure>")
    chapters = "".join(
        f"<h2>{title}</h2>{''.join(parts[number])}" for number, title in CHAPTERS.items() if parts[number]
    )
    settings = html.escape((run.folder / "config.json").read_text())
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"Python {platform.python_version()}, {versions}; {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {run.device}"
    timings = [(p.stem, read_json(p)) for p in sorted((run.folder / "notebooks").glob("*.json"))]
    times = "".join(f"<tr><td>{html.escape(n)}<td>{t['seconds']:.0f}<td>{t['peak_mb']:.0f}" for n, t in timings)
    text = f"""<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>avlib: {html.escape(run.name)}</title><style>{STYLE}</style>
<h1>Audio-visual guidance for speech-driven faces</h1><p>Run “{html.escape(run.name)}”, commit {commit()}.
{"".join(parts["first"])}{"".join(parts["more"])}
{chapters}
<h2>How it was made</h2><p>{html.escape(machine)}.
<table><tr><th>notebook<th>seconds<th>memory of the largest kernel so far, MB{times}</table>
<details><summary>Settings</summary><pre>{settings}</pre></details></html>
"""
    return write_atomic(run.folder / "report.html", lambda p: p.write_text(text))


def _data(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def place_and_caption(path: Path) -> tuple[int, str]:
    """Where a picture or clip stands on the page, and its caption; what nobody knows stands last, under its name."""
    for place, (name, caption) in enumerate(FIGURE_CAPTIONS.items()):
        if path.stem.startswith(name):
            model = path.stem.removeprefix(name)
            return place, caption + (f" ({model})" if model else "")
    return len(FIGURE_CAPTIONS), path.stem.replace("_", " ")
