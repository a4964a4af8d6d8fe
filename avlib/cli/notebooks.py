"""`./run_all.sh` without a command: runs the notebooks in order by papermill."""

import argparse
import errno
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ..animators.registry import find_animator
from ..core.digest import digest
from ..core.files import flush_to_disk, read_json, write_json
from ..core.memory import peak_memory_bytes
from ..core.opening import open_run
from ..core.parallel import cpu_count
from ..core.presets import load
from ..core.published import describe_method
from ..core.run import DATA, RESULTS, ROOT, Run, exclusive
from ..corpus.prepare import check_corpus, prepare_corpus
from ..evaluation.external_predictions import OtherMethod
from ..evaluation.published_animators import check_published_animator
from ..evaluation.variants import check_variants
from ..evaluation.word_choice import check_words
from ..training import dry_run
from ..training.joint_settings import check_settings
from ..training.reader_checks import check_readers, check_sizes, check_weights
from .arguments import PATHS, names_path
from .run_progress import RunProgress

NOTEBOOKS = ROOT / "notebooks"
# asyncio warns about tasks that remain when a kernel is stopped.
QUIET_ASYNCIO = "import logging; logging.getLogger('asyncio').setLevel(logging.CRITICAL)"
# Seconds in which a kernel has to start, and to send what a finished cell has printed: papermill's own 60 and 4 are too
# few on a machine with much other work.
START_S, OUTPUT_S = 300, 120
# Without capture_fd_output=False the output of a notebook's child processes appears twice.
KERNEL_ARGUMENTS = [
    "--log-level=CRITICAL",
    "--IPKernelApp.capture_fd_output=False",
    f"--IPKernelApp.exec_lines={QUIET_ASYNCIO}",
]


def notebook_parameters(path: Path) -> set[str]:
    """The names assigned in the notebook's cell tagged `parameters`. ValueError if there is no such cell."""
    for cell in json.loads(path.read_text())["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            lines = "".join(cell["source"]).splitlines()
            return {line.split("=")[0].strip() for line in lines if "=" in line}
    raise ValueError(f"{path}: no cell is tagged `parameters`")


def notebook_key(notebook: str, parameters: dict) -> str:
    """A digest of all that an executed notebook depends on: its source, the package's source, its parameters, and the
    files that the parameters name.

    ValueError for a parameter that the notebook does not have.
    """
    source = NOTEBOOKS / f"{notebook}.ipynb"
    if unknown := parameters.keys() - notebook_parameters(source):
        raise ValueError(f"{source}: has no parameter {', '.join(sorted(unknown))}")
    return digest(source, *sorted((ROOT / "avlib").rglob("*.py")), parameters, external_files(parameters))


def external_files(parameters: dict) -> list:
    """Path, size and modification time of the files and of the folders' files that settings and predictions name.

    They may change while the parameters stay the same. Hidden files, and what runs have written, do not count: a folder
    may hold the results, too.
    """
    config = load(parameters["preset"], **parameters["overrides"])
    names = [str(path) for text in parameters.get("predictions", []) for path in OtherMethod.parse(text).paths]
    for key in PATHS:
        group, _, name = key.rpartition(".")
        value = getattr(getattr(config, group) if group else config, name)
        names += [path for path in ([value] if isinstance(value, str) else value) if names_path(key, path)]
    files = {path for path in map(Path, filter(None, names)) if path.is_file()}
    for folder in (path for path in map(Path, filter(None, names)) if path.is_dir()):
        for place, folders, found in os.walk(folder):
            folders[:] = [f for f in folders if f[0] != "." and (Path(place) / f).resolve() not in (RESULTS, DATA)]
            files |= {Path(place) / file for file in found if file[0] != "."}
    return sorted([str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.is_file())


def is_finished(run: Run, notebook: str, parameters: dict, name: str | None = None) -> bool:
    """Whether the run's folder has the executed notebook with the same key; prints a line if so."""
    name = name or notebook
    copy = run.folder / "notebooks" / f"{name}.ipynb"
    record = copy.with_suffix(".json")
    if not copy.exists() or not record.exists() or read_json(record)["key"] != notebook_key(notebook, parameters):
        return False
    print(f"{name}: already finished", flush=True)
    return True


def execute(
    run: Run, notebook: str, parameters: dict, name: str | None = None, progress: RunProgress | None = None
) -> None:
    """Runs a notebook and stores the executed copy in the run's folder as `name`, unless it has finished before.

    progress: of the whole run. ValueError for an error in the notebook.
    """
    if not is_finished(run, notebook, parameters, name):
        with progress.part(name or notebook) if progress else nullcontext():
            _execute(run, notebook, parameters, name or notebook)
    elif progress:
        progress.skip(name or notebook)


def _execute(run: Run, notebook: str, parameters: dict, name: str) -> None:
    import papermill

    copy = run.folder / "notebooks" / f"{name}.ipynb"
    print(f"{name}: running", flush=True)
    copy.parent.mkdir(parents=True, exist_ok=True)
    key, started = notebook_key(notebook, parameters), time.monotonic()
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
            extra_arguments=KERNEL_ARGUMENTS,
            start_timeout=START_S,
            iopub_timeout=OUTPUT_S,
        )
    except papermill.PapermillExecutionError as error:
        raise ValueError(f"{name}: {error.ename}: {error.evalue}; see {copy} for the traceback") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and not error.filename:  # when papermill writes its copy
            raise OSError(error.errno, error.strerror, str(copy)) from None
        raise
    except RuntimeError as error:  # of the kernel's client
        raise ValueError(
            f"{name}: its process ended ({str(error).splitlines()[0]}), perhaps because memory ran out; run the same "
            "command again to resume"
        ) from None
    flush_to_disk(copy)  # before the record that calls it finished
    peak_mb = peak_memory_bytes(children=True) / 2**20  # of the largest kernel so far
    seconds = time.monotonic() - started
    write_json(copy.with_suffix(".json"), {"key": key, "seconds": seconds, "peak_mb": peak_mb})
    print(f"{name}: finished in {seconds:.0f} s", flush=True)


def execute_parallel(run: Run, jobs: list[tuple], progress: RunProgress | None = None) -> None:
    """`execute` for every (notebook, parameters, name) in parallel on the CPU, one after the other on a GPU.

    There are at most as many kernels as cores, and each gets an equal share of the cores: also where most have finished
    before, since results depend on the number of threads. Kernels are processes; a thread waits for each.
    """
    workers = kernels_beside_each_other(run, len(jobs))
    before = os.environ.get("OMP_NUM_THREADS")
    if workers > 1:
        os.environ["OMP_NUM_THREADS"] = str(max(1, cpu_count() // workers))
    try:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            futures = [pool.submit(execute, run, *job, progress=progress) for job in jobs]
            try:
                for future in as_completed(futures):
                    future.result()
            finally:
                for future in futures:
                    future.cancel()
    finally:
        os.environ.pop("OMP_NUM_THREADS", None)
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def kernels_beside_each_other(run: Run, jobs: int) -> int:
    """How many trainings run at a time."""
    return min(jobs, cpu_count()) if run.device.type == "cpu" else 1


def main(args: argparse.Namespace) -> int:
    """args: as `parse_arguments` returns them."""
    config = load(args.preset, device=args.device, **args.overrides)
    if args.dry_run:
        dry_run.main(config)
        return 0
    specification = check_corpus(config.corpus)
    others = [OtherMethod.parse(text) for text in args.predictions]
    for animator in config.animators:
        find_animator(animator, config.plugins)
    check_settings(config.joint)
    check_sizes(config)
    check_readers(config)
    check_variants(config)
    check_weights(config)
    for other in others:
        if not other.is_folder:
            check_published_animator(other, specification)
    check_words(config.evaluation.words)
    if args.speech:
        from ..speech.sound import SpeechFile

        SpeechFile(args.speech)  # report a file that is not audio before training
    name = f"{specification['name']}-{args.preset}" if config.corpus.data else args.preset
    run = open_run(args.run or name, args.preset, args.device, args.overrides)
    print(describe_method(config), flush=True)
    with exclusive(run), kernel_environment():
        run_notebooks(run, args, [str(other) for other in others])
    return 0


@contextmanager
def kernel_environment() -> Iterator[None]:
    """Makes notebooks run in this Python, whatever kernels a user has installed, also where there is no home to write
    to; show figures instead of widgets; and not warn when they are interrupted."""
    os.environ["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")
    os.environ["AVLIB_HEADLESS"] = "1"
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["JUPYTER_RUNTIME_DIR"] = folder
        yield


def run_notebooks(run: Run, args: argparse.Namespace, predictions: list[str]) -> None:
    """All notebooks of a run, its report, and the animation of the user's recording."""
    from ..evaluation import report, variants
    from ..training.objectives import model_name, training_order

    seeds = args.seeds
    common = {"run_name": run.name, "preset": args.preset, "device": args.device, "overrides": args.overrides}
    joint = [
        (
            "03_joint_training",
            {**common, "animator": animator, "objective": objective, "seed": seed},
            f"03_joint_training-{model_name(animator, objective, seed)}",
        )
        for animator, objective, seed in training_order(run, seeds)
    ]
    last = ["05_tsne_analysis", *(["06_guidance"] if "scans" in run.config.variants else [])]
    names = ["01_data_prep", "02_expert_pretraining", *(name for _, _, name in joint), "04_evaluation", *last]
    chosen = variants.chosen_variants(run.config)
    further = sum(len(variants.animators_and_seeds(run, name, seeds)) for name in chosen)
    progress = RunProgress(run, names, further, kernels_beside_each_other(run, len(joint)))
    with progress.logged():
        execute(run, "01_data_prep", common, progress=progress)
        execute(run, "02_expert_pretraining", {**common, "seeds": seeds}, progress=progress)
        execute_parallel(run, joint, progress)
        if run.config.variants:
            with progress.part("variants"):
                variants.run_variants(run, prepare_corpus(run), seeds)
        execute(run, "04_evaluation", {**common, "seeds": seeds, "predictions": predictions}, progress=progress)
        for notebook in last:
            execute(run, notebook, {**common, "seeds": seeds}, progress=progress)
    print(f"report: {report.write_report(run)}", flush=True)
    if args.speech:
        from ..export.animate import animate_file

        for clip in animate_file(run, args.speech, seeds[0]):
            print(f"clip: {clip}", flush=True)
