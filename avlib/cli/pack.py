"""`python -m avlib.cli.pack`: makes the model that comes with the kit from a finished run."""

import sys
from pathlib import Path

from ..core.opening import open_run
from ..export.shipped_model import ARCHIVE, pack_model
from .arguments import Parser


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m avlib.cli.pack", allow_abbrev=False)
    parser.add_argument("--run", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, default=ARCHIVE)
    args = parser.parse_args(argv)
    archive = pack_model(open_run(args.run, device="cpu"), args.model, args.out)
    print(f"{archive}: {archive.stat().st_size / 1e6:.2f} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
