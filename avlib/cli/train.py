"""All training of a run without notebooks, on many GPUs or hosts. The notebooks then find the stages finished.

    accelerate launch --num_processes 8 -m avlib.cli.train --preset paper --run paper
    ./run_all.sh --preset paper --run paper

On CPUs: torchrun --nproc_per_node 2 -m -- avlib.cli.train --preset smoke --run two

The processes share each batch: the batch sizes in the configuration are those of the whole batch. The readers take the
same steps as in a single process, except for dropout. The animators' steps differ in the utterances of a batch that the
expert reads while it guides.
"""

import sys

from accelerate import PartialState

from ..core.device import pick_device
from ..core.opening import open_run
from ..core.presets import load
from ..corpus.prepare import prepare_corpus
from ..training.joint import train_joint
from ..training.objectives import training_order
from ..training.pretraining import pretrain
from ..training.reader_checks import check_readers, check_weights
from .arguments import parse_arguments


def main(argv: list[str]) -> None:
    """Trains everything that the options of ./run_all.sh ask for."""
    args = parse_arguments(argv)
    config = load(args.preset, device=args.device, **args.overrides)
    check_readers(config)
    check_weights(config)
    device = pick_device(config.device)
    processes = PartialState(cpu=device.type == "cpu")
    with processes.main_process_first():
        run = open_run(args.run or args.preset, args.preset, args.device, args.overrides)
        corpus = prepare_corpus(run)
    pretrain(run, corpus, args.seeds)
    for animator, objective, seed in training_order(run, args.seeds):
        train_joint(run, corpus, animator, objective, seed)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"avlib: {error}")
