"""The decoder of FaceFormer and CodeTalker. A frame attends to past frames and to its own speech features.

`AlignedDecoder` runs over known inputs at once; `Rollout` feeds its output back frame by frame, with gradient too. A
frame then costs only its own step: keys and values of past frames are cached (`cached_step`).
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.dropout import Dropout, mask
from .attention_bias import causal_bias, distance_bias, periodic_positions
from .cached_step import KeyValueCache
from .layer_steps import (
    EPSILON,
    NO_DROPOUT,
    DropoutMasks,
    FeatureMemory,
    LayerWeights,
    Memory,
    SingleFeatureMemory,
    apply_dropout,
)

TensorTuple = TypeVar("TensorTuple", Memory, DropoutMasks)


class AlignedDecoderLayer(nn.Module):
    """Post-norm transformer decoder layer in which a frame attends to past frames and to its own speech features only.

    A frame has one or two speech features (R), so `memory` computes all of cross-attention but the query's scores for
    the whole utterance at once.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.1):
        """width: D; hidden: width of the feed-forward network. ValueError if the heads do not divide the width."""
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.heads, self.dropout = heads, Dropout(dropout)
        self.self_qkv, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross_qkv, self.cross_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.self_norm, self.cross_norm, self.last_norm = (nn.LayerNorm(width, EPSILON) for _ in range(3))
        for qkv in (self.self_qkv, self.cross_qkv):
            nn.init.xavier_uniform_(qkv.weight)
            nn.init.zeros_(qkv.bias)
        for out in (self.self_out, self.cross_out):
            nn.init.zeros_(out.bias)

    def memory(self, audio_features: Tensor) -> Memory:
        """audio_features: (B, T, R, D), the R features of each frame. Returns what cross-attention needs of them, (B,
        T, ...): its output where R is one, else keys and values."""
        query_weight, key_weight, value_weight = self.cross_qkv.weight.chunk(3)
        query_bias, key_bias, value_bias = self.cross_qkv.bias.chunk(3)
        if audio_features.shape[2] == 1:  # a softmax over one feature is one
            return SingleFeatureMemory(self.cross_out(F.linear(audio_features.squeeze(2), value_weight, value_bias)))
        per_head = (self.heads, -1)
        keys = F.linear(audio_features, key_weight, key_bias).unflatten(-1, per_head)  # (B, T, R, H, d)
        values = F.linear(audio_features, value_weight, value_bias).unflatten(-1, per_head)
        scale = keys.shape[-1] ** -0.5
        score_offsets = torch.einsum("btrhd,hd->bthr", keys, scale * query_bias.unflatten(0, per_head)).flatten(-2)
        keys = torch.einsum("btrhd,hde->btehr", keys, scale * query_weight.unflatten(0, per_head)).flatten(-2)
        out = self.cross_out.weight.unflatten(1, per_head)
        # a head's weights sum to one, so an equal share of the bias in every head's values adds up to the bias
        values = torch.einsum("btrhd,ehd->bthre", values, out).flatten(2, 3) + self.cross_out.bias / self.heads
        return FeatureMemory(keys, score_offsets, values)

    def dropout_masks(self, like: Tensor, batch: int, frames: int, keys: int) -> DropoutMasks:
        """Masks of T = `frames` frames that attend to up to K = `keys` frames, of `like`'s type and device: of
        attention (B * heads, T, K), of the others (B, T, width)."""
        if not self.dropout.active:
            return NO_DROPOUT
        width, hidden = self.self_out.out_features, self.expand.out_features
        shapes = (batch * self.heads, frames, keys), *((batch, frames, w) for w in (width, width, hidden, width))
        return DropoutMasks(*(mask(self.dropout.p, shape, like) for shape in shapes))

    def new_cache(self, horizon: int) -> KeyValueCache:
        """An empty cache. horizon: past frames, with the newest, that a frame will attend to."""
        modules = (
            self.self_qkv,
            self.self_out,
            self.expand,
            self.contract,
            self.self_norm,
            self.cross_norm,
            self.last_norm,
        )
        weights = LayerWeights(*(weight for module in modules for weight in (module.weight, module.bias)))
        return KeyValueCache(horizon, self.heads, weights)

    def forward(
        self,
        x: Tensor,
        frames: int,
        bias: Tensor,
        memory: Memory,
        cache: KeyValueCache,
        masks: DropoutMasks = NO_DROPOUT,
    ) -> Tensor:
        """x: (B * T, D), the next T = `frames` frames; bias: (B * heads, T, K), added to the scores of the K frames
        attended to, of which the last T are these; memory: (B * T, ...); cache: of the frames before, to which these
        are added; masks: each (B * T, width), the attention's with a row for each head and frame. Returns the layer's
        state (B * T, D)."""
        return cache.step(x, frames, bias, memory, masks)


class AlignedDecoder(nn.Module):
    """Layers with periodic positions and causal bias (Fan et al. 2022), run over known inputs at once."""

    layers: Sequence[AlignedDecoderLayer]  # an nn.ModuleList
    positions: Tensor  # (period, D)

    def __init__(
        self, width: int, heads: int, layers: int, period: int, hidden: int | None = None, dropout: float = 0.1
    ):
        """width: D; period: frames, usually one second; hidden: width of the feed-forward networks, 2 D if None."""
        super().__init__()
        self.heads, self.period, self.dropout = heads, period, Dropout(dropout)
        blocks = [AlignedDecoderLayer(width, heads, hidden or 2 * width, dropout) for _ in range(layers)]
        self.layers = cast(Sequence[AlignedDecoderLayer], nn.ModuleList(blocks))
        self.register_buffer("positions", periodic_positions(width, period), persistent=False)

    def forward(self, inputs: Tensor, audio_features: Tensor) -> Tensor:
        """inputs: (B, T, D), of every frame; audio_features: (B, T, R, D). Returns states (B, T, D)."""
        batch, frames, _ = inputs.shape
        bias = causal_bias(self.heads, self.period, frames).to(inputs).repeat(batch, 1, 1)
        positions = self.positions[torch.arange(frames, device=inputs.device) % self.period]
        x = self.dropout(inputs + positions).flatten(0, 1)
        for layer in self.layers:
            masks = flatten_frames(layer.dropout_masks(inputs, batch, frames, frames))
            x = layer(x, frames, bias, flatten_frames(layer.memory(audio_features)), layer.new_cache(frames), masks)
        return x.view_as(inputs)


class Rollout:
    """A decoder that is fed its own output, given speech in one or more pieces.

    It keeps what it needs of the frames before. A frame attends to the last `HORIZON_MINUTES` only, far beyond the 20
    s of the published tables of positions.
    """

    HORIZON_MINUTES = 1.0

    def __init__(self, decoder: AlignedDecoder, first: Tensor, feedback: Callable[[Tensor], Tensor]):
        """first: input (B, D) of frame 0; feedback: state (B, D) of a frame -> input (B, D) of the next."""
        self.decoder, self.next_input, self.feedback, self.frame = decoder, first, feedback, 0
        self.last_state: Tensor | None = None
        horizon = horizon_frames(decoder)
        bias = distance_bias(decoder.heads, decoder.period, horizon).to(first)
        self.bias = bias.flip(1)[:, None].repeat(len(first), 1, 1)  # (B * heads, 1, horizon), the newest frame last
        self.caches = [layer.new_cache(horizon) for layer in decoder.layers]

    def __call__(self, audio_features: Tensor) -> Tensor:
        """audio_features (B, T, R, D) of the next T frames -> their states (B, T, D): those of the decoder on the
        inputs that the roll-out makes."""
        decoder, (batch, frames) = self.decoder, audio_features.shape[:2]
        memories = [unbind_frames(layer.memory(audio_features), frames) for layer in decoder.layers]
        masks = [
            unbind_frames(layer.dropout_masks(audio_features, batch, frames, self.frame + frames), frames)
            for layer in decoder.layers
        ]
        input_masks = [None] * frames
        if decoder.dropout.active:
            shape = batch, frames, self.next_input.shape[-1]
            input_masks = mask(decoder.dropout.p, shape, audio_features).unbind(1)
        positions = decoder.positions.unbind(0)
        states: list[Tensor] = []
        for t in range(frames):
            if self.last_state is not None:
                self.next_input = self.feedback(self.last_state)
            x = apply_dropout(self.next_input + positions[self.frame % decoder.period], input_masks[t])
            self.frame += 1
            bias = self.bias[..., -self.frame :]
            for layer, memory, cache, layer_masks in zip(decoder.layers, memories, self.caches, masks):
                x = layer(x, 1, bias, memory[t], cache, layer_masks[t])
            states.append(x)
            self.last_state = x
        return torch.stack(states, 1)


def horizon_frames(decoder: AlignedDecoder) -> int:
    """How many frames a frame of a roll-out attends to; the decoder's period is a second."""
    return round(60 * Rollout.HORIZON_MINUTES * decoder.period)


def flatten_frames(tensors: TensorTuple) -> TensorTuple:
    """Each tensor (B, T, ...) as rows (B * T, ...)."""
    return tensors._make(None if tensor is None else tensor.flatten(0, 1) for tensor in tensors)


def unbind_frames(tensors: TensorTuple, frames: int) -> list[TensorTuple]:
    """The tensors (B, T, ...) of each of T = `frames` frames, (B, ...).

    Unbound once: a slice for each frame would cost its backward pass a whole (B, T, ...) tensor.
    """
    parts = ([None] * frames if tensor is None else tensor.unbind(1) for tensor in tensors)
    return [tensors._make(frame) for frame in zip(*parts)]
