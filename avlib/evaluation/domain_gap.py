"""How well readers of 2D clips read the lips of true 3D motion: the gap between film and mesh, and what fine-tuning
closes of it."""

import torch

from ..core.rates import SAMPLES_PER_FRAME
from ..core.run import Run
from ..corpus.clips import Clips
from ..corpus.corpus import Corpus
from ..corpus.pictures import lips
from ..corpus.specification import TRUE_RENDERS
from ..lipreading.reader import Reader
from ..metrics.error_rates import error_counts
from ..training.clip_batches import ReaderInput
from ..training.joint import load_guide
from ..training.judge import load_judge
from ..training.readers import load_reader
from ..training.reading import decode, encode_batch, transcribe
from .statistics import paired_interval
from .table_formats import markdown_table
from .variants import variant_experts

Texts = list[tuple[str, str]]  # of each clip: what was said, and what was read


@torch.no_grad()
def domain_gap(run: Run, corpus: Corpus, models: list[str] | None = None) -> dict:
    """Record of stage "domain_gap": error rates of the readers from lips alone, on held-out clips of the 2D part and on
    renders of true motion of the validation split.

    models: guided models, whose fine-tuned experts are measured, too, and the experts of the run's variants; the stage
    is then "domain_gap-fine-tuned".
    """
    stage = "domain_gap-fine-tuned" if models else "domain_gap"
    names = ["expert", "reader", "judge", *(models or ())]
    others = variant_experts(run) if models else {}
    keys = [run.finished_key(name) for name in names] + [other.finished_key("expert") for other in others.values()]
    key = run.key(domain_gap, run.config.evaluation, corpus.hash, keys)
    if record := run.finished(stage, key):
        return record
    readers: dict[str, Reader] = {name: load_reader(run, name) for name in ("expert", "reader")}
    readers["judge"] = load_judge(run)
    readers |= {f"expert, fine-tuned with {m}": load_guide(run, corpus, m) for m in models or ()}
    readers |= {label: load_reader(other, "expert") for label, other in others.items()}
    texts = {
        name: {"clips": _read_clips(run, corpus, r), "renders": _read_renders(run, corpus, r)}
        for name, r in readers.items()
    }
    metrics = {
        name: {data: {"value": 100 * _rate(read), "unit": "%"} for data, read in parts.items()}
        for name, parts in texts.items()
    }
    return run.finish(stage, key, metrics=metrics, read=texts, corpus=corpus.hash)


def domain_gap_table(run: Run, corpus: Corpus, models: list[str] | None = None) -> str:
    """`domain_gap` as Markdown: a row for each reader."""
    record = domain_gap(run, corpus, models)
    rows = []
    for name, parts in record["read"].items():
        rates = [f"{100 * _rate(parts[data]):.1f} %" for data in ("clips", "renders")]
        rows.append([name, *rates, _difference(parts)])
    counts = {data: len(read) for data, read in next(iter(record["read"].values())).items()}
    heads = [
        "reader, from lips alone",
        f"CER on {counts['clips']} held-out clips",
        f"CER on {counts['renders']} renders of true motion",
        "difference",
    ]
    return markdown_table(heads, rows)


def _difference(parts: dict[str, Texts]) -> str:
    """Renders minus clips with the 95 % interval, where both have the same sentences."""
    renders, clips = parts["renders"], parts["clips"]
    if [said for said, _ in renders] != [said for said, _ in clips] or len(clips) < 2:
        return "other sentences"
    counts = [[error_counts(said, read) for said, read in texts] for texts in (renders, clips)]
    interval = paired_interval(*(torch.tensor(c, dtype=torch.float64) for c in counts), seed=0)
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * interval.difference:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")


def _rate(texts: Texts) -> float:
    counts = [error_counts(said, read) for said, read in texts]
    return sum(edits for edits, _ in counts) / max(1, sum(length for _, length in counts))


def _read_clips(run: Run, corpus: Corpus, reader: Reader) -> Texts:
    return _transcripts(run, reader, corpus.clips("validation"))


def _read_renders(run: Run, corpus: Corpus, reader: Reader) -> Texts:
    """Of the renders that the corpus has, else of the motion of its validation split."""
    if corpus.has_clips(TRUE_RENDERS):
        return _transcripts(run, reader, corpus.clips(TRUE_RENDERS))
    config, texts = run.config.evaluation, []
    for utterance in corpus.utterances("validation"):
        video = lips(corpus, corpus.motion(utterance)).float()[None] / 255
        lengths = torch.tensor([video.shape[1]])
        silence = torch.zeros(1, int(lengths) * SAMPLES_PER_FRAME)
        batch = ReaderInput(samples=silence, frame_lengths=lengths, video=video)
        features, lengths = encode_batch(reader, batch, ("video",))
        texts.append((utterance.text, decode(reader, features, lengths, config.beam, config.ctc_weight)[0]))
    return texts


def _transcripts(run: Run, reader: Reader, clips: Clips) -> Texts:
    config = run.config.evaluation
    read = transcribe(reader, clips, config.beam, config.ctc_weight, streams=("video",))
    return [(u.text, text) for u, text in zip(clips.utterances, read)]
