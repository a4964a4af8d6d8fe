"""The transformer on both sides of the motion VQ-VAE: each frame in the context of all others."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.tensors import frame_mask


class Attention(nn.Module):
    """Pre-norm self-attention over all frames. Scores are scaled by the whole width, not by that of a head, as
    published."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, width**-0.5
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, valid: Tensor | None = None, last: int = 0, cached: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x: (B, T, D); valid: (B, T), frames that may be attended to, all if None; last: how many of the last frames
        are queries, 0 for all; cached: keys and values (B, P, 2 D) of frames before these. Returns what is added to
        the query frames of x, and the keys and values (B, T, 2 D) of these frames."""
        width, x = x.shape[-1], self.norm(x)
        if last:
            query, new = F.linear(x[:, -last:], self.qkv.weight[:width]), F.linear(x, self.qkv.weight[width:])
        else:
            query, new = self.qkv(x).split((width, 2 * width), -1)
        query = query.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys_values = new if cached is None else torch.cat((cached, new), 1)
        keys, values = keys_values.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if valid is None else valid[:, None, None]
        context = F.scaled_dot_product_attention(query, keys, values, mask, scale=self.scale)
        return self.out(context.transpose(1, 2).flatten(-2)), new


class FeedForward(nn.Module):
    """Pre-norm feed-forward network, (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm, self.expand, self.contract = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(F.gelu(self.expand(self.norm(x)), approximate="tanh"))


class Block(nn.Module):
    """Self-attention and feed-forward network, each with a residual connection."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.attend, self.feed = Attention(width, heads), FeedForward(width, hidden)

    def forward(
        self, x: Tensor, valid: Tensor | None = None, last: int = 0, cached: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.forward`. Returns the query frames (B, T', D), and the keys and values of all frames."""
        added, keys_values = self.attend(x, valid, last, cached)
        x = x[:, -last:] + added
        return x + self.feed(x), keys_values


class Context(nn.Module):
    """Puts frames into the context of all others: a convolution, a normalisation over time, a transformer."""

    REACH = 2  # frames on either side that the convolution covers
    blocks: Sequence[Block]  # an nn.ModuleList
    row: Tensor  # (D,)

    def __init__(self, width: int, layers: int, heads: int, hidden: int, slope: float, dropout: float):
        """width: D; hidden: width of the feed-forward networks; slope: of the leaky ReLU."""
        super().__init__()
        self.slope, self.dropout = slope, dropout
        self.convolution = nn.Conv1d(width, width, 2 * self.REACH + 1)
        self.embed = nn.Linear(width, width)
        self.blocks = cast(Sequence[Block], nn.ModuleList(Block(width, heads, hidden) for _ in range(layers)))
        # The published table of positions is indexed by batch item: at batch size 1, every frame has row 0.
        self.register_buffer("row", torch.tensor([0.0, 1.0]).repeat((width + 1) // 2)[:width], persistent=False)

    def convolve(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, D). Beyond its frames (B,), an item's first and last frames are repeated."""
        frames, reach = x.shape[1], self.REACH
        positions = torch.arange(-reach, frames + reach).clamp_min(0)
        positions = torch.minimum(positions, (lengths.cpu() - 1)[:, None]).to(x.device)
        padded = x[torch.arange(len(x), device=x.device)[:, None], positions]
        return F.leaky_relu(self.convolution(padded.transpose(1, 2)), self.slope).transpose(1, 2)

    def normalise(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Convolved frames (B, T, D) -> input of the first block; mean and variance over time, (B, 1, D)."""
        x = self.embed((x - mean) * (variance + 1e-5).rsqrt()) + self.row
        return F.dropout(x, self.dropout, self.training)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x: (B, T, D), with the frames (B,) of each item. Returns (B, T, D), which does not depend on padding."""
        x = self.convolve(x, lengths)
        on_host = frame_mask(lengths, x.shape[1])
        valid = on_host.to(x.device)
        count, weight = lengths[:, None, None].to(x.device), valid[..., None]
        mean = (x * weight).sum(1, True) / count
        variance = ((x - mean).square() * weight).sum(1, True) / count
        x = self.normalise(x, mean, variance)
        attended = None if bool(on_host.all()) else valid
        for block in self.blocks:
            x, _ = block(x, attended)
        return x
