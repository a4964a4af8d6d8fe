"""Options of the command line."""

import argparse
from pathlib import Path

from ..core.presets import PRESETS

SEEDS = {"study": "0,1,2"}  # of the joint training, by preset; else 0


class Parser(argparse.ArgumentParser):
    """Wrong options are one line, as all errors are."""

    def error(self, message: str):
        raise ValueError(f"{message}; see --help")


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="./run_all.sh",
        allow_abbrev=False,
        description="Runs the five notebooks, in order, and writes "
        "results/<run>/report.html. Run again, it goes on where it stopped.",
    )
    parser.add_argument("--preset", default="demo", help=f"{', '.join(PRESETS)} (default: demo)")
    parser.add_argument(
        "--run",
        metavar="NAME",
        help="folder under results/ (default: the preset's name, behind the corpus's where that has --data)",
    )
    parser.add_argument(
        "--corpus", metavar="NAME", help="embedded (default), facekit, vocaset, biwi, or a file of facts of your own"
    )
    parser.add_argument(
        "--data", metavar="DIR", type=Path, help="folder of the corpus's scans, as their owners lay them out"
    )
    parser.add_argument("--strict", action="store_true", help="a sequence that cannot be used stops everything")
    parser.add_argument(
        "--predictions",
        metavar="[NAME=]DIR",
        action="append",
        default=[],
        help="score other people's predictions, <sequence>_condition_<subject>.npy; repeatable",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything at full size, take a step of each training on data "
        "of the right shapes, and tell memory and time; needs no data",
    )
    parser.add_argument("--seeds", help="seeds of the joint training, as 0,1,2 (default: 0; of preset study: 0,1,2)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument("--speech", metavar="FILE", type=Path, help="animate this recording with the trained models")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change one setting, as joint.lambda_av=1e-5; the run then wants a --run name of its own",
    )
    args = parser.parse_args(argv)
    args.seeds = args.seeds or SEEDS.get(args.preset, "0")
    try:
        args.seeds = [int(s) for s in args.seeds.split(",")]
    except ValueError:
        raise ValueError(f"--seeds: expected whole numbers as 0,1,2, got {args.seeds!r}") from None
    if wrong := [s for s in args.set if "=" not in s]:
        raise ValueError(f"--set: expected KEY=VALUE, got {wrong[0]!r}")
    own = args.corpus and args.corpus.endswith(".json")
    corpus = {
        "corpus.name": str(Path(args.corpus).resolve()) if own else args.corpus,
        "corpus.data": args.data and str(args.data.resolve()),
        "corpus.strict": args.strict,
    }
    args.overrides = {k: v for k, v in corpus.items() if v} | dict(s.split("=", 1) for s in args.set)
    return args
