"""Do the comparisons of a study hold for other people and other sentences than its tables'?

    python benchmarks/further.py [--run study] [--seeds 0,1,2] [--sentences 40]

The two validation subjects say sentences that are in no part of the corpus, and all models of a finished run, of its sweeps too, are
scored on them: guided less unguided, and each variant of a sweep less its first. What choices are made by, where a preset's own
validation sentences are too few; the test split is for reports. Scores stay in variants/further of what was scored. Runs on the embedded
face.
"""

import argparse
import shutil
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from avlib.core.config import digest
from avlib.core.files import read_json, write_json
from avlib.core.opening import open_run
from avlib.core.parallel import run_parallel
from avlib.core.progress import progress_bar
from avlib.core.run import DATA, Run, commit
from avlib.core.tensors import seeded_generator
from avlib.corpus import prepare
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded import maker as maker_module
from avlib.corpus.embedded.sentences import sentences
from avlib.evaluation import tables
from avlib.evaluation.evaluate import evaluate
from avlib.evaluation.report import ANIMATOR_LABELS
from avlib.evaluation.variants import VARIANTS, chosen_variants, variant_models
from avlib.training.joint import GUIDANCE, model_name

SEED = 777


def further(corpus: Corpus, run: Run, count: int) -> Corpus:
    """The corpus with other validation sentences, and no others; its faces, camera and 2D part are the same."""
    folder = DATA / f"further-{run.key(maker_module.make_embedded, corpus.hash, count)}"
    if not (folder / "corpus.json").exists():
        maker = maker_module.Maker(replace(run.config.corpus, recordings=""), folder)
        texts = sentences(count, seeded_generator(SEED), {t for part in maker.texts.values() for t in part})
        people = [k for k, _ in zip(cycle(maker_module.SUBJECTS["validation"]), texts)]
        made = [
            maker.scan(k, "validation", f"{maker.rig.subjects[k]}_more{i:02d}", text)
            for i, (k, text) in enumerate(zip(people, texts))
        ]
        shutil.copy(corpus.folder / "mesh.npz", folder)
        write_json(
            folder / "corpus.json",
            read_json(corpus.folder / "corpus.json")
            | {
                "hash": digest(corpus.hash, *(folder / "vertices_npy" / f"{u.name}.npy" for u in made)),
                "utterances": [u.as_dict() for u in made],
            },
        )
    return Corpus(folder)


def scored(run: Run, corpus: Corpus, model: str) -> tuple[tuple[Path, str], dict]:
    """What was scored, and its record."""
    return (run.folder, model), evaluate(Run("further", run.config, run), corpus, model, "validation")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="study")
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--sentences", type=int, default=40)
    args = parser.parse_args()
    run = open_run(args.run, device="cpu")
    if run.config.corpus.name != "embedded":
        raise SystemExit(f"run {args.run}: expected one on the embedded corpus, got {run.config.corpus.name}")
    corpus = further(prepare.prepare_corpus(run), run, args.sentences)
    trained = {(a, g): [(run, model_name(a, g, s)) for s in args.seeds] for a in run.config.animators for g in GUIDANCE}
    sweeps = {
        name: [(t.run, t.model) for t in variant_models(run, name, args.seeds)]
        for name, v in chosen_variants(run.config).items()
        if v.sweep
    }
    jobs = {
        (r.folder, m): (scored, r, corpus, m) for models in [*trained.values(), *sweeps.values()] for r, m in models
    }
    found = dict(progress_bar(run_parallel(list(jobs.values())), "models", len(jobs)))
    records = lambda models: [found[r.folder, m] for r, m in models]
    title = f"{args.sentences} further sentences, {run.name}, commit {commit()}"
    pairs = {
        ANIMATOR_LABELS.get(a, a): (records(trained[a, "guided"]), records(trained[a, "unguided"])) for a in run.config.animators
    }
    print(tables.differences(pairs, f"{title}, seeds {args.seeds}, guided less unguided").markdown())
    for group in dict.fromkeys(VARIANTS[name].group for name in sweeps):
        rows = {
            VARIANTS[name].name: records(models) for name, models in sweeps.items() if VARIANTS[name].group == group
        }
        first, *others = rows
        print(tables.methods(rows, f"{title}, {group}").markdown())
        print(
            tables.differences(
                {name: (rows[name], rows[first]) for name in others}, f"{title}, {group}, less {first}"
            ).markdown()
        )


if __name__ == "__main__":
    main()
