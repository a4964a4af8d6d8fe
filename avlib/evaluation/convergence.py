"""How far a run's models are from convergence: the table of their trainings, and what it says in words."""

from collections.abc import Sequence

from ..core.published import PUBLISHED_LAMBDA_AV
from ..core.run import Run
from ..metrics.protocols import KIT, read_protocols
from ..training.convergence import GAIN, USUAL_PATIENCE
from ..training.objectives import OBJECTIVES, model_name
from .labels import SHORT_OBJECTIVE_LABELS
from .results import animator_label, method_label, run_description
from .table_formats import Table

Trainings = dict[str, dict[str, list[dict]]]  # animator -> objective -> records of the trainings, one for each seed


def trainings(run: Run, seeds: list[int]) -> Trainings:
    """The records of the run's models, under the names that figures use."""
    return {
        animator_label(animator): {
            SHORT_OBJECTIVE_LABELS[objective]: [run.record(model_name(animator, objective, seed)) for seed in seeds]
            for objective in OBJECTIVES
        }
        for animator in run.config.animators
    }


def convergence_table(run: Run, seeds: list[int], corpus: str) -> str:
    """Writes the table of the run's trainings to its tables/; returns the Markdown."""
    records = {
        f"{method_label(animator, objective)}, seed {seed}": run.record(model_name(animator, objective, seed))
        for animator in run.config.animators
        for objective in OBJECTIVES
        for seed in seeds
    }
    table = training_table(run, records, f"Convergence {run_description(run, seeds, corpus)}")
    return table.write(run.folder / "tables", "table_convergence", corpus=corpus, seeds=seeds)


def training_table(run: Run, records: dict[str, dict], title: str) -> Table:
    """A row for each training: its length and duration, and how much its held-out LVE still changed at last.

    records: label -> record of a trained model.
    """
    scale, unit = read_protocols()[KIT].scores["LVE"].printed(run.record("evaluation-truth")["unit"])
    heads = ["Training", "epochs", "steps", "minutes", f"held-out LVE ({unit})"]
    heads += ["last change, steady part (%)", "last change, whole (%)", "plateau"]
    rows, data = [], []
    for label, record in records.items():
        found, lve = record["convergence"], record["history"][-1]["held_out_lve"]
        row = [label, str(record["epochs"]), str(record["steps"]), f"{record['seconds'] / 60:.1f}"]
        row += [f"{lve / scale:.3f}", _percent(found["change_steady"]), _percent(found["change"])]
        rows.append([*row, "not reached" if found["plateau"] is None else f"epoch {found['plateau']}"])
        numbers = {name: record[name] for name in ("epochs", "steps", "seconds")}
        data.append({"training": label, **numbers, "held_out_lve": lve, **found})
    patience = run.config.joint.patience or USUAL_PATIENCE
    notes = [
        distance(list(records.values())),
        "Held-out LVE: at the end, in the mean of all training styles",
        "Steady part: before the learning rates fall and the expert guides",
        "Last change: of the held-out LVE, from the last fifth but one to the last, in the mean",
        f"Plateau: where the mean of {patience} epochs is less than {100 * GAIN:g} % below that of as many before",
        "Minutes: of the training steps, several trainings at a time",
    ]
    if weights := [(r["lambda_av"], r["lambda_av_published"]) for r in records.values() if r["lambda_av"]]:
        span = " to ".join(dict.fromkeys(f"{weight:.3g}" for weight in (min(weights)[0], max(weights)[0])))
        notes.append(f"λ_av: {span}; the published {PUBLISHED_LAMBDA_AV:g} amounts to {weights[0][1]:.3g} here")
    return Table(title, heads, rows, {"split": "validation"}, notes, data)


def distance(records: Sequence[dict]) -> str:
    """How far trainings are from convergence, in one or two sentences, without the last full stop."""
    found = [record["convergence"] for record in records]
    reached = sum(one["plateau"] is not None for one in found)
    sentence = f"Held-out LVE reached a plateau in {reached} of {len(found)} trainings"
    changes = []
    for part, name in (("steady part", "change_steady"), ("whole training", "change")):
        if values := [one[name] for one in found if one[name] is not None]:
            span = " to ".join(dict.fromkeys([_percent(min(values)), _percent(max(values))]))
            changes.append(f"by {span} % in the last fifth of the {part}")
    if changes:
        sentence += f"; it still changed {' and '.join(changes)}"
    if reached == len(found):
        return sentence
    return f"{sentence}. Those without one have not converged: give them more epochs (joint.epochs, joint.patience)"


def _percent(change: float | None) -> str:
    return "–" if change is None else f"{change:+z.1f}".replace("-", "−")
