"""The status of a run: which stages have finished, and which notebook must run first."""

import time
from collections.abc import Sequence
from pathlib import Path

from ..core import run as runs
from ..core.files import read_json
from ..core.parallel import run_parallel
from ..core.progress import log
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..training.joint import train_joint
from ..training.objectives import model_name, model_names, training_order

# Those that every run executes. 06_guidance has no stages of its own and shows what variants have computed.
NOTEBOOKS = ("01_data_prep", "02_expert_pretraining", "03_joint_training", "04_evaluation", "05_tsne_analysis")
PRETRAINING = NOTEBOOKS[1]  # every later notebook needs its stages


class MissingStages(ValueError):
    """Shown in a notebook as one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def notebook_stages(run: Run, seeds: Sequence[int]) -> dict[str, list[str]]:
    """The stages that each notebook runs and by which its status is determined."""
    models = model_names(run, list(seeds))
    return {
        "01_data_prep": ["corpus"],
        "02_expert_pretraining": ["speech", "expert", "reader", "judge", "sync_encoder"],
        "03_joint_training": models,
        "04_evaluation": [f"evaluation-{model}" for model in models],
        "05_tsne_analysis": ["tsne"],
    }


def record_path(run: Run, stage: str) -> Path:
    """The record that a stage writes when it finishes."""
    return run.home(stage) / "records" / f"{stage}.json"


def missing_stages(run: Run, stages: list[str]) -> list[str]:
    return [stage for stage in stages if not record_path(run, stage).exists()]


def run_status(run: Run, notebook: str, seeds: Sequence[int] = (0,)) -> str:
    """Markdown: the status of each notebook's stages, and the other runs.

    notebook: the one that is open, which need not be one of `NOTEBOOKS`. MissingStages, a ValueError, if another
    notebook must run first.
    """
    notebooks = notebook_stages(run, seeds)
    lines = [
        f"Run **{run.name}**, preset {run.config.preset}, in `{run.folder}`, on {run.device}.",
        "",
        "| notebook | status | last finished | commit |",
        "|---|---|---|---|",
        *(status_row(run, name, stages, name == notebook) for name, stages in notebooks.items()),
    ]
    if others := other_runs(run):
        lines += ["", f"Other runs: {', '.join(others)}. `run` and `preset` in the cell above select the run."]
    missing = missing_stages(run, notebooks[PRETRAINING])
    if notebook > PRETRAINING and missing:
        raise MissingStages(
            f"{run.folder}: {', '.join(missing)} not finished. Run notebook {PRETRAINING} first, or all notebooks: "
            f"./run_all.sh --preset {run.config.preset} --run {run.name}"
        )
    return "\n".join(lines) + "\n"


def status_row(run: Run, notebook: str, stages: list[str], is_open: bool) -> str:
    """A row of the table: finished, not run, or which stages are missing; when and at which commits."""
    missing = missing_stages(run, stages)
    records = [record_path(run, stage) for stage in stages if stage not in missing]
    status = "not run" if not records else f"missing: {', '.join(missing)}" if missing else "finished"
    commits = ", ".join(sorted({read_json(path)["commit"] for path in records}))
    last = ""
    if records:
        last = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(path.stat().st_mtime for path in records)))
    return f"| {f'**{notebook}**' if is_open else notebook} | {status} | {last} | {commits} |"


def other_runs(run: Run) -> list[str]:
    """Name and preset of every other run under results/."""
    paths = [path for path in sorted(runs.RESULTS.glob("*/config.json")) if path.parent != run.folder]
    return [f"`{path.parent.name}` (preset {read_json(path)['preset']})" for path in paths]


def train_missing(run: Run, corpus: Corpus, models: list[str]) -> None:
    """Trains in parallel those of the models that notebook 03 has not trained."""
    seeds = sorted({split_model_name(model)[-1] for model in models})
    ordered = [model_name(*training) for training in training_order(run, seeds)]
    missing = missing_stages(run, [model for model in ordered if model in models])
    if missing:
        log(f"training {', '.join(missing)}, which 03_joint_training has not trained")
    list(run_parallel([(train_model, run, corpus, model) for model in missing], run.device))


def train_model(run: Run, corpus: Corpus, model: str) -> None:
    """`train_joint` without its result, which would have to be sent from another process."""
    train_joint(run, corpus, *split_model_name(model))


def split_model_name(model: str) -> tuple[str, str, int]:
    """Animator, objective and seed of a model's name."""
    animator, objective, seed = model.rsplit("-", 2)
    return animator, objective, int(seed.removeprefix("s"))
