"""How well readers of 2D clips read the lips of true 3D motion: the gap between film and mesh, and what fine-tuning
closes of it."""

import torch

from ..core.run import Run
from ..corpus.corpus import Corpus
from ..lipreading.reader import Reader
from ..metrics.error_rates import error_counts
from ..training.judge import load_judge
from ..training.readers import load_reader
from ..training.trained_models import load_guide
from .search_settings import Texts, error_rate, read_clips, read_renders, search_description, search_settings
from .statistics import paired_interval
from .table_formats import markdown_table
from .variants import variant_experts


def domain_gap(run: Run, corpus: Corpus, models: list[str] | None = None) -> dict:
    """Record of stage "domain_gap": error rates of the readers from lips alone, on held-out clips of the 2D part and on
    renders of true motion of the validation split.

    models: guided models, whose fine-tuned experts are measured, too, and the experts of the run's variants; the stage
    is then "domain_gap-fine-tuned".
    """
    stage = "domain_gap-fine-tuned" if models else "domain_gap"
    settings, names = search_settings(run, corpus), ["expert", "reader", "judge", *(models or ())]
    others = variant_experts(run) if models else {}
    keys = [run.finished_key(name) for name in names] + [other.finished_key("expert") for other in others.values()]
    key = run.key(domain_gap, settings, corpus.hash, keys)
    if record := run.finished(stage, key):
        return record
    readers: dict[str, Reader]
    if models:
        read_before = domain_gap(run, corpus)["read"]
        readers = {f"expert, fine-tuned with {m}": load_guide(run, m) for m in models}
        readers |= {label: load_reader(other, "expert") for label, other in others.items()}
    else:
        read_before = {}
        readers = {"expert": load_reader(run, "expert"), "reader": load_reader(run, "reader"), "judge": load_judge(run)}
    texts = read_before | {
        name: {
            "clips": read_clips(corpus.clips("validation"), reader, settings),
            "renders": read_renders(corpus, reader, settings),
        }
        for name, reader in readers.items()
    }
    metrics = {
        name: {data: {"value": 100 * error_rate(read), "unit": "%"} for data, read in parts.items()}
        for name, parts in texts.items()
    }
    return run.finish(stage, key, metrics=metrics, read=texts, corpus=corpus.hash)


def domain_gap_table(run: Run, corpus: Corpus, models: list[str] | None = None) -> str:
    """`domain_gap` as Markdown: a row for each reader, and how they search."""
    record = domain_gap(run, corpus, models)
    rows = []
    for name, parts in record["read"].items():
        rates = [f"{100 * error_rate(parts[data]):.1f} %" for data in ("clips", "renders")]
        rows.append([name, *rates, _difference(parts)])
    counts = {data: len(read) for data, read in next(iter(record["read"].values())).items()}
    heads = [
        "reader, from lips alone",
        f"CER on {counts['clips']} held-out clips",
        f"CER on {counts['renders']} renders of true motion",
        "difference",
    ]
    return f"{markdown_table(heads, rows)}\n\n{search_description(run, corpus)}"


def _difference(parts: dict[str, Texts]) -> str:
    """Renders minus clips with the 95 % interval, where both have the same sentences."""
    renders, clips = parts["renders"], parts["clips"]
    if [said for said, _ in renders] != [said for said, _ in clips] or len(clips) < 2:
        return "other sentences"
    counts = [[error_counts(said, read) for said, read in texts] for texts in (renders, clips)]
    interval = paired_interval(*(torch.tensor(c, dtype=torch.float64) for c in counts), seed=0)
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * interval.difference:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
