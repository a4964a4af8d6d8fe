"""What ideal predictors would predict for a synthetic corpus: how low the vertex error can get, and why not lower.

An animator hears the speech but not the delivery, and it speaks in the styles of the training subjects. What remains of
the vertex error when everything else is known is the floor: learning can only lower the excess over it.
"""

from pathlib import Path

from torch import Tensor

from ...core.config import CorpusConfig, digest
from ...core.tensors import seeded_generator
from ..utterance import Utterance
from .articulation import Style, articulate, subject_style
from .delivery import Delivery, random_delivery
from .facekit import FaceKit
from .rig import Rig

TAKES = 256  # deliveries that the mean is taken over: its error is 1/16 of their spread


def scan_delivery(config: CorpusConfig, name: str) -> Delivery:
    """The delivery of an utterance of the 3D part."""
    return random_delivery(config.effort, seeded_generator(config.seed, int(digest(name, "delivery"), 16)))


class IdealPredictor:
    """Predicts the motion of a synthetic corpus's utterances from what made it."""

    def __init__(self, config: CorpusConfig, face: Path | None = None):
        """face: the ICT-FaceKit checkout of the corpus; without one, the embedded rig is used."""
        self.config, self.rig = config, FaceKit(face) if face else Rig()

    def all_known(self, utterance: Utterance) -> Tensor:
        """(T, V, 3): the scan without tracking noise and without the upper face, which moves independently."""
        subject = self.rig.subjects.index(utterance.subject)
        return self._motion(utterance, subject_style(subject), scan_delivery(self.config, utterance.name))

    def best_guess(self, utterance: Utterance, style: str) -> Tensor:
        """(T, V, 3): the mean over all deliveries in the style of a subject, which has the least squared error."""
        takes = random_delivery(self.config.effort, seeded_generator(self.config.seed, -1), (TAKES,))
        return self._motion(utterance, subject_style(self.rig.subjects.index(style)), takes)

    def _motion(self, utterance: Utterance, style: Style, delivery: Delivery) -> Tensor:
        fps = self.config.fps
        weights = articulate(utterance.phonemes, utterance.frames / fps, fps, style, delivery)
        mean = weights.flatten(0, -3).mean(0) if weights.ndim > 2 else weights  # motion is linear in the weights
        return self.rig.motion(self.rig.identity(self.rig.subjects.index(utterance.subject)), mean)
