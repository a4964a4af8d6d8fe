"""The conditions in which two words are compared, each combination of which is a row of a table."""

from typing import NamedTuple

CLIPS = "clips"  # whose lips: held-out clips of the 2D part; otherwise "truth" or a model
WORDS, FRAMES = "whole words", "single frames"
INCLUDED, LEFT_OUT, NONE = "included", "left out", "none occur"  # words that open their sentence
READERS = ("audio-visual", "visual-only")
RESAMPLES = 2000
MIN_FOR_INTERVAL = 5  # utterances of each word; resamples of fewer are nearly all alike


class Combination(NamedTuple):
    """A row of the table: whose lips, kind of point, and words that open their sentence."""

    lips: str
    points: str
    opening: str

    def space(self, kind: str) -> str:
        """The name of the space that one reader's features form."""
        return f"{kind}, {self.lips}, {self.points}, opening words {self.opening}"
