"""Records to tables, and everything that a run made to one page that opens without a server."""
import base64
import csv
import html
import io
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import mistune
import torch

from . import foreign
from .evaluate import STILL, TRUTH
from .joint import GUIDANCE, model_name
from .run import Run, commit, read_json, write_atomic, write_json

NAMES = {"faceformer": "FaceFormer", "codetalker": "CodeTalker"}
# As a secondary source quotes the paper, whose own tables were not seen. LVE in 1e-4 (BIWI) and 1e-5 m² (VOCASET).
PUBLISHED = {
    "FaceFormer": {"BIWI LVE": 6.0449, "BIWI CER": 72.588, "BIWI VER": 68.777, "VOCASET LVE": 3.2496},
    "FaceFormer + AV guidance": {"BIWI LVE": 5.5061, "BIWI CER": 68.423, "BIWI VER": 62.422, "VOCASET LVE": 3.0987},
    "CodeTalker": {"BIWI LVE": 5.3711, "BIWI CER": 72.592, "BIWI VER": 65.593, "VOCASET LVE": 4.0557},
    "CodeTalker + AV guidance": {"BIWI LVE": 4.8403, "BIWI CER": 70.711, "BIWI VER": 63.299, "VOCASET LVE": 3.9884},
}
_markdown = mistune.create_markdown(plugins=["table"])
COLUMNS = [("LVE", 1e5, "LVE (1e-5 {unit})"), ("CER", 1, "CER (%)"), ("VER", 1, "VER (%)")]


def rows(run: Run, seeds: list[int], others: Sequence[str] = ()) -> list[dict]:
    """One row a method: name, and of each metric its unit and its values over the seeds. others: NAME=FOLDER of predictions."""
    methods = {"Ground truth": [TRUTH], "Still face": [STILL]}
    for animator in run.config.animators:
        for guidance in GUIDANCE:
            name = NAMES.get(animator, animator) + (" + AV guidance" if guidance == "guided" else "")
            methods[name] = [model_name(animator, guidance, s) for s in seeds]
    methods |= {name: [name] for name, _ in map(foreign.named, others)}
    return [{"method": method, "metrics": _over_seeds([run.record(f"evaluation-{m}")["metrics"] for m in models])}
            for method, models in methods.items()]


def _over_seeds(metrics: list[dict]) -> dict:
    return {name: {"unit": m["unit"], "about": m["about"], "values": [other[name]["value"] for other in metrics]}
            for name, m in metrics[0].items()}


def _number(values: list[float], scale: float) -> str:
    scaled = [v * scale for v in values]
    return f"{mean(scaled):.3f}" + (f" ± {stdev(scaled):.3f}" if len(scaled) > 1 else "")


def table(run: Run, seeds: list[int], corpus: str, others: Sequence[str] = ()) -> str:
    """Writes table.md, .csv and .json into the run's tables/ and returns the Markdown."""
    body, folder = rows(run, seeds, others), run.folder / "tables"
    heads = ["Method", *(text.format(unit=body[0]["metrics"][name]["unit"]) for name, _, text in COLUMNS)]
    cells = [[row["method"], *(_number(row["metrics"][name]["values"], scale) for name, scale, _ in COLUMNS)] for row in body]
    lines = [f"Measured on the {corpus}, test subjects, preset {run.config.preset}, "
             f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}; lower is better.", "",
             "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|",
             *("| " + " | ".join(row) + " |" for row in cells)]
    markdown = "\n".join(lines) + "\n"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *cells])
    write_atomic(folder / "table.md", lambda p: p.write_text(markdown))
    write_atomic(folder / "table.csv", lambda p: p.write_text(text.getvalue()))
    write_json(folder / "table.json", {"corpus": corpus, "seeds": seeds, "rows": body})
    return markdown


def transcripts(run: Run, models: list[str], count: int = 6) -> str:
    """What the reader read from the same sentences, under the first style, of each model; Markdown."""
    read = [run.record(f"evaluation-{m}")["rows"][:count] for m in models]
    lines = ["| said | " + " | ".join(models) + " |", "|---" * (1 + len(models)) + "|"]
    lines += [f"| {row[0]['text']} | " + " | ".join(r["read"] for r in row) + " |" for row in zip(*read)]
    return "\n".join(lines) + "\n"


def published() -> str:
    """The published rows as Markdown, to be shown apart from measured ones."""
    names = list(next(iter(PUBLISHED.values())))
    return "\n".join(["Published on BIWI and VOCASET (quoted from a secondary source; not comparable with the rows above):",
                      "", "| Method | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|",
                      *(f"| {m} | " + " | ".join(str(v[n]) for n in names) + " |" for m, v in PUBLISHED.items())]) + "\n"


def page(run: Run) -> Path:
    """report.html: tables, figures, clips and settings of the run, all inside the one file."""
    parts = []
    for path in sorted((run.folder / "tables").glob("*.md")):
        parts.append(_markdown(path.read_text()))
    shown = [*(run.folder / "clips").glob("*.mp4"), *(run.folder / "figures").glob("*.png")]
    for path in sorted(shown, key=lambda p: p.name):        # their names begin with the notebook's number
        shape = (f"<video controls preload=auto src='{_data(path, 'video/mp4')}'></video>" if path.suffix == ".mp4" else
                 f"<img alt='{_caption(path)}' src='{_data(path, 'image/png')}'>")
        parts.append(f"<figure>{shape}<figcaption>{_caption(path)}</figcaption></figure>")
    settings = html.escape((run.folder / "config.json").read_text())
    machine = f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, commit {commit()}"
    timings = [(p.stem, read_json(p)) for p in sorted((run.folder / "notebooks").glob("*.json"))]
    times = "".join(f"<tr><td>{html.escape(n)}<td>{t['seconds']:.0f}<td>{t['peak_mb']:.0f}" for n, t in timings)
    text = f"""<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>avlib: {html.escape(run.name)}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}}
table{{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}}td,th{{padding:.3rem .8rem;text-align:left;
border-bottom:1px solid #ccc}}figure{{margin:2rem 0}}img,video{{max-width:100%}}figcaption{{color:#555}}
pre{{overflow-x:auto;background:#f6f6f6;padding:1rem}}</style>
<h1>Audio-visual guidance for speech-driven faces</h1><p>Run “{html.escape(run.name)}”. {html.escape(machine)}.
{"".join(parts)}
<h2>Notebooks</h2><table><tr><th>notebook<th>seconds<th>memory of the largest kernel so far, MB{times}</table>
<details><summary>Settings</summary><pre>{settings}</pre></details></html>
"""
    return write_atomic(run.folder / "report.html", lambda p: p.write_text(text))


def _data(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _caption(path: Path) -> str:
    return html.escape(path.stem.replace("_", " "))
