"""Scores of models on the test subjects: the reader and the judge read each sentence in each training style."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ..core.config import as_dict
from ..core.files import read_json
from ..core.parallel import run_parallel
from ..core.progress import log, progress_bar
from ..core.rates import SAMPLES_PER_FRAME
from ..core.run import Run
from ..core.tensors import pad
from ..corpus.corpus import Corpus
from ..corpus.pictures import lip_video
from ..corpus.run_corpus import run_characters
from ..corpus.specification import read_specification, scan_specification
from ..lipreading.beam_search import SearchSettings
from ..lipreading.reader import Reader
from ..metrics.lip_sync import LipSync
from ..metrics.measures import Comparison
from ..metrics.protocols import KIT, masks, read_protocols, score_value, summary, sums_and_counts
from ..metrics.synchrony import speech_intensity
from ..training.clip_batches import ReaderInput
from ..training.joint_batches import Example, collate_examples, make_examples
from ..training.joint_task import rollout
from ..training.judge import load_judge
from ..training.objectives import model_names
from ..training.readers import load_reader
from ..training.reading import decode, encode_batch
from ..training.replication import pretraining_of
from ..training.speech_encoder import load_speech
from ..training.sync_encoder import load_sync_scorer
from ..training.trained_models import load_animator, load_guide
from .external_predictions import OtherMethod, find_predictions, read_prediction, write_prediction
from .labels import REFERENCE_LABELS
from .published_animators import animate_utterances, load_published_animator
from .reference_predictions import reference_motions, references
from .search_settings import search_settings


class StylePredictions(NamedTuple):
    """A model's predictions in one style. motions: vertices (T, V, 3) of each example, in the corpus's unit."""

    style: str
    examples: list[Example]
    motions: list[torch.Tensor]


def evaluate_models(run: Run, corpus: Corpus, seeds: list[int], external: Sequence[str] = ()) -> None:
    """Scores all models of the run over all seeds, the reference predictions, and other methods.

    The latter on the test split, the others on every test split: BIWI has a second one of seen subjects, test_seen.
    external: other methods, as `OtherMethod.parse` reads them. ValueError if one has the name of a model of the run or
    of a reference.
    """
    models = [*model_names(run, seeds), *reversed(references(run.config.corpus))]  # the longest first
    methods = [OtherMethod.parse(text) for text in external]
    if taken := {method.name for method in methods} & {*models, *REFERENCE_LABELS}:
        raise ValueError(f"--predictions: {min(taken)} is the name of a model of this run; choose another: NAME=FOLDER")
    splits = [split for split in corpus.subjects if split.startswith("test")]
    search_settings(run, corpus)  # once, before several processes need them
    jobs = [(evaluate, run, corpus, model, split) for split in splits for model in models]
    jobs += [(evaluate, run, corpus, method.name, "test", method) for method in methods]
    for record in progress_bar(run_parallel(jobs, run.device), "evaluation", len(jobs)):
        log(summary_line(record))


def evaluation_stage(model: str, split: str = "test") -> str:
    """The stage of a model's scores on a split."""
    return f"evaluation-{model}" if split == "test" else f"evaluation-{split}-{model}"


@torch.no_grad()
def evaluate(
    run: Run,
    corpus: Corpus,
    model: str,
    split: str = "test",
    other: OtherMethod | None = None,
    guide: str | None = None,
) -> dict:
    """Record of stage `evaluation_stage`, computed unless it exists.

    It holds the metrics with their units; for each utterance in each style the transcripts of the visual-only reader
    and of the judge, and what all protocols need; and "looks", how often the split has been scored by this model.
    other: another method, which `model` then names. guide: a guided model, whose fine-tuned expert
    reads the lips (without speech) in place of the reader, and without the judge; the stage is then "judged-<model>".
    ValueError for a judge that has learned from clips which the expert or the reader has seen.
    """
    config, stage = run.config.evaluation, f"judged-{model}" if guide else evaluation_stage(model, split)
    settings = search_settings(run, corpus)
    key = run.key(evaluate, config, settings, model, split, corpus.hash, _inputs(run, model, other, guide))
    if record := run.finished(stage, key):
        return record
    readers: dict[str, Reader] = {"reader": load_guide(run, guide) if guide else load_reader(run, "reader")}
    if not guide:
        readers["judge"] = load_judge(run)
    scorer = None if guide else load_sync_scorer(run, corpus)
    lips = lip_video(corpus)
    examples = make_examples(
        corpus, corpus.utterances(split), load_speech(pretraining_of(run, model)), run_characters(run)
    )
    language = run.config.corpus.language
    loudness = {e.utterance.name: speech_intensity(corpus.speech(e.utterance)) for e in examples}
    rows = []
    for predictions in model_predictions(run, corpus, model, examples, other):
        video, lengths = lips(pad(predictions.motions), torch.tensor([len(m) for m in predictions.motions]))
        read = [_read_lips(r, video, lengths, settings) for r in readers.values()]
        utterances = [e.utterance for e in predictions.examples]
        synced = scorer.score(utterances, predictions.motions) if scorer else [None] * len(utterances)
        for example, motion, sync, *texts in zip(predictions.examples, predictions.motions, synced, *read):
            transcripts, intensity = dict(zip(readers, texts)), loudness[example.utterance.name]
            rows.append(_row(corpus, example, motion, predictions.style, transcripts, sync, intensity, language))
    return run.finish(
        stage,
        key,
        model=model,
        split=split,
        looks=1 + _earlier_looks(run, stage),
        corpus=corpus.hash,
        corpus_name=corpus.name,
        unit=corpus.unit,
        masks=masks(corpus.regions),
        config=as_dict(run.config),
        metrics=summary(rows, corpus.unit),
        rows=rows,
    )


def _earlier_looks(run: Run, stage: str) -> int:
    """How often the stage has been scored in this run's folder before, with other weights, settings or code."""
    earlier = run.folder / "records" / f"{stage}.json"
    return read_json(earlier).get("looks", 1) if earlier.exists() else 0


def _inputs(run: Run, model: str, other: OtherMethod | None, guide: str | None) -> list:
    """What an evaluation depends on besides code, settings and corpus: keys of stages, and another method's files."""
    stages = [guide] if guide else ["reader", "judge", "sync_encoder"]
    stages += [model] if not other and model not in REFERENCE_LABELS else []
    inputs: list = [run.finished_key(stage) for stage in stages]
    if other:
        inputs += [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in other.files()]
    return inputs


def _read_lips(reader: Reader, video: torch.Tensor, lengths: torch.Tensor, settings: SearchSettings) -> list[str]:
    """Transcripts of lip videos (B, T, H, W) without their speech."""
    silence = torch.zeros(len(video), int(lengths.max()) * SAMPLES_PER_FRAME)
    batch = ReaderInput(samples=silence, frame_lengths=lengths, video=video)
    features, lengths = encode_batch(reader, batch, ("video",))
    return decode(reader, features, lengths, settings)


def _row(
    corpus: Corpus,
    example: Example,
    motion: torch.Tensor,
    style: str,
    transcripts: dict[str, str],
    sync: LipSync | None,
    loudness: float,
    language: str,
) -> dict:
    """One utterance in one style, as the record keeps it. transcripts: of "reader" and, if it has read, of "judge"."""
    u = example.utterance
    comparison = Comparison(
        motion,
        example.motion,
        corpus.templates[u.subject],
        corpus.regions,
        corpus.fps,
        u.phonemes,
        u.text,
        transcripts,
        language,
        sync,
    )
    row = {
        "utterance": u.name,
        "subject": u.subject,
        "style": style,
        "text": u.text,
        "read": transcripts["reader"],
        "read_by_judge": transcripts.get("judge"),
        "frames": len(comparison.truth),
        "loudness": loudness,
        "scores": sums_and_counts(comparison),
    }
    return row | {"lve": score_value([row], read_protocols()[KIT].scores["LVE"])}


@torch.no_grad()
def model_predictions(
    run: Run, corpus: Corpus, model: str, examples: list[Example], other: OtherMethod | None = None
) -> Iterator[StylePredictions]:
    """A model's predictions, style by style: of a trained model in every training style, or of a training subject in
    the subject's own; references as `reference_motions` makes them.

    other: another method. A folder of its predictions gives each style in it, with the examples that have a file.
    """
    subjects = corpus.subjects["train"]
    if other and other.is_folder:
        files_by_style = find_predictions(other.paths[0], [e.utterance for e in examples])
        for style, files in files_by_style.items():
            present = [e for e in examples if e.utterance.name in files]
            motions = [read_prediction(files[e.utterance.name], corpus, e.utterance) for e in present]
            yield StylePredictions(style, present, motions)
    elif other:
        spec = scan_specification(read_specification(run.config.corpus.name))
        published = load_published_animator(other, spec).to(run.device)
        for style, chosen in styles_of(examples, subjects, run.config.evaluation.styles):
            number = spec.splits["train"].subjects.index(style)
            motions = animate_utterances(published, corpus, [e.utterance for e in chosen], number)
            yield StylePredictions(style, chosen, motions)
    elif model in REFERENCE_LABELS:
        for style, motions in reference_motions(run, corpus, model, [e.utterance for e in examples]):
            yield StylePredictions(style, examples, motions)
    else:
        animator, _ = load_animator(run, corpus, model)
        for style, chosen in styles_of(examples, subjects, run.config.evaluation.styles):
            batch = collate_examples(chosen, subjects).to(run.device)
            batch.style = torch.eye(len(subjects), device=run.device)[subjects.index(style)].expand(len(chosen), -1)
            vertices = rollout(animator, batch)
            motions = [v[:frames].cpu() for v, frames in zip(vertices, batch.frame_lengths)]
            yield StylePredictions(style, chosen, motions)


def styles_of(examples: list[Example], subjects: list[str], count: int) -> Iterator[tuple[str, list[Example]]]:
    """The styles in which examples are animated: those of other subjects in the first `count` training styles, those
    of a training subject in the subject's own, as published work does. subjects: the training subjects."""
    unseen = [e for e in examples if e.utterance.subject not in subjects]
    for k, style in enumerate(subjects):
        own = [e for e in examples if e.utterance.subject == style]
        if chosen := own + (unseen if k < count else []):
            yield style, chosen


def export_predictions(run: Run, corpus: Corpus, model: str, folder: Path, split: str = "test") -> None:
    """Writes a model's predictions in every style to files like those of FaceFormer and CodeTalker."""
    examples = make_examples(
        corpus, corpus.utterances(split), load_speech(pretraining_of(run, model)), run_characters(run)
    )
    for predictions in model_predictions(run, corpus, model, examples):
        for example, motion in zip(predictions.examples, predictions.motions):
            write_prediction(folder, example.utterance.name, predictions.style, motion)


def summary_line(record: dict) -> str:
    """LVE, CER and VER of an evaluation record in one line, and the CER by the judge."""
    metrics = [(name, record["metrics"][name]) for name in ("LVE", "CER", "VER", "CER_judge")]
    return f"{record['model']}  " + "  ".join(f"{name} {m['value']:.4g} {m['unit']}" for name, m in metrics)
