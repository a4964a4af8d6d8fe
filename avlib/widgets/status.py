"""What a notebook that is opened by hand finds: which stages of its run are there, and what has to run before it can."""

import time
from pathlib import Path

from ..core import run as runs
from ..core.files import read_json
from ..core.parallel import run_parallel
from ..core.progress import log
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..training.joint import model_names, train_joint

NOTEBOOKS = ("01_data_prep", "02_expert_pretraining", "03_joint_training", "04_evaluation", "05_tsne_analysis")
FIRST = NOTEBOOKS[1]  # without its stages no later notebook can begin


class Missing(ValueError):
    """Shown in a notebook as the one line that it is."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def made_by(run: Run, seeds: list[int]) -> dict[str, list[str]]:
    """The stages of each notebook by which it is known to have run."""
    models = model_names(run, seeds)
    return dict(
        zip(
            NOTEBOOKS,
            (["corpus"], ["speech", "expert", "reader"], models, [f"evaluation-{m}" for m in models], ["tsne"]),
        )
    )


def record_of(run: Run, stage: str) -> Path | None:
    path = run.home(stage) / "records" / f"{stage}.json"
    return path if path.exists() else None


def missing(run: Run, stages: list[str]) -> list[str]:
    return [stage for stage in stages if not record_of(run, stage)]


def run_status(run: Run, notebook: str, seeds: list[int] = (0,)) -> str:
    """Markdown: what there is of the run. ValueError, shown without a traceback, where another notebook has to run first."""
    made = made_by(run, seeds)
    lines = [
        f"Run **{run.name}**, preset {run.config.preset}, in `{run.folder}`, on {run.device}.",
        "",
        "| notebook | its results | made | commit |",
        "|---|---|---|---|",
    ]
    for name, stages in made.items():
        absent = missing(run, stages)
        there = [record_of(run, stage) for stage in stages if stage not in absent]
        state = "not yet" if not there else f"all but {', '.join(absent)}" if absent else "there"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(p.stat().st_mtime for p in there))) if there else ""
        commits = ", ".join(sorted({read_json(p)["commit"] for p in there}))
        lines.append(f"| {f'**{name}**' if name == notebook else name} | {state} | {when} | {commits} |")
    if others := [
        f"`{p.parent.name}` (preset {read_json(p)['preset']})"
        for p in sorted(runs.RESULTS.glob("*/config.json"))
        if p.parent != run.folder
    ]:
        lines += [
            "",
            f"Other runs here: {', '.join(others)}. The cell above says which run is opened: `run` and `preset`.",
        ]
    if notebook > FIRST and (absent := missing(run, made[FIRST])):
        raise Missing(
            f"{run.folder}: has no {', no '.join(absent)} yet. Run notebook {FIRST} first, or all of them: ./run_all.sh "
            f"--preset {run.config.preset} --run {run.name}"
        )
    return "\n".join(lines) + "\n"


def train_missing(run: Run, corpus: Corpus, models: list[str]) -> None:
    """Trains, side by side, those of the models that notebook 03 has not been run for."""
    wanted = missing(run, models)
    if wanted:
        log(f"trains {', '.join(wanted)}: 03_joint_training has not run for that")
    list(run_parallel([(train, run, corpus, model) for model in wanted], run.device))


def train(run: Run, corpus: Corpus, model: str) -> None:
    """Without what `train_joint` returns, which would have to come here from another process."""
    train_joint(run, corpus, *parts(model))


def parts(model: str) -> tuple[str, str, int]:
    """Animator, guidance and seed of a model's name."""
    animator, guidance, seed = model.rsplit("-", 2)
    return animator, guidance, int(seed.removeprefix("s"))
