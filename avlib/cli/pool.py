"""`./run_all.sh pool`: the tables of runs that trained different seeds, together."""

import argparse
from pathlib import Path

from ..core.progress import log
from ..evaluation.convergence import convergence_table
from ..evaluation.pooling import pool
from ..evaluation.results import protocols_table, results_table
from ..evaluation.variant_results import effects, variant_tables
from ..plots.figures import save_figure
from ..plots.results import effects as draw_effects
from .arguments import Parser


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        "./run_all.sh pool",
        description="Puts together finished runs with the same settings and different seeds, for example from several "
        "machines, and writes the tables over all seeds to results/NAME/.",
    )
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="results/<run> of a finished run")
    parser.add_argument("--run", metavar="NAME", required=True, help="the new folder under results/")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    pooled = pool(args.folders, args.run)
    run, seeds, corpus = pooled.run, pooled.seeds, pooled.corpus
    if len(pooled.corpus_hashes) > 1:
        log(
            f"the runs' corpora differ ({', '.join(pooled.corpus_hashes)}): other data, or another processor's rounding"
        )
    if len(pooled.readings) > 1:
        log(
            f"the runs' readers differ (on the scans: {'; '.join(pooled.readings)}), and with them the rates of their "
            "models; the rows of references are the first run's"
        )
    print(results_table(run, seeds, corpus))
    convergence_table(run, seeds, corpus)
    protocols_table(run, seeds, corpus)
    variant_tables(run, seeds, corpus)
    save_figure(draw_effects(*effects(run, seeds)), run.folder / "figures" / "4_effects.png")
    print(f"tables and figure: {run.folder}")
    return 0
