"""Scores of a model on the test subjects: every sentence under every training style, read by the visual-only reader."""
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from . import foreign
from .config import as_dict
from .corpus import Corpus
from .joint import GUIDANCE, Example, collate, examples, load_animator, model_name, rollout
from .lips import lip_video, pad, see
from .metrics import corpus_rate, error_counts, lve_frames
from .pretrain import decode, load_reader, load_speech
from .run import Run, side_by_side
from .text import visemes
from .train import bar, say, to

MODULES = ("evaluate foreign metrics lips camera render raster expert frontend beam text animator decoder aligned faceformer "
           "codetalker codec audio")
TRUTH, STILL = "truth", "still"        # scored beside the models: the scans themselves, and a face that does not move


@torch.no_grad()
def predictions(run: Run, corpus: Corpus, model: str, items: list[Example], folder: Path | None = None
                ) -> Iterator[tuple[str, list[Example], list[torch.Tensor]]]:
    """(style, items, vertices (T, V, 3) of each item) for truth and still once, for a trained model once for each style, for a
    folder of predictions once for each style that is there, with its items."""
    if folder:
        for style, paths in foreign.find(folder, [e.utterance for e in items]).items():
            some = [e for e in items if e.utterance.name in paths]
            yield style, some, [foreign.read(paths[e.utterance.name], corpus, e.utterance) for e in some]
    elif model == TRUTH:
        yield "-", items, [e.motion for e in items]
    elif model == STILL:
        yield "-", items, [e.template.expand_as(e.motion) for e in items]
    else:
        animator, _ = load_animator(run, corpus, model)
        subjects = corpus.subjects["train"]
        for k, style in enumerate(subjects[:run.config.evaluation.styles]):
            batch = to(collate(items, subjects), run.device)
            batch["style"] = torch.eye(len(subjects), device=run.device)[k].expand(len(items), -1)
            moved = rollout(animator, batch)
            yield style, items, [m[:n].cpu() for m, n in zip(moved, batch["frames"])]


@torch.no_grad()
def evaluate(run: Run, corpus: Corpus, model: str, split: str = "test", folder: Path | None = None) -> dict:
    """The stage "evaluation-<model>": metrics with unit, and what was read from each utterance under each style. folder: of
    predictions that others made; model is then what they are called."""
    stage, config = f"evaluation-{model}", run.config.evaluation
    before = [run.finished_key(s) for s in ["reader"] + ([model] if not folder and model not in (TRUTH, STILL) else [])]
    if folder:
        before += [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(folder.glob("*.npy"))]
    key = run.key(MODULES, config, model, split, corpus.hash, before)
    if done := run.finished(stage, key):
        return done
    reader, lips = load_reader(run, "reader"), lip_video(corpus)
    items = examples(corpus, corpus.utterances(split), load_speech(run))
    rows = []
    for style, shown, motions in predictions(run, corpus, model, items, folder):
        frames = torch.tensor([len(m) for m in motions])
        video, lengths = lips(pad(motions), frames)
        features = reader.encode(see(video).to(run.device), None, lengths.to(run.device))
        texts = decode(reader, features, lengths.to(run.device), config.beam, config.ctc_weight)
        for e, motion, text in zip(shown, motions, texts):
            errors = lve_frames(motion, e.motion, corpus.regions["lip"])
            rows.append({"utterance": e.utterance.name, "style": style, "text": e.utterance.text, "read": text,
                         "frames": e.utterance.frames, "lve": float(errors.mean())})
    return run.finish(stage, key, model=model, split=split, corpus=corpus.hash, corpus_name=corpus.name,
                      config=as_dict(run.config), metrics=summary(rows, corpus.unit), rows=rows)


def export(run: Run, corpus: Corpus, model: str, folder: Path, split: str = "test") -> None:
    """A model's predictions under every style, in files as FaceFormer and CodeTalker write them."""
    items = examples(corpus, corpus.utterances(split), load_speech(run))
    for style, shown, motions in predictions(run, corpus, model, items):
        for e, motion in zip(shown, motions):
            foreign.write(folder, e.utterance.name, style, motion)


def evaluate_all(run: Run, corpus: Corpus, seeds: list[int], others: Sequence[str] = ()) -> None:
    """Truth, the still face and every animator of the run, baseline and guided, of every seed; and others' predictions, given
    as NAME=FOLDER."""
    models = [*(model_name(a, g, s) for s in seeds for a in run.config.animators for g in GUIDANCE), TRUTH, STILL]
    folders = dict(map(foreign.named, others))
    if taken := folders.keys() & set(models):
        raise ValueError(f"--predictions: {min(taken)} is the name of a model of this run; choose another: NAME=FOLDER")
    jobs = [(evaluate, run, corpus, model) for model in models]
    jobs += [(evaluate, run, corpus, name, "test", folder) for name, folder in folders.items()]
    for record in bar(side_by_side(jobs, run.device), "evaluation", len(jobs)):
        say(in_a_line(record))


def in_a_line(record: dict) -> str:
    """A model's metrics in one line."""
    return f"{record['model']}  " + "  ".join(f"{k} {m['value']:.4g} {m['unit']}" for k, m in record["metrics"].items())


def summary(rows: list[dict], unit: str) -> dict:
    """The table's metrics from the rows of one model, each with its value and unit."""
    frames = sum(r["frames"] for r in rows)
    said, read = [r["text"] for r in rows], [r["read"] for r in rows]
    said_visemes, read_visemes = [visemes(t) for t in said], [visemes(t) for t in read]
    mean_rate = lambda pairs: 100 * sum(e / max(1, n) for e, n in (error_counts(*p) for p in pairs)) / len(rows)
    return {
        "LVE": {"value": sum(r["lve"] * r["frames"] for r in rows) / frames, "unit": f"{unit}²",
                "about": "largest squared lip-vertex distance of a frame, mean over all frames"},
        "CER": {"value": 100 * corpus_rate(said, read), "unit": "%", "about": "corpus rate: edits over characters"},
        "VER": {"value": 100 * corpus_rate(said_visemes, read_visemes), "unit": "%",
                "about": "corpus rate: edits over visemes"},
        "CER_mean": {"value": mean_rate(zip(said, read)), "unit": "%", "about": "mean of the utterances' rates"},
        "VER_mean": {"value": mean_rate(zip(said_visemes, read_visemes)), "unit": "%",
                     "about": "mean of the utterances' rates"},
    }
