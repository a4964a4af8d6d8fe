"""Which pre-training a training seed builds on: that of the run, or one of its own."""

from dataclasses import replace

from ..core.run import Run


def pretraining_run(run: Run, seed: int) -> Run:
    """The run that holds the speech encoder, expert and motion VQ-VAE of the models with a training seed.

    It is `run` itself unless the setting `pretrain_each_seed` asks for one pre-training a seed; then it is that of the
    same seed, in variants/pretraining-<seed>/, which shares the corpus and the readers that score.
    """
    if not run.config.pretrain_each_seed or seed == run.config.seed:
        return run
    config = replace(run.config, seed=seed)
    if run.variant_of is None:
        return Run(f"pretraining-{seed}", config, run)
    return Run(run.name, config, pretraining_run(run.variant_of, seed))  # what the variant does not change is shared


def pretraining_runs(run: Run, seeds: list[int]) -> list[Run]:
    """The run itself, and those of `pretraining_run` that differ from it, in the order of the seeds."""
    others = [pretraining_run(run, seed) for seed in seeds]
    return [run, *{other.folder: other for other in others if other is not run}.values()]


def pretraining_key(base: Run, stage: str) -> str:
    """The key of a stage of a pre-training. base: a run of `pretraining_run`.

    ValueError if the stage has run for another seed only, whose result a variant of a run would otherwise share.
    """
    main = base
    while main.variant_of:
        main = main.variant_of
    if base.config.seed != main.config.seed and base.home(stage) == main.folder:
        raise ValueError(
            f"{main.folder}: stage {stage!r} has not run for seed {base.config.seed}, and pretrain_each_seed asks for "
            f"it; run notebook 02 with this seed among its seeds, or ./run_all.sh --run {main.name} --seeds ..."
        )
    return base.finished_key(stage)


def pretraining_of(run: Run, model: str) -> Run:
    """The run that holds the pre-training of a trained model; `run` for predictions that none of its models made."""
    is_trained = (run.home(model) / "records" / f"{model}.json").exists()
    return pretraining_run(run, run.record(model)["seed"]) if is_trained else run
