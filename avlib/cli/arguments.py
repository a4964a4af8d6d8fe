"""Options of a run on the command line."""

import argparse
from pathlib import Path

from ..core.presets import PRESETS

# Settings that name files or folders; of published weights also names on the Hugging Face hub.
PATHS = (
    "corpus.name",
    "corpus.data",
    "corpus.recordings",
    "corpus.sentences",
    "corpus.video_corpus",
    "corpus.landmarks",
    "corpus.face",
    "speech.pretrained",
    "expert.pretrained",
    "expert.tokenizer",
    "reader.pretrained",
    "reader.tokenizer",
    "joint.unscanned_speech",
    "plugins",
)
SEEDS = {"study": "0,1,2,3,4"}  # default seeds of the joint training, by preset; others have 0


class Parser(argparse.ArgumentParser):
    """Raises ValueError for wrong options, so that they are reported in one line."""

    def error(self, message: str):
        raise ValueError(f"{message}; see --help")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The options of a run, with `overrides`, all changed settings by name. ValueError for options that are wrong."""
    args = run_parser().parse_args(argv)
    args.seeds = args.seeds or SEEDS.get(args.preset, "0")
    try:
        args.seeds = [int(seed) for seed in args.seeds.split(",")]
    except ValueError:
        raise ValueError(f"--seeds: expected whole numbers as 0,1,2, got {args.seeds!r}") from None
    if wrong := [setting for setting in args.set if "=" not in setting]:
        raise ValueError(f"--set: expected KEY=VALUE, got {wrong[0]!r}")
    corpus = {"corpus.name": args.corpus, "corpus.data": args.data, "corpus.strict": args.strict}
    changed = {key: value for key, value in corpus.items() if value} | dict(s.split("=", 1) for s in args.set)
    args.overrides = {key: whole_path(value) if names_path(key, value) else value for key, value in changed.items()}
    args.speech = args.speech and args.speech.absolute()
    return args


def names_path(key: str, value: str) -> bool:
    """Whether a setting names files: a corpus's name does so only if it ends in .json."""
    return key in PATHS and (key != "corpus.name" or value.endswith(".json"))


def whole_path(value: str) -> str:
    """A path, or several with commas between them, from the root of the file system, for notebooks run elsewhere. What
    does not exist stays as it is: it may be a name."""
    parts = [value] if Path(value).exists() else value.split(",")
    return ",".join(str(Path(part).resolve()) if part and Path(part).exists() else part for part in parts)


def run_parser() -> Parser:
    parser = Parser(
        prog="./run_all.sh",
        allow_abbrev=False,
        description="Runs the five notebooks in order and writes results/<run>/report.html. Interrupted runs resume "
        "when you rerun the command.",
    )
    parser.add_argument("--preset", default="demo", help=f"{', '.join(PRESETS)} (default: demo)")
    parser.add_argument(
        "--run",
        metavar="NAME",
        help="folder under results/ (default: the preset; with --data, <corpus>-<preset>)",
    )
    parser.add_argument(
        "--corpus",
        metavar="NAME",
        help="embedded (default), facekit, vocaset, biwi, or a specification file of your own (.json)",
    )
    parser.add_argument("--data", metavar="DIR", help="folder of the corpus's scans, as their owners distribute them")
    parser.add_argument("--strict", action="store_true", help="stop at a sequence that cannot be used")
    parser.add_argument(
        "--predictions",
        metavar="[NAME=]PATH",
        action="append",
        default=[],
        help="also evaluate another method: a folder of its predictions, <sequence>_condition_<subject>.npy, or "
        "published weights (CodeTalker: STAGE_TWO,STAGE_ONE); repeatable",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="run one step of each training at full size on random data; print memory and time",
    )
    parser.add_argument("--seeds", help="seeds of the joint training, as 0,1,2 (default: 0; preset study: 0,1,2,3,4)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument("--speech", metavar="FILE", type=Path, help="animate this recording with the trained models")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change one setting, as joint.lambda_av=1e-5; the run needs a --run name of its own",
    )
    return parser
