"""Processor time of each stage of a run, and the dearest operations of the dearest trainings.

    python benchmarks/stages.py [--preset demo] [--stages 5] [--operations 8]

Stages run one after the other, with one thread, in a folder that is deleted afterwards; those of the corpus, and the
notebooks, use processes of their own, which count too. Operations are those of torch.profiler, over a short training on
a small part of the corpus with the networks of the preset; shares are of the operations' own time.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from avlib.cli.notebooks import execute, kernel_environment
from avlib.core.config import Config
from avlib.core.presets import load
from avlib.core.run import Run, commit
from avlib.corpus.prepare import prepare_corpus
from avlib.evaluation.evaluate import evaluate
from avlib.evaluation.reference_predictions import references
from avlib.training.joint import train_joint
from avlib.training.judge import pretrain_judge
from avlib.training.motion_vqvae import train_motion_vqvae
from avlib.training.objectives import model_name, training_order
from avlib.training.readers import pretrain_reader
from avlib.training.speech_encoder import pretrain_speech

SHORT = {  # a training of some twenty steps
    "corpus.clips_2d": 64,
    "corpus.validation_clips_2d": 12,
    "corpus.judge_clips_2d": 64,
    "corpus.sentences_train": 6,
    "corpus.sentences_validation": 1,
    "corpus.sentences_test": 1,
    "speech.epochs": 1,
    "expert.epochs": 1,
    "expert.audio_only_fraction": 0.0,
    "reader.epochs": 1,
    "judge.epochs": 1,
    "codetalker.vqvae_epochs": 1,
    "joint.epochs": 3,
    "joint.guidance_start": 0.0,
}


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def trainings(run: Run) -> dict[str, Callable[[], object]]:
    """Every training of a run, in an order in which each finds what it needs."""
    corpus = prepare_corpus(run)
    calls: dict[str, Callable[[], object]] = {"speech encoder": lambda: pretrain_speech(run, corpus)}
    calls |= {stage: lambda stage=stage: pretrain_reader(run, corpus, stage) for stage in ("expert", "reader")}
    calls["judge"] = lambda: pretrain_judge(run, corpus)
    for animator in run.config.animators:
        calls[f"{animator}, motion model"] = lambda animator=animator: train_motion_vqvae(run, corpus, animator)
    for training in training_order(run, [0]):
        calls[model_name(*training)] = lambda training=training: train_joint(run, corpus, *training)
    return calls


def stage_seconds(run: Run) -> dict[str, float]:
    """Processor seconds of every stage of a run."""
    seconds, common = {}, {"run_name": run.name, "preset": run.config.preset, "device": "cpu", "overrides": {}}

    def timed(name: str, call: Callable[[], object]) -> None:
        began = processor_seconds()
        call()
        seconds[name] = processor_seconds() - began
        print(f"{name:34}{seconds[name]:8.0f} s", flush=True)

    timed("corpus", lambda: prepare_corpus(run))
    for name, call in trainings(run).items():
        timed(name, call)
    corpus = prepare_corpus(run)
    models = [*(model_name(*training) for training in training_order(run, [0])), *references(run.config.corpus)]
    timed(f"scores of {len(models)} models", lambda: [evaluate(run, corpus, model) for model in models])
    with kernel_environment():  # what remains: figures, clips, tables, and the start of the kernels
        for notebook in ("01_data_prep", "02_expert_pretraining", "04_evaluation", "05_tsne_analysis"):
            timed(f"rest of {notebook}", lambda notebook=notebook: execute(run, notebook, common))
    return seconds


def print_operations(config: Config, stages: list[str], count: int) -> None:
    """The operations that take most of the time of some trainings."""
    run = Run("short", config)
    for name, call in trainings(run).items():
        if name not in stages:
            call()
            continue
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            call()
        events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        print(
            f"{name}: " + ", ".join(f"{e.key} {e.self_cpu_time_total / total:.0%}" for e in events[:count]), flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--stages", type=int, default=5)
    parser.add_argument("--operations", type=int, default=8)
    arguments = parser.parse_args()
    if "AVLIB_PROFILED" not in os.environ:  # again, with places of its own, which avlib reads when it is imported
        with tempfile.TemporaryDirectory() as folder:
            places = {"AVLIB_RESULTS": f"{folder}/results", "AVLIB_DATA": f"{folder}/data"}
            environment = os.environ | places | {"AVLIB_PROFILED": "1", "OMP_NUM_THREADS": "1"}
            sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)
    torch.set_num_threads(1)
    print(f"{platform.machine()}, commit {commit()}, preset {arguments.preset}")
    seconds = stage_seconds(Run("profiled", load(arguments.preset, device="cpu")))
    print(f"{'all':34}{sum(seconds.values()):8.0f} s")
    config = load(arguments.preset, device="cpu", **SHORT)
    names = trainings(Run("names", config))
    dearest = sorted((name for name in seconds if name in names), key=lambda name: -seconds[name])
    print_operations(config, dearest[: arguments.stages], arguments.operations)


if __name__ == "__main__":
    main()
