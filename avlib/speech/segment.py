"""A labelled interval of time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """A phoneme or a word from `start_s` to `end_s`, seconds."""

    label: str
    start_s: float
    end_s: float
