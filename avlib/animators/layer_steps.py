"""The operations of one decoder layer, each with its backward pass beside it. docs/decoder_gradients.md derives them.

Letters: B batch, T frames of the step, M = B * T rows, H heads, d width of a head, N = B * H, K frames attended to
(keys), R speech features of a frame, D width, F hidden width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-5  # added to the variance in the layer norms


class LayerWeights(NamedTuple):
    """Weights of a layer without its cross-attention, or their gradients. Linear weights are (output, input)."""

    qkv: Tensor  # (3 D, D), query, key and value maps of self-attention
    qkv_bias: Tensor
    out: Tensor  # (D, D), output map of self-attention
    out_bias: Tensor
    expand: Tensor  # (F, D), first map of the feed-forward network
    expand_bias: Tensor
    contract: Tensor  # (D, F), second map of the feed-forward network
    contract_bias: Tensor
    self_norm: Tensor  # (D,), norm after self-attention
    self_norm_bias: Tensor
    cross_norm: Tensor  # (D,), norm after cross-attention
    cross_norm_bias: Tensor
    last_norm: Tensor  # (D,), norm after the feed-forward network
    last_norm_bias: Tensor


class DropoutMasks(NamedTuple):
    """Factors of each dropout: 0 or 1 / (1 - p). None: no dropout."""

    attention: Tensor | None = None  # (N, T, K), or its rows (N * T, K), of the self-attention weights
    self_output: Tensor | None = None  # (M, D), of the output of self-attention
    cross_output: Tensor | None = None  # (M, D), of the output of cross-attention
    hidden: Tensor | None = None  # (M, F), of the hidden layer of the feed-forward network
    output: Tensor | None = None  # (M, D), of the output of the feed-forward network


NO_DROPOUT = DropoutMasks()


class SingleFeatureMemory(NamedTuple):
    """Cross-attention where a frame has one speech feature: its output, which does not depend on the query."""

    output: Tensor  # (M, D)


class FeatureMemory(NamedTuple):
    """Cross-attention where a frame has R > 1 speech features: keys and values of each head and feature, H * R in all.

    The query map is multiplied into the keys, and the output map into the values.
    """

    keys: Tensor  # (M, D, H * R)
    score_offsets: Tensor  # (M, H * R), scores of the query map's bias
    values: Tensor  # (M, H * R, D)


Memory = SingleFeatureMemory | FeatureMemory


class SavedSelfAttention(NamedTuple):
    """What the backward pass of self-attention needs, except keys and values, which stay in the cache."""

    x: Tensor  # (M, D), input of the layer
    query: Tensor  # (N, T, d)
    weights: Tensor  # (N, T, K), softmax of the scores, before dropout
    context: Tensor  # (M, D), weighted values of all heads, side by side


class SavedCrossAttention(NamedTuple):
    """What the backward pass of cross-attention needs, except the memory."""

    x: Tensor  # (M, D)
    weights: Tensor | None  # (M, H, R), softmax of the scores; None for a `SingleFeatureMemory`


class SavedFeedForward(NamedTuple):
    """What the backward pass of the feed-forward network needs."""

    x: Tensor  # (M, D)
    hidden: Tensor  # (M, F), after ReLU and dropout


class SavedNorm(NamedTuple):
    """What the backward pass of a layer norm needs."""

    x: Tensor  # (M, D)
    mean: Tensor  # (M, 1)
    inverse_std: Tensor  # (M, 1)


class LinearRows(NamedTuple):
    """Input rows of a linear map and the gradient of its output rows: together they give the gradient of its
    weights."""

    x: Tensor
    grad_output: Tensor


class NormRows(NamedTuple):
    """The same for a layer norm, with what its forward pass saved."""

    grad_output: Tensor
    x: Tensor
    mean: Tensor
    inverse_std: Tensor


def apply_dropout(x: Tensor, mask: Tensor | None) -> Tensor:
    """x with dropout. The gradient passes through the same function."""
    return x if mask is None else x * mask


def softmax_backward(grad_weights: Tensor, weights: Tensor) -> Tensor:
    """Gradient of the scores whose softmax over the last axis is `weights`."""
    # torch's stubs lack it
    return torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)  # pyright: ignore[reportPrivateImportUsage]


def project_heads(x: Tensor, frames: int, heads: int, w: LayerWeights) -> tuple[Tensor, Tensor, Tensor]:
    """x (M, D) of T = `frames` frames -> query, keys and values, each (N, T, d)."""
    qkv = torch.addmm(w.qkv_bias, x, w.qkv.T).view(-1, frames, 3, heads, x.shape[-1] // heads)
    query, keys, values = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2).unbind()
    return query, keys, values


def project_heads_backward(
    grad_query: Tensor, grad_keys: Tensor, grad_values: Tensor, grad_residual: Tensor, heads: int, w: LayerWeights
) -> tuple[Tensor, Tensor]:
    """Returns the gradient of qkv (M, 3 D), and that of x (M, D) with `grad_residual` added: x is also the residual."""
    grad_heads = torch.stack((grad_query, grad_keys, grad_values)).unflatten(1, (-1, heads))  # (3, B, H, T, d)
    grad_qkv = grad_heads.permute(1, 3, 0, 2, 4).reshape(len(grad_residual), -1)
    return grad_qkv, torch.addmm(grad_residual, grad_qkv, w.qkv)


def self_attention(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor, mask: Tensor | None, heads: int
) -> tuple[Tensor, Tensor]:
    """query (N, T, d) and bias (N, T, K) on keys and values (N, K, d). mask: dropout (N, T, K). Returns the context
    (M, D) of all heads, side by side, and the attention weights (N, T, K) before dropout."""
    weights = torch.baddbmm(bias, query, keys.transpose(1, 2), alpha=query.shape[-1] ** -0.5).softmax(-1)
    context = torch.bmm(apply_dropout(weights, mask), values)
    _, frames, head_width = query.shape
    context = context.view(-1, heads, frames, head_width).transpose(1, 2).reshape(-1, heads * head_width)
    return context, weights


def self_attention_backward(
    grad_context: Tensor,
    saved: SavedSelfAttention,
    keys: Tensor,
    values: Tensor,
    grad_keys: Tensor,
    grad_values: Tensor,
    mask: Tensor | None,
    heads: int,
) -> Tensor:
    """grad_context (M, D) -> gradient of the query (N, T, d). Adds the gradients of keys and values to `grad_keys` and
    `grad_values` (N, K, d), in place."""
    query, weights = saved.query, saved.weights
    _, frames, head_width = query.shape
    grad_heads = grad_context.view(-1, frames, heads, head_width).transpose(1, 2).flatten(0, 1)  # (N, T, d)
    grad_weights = apply_dropout(grad_heads @ values.transpose(1, 2), mask)
    grad_scores = softmax_backward(grad_weights, weights) * head_width**-0.5
    grad_keys.baddbmm_(grad_scores.transpose(1, 2), query)
    grad_values.baddbmm_(apply_dropout(weights, mask).transpose(1, 2), grad_heads)
    return grad_scores @ keys


def cross_attention(x: Tensor, memory: Memory, heads: int) -> tuple[Tensor, Tensor | None]:
    """x (M, D) attends to the speech features of its own frame. Returns the output (M, D) and the attention weights
    (M, H, R), None where a frame has one feature."""
    if isinstance(memory, SingleFeatureMemory):
        return memory.output, None
    scores = torch.baddbmm(memory.score_offsets[:, None], x[:, None], memory.keys)  # (M, 1, H * R)
    weights = scores.view(len(x), heads, -1).softmax(-1)
    return torch.bmm(weights.view(len(x), 1, -1), memory.values)[:, 0], weights


def cross_attention_backward(
    grad_output: Tensor, saved: SavedCrossAttention, memory: Memory
) -> tuple[Tensor | None, Memory]:
    """grad_output (M, D) -> gradients of x (M, D), None where the output does not depend on it, and of the memory."""
    if isinstance(memory, SingleFeatureMemory):
        return None, SingleFeatureMemory(grad_output)
    x, weights = saved
    assert weights is not None  # the forward pass saves them for such a memory
    grad_weights = torch.bmm(memory.values, grad_output[:, :, None]).view_as(weights)
    grad_scores = softmax_backward(grad_weights, weights).view(len(x), 1, -1)
    grad_x = torch.bmm(memory.keys, grad_scores.transpose(1, 2))[:, :, 0]
    grad_values = weights.view(len(x), -1, 1) * grad_output[:, None]
    return grad_x, FeatureMemory(x[:, :, None] * grad_scores, grad_scores[:, 0], grad_values)


def feed_forward(x: Tensor, masks: DropoutMasks, w: LayerWeights) -> tuple[Tensor, Tensor]:
    """x (M, D) -> output (M, D), before its dropout, and hidden layer (M, F), after ReLU and dropout."""
    hidden = apply_dropout(torch.addmm(w.expand_bias, x, w.expand.T).relu_(), masks.hidden)
    return torch.addmm(w.contract_bias, hidden, w.contract.T), hidden


def feed_forward_backward(
    grad_output: Tensor, grad_residual: Tensor, hidden: Tensor, masks: DropoutMasks, w: LayerWeights
) -> tuple[Tensor, Tensor]:
    """grad_output (M, D) -> gradients of the first map's output (M, F) and of x (M, D), with `grad_residual` added."""
    grad_hidden = apply_dropout(grad_output @ w.contract, masks.hidden)
    # `hidden` is zero where the ReLU was closed, and where dropout removed it: there grad_hidden is zero already
    grad_expanded = torch.ops.aten.threshold_backward(grad_hidden, hidden, 0)
    return grad_expanded, torch.addmm(grad_residual, grad_expanded, w.expand)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, SavedNorm]:
    """x (M, D) normalised row by row, and what the backward pass needs."""
    y, mean, inverse_std = torch.native_layer_norm(x, weight.shape, weight, bias, EPSILON)
    return y, SavedNorm(x, mean, inverse_std)


def layer_norm_backward(grad_output: Tensor, saved: SavedNorm, weight: Tensor, bias: Tensor) -> Tensor:
    """grad_output (M, D) -> gradient of x (M, D)."""
    return _layer_norm_backward(grad_output, saved, weight, bias, (True, False, False))[0]


def layer_norm_weight_gradients(rows: NormRows, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias, (D,) each."""
    grad_output, *saved = rows
    _, grad_weight, grad_bias = _layer_norm_backward(grad_output, SavedNorm(*saved), weight, bias, (False, True, True))
    return grad_weight, grad_bias


def _layer_norm_backward(
    grad_output: Tensor, saved: SavedNorm, weight: Tensor, bias: Tensor, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias, of which only the `wanted` are computed."""
    x, mean, inverse_std = saved
    return torch.ops.aten.native_layer_norm_backward(
        grad_output, x, weight.shape, mean, inverse_std, weight, bias, wanted
    )


def linear_weight_gradients(rows: LinearRows) -> tuple[Tensor, Tensor]:
    """Gradients of weight (output, input) and bias (output,)."""
    return rows.grad_output.T @ rows.x, rows.grad_output.sum(0)
