"""What a step of each training costs on this machine's GPU at the published sizes, in float32 and in bfloat16.

    python benchmarks/accelerator.py [--corpus vocaset|biwi] [--device cuda]

Prints the table that docs/paper.md has room for: seconds a step and peak memory in both precisions, the ratio, and the
hours of preset paper in float32. Data are random; no corpus and no weights are needed. With --device cpu it runs, for
hours, without a GPU.
"""

import argparse

import torch

from avlib.core.config import Config
from avlib.core.presets import load
from avlib.core.run import commit
from avlib.training.dry_run import TrainingCost, measure_trainings
from avlib.training.dry_run_sizes import corpus_sizes

PRECISIONS = ("float32", "bfloat16")
READERS = ("expert", "reader", "judge")


def settings(corpus: str, device: str, precision: str) -> Config:
    """Preset paper with its readers in this precision. The speech encoder and the animators stay in float32."""
    same = {f"{reader}.precision": precision for reader in READERS}
    return load("paper", **{"corpus.name": corpus, "device": device} | same)


def costs(corpus: str, device: str, precision: str) -> dict[str, TrainingCost]:
    config = settings(corpus, device, precision)
    return {cost.stage: cost for cost in measure_trainings(config, corpus_sizes(config))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--corpus", default="vocaset", choices=("vocaset", "biwi"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    args = parser.parse_args()
    exact, rounded = (costs(args.corpus, args.device, precision) for precision in PRECISIONS)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "processor"
    print(f"Commit {commit()}, {name}, torch {torch.__version__}; preset paper, {args.corpus}.\n")
    print("| training | float32 | bfloat16 | ratio | memory | hours |")
    print("|---|---|---|---|---|---|")
    for stage, cost in exact.items():
        other = rounded[stage]
        print(
            f"| {stage} | {cost.step_s:.3f} s | {other.step_s:.3f} s | {other.step_s / cost.step_s:.2f} | "
            f"{cost.memory_gb:.1f}, {other.memory_gb:.1f} GB | {cost.hours:.1f} |"
        )


if __name__ == "__main__":
    main()
