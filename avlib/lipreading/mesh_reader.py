"""A lip reader that sees the vertices of the lips instead of pictures: a small Conformer with CTC.

It tells how much of the guidance's worth needs pictures. SelfTalk (Peng et al. 2023) guides in a similar way.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ..core.distributed import mean_over
from ..core.tensors import at_least_float32, frame_mask
from ..speech.text import BLANK
from .conformer import Encoder
from .frontend import Packing


class LipMotion(nn.Module):
    """Packs the displacements of the lips, (B, T, L, 3), into rows (N, 3 L)."""

    def forward(self, x: Tensor, valid: Packing) -> Tensor:
        return valid.pack(x.flatten(2))


class MeshReader(nn.Module):
    """Recognises speech from the motion of lip vertices. Token 0 is the CTC blank."""

    def __init__(
        self,
        vertices: int,
        vocabulary: int,
        width: int,
        heads: int,
        feedforward: int,
        layers: int,
        kernel: int,
        dropout: float,
    ):
        """vertices: L, of the lips; kernel: frames."""
        super().__init__()
        self.encoder = Encoder(LipMotion(), 3 * vertices, width, heads, feedforward, layers, kernel, dropout)
        self.ctc, self.drop = nn.Linear(width, vocabulary), nn.Dropout(dropout)

    def encode(self, displacement: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, T, D), zero in the padding. displacement: (B, T, L, 3) from the face at rest, of order one, at
        25 fps; lengths: (B,) frames."""
        frames, device = displacement.shape[1], displacement.device
        valid = Packing(lengths, frames, device)
        return valid.unpack(self.encoder(displacement, valid, frame_mask(lengths, frames, device)[:, None, None]))

    def log_probs(self, features: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, vocabulary), natural logarithms"""
        return at_least_float32(self.ctc(self.drop(features))).log_softmax(-1)

    def loss(self, features: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor) -> Tensor:
        """The CTC loss, a scalar in nats an utterance; zero for utterances with more tokens than frames can hold.

        features: (B, T, D); lengths: (B,) frames; tokens: (B, L), padded; token_lengths: (B,).
        """
        log_probs = self.log_probs(features).transpose(0, 1)
        tokens = tokens.to(features.device)
        total = F.ctc_loss(log_probs, tokens, lengths, token_lengths, BLANK, "sum", zero_infinity=True)
        return mean_over(total, len(tokens))
