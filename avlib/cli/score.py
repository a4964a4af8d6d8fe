"""`./run_all.sh score`: folders of meshes against folders of scans, under every protocol."""

import argparse
from dataclasses import replace
from pathlib import Path

from ..core import run as runs
from ..corpus.specification import read_specification, scan_specification
from ..evaluation.external_predictions import OtherMethod
from ..evaluation.folder_scores import find_truth, score_methods, score_tables
from ..evaluation.report import write_tables_page
from .arguments import Parser


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        "./run_all.sh score",
        description="Scores predicted meshes against scans under the protocols of all publications that the kit knows, "
        "without a run: writes tables as Markdown, CSV, LaTeX and JSON, and a page with all of them.",
    )
    parser.add_argument("--truth", metavar="DIR", type=Path, required=True, help="scans, <sequence>.npy")
    parser.add_argument(
        "--predictions",
        metavar="[NAME=]DIR",
        action="append",
        required=True,
        help="<sequence>.npy or <sequence>_condition_<subject>.npy; repeatable",
    )
    parser.add_argument(
        "--corpus",
        metavar="NAME",
        required=True,
        help="vocaset, biwi, or a specification file of your own (.json): vertices, unit, rate and regions",
    )
    parser.add_argument(
        "--templates",
        metavar="FILE",
        type=Path,
        help="faces at rest, a pickle of subject -> vertices; FDD and LRP need them",
    )
    parser.add_argument(
        "--mesh",
        metavar="FILE",
        type=Path,
        help="a face at rest with its faces (.ply, .obj), on which regions are found that the corpus does not tell",
    )
    parser.add_argument("--fps", type=float, help="frames per second of both (default: the corpus's)")
    parser.add_argument("--out", metavar="DIR", type=Path, help="(default: results/scores)")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    specification = read_specification(args.corpus)
    if specification["kind"] != "scans":
        raise ValueError(f"--corpus: expected a corpus of scans, got {args.corpus}, of kind {specification['kind']}")
    spec = scan_specification(specification)
    if args.fps:
        spec = replace(spec, fps=args.fps)
    if not args.truth.is_dir():
        raise ValueError(f"--truth: {args.truth}: no such folder")
    methods = [OtherMethod.parse(text) for text in args.predictions]
    if weights := [method for method in methods if not method.is_folder]:
        raise ValueError(f"--predictions: {weights[0].paths[0]}: expected a folder")
    if len({method.name for method in methods}) < len(methods):
        raise ValueError("--predictions: two methods have the same name; expected NAME=DIR with different names")
    truth = find_truth(args.truth, spec, args.templates, args.mesh)
    records = score_methods(truth, methods)
    title = f"of {len(truth.files)} sequences on the mesh of {spec.name}, {spec.fps:g} frames a second"
    out = args.out or runs.RESULTS / "scores"
    tables = score_tables(records, title)
    for name, table in tables.items():
        print(table.write(out, name))
    print(f"page: {write_tables_page(out, f'Scores {title}', list(tables))}")
    return 0
