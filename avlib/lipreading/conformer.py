"""The Conformer encoder of a lip reader."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention_decoder import Attention, FeedForward, sinusoids
from .frontend import Packing


class RelativeAttention(Attention):
    """Self-attention with scores that depend on the distance of two frames too. Dai et al. 2019, section 3.3."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__(width, heads, dropout)
        self.distance = nn.Linear(width, width, bias=False)
        self.content_bias, self.distance_bias = (nn.Parameter(torch.empty(heads, width // heads)) for _ in range(2))
        for bias in (self.content_bias, self.distance_bias):
            nn.init.xavier_uniform_(bias)

    def forward(self, rows: Tensor, distances: Tensor, valid: Packing, keys: Tensor) -> Tensor:
        """rows: (N, D); distances: (2 T, D), encodings of the distances T - 1, ..., -T in frames; keys: (B, 1, 1, T),
        True at frames that may be attended to. Returns (N, D)."""
        query, key, value = (self.split_heads(valid.unpack(f(rows))) for f in (self.query, self.key, self.value))
        frames, scale = query.shape[2], query.shape[-1] ** -0.5
        distance_keys = self.split_heads(self.distance(distances)[None])
        scores = (query + self.distance_bias[:, None]) @ distance_keys.transpose(-1, -2)
        # Row i needs the distances i, i - 1, ...: concatenating the rows and cutting them again, one element
        # shorter, shifts each row by one more than the row before.
        scores = scores.flatten(-2)[..., frames - 1 : -1].unflatten(-1, (frames, -1))[..., :frames]
        bias = (scores * scale).masked_fill(~keys, -math.inf)
        return valid.pack(self.attend(query + self.content_bias[:, None], key, value, bias))


class ConvolutionModule(nn.Module):
    """Gated linear map, depthwise convolution over time, batch norm, SiLU, linear. Gulati et al. 2020."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.gate, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.depthwise, self.norm = nn.Conv1d(width, width, kernel, groups=width), nn.BatchNorm1d(width)

    def forward(self, rows: Tensor, valid: Packing) -> Tensor:
        """(N, D) -> (N, D)"""
        x = valid.unpack(F.glu(self.gate(rows))).transpose(1, 2).unsqueeze(2)  # (B, D, 1, T), channels last in memory
        conv = self.depthwise
        x = F.conv2d(x, conv.weight.unsqueeze(2), conv.bias, padding=(0, conv.kernel_size[0] // 2), groups=conv.groups)
        return self.out(F.silu(self.norm(valid.pack(x.squeeze(2).transpose(1, 2)))))


class ConformerLayer(nn.Module):
    """Feed-forward, attention, convolution, feed-forward, norm; the feed-forwards count half. Gulati et al. 2020."""

    def __init__(self, width: int, heads: int, feedforward: int, kernel: int, dropout: float):
        super().__init__()
        self.feedforward_before, self.feedforward_after = (FeedForward(width, feedforward, dropout) for _ in range(2))
        self.attention, self.convolution = RelativeAttention(width, heads, dropout), ConvolutionModule(width, kernel)
        self.before_norm, self.attention_norm, self.convolution_norm, self.after_norm, self.norm = (
            nn.LayerNorm(width, eps=1e-12) for _ in range(5)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, rows: Tensor, distances: Tensor, valid: Packing, keys: Tensor) -> Tensor:
        """Arguments and result as of `RelativeAttention.forward`."""
        rows = rows + 0.5 * self.drop(self.feedforward_before(self.before_norm(rows)))
        rows = rows + self.drop(self.attention(self.attention_norm(rows), distances, valid, keys))
        rows = rows + self.drop(self.convolution(self.convolution_norm(rows), valid))
        rows = rows + 0.5 * self.drop(self.feedforward_after(self.after_norm(rows)))
        return self.norm(rows)


class Encoder(nn.Module):
    """The front-end and Conformer of one stream."""

    def __init__(
        self,
        frontend: nn.Module,
        inputs: int,
        width: int,
        heads: int,
        feedforward: int,
        layers: int,
        kernel: int,
        dropout: float,
    ):
        """inputs: channels of the front-end's output."""
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}, expected an odd number of frames")
        self.frontend, self.embed = frontend, nn.Linear(inputs, width)
        self.layers = nn.ModuleList(ConformerLayer(width, heads, feedforward, kernel, dropout) for _ in range(layers))
        self.norm, self.drop = nn.LayerNorm(width, eps=1e-12), nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Packing, keys: Tensor, depth: int | None = None) -> Tensor:
        """x: video (B, T, H, W) or audio (B, T * 640); keys: (B, 1, 1, T), True at frames that may be attended to.
        Returns (N, D). depth: 0 returns the embedded output of the front-end, n that of the n-th layer, not normalised;
        None: that of all layers, normalised."""
        rows = self.embed(self.frontend(x, valid))
        frames, width = valid.mask.shape[1], rows.shape[-1]
        distances = self.drop(sinusoids(torch.arange(frames - 1, -frames - 1, -1, device=x.device), width).to(rows))
        rows = self.drop(rows * width**0.5)
        for layer in self.layers[:depth]:
            rows = layer(rows, distances, valid, keys)
        return self.norm(rows) if depth is None else rows
