"""What speech does not tell about how a sentence is articulated: a speaker says the same words differently each time.

An animator that is trained on vertices alone can at best predict the mean over all of this, and the mean mumbles:
peaks that come now earlier and now later are flattened, and lips that close at slightly different times never close.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...core.config import CorpusConfig
from ...core.digest import digest
from ...core.tensors import seeded_generator

# Articulators that move together, each group by its own clock; names of `articulation.RATES`.
GROUPS = (
    ("jaw",),
    ("close", "press", "tuck"),
    ("raise", "drop"),
    ("pucker", "funnel", "spread"),
    ("tip", "out", "front", "back", "low"),
)
# Standard deviation of the time by which articulators lead or follow the sound, s. In film of one speaker (GRID's s1)
# the lips close at p, b and m with a standard deviation of 42 ms about the middle of the sound, of which some 20 ms are
# errors of alignment and frames (docs/embedded_corpus.md). Schwartz and Savariaux (2014) review such asynchronies.
ONSET_SD_S = 0.035
# Frequencies of the waves that add up to a clock's error, Hz: it changes from syllable to syllable, not within one.
WAVES_HZ = torch.linspace(0.3, 2.4, 8, dtype=torch.float64)
# A closure is incomplete where a smooth process with standard deviation 1 exceeds 1 at the mean effort: for one p, b or
# m in six, more of them at less effort. In casual speech many stops are not closed (Warner and Tucker 2011), and in
# GRID's film 9 % of these lips stay more than 1 mm apart; the figures are this world's choice.
INCOMPLETE_ABOVE, PER_EFFORT, MEAN_EFFORT = 1.0, 2.0, 0.8
LEAST_CLOSURE = 0.2  # share of the closing movement in the most incomplete closure
# Less effort: slower articulators, which miss more of their targets in short phonemes (Lindblom 1963). Per effort.
BLUR_PER_EFFORT = 0.6


@dataclass(frozen=True)
class Delivery:
    """How one sentence is articulated, or how it is in several takes (...). The default: clearly, and in time.

    effort: (...); 1 is clear speech. At less, small movements shrink more than large ones, and phonemes blend.
    phases: (..., 1 + groups, waves) of the closures' completeness and of each group's clock; None: complete, in time.
    """

    effort: Tensor = torch.tensor(1.0)
    phases: Tensor | None = field(default=None, compare=False)

    @property
    def blur(self) -> Tensor:
        """(...,): factor on the width of the dominance functions."""
        return 1 + BLUR_PER_EFFORT * (1 - self.effort)

    def bend(self, weights: Tensor) -> Tensor:
        """Weights (..., T, A) of articulators as they are reached: small movements shrink more than large ones."""
        return weights ** (1 / self.effort[..., None, None])

    def times(self, time_s: Tensor) -> Tensor:
        """(..., T, groups): the time of the sound that each group of articulators is at, s, at the times (T,)."""
        if self.phases is None:
            return time_s[:, None].expand(-1, len(GROUPS))
        errors_s = ONSET_SD_S * smooth_process(self.phases[..., 1:, :], time_s)
        return (time_s + errors_s).transpose(-1, -2)

    def completeness(self, time_s: Tensor) -> Tensor:
        """(..., P), LEAST_CLOSURE to 1: share of the closing movement in phonemes whose middles are at (P,), s."""
        if self.phases is None:
            return torch.ones_like(time_s)
        threshold = INCOMPLETE_ABOVE + PER_EFFORT * (self.effort - MEAN_EFFORT)
        excess = smooth_process(self.phases[..., 0, :], time_s) - threshold[..., None]
        return 1 - (1 - LEAST_CLOSURE) * excess.clamp(0, 1)


CLEAR = Delivery()


def random_delivery(
    effort_range: tuple[float, float], generator: torch.Generator, takes: tuple[int, ...] = ()
) -> Delivery:
    """A random delivery, or several takes of it, with efforts between the two of the range."""
    low, high = effort_range
    effort = low + (high - low) * torch.rand(takes, generator=generator, dtype=torch.float64)
    turns = torch.rand(*takes, 1 + len(GROUPS), len(WAVES_HZ), generator=generator, dtype=torch.float64)
    return Delivery(effort, 2 * math.pi * turns)


def scan_delivery(config: CorpusConfig, name: str) -> Delivery:
    """The delivery of an utterance of the 3D part."""
    return random_delivery(config.effort, seeded_generator(config.seed, int(digest(name, "delivery"), 16)))


def smooth_process(phases: Tensor, time_s: Tensor) -> Tensor:
    """(..., T): a random process with mean 0 and standard deviation 1 at the times (T,); phases: (..., waves), rad."""
    angle = 2 * math.pi * WAVES_HZ * time_s[:, None] + phases[..., None, :]
    return math.sqrt(2 / len(WAVES_HZ)) * angle.cos().sum(-1)
