"""`./run_all.sh preference`: writes the page of a preference study, or the table of its answers."""

import argparse
from pathlib import Path

from ..widgets.preference_answers import preference_table
from ..widgets.preference_sources import MotionSource
from ..widgets.preference_study import key_path, page_path, write_study_page
from .arguments import Parser


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        "./run_all.sh preference",
        description="Writes a page on which people compare two models, or, with --table, the table of their answers.",
    )
    parser.add_argument(
        "--a",
        metavar="RUN/MODEL",
        action="append",
        default=[],
        help="first model, or NAME=FOLDER of predictions of another method; repeatable, each with a --b",
    )
    parser.add_argument(
        "--b",
        metavar="RUN/MODEL",
        action="append",
        default=[],
        help="second model; the table reports how often it was preferred",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="folder of page, key and answers")
    parser.add_argument("--sentences", metavar="N", type=int, default=12, help="test sentences to show (default: 12)")
    parser.add_argument(
        "--seed", metavar="S", type=int, default=0, help="seed of the sentences and orders (default: 0)"
    )
    parser.add_argument("--table", action="store_true", help="print and write the table of each page in FOLDER")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    if args.table:
        print_tables(args.out)
        return 0
    if not args.a or len(args.a) != len(args.b):
        raise ValueError(f"expected as many --a as --b, at least one, got {len(args.a)} and {len(args.b)}")
    pairs = [(MotionSource.parse(a), MotionSource.parse(b)) for a, b in zip(args.a, args.b)]
    path = write_study_page(pairs, args.out, args.sentences, args.seed)
    print(f"page: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    print(f"key: {key_path(path)}")
    print(f"put the participants' files into {path.parent / 'answers'}")
    return 0


def print_tables(folder: Path) -> None:
    keys = sorted(folder.glob("key-*.json"))
    if not keys:
        raise ValueError(f"{folder}: no key-<page>.json; --a and --b write one, with its page")
    for key in keys:
        print(preference_table(page_path(key), folder, f"table-{key.stem[4:]}"))
