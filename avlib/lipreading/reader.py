"""What every lip reader offers, whatever its network: features, CTC probabilities, a search, and its tokenizer."""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from ..speech.text import Tokenizer
from .beam_search import Hypothesis


class Reader(Protocol):
    """A trained reader of lips, speech or both, as transcription and evaluation use it.

    modalities: "audio", "video" or both. Token 0 is the CTC blank, the last token is start and end.
    """

    tokenizer: Tokenizer

    @property
    def modalities(self) -> tuple[str, ...]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def encode(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        lengths: Tensor,
        *,
        present: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Features (B, T, D), zero in the padding; see `Expert.encode_streams`."""
        ...

    def ctc_log_probs(self, features: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, vocabulary), natural logarithms"""
        ...

    def decode(
        self, features: Tensor, lengths: Tensor, beam: int, ctc_weight: float, length_bonus: float
    ) -> list[Hypothesis]:
        """The best hypothesis of each utterance."""
        ...
