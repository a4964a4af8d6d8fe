"""The notebooks, in order, by papermill: what run_all.sh calls once the environment is there."""

import argparse
import json
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from ..animators.registry import find_animator
from ..core.config import as_dict, digest
from ..core.files import read_json, write_json
from ..core.memory import peak_memory_bytes
from ..core.opening import open_run
from ..core.presets import load
from ..core.run import ROOT, Run, exclusive
from ..corpus.prepare import check_corpus, prepare_corpus
from ..evaluation import external_predictions
from ..evaluation.variants import chosen_variants
from ..training import dry_run
from .arguments import arguments

NOTEBOOKS = ROOT / "notebooks"
# No messages of the kernel's own; lines of the processes that it starts go to the terminal, once.
QUIET = "import logging; logging.getLogger('asyncio').setLevel(logging.CRITICAL)"  # tasks that a stop leaves behind
KERNEL = ["--log-level=CRITICAL", "--IPKernelApp.capture_fd_output=False", f"--IPKernelApp.exec_lines={QUIET}"]


def parameters_of(path: Path) -> set[str]:
    """Names that the notebook's cell tagged `parameters` assigns. ValueError if there is no such cell."""
    for cell in json.loads(path.read_text())["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            lines = "".join(cell["source"]).splitlines()
            return {line.split("=")[0].strip() for line in lines if "=" in line}
    raise ValueError(f"{path}: no cell is tagged `parameters`")


def made_from(notebook: str, parameters: dict) -> str:
    """What an executed notebook depends on: its source, the package's, its parameters, and the files that those name. ValueError for
    a parameter that it does not take."""
    source = NOTEBOOKS / f"{notebook}.ipynb"
    if unknown := parameters.keys() - parameters_of(source):
        raise ValueError(f"{source}: takes no parameter {', '.join(sorted(unknown))}")
    return digest(source, *sorted((ROOT / "avlib").rglob("*.py")), parameters, outside(parameters))


def outside(parameters: dict) -> list:
    """Path, size and time of every file that a setting names, or that is in a folder which a setting or a prediction, NAME=FOLDER,
    names: they may change while the parameters stay the same."""
    named = strings([parameters.get("predictions", []), as_dict(load(parameters["preset"], **parameters["overrides"]))])
    paths = sorted({Path(path) for name in named for path in (name, name.rpartition("=")[2]) if path})
    files = [
        file for path in paths for file in ([path] if path.is_file() else path.rglob("*") if path.is_dir() else ())
    ]
    return sorted([str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.is_file())


def strings(value) -> list[str]:
    """All strings among values, however deep."""
    if isinstance(value, dict | list | tuple):
        return [s for v in (value.values() if isinstance(value, dict) else value) for s in strings(v)]
    return [value] if isinstance(value, str) else []


def finished(run: Run, notebook: str, parameters: dict, name: str | None = None) -> bool:
    """Whether the copy in the run's folder was made from the same source and parameters; says so."""
    name = name or notebook
    record = run.folder / "notebooks" / f"{name}.json"
    done = (
        (run.folder / "notebooks" / f"{name}.ipynb").exists()
        and record.exists()
        and read_json(record)["key"] == made_from(notebook, parameters)
    )
    if done:
        print(f"{name}: done before", flush=True)
    return done


def execute(run: Run, notebook: str, parameters: dict, name: str | None = None) -> None:
    """Runs one notebook into the run's folder, unless it is finished."""
    import papermill

    if finished(run, notebook, parameters, name):
        return
    name = name or notebook
    copy, record = run.folder / "notebooks" / f"{name}.ipynb", run.folder / "notebooks" / f"{name}.json"
    print(f"{name}: runs", flush=True)
    copy.parent.mkdir(parents=True, exist_ok=True)
    key, began = made_from(notebook, parameters), time.monotonic()
    try:
        papermill.execute_notebook(
            NOTEBOOKS / f"{notebook}.ipynb",
            copy,
            parameters,
            cwd=ROOT,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            kernel_name="python3",
            extra_arguments=KERNEL,
        )
    except papermill.PapermillExecutionError as error:
        raise ValueError(f"{name}: {error.ename}: {error.evalue}; the whole story is in {copy}") from None
    peak_mb = peak_memory_bytes(children=True) / 2**20  # of the largest kernel so far
    seconds = time.monotonic() - began
    write_json(record, {"key": key, "seconds": seconds, "peak_mb": peak_mb})
    print(f"{name}: done in {seconds:.0f} s", flush=True)


def execute_beside(run: Run, jobs: list[tuple]) -> None:
    """`execute` for every (notebook, parameters, name), as many kernels at once as there are cores, each with its share of
    them; on a GPU one after the other. The kernels are processes of their own: threads wait for them."""
    cores = os.cpu_count() or 1
    workers = min(len(jobs), cores) if run.device.type == "cpu" else 1
    before = os.environ.get("OMP_NUM_THREADS")
    if workers > 1:
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores // workers))
    try:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            jobs = [pool.submit(execute, run, *job) for job in jobs]
            try:
                for done in as_completed(jobs):
                    done.result()
            finally:
                for job in jobs:
                    job.cancel()
    finally:
        os.environ.pop("OMP_NUM_THREADS", None)
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def main(argv: list[str]) -> int:
    args = arguments(argv)
    config = load(args.preset, device=args.device, **args.overrides)
    if args.dry_run:
        dry_run.main(config)
        return 0
    facts = check_corpus(config.corpus)
    predictions = [
        f"{name}={folder.resolve()}" for name, folder in map(external_predictions.named_folder, args.predictions)
    ]
    for animator in config.animators:
        find_animator(animator, config.plugins)
    chosen_variants(config)
    if args.speech:
        from ..speech.sound import SpeechFile

        SpeechFile(args.speech)  # a file that is no speech is told before anything is trained
    os.environ["AVLIB_HEADLESS"] = "1"
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")  # when stopped
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    name = f"{facts['name']}-{args.preset}" if config.corpus.data else args.preset
    run = open_run(args.run or name, args.preset, args.device, args.overrides)
    with exclusive(run):
        chain(run, args, predictions)
    return 0


def chain(run: Run, args: argparse.Namespace, predictions: list[str]) -> None:
    """The notebooks of a run, its report, and the user's own speech."""
    from ..evaluation import report
    from ..evaluation import variants as study
    from ..training.joint import GUIDANCE, model_name

    seeds = args.seeds
    common = {"run_name": run.name, "preset": args.preset, "device": args.device, "overrides": args.overrides}
    execute(run, "01_data_prep", common)
    execute(run, "02_expert_pretraining", common)
    joint = [
        (
            "03_joint_training",
            {**common, "animator": animator, "guidance": guidance, "seed": seed},
            f"03_joint_training-{model_name(animator, guidance, seed)}",
        )
        for seed in seeds
        for animator in run.config.animators
        for guidance in reversed(GUIDANCE)
    ]
    execute_beside(run, [job for job in joint if not finished(run, *job)])
    if run.config.variants:
        study.run_variants(run, prepare_corpus(run), seeds)
    execute(run, "04_evaluation", {**common, "seeds": seeds, "predictions": predictions})
    execute(run, "05_tsne_analysis", {**common, "seeds": seeds})
    print(f"report: {report.write_report(run)}", flush=True)
    if args.speech:
        from ..export.animate import animate_file

        for clip in animate_file(run, args.speech, seeds[0]):
            print(f"clip: {clip}", flush=True)
