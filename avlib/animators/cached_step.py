"""One step of a decoder layer over cached keys and values, with a gradient written by hand.

`KeyValueCache.step` runs the layer on the next frames. docs/decoder_gradients.md derives the gradient; `layer_steps`
has the layer's operations.
"""

from itertools import chain, islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .layer_steps import (
    DropoutMasks,
    LayerWeights,
    LinearRows,
    Memory,
    NormRows,
    SavedCrossAttention,
    SavedFeedForward,
    SavedNorm,
    SavedSelfAttention,
    apply_dropout,
    cross_attention,
    cross_attention_backward,
    feed_forward,
    feed_forward_backward,
    layer_norm,
    layer_norm_backward,
    layer_norm_weight_gradients,
    linear_weight_gradients,
    project_heads,
    project_heads_backward,
    self_attention,
    self_attention_backward,
)


class SavedStep(NamedTuple):
    """What the backward pass of one step needs, in the order of the forward pass."""

    self_attention: SavedSelfAttention
    self_norm: SavedNorm
    cross_attention: SavedCrossAttention
    cross_norm: SavedNorm
    feed_forward: SavedFeedForward
    last_norm: SavedNorm
    masks: DropoutMasks

    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of its tensors in one tuple, as autograd saves them."""
        return tuple(chain.from_iterable(self))

    @classmethod
    def from_tensors(cls, tensors: tuple[Tensor | None, ...]) -> tuple["SavedStep", tuple[Tensor | None, ...]]:
        """The step whose `tensors` come first, and those that follow."""
        remaining = iter(tensors)
        step = cls(*(part._make(islice(remaining, len(part._fields))) for part in cls.__annotations__.values()))
        return step, tuple(remaining)


class StepRows(NamedTuple):
    """Rows of one step from which the gradients of the weights are computed."""

    qkv: LinearRows
    out: LinearRows
    expand: LinearRows
    contract: LinearRows
    self_norm: NormRows
    cross_norm: NormRows
    last_norm: NormRows


class CachedStep:
    """Forward and backward pass of a layer's steps. It holds the keys and values of past frames, of which a frame
    attends to the last `horizon`, and the layer's own weights."""

    def __init__(self, horizon: int, heads: int, weights: LayerWeights):
        self.horizon, self.heads, self.weights = horizon, heads, weights
        self.count = 0  # frames in the cache
        self.keys_values: Tensor | None = None  # (2, N, capacity, d), of which the first `count` frames are filled
        self.differentiable = False  # whether a backward pass will need the keys and values
        # of the running backward pass:
        self.grad_keys_values: Tensor | None = None  # (2, N, count, d), summed over the steps done so far
        self.reached = 0  # the last frame of the step done last, plus one
        self.rows: list[StepRows] = []  # of the steps done so far

    def forward(
        self, x: Tensor, frames: int, bias: Tensor, memory: Memory, masks: DropoutMasks
    ) -> tuple[Tensor, SavedStep, tuple[int, int]]:
        """See `AlignedDecoderLayer.forward` for the arguments. Returns the layer's state (M, D), what the backward
        pass needs, and the first and last + 1 of the cached frames that these frames attend to."""
        w = self.weights
        if masks.attention is not None:  # it is drawn for as many frames as a roll-out may attend to
            attention_mask = masks.attention.view(-1, frames, masks.attention.shape[-1])[..., : bias.shape[-1]]
            masks = masks._replace(attention=attention_mask)
        query, new_keys, new_values = project_heads(x, frames, self.heads, w)
        keys_values = self._append(new_keys, new_values)
        begin, end = max(0, self.count - self.horizon), self.count
        keys, values = keys_values[0, :, begin:end], keys_values[1, :, begin:end]

        context, weights = self_attention(query, keys, values, bias, masks.attention, self.heads)
        output = apply_dropout(torch.addmm(w.out_bias, context, w.out.T), masks.self_output)
        x1, self_norm = layer_norm(x + output, w.self_norm, w.self_norm_bias)

        output, cross_weights = cross_attention(x1, memory, self.heads)
        x2, cross_norm = layer_norm(x1 + apply_dropout(output, masks.cross_output), w.cross_norm, w.cross_norm_bias)

        output, hidden = feed_forward(x2, masks, w)
        state, last_norm = layer_norm(x2 + apply_dropout(output, masks.output), w.last_norm, w.last_norm_bias)

        saved = SavedStep(
            SavedSelfAttention(x, query, weights, context),
            self_norm,
            SavedCrossAttention(x1, cross_weights),
            cross_norm,
            SavedFeedForward(x2, hidden),
            last_norm,
            masks,
        )
        return state, saved, (begin, end)

    def _append(self, keys: Tensor, values: Tensor) -> Tensor:
        """Adds keys and values (N, T, d) of the next frames. Returns `keys_values`."""
        rows, frames, head_width = keys.shape
        cached, after = self.keys_values, self.count + frames
        if cached is None or after > cached.shape[2]:
            # A backward pass will read all frames at their places. Without one, frames beyond the horizon are dropped.
            kept = self.count if self.differentiable else min(self.count, max(self.horizon - frames, 0))
            larger = keys.new_empty(2, rows, 2 * (kept + frames), head_width)
            if cached is not None and kept:
                larger[:, :, :kept] = cached[:, :, self.count - kept : self.count]
            cached, self.count, after = larger, kept, kept + frames
            self.keys_values = cached
        cached[0, :, self.count : after] = keys
        cached[1, :, self.count : after] = values
        self.count = after
        return cached

    def backward(
        self, grad_state: Tensor, saved: SavedStep, memory: Memory, span: tuple[int, int]
    ) -> tuple[Tensor, Memory]:
        """From the gradient of a step's state (M, D) to those of its x (M, D) and of its memory. `span` is what
        `forward` returned. Steps come from the last to the first: one that does not lie before the step done last
        starts a new pass."""
        w, masks = self.weights, saved.masks
        (begin, end), frames = span, saved.self_attention.query.shape[1]
        keys_values, grad_keys_values = self._gradients_up_to(end)
        keys, values = keys_values[:, :, begin:end].unbind()
        grad_keys, grad_values = grad_keys_values[:, :, begin:end].unbind()

        grad_sum = layer_norm_backward(grad_state, saved.last_norm, w.last_norm, w.last_norm_bias)
        grad_contracted = apply_dropout(grad_sum, masks.output)
        hidden = saved.feed_forward.hidden
        grad_expanded, grad_x2 = feed_forward_backward(grad_contracted, grad_sum, hidden, masks, w)

        grad_sum = layer_norm_backward(grad_x2, saved.cross_norm, w.cross_norm, w.cross_norm_bias)
        grad_cross = apply_dropout(grad_sum, masks.cross_output)
        grad_query_x1, grad_memory = cross_attention_backward(grad_cross, saved.cross_attention, memory)
        grad_x1 = grad_sum if grad_query_x1 is None else grad_sum + grad_query_x1

        grad_sum = layer_norm_backward(grad_x1, saved.self_norm, w.self_norm, w.self_norm_bias)
        grad_out = apply_dropout(grad_sum, masks.self_output)
        grad_context = grad_out @ w.out
        grad_query = self_attention_backward(
            grad_context, saved.self_attention, keys, values, grad_keys, grad_values, masks.attention, self.heads
        )
        # all later steps have added their share, so the gradients of this step's own keys and values are complete
        grad_new_keys, grad_new_values = grad_keys_values[:, :, end - frames : end].unbind()
        grad_qkv, grad_x = project_heads_backward(grad_query, grad_new_keys, grad_new_values, grad_sum, self.heads, w)

        self.rows.append(
            StepRows(
                LinearRows(saved.self_attention.x, grad_qkv),
                LinearRows(saved.self_attention.context, grad_out),
                LinearRows(saved.feed_forward.x, grad_expanded),
                LinearRows(hidden, grad_contracted),
                NormRows(grad_x1, *saved.self_norm),
                NormRows(grad_x2, *saved.cross_norm),
                NormRows(grad_state, *saved.last_norm),
            )
        )
        return grad_x, grad_memory

    def _gradients_up_to(self, end: int) -> tuple[Tensor, Tensor]:
        """The cached keys and values, and their gradients up to frame `end`: zero if a new backward pass starts
        there."""
        assert self.keys_values is not None  # a forward pass comes first
        if self.grad_keys_values is None or end >= self.reached:
            _, rows, _, head_width = self.keys_values.shape
            self.grad_keys_values = self.keys_values.new_zeros(2, rows, end, head_width)
            self.rows = []
        self.reached = end
        return self.keys_values, self.grad_keys_values

    def weight_gradients(self) -> LayerWeights:
        """The gradients of the weights, summed over all steps of the backward pass that ends here."""
        w = self.weights
        # rows of all steps one below the other: one product in place of one for each step
        qkv, out, expand, contract, self_norm, cross_norm, last_norm = (
            type(parts[0])(*map(torch.cat, zip(*parts))) for parts in zip(*self.rows)
        )
        self.rows = []
        return LayerWeights(
            *linear_weight_gradients(qkv),
            *linear_weight_gradients(out),
            *linear_weight_gradients(expand),
            *linear_weight_gradients(contract),
            *layer_norm_weight_gradients(self_norm, w.self_norm, w.self_norm_bias),
            *layer_norm_weight_gradients(cross_norm, w.cross_norm, w.cross_norm_bias),
            *layer_norm_weight_gradients(last_norm, w.last_norm, w.last_norm_bias),
        )


class KeyValueCache:
    """Keys and values of a layer's past frames, and the order in which autograd runs backward through its steps.

    The graph holds the `CachedStep` and never this object, which holds the graph's newest `token`: a reference cycle
    would keep both in memory.
    """

    def __init__(self, horizon: int, heads: int, weights: LayerWeights):
        """horizon: past frames, with the newest, that a frame attends to."""
        self.cached_step = CachedStep(horizon, heads, weights)
        self.token: Tensor | None = None  # (0,), output of the newest step and input of the next

    def step(self, x: Tensor, frames: int, bias: Tensor, memory: Memory, masks: DropoutMasks) -> Tensor:
        """See `AlignedDecoderLayer.forward`. Adds the frames to the cache."""
        if not torch.is_grad_enabled():
            return self.cached_step.forward(x, frames, bias, memory, masks)[0]
        if self.token is None:
            self.token = _WeightsToken.apply(self.cached_step, *self.cached_step.weights)
        state, self.token = _DifferentiableStep.apply(
            x, self.token, self.cached_step, frames, bias, masks, type(memory), *memory
        )
        return state

    def discard(self, frames: int):
        """Removes the newest `frames` frames. Only without gradient."""
        self.cached_step.count -= frames


class _DifferentiableStep(torch.autograd.Function):
    """`CachedStep.forward` with gradient. Each step takes the token of the step before, so autograd runs backward from
    the last step to the first. No step keeps a copy of the frames before it."""

    @staticmethod
    def forward(ctx, x, token, cached_step, frames, bias, masks, memory_type, *memory):
        ctx.set_materialize_grads(False)
        state, saved, ctx.span = cached_step.forward(x, frames, bias, memory_type(*memory), masks)
        ctx.cached_step, ctx.memory_type = cached_step, memory_type
        ctx.save_for_backward(*saved.tensors(), *memory)
        return state, x.new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_state, grad_token):
        saved, memory = SavedStep.from_tensors(ctx.saved_tensors)
        if grad_state is None:
            grad_state = torch.zeros_like(saved.self_attention.x)
        grad_x, grad_memory = ctx.cached_step.backward(grad_state, saved, ctx.memory_type(*memory), ctx.span)
        return grad_x, None, None, None, None, None, None, *grad_memory


class _WeightsToken(torch.autograd.Function):
    """The token of the first step. Its backward pass runs after those of all steps and gives the weights' gradients."""

    @staticmethod
    def forward(ctx, cached_step, *weights):
        ctx.set_materialize_grads(False)
        ctx.cached_step, cached_step.differentiable = cached_step, True
        ctx.save_for_backward(*weights)
        return weights[0].new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_token):
        _ = ctx.saved_tensors  # raises an error if a weight was changed in place since the forward pass
        return None, *ctx.cached_step.weight_gradients()
