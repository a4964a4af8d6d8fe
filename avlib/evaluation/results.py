"""Tables of a run's evaluations as the notebooks show them: results, all protocols, published figures, transcripts."""

import re
from collections.abc import Sequence

from ..core.run import Run
from ..training.objectives import OBJECTIVES, model_name
from . import tables
from .evaluate import evaluation_stage
from .external_predictions import OtherMethod
from .labels import FLOOR, OBJECTIVE_LABELS, REFERENCE_LABELS, SHORT_OBJECTIVE_LABELS, STILL, TRUTH
from .table_formats import markdown_table
from .tables import PUBLISHED, PUBLISHED_UNITS, QUOTED, Records

ANIMATOR_LABELS = {"faceformer": "FaceFormer", "codetalker": "CodeTalker"}
COMPARISONS = (("guided", "baseline"), ("guided", "rlv"), ("rlv", "baseline"))  # objectives: the first minus the second


def animator_label(animator: str) -> str:
    return ANIMATOR_LABELS.get(animator, animator)


def method_label(animator: str, objective: str, short: bool = False) -> str:
    """A method's name in tables, "FaceFormer, + L_rlv + guidance"; short: in figures, "FaceFormer, guided"."""
    labels = SHORT_OBJECTIVE_LABELS if short else OBJECTIVE_LABELS
    return f"{animator_label(animator)}, {labels[objective]}"


def model_label(model: str) -> str:
    """The name of a model in figures of a single seed, "FaceFormer, guided"; any other name as it is."""
    match = re.fullmatch(rf"(.+)-({'|'.join(OBJECTIVES)})-s\d+", model)
    return method_label(match[1], match[2], short=True) if match else model


def comparison_label(one: str, other: str) -> str:
    """The name of a difference between two objectives: "guided minus baseline"."""
    return f"{SHORT_OBJECTIVE_LABELS[one]} minus {SHORT_OBJECTIVE_LABELS[other]}"


def run_description(run: Run, seeds: list[int], corpus: str) -> str:
    """Corpus, preset, method and seeds, for titles: "on the embedded corpus, preset demo, method avlib, seed 0"."""
    config, numbers = run.config, f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return f"on the {corpus}, preset {config.preset}, method {config.method}, {numbers}"


def evaluation_records(
    run: Run, seeds: list[int], external: Sequence[str] = (), split: str = "test"
) -> dict[str, Records]:
    """Evaluation records of each method over the seeds, after those of the references that have been scored.

    external: other methods, as `OtherMethod.parse` reads them.
    """
    scored = [name for name in REFERENCE_LABELS if name in (TRUTH, STILL) or _is_scored(run, name, split)]
    models = {REFERENCE_LABELS[name]: [name] for name in scored}
    for animator in run.config.animators:
        for objective in OBJECTIVES:
            models[method_label(animator, objective)] = [model_name(animator, objective, seed) for seed in seeds]
    models |= {method.name: [method.name] for method in map(OtherMethod.parse, external)}
    return {method: [run.record(evaluation_stage(m, split)) for m in names] for method, names in models.items()}


def further_test_splits(run: Run) -> list[str]:
    """Test splits besides "test" on which the run has been scored, such as "test_seen"."""
    home = run.home(evaluation_stage(TRUTH))  # where runs that are pooled have their records
    paths = (home / "records").glob(f"evaluation-test_*-{TRUTH}.json")
    return sorted(path.stem.removeprefix("evaluation-").removesuffix(f"-{TRUTH}") for path in paths)


def _is_scored(run: Run, model: str, split: str) -> bool:
    stage = evaluation_stage(model, split)
    return (run.home(stage) / "records" / f"{stage}.json").exists()


def results_table(run: Run, seeds: list[int], corpus: str, external: Sequence[str] = ()) -> str:
    """Writes the tables of methods, of `COMPARISONS` and of their verdicts to the run's tables/; returns the Markdown.

    There are others for further test splits. Published figures stand beside measured ones where they are of the run's
    own corpus. external: predictions of others for the test split, as NAME=FOLDER.
    """
    texts = [_split_tables(run, seeds, corpus, "test", external)]
    texts += [_split_tables(run, seeds, corpus, split) for split in further_test_splits(run)]
    return "\n".join(texts)


def _split_tables(run: Run, seeds: list[int], corpus: str, split: str, external: Sequence[str] = ()) -> str:
    records, description = evaluation_records(run, seeds, external, split), run_description(run, seeds, corpus)
    ending = split.removeprefix("test")
    corpus_name = records[REFERENCE_LABELS[TRUTH]][0]["corpus_name"]
    published = [column for column in PUBLISHED_UNITS if column.split()[0].lower() == corpus_name]
    pairs = {
        f"{animator_label(animator)}, {comparison_label(one, other)}": (
            records[method_label(animator, one)],
            records[method_label(animator, other)],
        )
        for animator in run.config.animators
        for one, other in COMPARISONS
    }
    results = {
        f"table{ending}": tables.methods(records, f"Results {description}", published=published),
        f"table{ending}_differences": tables.differences(pairs, f"Effects of L_rlv and of guidance {description}"),
        f"table{ending}_verdicts": tables.verdicts(pairs, f"What L_rlv and guidance improve {description}"),
    }
    folder = run.folder / "tables"
    return "\n".join(table.write(folder, name, corpus=corpus, seeds=seeds) for name, table in results.items())


def protocols_table(run: Run, seeds: list[int], corpus: str, external: Sequence[str] = ()) -> str:
    """Writes the scores of the same predictions under every protocol to the run's tables/; returns the Markdown.

    Of the references, which would make it wide, it has the scans, the still face and the floor.
    """
    title = f"Scores of the same predictions under every protocol, {run_description(run, seeds, corpus)}"
    left_out = {label for name, label in REFERENCE_LABELS.items() if name not in (TRUTH, STILL, FLOOR)}
    records = {m: r for m, r in evaluation_records(run, seeds, external).items() if m not in left_out}
    table = tables.all_protocols(records, title)
    return table.write(run.folder / "tables", "table_protocols", corpus=corpus, seeds=seeds)


def transcripts_table(run: Run, models: list[str], count: int = 6) -> str:
    """The reader's transcripts of the first sentences, in the first style, for each model; Markdown."""
    rows_by_model = [run.record(f"evaluation-{model}")["rows"][:count] for model in models]
    rows = [[same[0]["text"], *(row["read"] for row in same)] for same in zip(*rows_by_model)]
    return markdown_table(["reference", *map(model_label, models)], rows)


def published_table() -> str:
    """The published results as Markdown."""
    heads = ["Method", *(f"{column} ({unit})" for column, unit in PUBLISHED_UNITS.items())]
    rows = [
        [method, *(str(values.get(column, "–")) for column in PUBLISHED_UNITS)] for method, values in PUBLISHED.items()
    ]
    caption = f"Published on BIWI and VOCASET ({QUOTED}; not comparable with the measured rows):"
    return f"{caption}\n\n{markdown_table(heads, rows)}"
