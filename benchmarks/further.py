"""Scores a finished run, its sweeps included, on further sentences that are in no part of its corpus.

    python benchmarks/further.py [--run study] [--seeds 0,1,2] [--sentences 40]

The validation subjects speak the sentences. The tables compare the objectives of each animator, and each variant of a
sweep with the sweep's reference. Use them to confirm what a run's own validation split shows: the test split is for
reports. The records stay in variants/further/ of each run. For the embedded face only.
"""

import argparse
import shutil
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from avlib.core.digest import digest
from avlib.core.files import read_json, write_json
from avlib.core.opening import open_run
from avlib.core.parallel import run_parallel
from avlib.core.progress import progress_bar
from avlib.core.run import DATA, Run, commit
from avlib.core.tensors import seeded_generator
from avlib.corpus import prepare
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.builder import CorpusBuilder
from avlib.corpus.embedded.embedded_corpus import build_embedded
from avlib.corpus.embedded.sentences import sentences
from avlib.corpus.embedded.subjects import SUBJECTS
from avlib.evaluation import tables
from avlib.evaluation.evaluate import evaluate
from avlib.evaluation.results import COMPARISONS, animator_label, comparison_label
from avlib.evaluation.variants import GROUP_TITLES, VARIANTS, chosen_variants, variant_models
from avlib.training.objectives import OBJECTIVES, model_name

SEED = 777  # of the sentences
Model = tuple[Run, str]  # the run that holds a model, and the model's name


def further_corpus(corpus: Corpus, run: Run, count: int) -> Corpus:
    """The corpus with `count` new validation sentences as its only 3D part; faces, camera and 2D part stay the same."""
    folder = DATA / f"further-{run.key(build_embedded, corpus.hash, count)}"
    if not (folder / "corpus.json").exists():
        builder = CorpusBuilder(replace(run.config.corpus, recordings=""), folder)
        known_texts = {text for texts in builder.texts.values() for text in texts}
        texts = sentences(count, seeded_generator(SEED), known_texts)
        utterances = [
            builder.write_scan(subject, "validation", f"{builder.rig.subjects[subject]}_more{i:02d}", text)
            for i, (subject, text) in enumerate(zip(cycle(SUBJECTS["validation"]), texts))
        ]
        shutil.copy(corpus.folder / "mesh.npz", folder)
        content = {
            "hash": digest(corpus.hash, *(folder / "vertices_npy" / f"{u.name}.npy" for u in utterances)),
            "utterances": [u.as_dict() for u in utterances],
        }
        write_json(folder / "corpus.json", read_json(corpus.folder / "corpus.json") | content)
    return Corpus(folder)


def score_model(run: Run, corpus: Corpus, model: str) -> tuple[tuple[Path, str], dict]:
    """The model's place, (folder of its run, name), and its evaluation record."""
    return (run.folder, model), evaluate(Run("further", run.config, run), corpus, model, "validation")


def score_models(models: list[Model], corpus: Corpus) -> dict[tuple[Path, str], dict]:
    """Evaluation records by place. Models that occur twice are scored once."""
    jobs = {(run.folder, model): (score_model, run, corpus, model) for run, model in models}
    return dict(progress_bar(run_parallel(list(jobs.values())), "models", len(jobs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", default="study")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--sentences", type=int, default=40)
    args = parser.parse_args()
    run = open_run(args.run, device="cpu")
    if run.config.corpus.name != "embedded":
        raise SystemExit(f"run {args.run}: expected one on the embedded corpus, got {run.config.corpus.name}")
    corpus = further_corpus(prepare.prepare_corpus(run), run, args.sentences)
    trained = {
        (a, o): [(run, model_name(a, o, s)) for s in args.seeds] for a in run.config.animators for o in OBJECTIVES
    }
    sweeps = {
        name: [(model.run, model.name) for model in variant_models(run, name, args.seeds) if not model.divergence]
        for name, variant in chosen_variants(run.config).items()
        if variant.is_sweep
    }
    records = score_models([model for models in (*trained.values(), *sweeps.values()) for model in models], corpus)
    title = f"{args.sentences} further sentences, {run.name}, commit {commit()}"

    def records_of(models: list[Model]) -> tables.Records:
        return [records[model_run.folder, name] for model_run, name in models]

    pairs = {
        f"{animator_label(a)}, {comparison_label(one, other)}": (
            records_of(trained[a, one]),
            records_of(trained[a, other]),
        )
        for a in run.config.animators
        for one, other in COMPARISONS
    }
    print(tables.differences(pairs, f"{title}, seeds {args.seeds}").markdown())
    for group in dict.fromkeys(VARIANTS[name].group for name in sweeps):
        rows = {
            VARIANTS[name].label: records_of(models) for name, models in sweeps.items() if VARIANTS[name].group == group
        }
        reference, *others = rows
        group_title = f"{title}, {GROUP_TITLES[group]}"
        pairs = {label: (rows[label], rows[reference]) for label in others if rows[label]}
        print(tables.methods(rows, group_title).markdown())
        print(tables.differences(pairs, f"{group_title}, minus “{reference}”").markdown())


if __name__ == "__main__":
    main()
