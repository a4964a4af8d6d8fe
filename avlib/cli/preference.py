"""`avlib preference`: the preference study's page and table, from the command line."""

from pathlib import Path

from ..widgets.preference_study import Shown, key_of, page, preference_table
from .arguments import Parser


def main(arguments: list[str]) -> int:
    parser = Parser(
        "./run_all.sh preference",
        description="Makes a page on which people compare two models, or the table of their answers.",
    )
    parser.add_argument(
        "--a",
        metavar="RUN/MODEL",
        action="append",
        default=[],
        help="or NAME=FOLDER of others' predictions; repeatable, each with a --b",
    )
    parser.add_argument(
        "--b",
        metavar="RUN/MODEL",
        action="append",
        default=[],
        help="the model of which the table says how often it was preferred",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--sentences", metavar="N", type=int, default=12)
    parser.add_argument("--seed", metavar="S", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="the table of OUT/answers, for every page there")
    given = parser.parse_args(arguments)
    if given.table:
        keys = sorted(given.out.glob("key-*.json"))
        if not keys:
            raise ValueError(f"{given.out}: no key-<page>.json here; --a and --b make one, with its page")
        for key in keys:
            print(
                preference_table(
                    key.with_name(key.name.replace("key-", "study-")).with_suffix(".html"),
                    given.out,
                    f"table-{key.stem[4:]}",
                )
            )
        return 0
    if not given.a or len(given.a) != len(given.b):
        raise ValueError(f"expected as many --a as --b, at least one, got {len(given.a)} and {len(given.b)}")
    path = page(
        [(Shown.named(a), Shown.named(b)) for a, b in zip(given.a, given.b)], given.out, given.sentences, given.seed
    )
    print(
        f"page: {path} ({path.stat().st_size / 1e6:.1f} MB)\nkey: {key_of(path)}\nanswers go to {path.parent / 'answers'}"
    )
    return 0
