"""Scores of a model on the test subjects: every sentence under every training style, read by the visual-only reader."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ..core.config import as_dict
from ..core.parallel import run_parallel
from ..core.progress import log, progress_bar
from ..core.rates import SAMPLES_PER_FRAME
from ..core.run import Run
from ..core.tensors import pad
from ..corpus.corpus import Corpus
from ..corpus.pictures import lip_video
from ..metrics.protocols import KIT, Comparison, masks, protocols, score, summary, value
from ..metrics.synchrony import speech_intensity
from ..training.clip_batches import ReaderInput
from ..training.joint import GUIDANCE, load_animator, load_guide, model_name
from ..training.joint_batches import Example, collate_examples, make_examples
from ..training.joint_task import rollout
from ..training.readers import load_reader
from ..training.reading import decode, encode_batch
from ..training.speech_encoder import load_speech
from . import external_predictions

TRUTH, STILL = "truth", "still"  # scored beside the models: the scans themselves, and a face that does not move


@torch.no_grad()
def model_predictions(
    run: Run, corpus: Corpus, model: str, items: list[Example], folder: Path | None = None
) -> Iterator[tuple[str, list[Example], list[torch.Tensor]]]:
    """(style, items, vertices (T, V, 3) of each item) for truth and still once, for a trained model once for each style, for a
    folder of predictions once for each style that is there, with its items."""
    if folder:
        for style, paths in external_predictions.find_predictions(folder, [e.utterance for e in items]).items():
            some = [e for e in items if e.utterance.name in paths]
            yield (
                style,
                some,
                [external_predictions.read_prediction(paths[e.utterance.name], corpus, e.utterance) for e in some],
            )
    elif model == TRUTH:
        yield "-", items, [e.motion for e in items]
    elif model == STILL:
        yield "-", items, [e.template.expand_as(e.motion) for e in items]
    else:
        animator, _ = load_animator(run, corpus, model)
        subjects = corpus.subjects["train"]
        for k, style in enumerate(subjects[: run.config.evaluation.styles]):
            batch = collate_examples(items, subjects).to(run.device)
            batch.style = torch.eye(len(subjects), device=run.device)[k].expand(len(items), -1)
            moved = rollout(animator, batch)
            yield style, items, [m[:n].cpu() for m, n in zip(moved, batch.frame_lengths)]


@torch.no_grad()
def evaluate(
    run: Run, corpus: Corpus, model: str, split: str = "test", folder: Path | None = None, judge: str | None = None
) -> dict:
    """The stage "evaluation-<model>": metrics with unit, and of each utterance under each style what was read and all that the
    protocols ask for. folder: of predictions that others made; model is then what they are called. judge: a guided model, whose own
    expert reads in the reader's place, from lips alone; the stage is then "judged-<model>"."""
    stage, config = f"judged-{model}" if judge else f"evaluation-{model}", run.config.evaluation
    before = [
        run.finished_key(s)
        for s in [judge or "reader"] + ([model] if not folder and model not in (TRUTH, STILL) else [])
    ]
    if folder:
        before += [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(folder.glob("*.npy"))]
    key = run.key(evaluate, config, model, split, corpus.hash, before)
    if done := run.finished(stage, key):
        return done
    reader, lips = load_guide(run, corpus, judge) if judge else load_reader(run, "reader"), lip_video(corpus)
    items = make_examples(corpus, corpus.utterances(split), load_speech(run))
    loud = {e.utterance.name: speech_intensity(corpus.speech(e.utterance)) for e in items}
    rows = []
    for style, shown, motions in model_predictions(run, corpus, model, items, folder):
        frames = torch.tensor([len(m) for m in motions])
        video, lengths = lips(pad(motions), frames)
        unheard = torch.zeros(len(video), int(lengths.max()) * SAMPLES_PER_FRAME)
        features, lengths = encode_batch(
            reader, ReaderInput(samples=unheard, frame_lengths=lengths, video=video), ("video",)
        )
        texts = decode(reader, features, lengths, config.beam, config.ctc_weight)
        for e, motion, text in zip(shown, motions, texts):
            u = e.utterance
            compared = Comparison(
                motion, e.motion, corpus.templates[u.subject], corpus.regions, corpus.fps, u.phonemes, u.text, text
            )
            rows.append(
                {
                    "utterance": u.name,
                    "subject": u.subject,
                    "style": style,
                    "text": u.text,
                    "read": text,
                    "frames": len(compared.truth),
                    "loudness": loud[u.name],
                    "scores": score(compared),
                }
            )
            rows[-1]["lve"] = value(rows[-1:], protocols()[KIT].scores["LVE"])
    return run.finish(
        stage,
        key,
        model=model,
        split=split,
        corpus=corpus.hash,
        corpus_name=corpus.name,
        unit=corpus.unit,
        masks=masks(corpus.regions),
        config=as_dict(run.config),
        metrics=summary(rows, corpus.unit),
        rows=rows,
    )


def export_predictions(run: Run, corpus: Corpus, model: str, folder: Path, split: str = "test") -> None:
    """A model's predictions under every style, in files as FaceFormer and CodeTalker write them."""
    items = make_examples(corpus, corpus.utterances(split), load_speech(run))
    for style, shown, motions in model_predictions(run, corpus, model, items):
        for e, motion in zip(shown, motions):
            external_predictions.write_prediction(folder, e.utterance.name, style, motion)


def evaluate_models(run: Run, corpus: Corpus, seeds: list[int], others: Sequence[str] = ()) -> None:
    """Truth, the still face and every animator of the run, unguided and guided, of every seed; and others' predictions, given
    as NAME=FOLDER."""
    models = [*(model_name(a, g, s) for s in seeds for a in run.config.animators for g in GUIDANCE), TRUTH, STILL]
    folders = dict(map(external_predictions.named_folder, others))
    if taken := folders.keys() & set(models):
        raise ValueError(f"--predictions: {min(taken)} is the name of a model of this run; choose another: NAME=FOLDER")
    jobs = [(evaluate, run, corpus, model) for model in models]
    jobs += [(evaluate, run, corpus, name, "test", folder) for name, folder in folders.items()]
    for record in progress_bar(run_parallel(jobs, run.device), "evaluation", len(jobs)):
        log(summary_line(record))


def summary_line(record: dict) -> str:
    """A model's first metrics."""
    shown = (f"{k} {record['metrics'][k]['value']:.4g} {record['metrics'][k]['unit']}" for k in ("LVE", "CER", "VER"))
    return f"{record['model']}  " + "  ".join(shown)
