"""Hand-written records of a run and its variants, for several tests of this room."""

from avlib.core import files
from avlib.core.run import Run
from avlib.evaluation.evaluate import evaluation_stage
from avlib.evaluation.variants import GROUP_TITLES, VARIANTS, variant_models
from avlib.metrics.protocols import read_protocols
from avlib.training.objectives import OBJECTIVES, model_names

ALL = {"variants": ",".join(GROUP_TITLES), "corpus.sentences_train": 32}
TRAINED = ("history", "epochs", "steps", "seconds", "lambda_av", "lambda_av_published", "convergence", "scans")
SECONDS = {"baseline": 20.0, "rlv": 25.0, "guided": 60.0}  # of two epochs


def train_own(run: Run, seeds: list[int], **epochs: int) -> None:
    """Records of the run's own models, of two epochs unless an objective has another number."""
    for model in model_names(run, seeds):
        objective, count = model.split("-")[1], epochs.get(model.split("-")[1], 2)
        history = [{"held_out_lve": 2e-5}] * (count - 1) + [{"held_out_lve": 1e-5}]
        if objective == "guided":
            history[-1] |= {"share_av": 0.25, "held_out_av": 7.0}
        found = {"plateau": None, "steady_epochs": 1, "change_steady": None, "change": -50.0}
        effort = {"epochs": count, "steps": 3 * count, "seconds": SECONDS[objective] * count / 2}
        run.finish(
            model,
            "k",
            history=history,
            convergence=found,
            lambda_av=0.03,
            lambda_av_published=0.1,
            scans=32.0,
            **effort,
        )


def record(run: Run, stage: str, cer: float, split: str = "test") -> None:
    """A hand-written evaluation record of two utterances."""
    scores = read_protocols()["avlib"].scores
    rates = {"CER": cer, "VER": cer / 2, "CER_judge": 2 * cer, "VER_judge": cer}
    rows = [
        {
            "utterance": f"u{i}",
            "subject": "Kim",
            "style": "-",
            "loudness": 1.0,
            "scores": {
                scores[m].measure.key: [100 * v, 100] for m, v in (rates | {"LVE": 1e-3, "CER": cer + i}).items()
            },
        }
        for i in range(2)
    ]
    masks = {"lip": {"hash": "abc", "vertices": 3}}
    run.finish(stage, "k", rows=rows, masks=masks, unit="m", split=split, corpus_name="embedded")


def score_variants(run: Run) -> None:
    """Records of all variants over seeds 0 and 1."""
    train_own(run, [0, 1])
    for name in VARIANTS:
        for n, model in enumerate(variant_models(run, name, [0, 1])):
            if model.run is not run:
                model.run.finish(model.name, "k", **{k: v for k, v in run.record(model.name).items() if k in TRAINED})
            record(model.run, evaluation_stage(model.name, model.split), 10.0 + len(name) + n, model.split)
    for animator in ("faceformer", "codetalker"):
        for objective in OBJECTIVES:
            record(run, f"judged-{animator}-{objective}-s0", 3.0)
    for stage in ("evaluation-truth", "evaluation-still"):
        record(run, stage, 1.0)


def written_rows(run: Run, name: str) -> list[dict]:
    return files.read_json(run.folder / "tables" / f"table_{name}.json")["rows"]
