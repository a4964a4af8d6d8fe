"""Trainings of equal effort: how many epochs a model is trained for with as many steps, or as long, as a guided one.

guided: record of the guided model; own: record of the run's own model whose counterpart is trained. Both have the same
animator and seed.
"""


def as_many_steps(guided: dict, own: dict) -> int:
    """The guided model's epochs: an epoch has equally many steps, whatever the objective."""
    return guided["epochs"]


def as_long(guided: dict, own: dict) -> int:
    """Epochs for the time that the guided model took, at the duration of the own model's steps; at least one.

    Times are measured: two runs of the same settings may have different numbers.
    """
    return max(1, round(own["epochs"] * guided["seconds"] / own["seconds"]))
