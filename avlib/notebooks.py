"""The notebooks, in order, by papermill: what run_all.sh calls once the environment is there."""
import argparse
import json
import logging
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from . import dryrun, foreign
from .animator import find
from .config import PRESETS, as_dict, digest, load
from .run import ROOT, Run, alone, open_run, read_json, write_json
from .scans import check, prepare
from .study import chosen

NOTEBOOKS = ROOT / "notebooks"
# No messages of the kernel's own; lines of the processes that it starts go to the terminal, once.
QUIET = "import logging; logging.getLogger('asyncio').setLevel(logging.CRITICAL)"      # tasks that a stop leaves behind
SEEDS = {"study": "0,1,2"}      # of the joint training, by preset; else 0
KERNEL = ["--log-level=CRITICAL", "--IPKernelApp.capture_fd_output=False", f"--IPKernelApp.exec_lines={QUIET}"]


class Parser(argparse.ArgumentParser):
    """Wrong options are one line, as all errors are."""

    def error(self, message: str):
        raise ValueError(f"{message}; see --help")


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="./run_all.sh", allow_abbrev=False, description="Runs the five notebooks, in order, and writes "
                                     "results/<run>/report.html. Run again, it goes on where it stopped.")
    parser.add_argument("--preset", default="demo", help=f"{', '.join(PRESETS)} (default: demo)")
    parser.add_argument("--run", metavar="NAME", help="folder under results/ (default: the preset's name, behind the corpus's "
                        "where that has --data)")
    parser.add_argument("--corpus", metavar="NAME", help="embedded (default), facekit, vocaset, biwi, or a file of facts of your own")
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder of the corpus's scans, as their owners lay them out")
    parser.add_argument("--strict", action="store_true", help="a sequence that cannot be used stops everything")
    parser.add_argument("--predictions", metavar="[NAME=]DIR", action="append", default=[], help="score other people's "
                        "predictions, <sequence>_condition_<subject>.npy; repeatable")
    parser.add_argument("--dry-run", action="store_true", help="build everything at full size, take a step of each training on data "
                        "of the right shapes, and tell memory and time; needs no data")
    parser.add_argument("--seeds", help="seeds of the joint training, as 0,1,2 (default: 0; of preset study: 0,1,2)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument("--speech", metavar="FILE", type=Path, help="animate this recording with the trained models")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting, as "
                        "joint.lambda_av=1e-5; the run then wants a --run name of its own")
    args = parser.parse_args(argv)
    args.seeds = args.seeds or SEEDS.get(args.preset, "0")
    try:
        args.seeds = [int(s) for s in args.seeds.split(",")]
    except ValueError:
        raise ValueError(f"--seeds: expected whole numbers as 0,1,2, got {args.seeds!r}") from None
    if wrong := [s for s in args.set if "=" not in s]:
        raise ValueError(f"--set: expected KEY=VALUE, got {wrong[0]!r}")
    own = args.corpus and args.corpus.endswith(".json")
    corpus = {"corpus.name": str(Path(args.corpus).resolve()) if own else args.corpus,
              "corpus.data": args.data and str(args.data.resolve()), "corpus.strict": args.strict}
    args.overrides = {k: v for k, v in corpus.items() if v} | dict(s.split("=", 1) for s in args.set)
    return args


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
    return digest(source, *sorted((ROOT / "avlib").glob("*.py")), parameters, outside(parameters))


def outside(parameters: dict) -> list:
    """Path, size and time of every file that a setting names, or that is in a folder which a setting or a prediction, NAME=FOLDER,
    names: they may change while the parameters stay the same."""
    named = strings([parameters.get("predictions", []), as_dict(load(parameters["preset"], **parameters["overrides"]))])
    paths = sorted({Path(path) for name in named for path in (name, name.rpartition("=")[2]) if path})
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*") if path.is_dir() else ())]
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
    done = (run.folder / "notebooks" / f"{name}.ipynb").exists() and record.exists() and \
        read_json(record)["key"] == made_from(notebook, parameters)
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
        papermill.execute_notebook(NOTEBOOKS / f"{notebook}.ipynb", copy, parameters, cwd=ROOT, progress_bar=False,
                                   stdout_file=sys.stdout, stderr_file=sys.stderr, kernel_name="python3",
                                   extra_arguments=KERNEL)
    except papermill.PapermillExecutionError as error:
        raise ValueError(f"{name}: {error.ename}: {error.evalue}; the whole story is in {copy}") from None
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024     # of the largest kernel so far
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
        dryrun.main(config)
        return 0
    facts = check(config.corpus)
    predictions = [f"{name}={folder.resolve()}" for name, folder in map(foreign.named, args.predictions)]
    for animator in config.animators:
        find(animator, config.plugins)
    chosen(config)
    if args.speech:
        from .audio import SpeechFile
        SpeechFile(args.speech)         # a file that is no speech is told before anything is trained
    os.environ["AVLIB_HEADLESS"] = "1"
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")    # when stopped
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    name = f"{facts['name']}-{args.preset}" if config.corpus.data else args.preset
    run = open_run(args.run or name, args.preset, args.device, args.overrides)
    with alone(run):
        chain(run, args, predictions)
    return 0


def chain(run: Run, args: argparse.Namespace, predictions: list[str]) -> None:
    """The notebooks of a run, its report, and the user's own speech."""
    from . import report, study
    from .joint import GUIDANCE, model_name

    seeds = args.seeds
    common = {"run": run.name, "preset": args.preset, "device": args.device, "overrides": args.overrides}
    execute(run, "01_data_prep", common)
    execute(run, "02_expert_pretraining", common)
    joint = [("03_joint_training", {**common, "animator": animator, "guidance": guidance, "seed": seed},
              f"03_joint_training-{model_name(animator, guidance, seed)}")
             for seed in seeds for animator in run.config.animators for guidance in reversed(GUIDANCE)]
    execute_beside(run, [job for job in joint if not finished(run, *job)])
    if run.config.variants:
        study.run_all(run, prepare(run), seeds)
    execute(run, "04_evaluation", {**common, "seeds": seeds, "predictions": predictions})
    execute(run, "05_tsne_analysis", {**common, "seeds": seeds})
    print(f"report: {report.page(run)}", flush=True)
    if args.speech:
        from .animation import animate_file
        for clip in animate_file(run, args.speech, seeds[0]):
            print(f"clip: {clip}", flush=True)
