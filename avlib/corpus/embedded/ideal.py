"""What ideal predictors would predict for a synthetic corpus: how low the vertex error can get, and why not lower.

An animator hears the speech but not the delivery, and it knows the styles of the training subjects alone. What remains
of the vertex error when everything else is known is the floor: learning can only lower the excess over it.
"""

import math
from pathlib import Path

import torch
from torch import Tensor

from ...core.config import CorpusConfig
from ...core.tensors import seeded_generator
from ..utterance import Utterance
from .articulation import articulate, subject_style
from .delivery import Delivery, random_delivery, scan_delivery
from .facekit import FaceKit
from .rig import Rig

# Deliveries that a mean is taken over; its vertex error then errs by less than 1 %.
TAKES = 64


class IdealPredictor:
    """Predicts the motion of a synthetic corpus's utterances from what made it."""

    def __init__(self, config: CorpusConfig, face: Path | None = None):
        """face: the ICT-FaceKit checkout of the corpus; without one, the embedded rig is used."""
        self.config, self.rig = config, FaceKit(face) if face else Rig()
        self.takes = balanced_deliveries(config.effort, seeded_generator(config.seed, -1), TAKES)

    def all_known(self, utterance: Utterance) -> Tensor:
        """(T, V, 3): the scan without tracking noise and without the upper face, which moves independently."""
        delivery = scan_delivery(self.config, utterance.name)
        return self._motion(utterance, self._weights(utterance, utterance.subject, delivery))

    def best_guess(self, utterance: Utterance, *styles: str) -> Tensor:
        """(T, V, 3): the mean over all deliveries in the styles of subjects, which has the least squared error.

        With several styles it is the best guess of someone who knows that the style is one of them, but not which.
        """
        means = [self._weights(utterance, style, self.takes).mean(0) for style in styles]
        return self._motion(utterance, torch.stack(means).mean(0))

    def _weights(self, utterance: Utterance, style: str, delivery: Delivery) -> Tensor:
        """(..., T, K): weights of the rig's shapes in the style of a subject."""
        fps, subject = self.config.fps, self.rig.subjects.index(style)
        return articulate(utterance.phonemes, utterance.frames / fps, fps, subject_style(subject), delivery)

    def _motion(self, utterance: Utterance, weights: Tensor) -> Tensor:
        """The motion is linear in the weights, so that mean weights give the mean motion."""
        return self.rig.motion(self.rig.identity(self.rig.subjects.index(utterance.subject)), weights)


def balanced_deliveries(effort_range: tuple[float, float], generator: torch.Generator, takes: int) -> Delivery:
    """An even number of deliveries whose mean is closer to that over all than the mean of as many random ones.

    Efforts are at equal distances, and each clock occurs with its opposite, so that leads and lags cancel.
    """
    low, high = effort_range
    effort = low + (high - low) * (torch.arange(takes // 2, dtype=torch.float64) + 0.5) / (takes // 2)
    phases = random_delivery(effort_range, generator, (takes // 2,)).phases
    assert phases is not None
    return Delivery(effort.repeat(2), torch.cat((phases, phases + math.pi)))
