"""What errors mean on a corpus: scores of the reference predictions on its validation split, without any reader."""

from torch import Tensor

from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..metrics.measures import Comparison
from ..metrics.protocols import KIT, masks, read_protocols, sums_and_counts
from .labels import REFERENCE_LABELS
from .reference_predictions import reference_motions, references
from .tables import methods

COLUMNS = ("LVE", "closure", "aperture r")  # metrics of the kit's protocol
SPLIT = "validation"


def reference_scores(run: Run, corpus: Corpus) -> dict:
    """Record of stage "references", computed unless it exists: rows of `COLUMNS` for each reference, by its name."""
    key = run.key(reference_scores, corpus.hash, run.config.evaluation.styles)
    if record := run.finished("references", key):
        return record
    utterances = corpus.utterances(SPLIT)
    rows = {
        name: [
            _row(corpus, utterance, motion, style)
            for style, motions in reference_motions(run, corpus, name, utterances)
            for utterance, motion in zip(utterances, motions)
        ]
        for name in references(run.config.corpus)
    }
    return run.finish(
        "references", key, corpus=corpus.hash, split=SPLIT, unit=corpus.unit, masks=masks(corpus.regions), rows=rows
    )


def reference_table(run: Run, corpus: Corpus) -> str:
    """Writes `reference_scores` to the run's tables/; returns the Markdown."""
    record = reference_scores(run, corpus)
    records = {REFERENCE_LABELS[name]: [record | {"rows": rows}] for name, rows in record["rows"].items()}
    table = methods(records, f"What errors mean on the {corpus.title}", COLUMNS)
    return table.write(run.folder / "tables", "table_references", corpus=corpus.title)


def _row(corpus: Corpus, utterance: Utterance, motion: Tensor, style: str) -> dict:
    """One utterance in one style, as records of evaluations keep it, with the measures of `COLUMNS` alone."""
    template, truth = corpus.templates[utterance.subject], corpus.motion(utterance)
    comparison = Comparison(motion, truth, template, corpus.regions, corpus.fps, utterance.phonemes)
    measures = [read_protocols()[KIT].scores[column].measure for column in COLUMNS]
    return {
        "utterance": utterance.name,
        "subject": utterance.subject,
        "style": style,
        "scores": sums_and_counts(comparison, measures),
    }
