"""The transformer decoder of a lip reader."""

import copy
import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """(N,) -> (N, width), sine and cosine interleaved. Vaswani et al. 2017, section 3.5."""
    rates = torch.exp(torch.arange(0, width, 2, device=positions.device) * (-math.log(10000.0) / width))
    angles = positions[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)


class Attention(nn.Module):
    """Multi-head attention with four separate projections, so that keys and values can be cached."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Queries, keys and values, split into heads, -> (B, T, D).

        bias: added to the scores, or, if boolean, True where a query may attend to a key.
        """
        context = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, is_causal=causal, dropout_p=self.dropout * self.training
        )
        return self.out(context.transpose(1, 2).flatten(-2))


class FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, linear."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))


class DecoderLayer(nn.Module):
    """Pre-norm transformer decoder layer."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.self_attention, self.cross_attention = (Attention(width, heads, dropout) for _ in range(2))
        self.feedforward = FeedForward(width, feedforward, dropout)
        self.self_norm, self.cross_norm, self.feedforward_norm = (nn.LayerNorm(width, eps=1e-12) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def memory(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, T, d) of the features (B, T, D), the same for every token."""
        cross = self.cross_attention
        return cross.split_heads(cross.key(features)), cross.split_heads(cross.value(features))

    def forward(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor],
        mask: Tensor,
        cache: Tensor | None = None,
        attended: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x: (B, L, D); memory: of `memory`; mask: (B, 1, 1, T), True at valid frames.

        cache: keys and values (B, N, 2 D) of previous tokens; those of x are written into its slots (B, L), in place.
        attended: (B, 1, L, N), True where a token attends to a slot; None: causal attention among the tokens of x.
        Returns the new state (B, L, D) and the keys and values of all tokens.
        """
        attention, cross = self.self_attention, self.cross_attention
        normed = self.self_norm(x)
        keys_values = torch.cat((attention.key(normed), attention.value(normed)), -1)
        if cache is not None:
            cache[torch.arange(len(cache), device=cache.device)[:, None], slots] = keys_values
            keys_values = cache
        key, value = keys_values.chunk(2, -1)
        query = attention.split_heads(attention.query(normed))
        key, value = attention.split_heads(key), attention.split_heads(value)
        x = x + self.drop(attention.attend(query, key, value, attended, attended is None))
        query = cross.split_heads(cross.query(self.cross_norm(x)))
        x = x + self.drop(cross.attend(query, *memory, mask))
        return x + self.drop(self.feedforward(self.feedforward_norm(x))), keys_values


class Decoder(nn.Module):
    """Transformer decoder: logits of the next token, given the tokens before it and an utterance's features."""

    def __init__(self, vocabulary: int, width: int, heads: int, feedforward: int, layers: int, dropout: float):
        super().__init__()
        self.width = width
        self.embed = nn.Embedding(vocabulary, width)
        # `forward` multiplies by sqrt(width): tokens then weigh as much as positions. The published initialisation has
        # standard deviation 1, so that tokens outweigh positions.
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.out = nn.Linear(width, vocabulary)
        self.drop = nn.Dropout(dropout)

    def memory(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each layer's keys and values (B, heads, T, d) of the features (B, T, D)."""
        return [cast(DecoderLayer, layer).memory(features) for layer in self.layers]

    def forward(
        self,
        tokens: Tensor,
        memory: list[tuple[Tensor, Tensor]],
        mask: Tensor,
        position: int = 0,
        caches: list[Tensor] | None = None,
        attended: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """tokens: (B, L); memory: of `memory`, for features (B, T, D); mask: (B, T), True at valid frames.

        Without `attended`, the tokens of an item are one sequence that begins at `position`. With `attended`
        (B, L, N), they are alternatives for one position, as in a beam search: a token attends to the cache slots where
        it is True, which include its own. caches: each layer's keys and values (B, N, 2 D), as returned by the previous
        call; those of the new tokens are written into slots (B, L), in place.
        Returns logits (B, L, vocabulary) and the caches.
        """
        count = tokens.shape[1] if attended is None else 1
        positions = torch.arange(position, position + count, device=tokens.device)
        x = self.embed(tokens) * self.width**0.5
        x = self.drop(x + sinusoids(positions, self.width).to(x))
        mask, attended = mask[:, None, None], None if attended is None else attended[:, None]
        new_caches = []
        for n, layer in enumerate(self.layers):
            x, cache = layer(x, memory[n], mask, caches[n] if caches else None, attended, slots)
            new_caches.append(cache)
        return self.out(self.norm(x)), new_caches


class PackedLinear(nn.Module):
    """A linear map with its weights in oneDNN's layout, for inference only.

    Two to three times as fast for the rows of a beam on an AMD processor with AVX-512 (docs/lipreading.md). PyTorch's
    compiler calls the same operators.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach()), linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def pack_linear_weights(decoder: Decoder) -> Decoder:
    """A decoder for inference whose linear maps are `PackedLinear` and whose other parameters are those of `decoder`.

    Returns `decoder` itself unless it computes in single precision on a processor that oneDNN supports.
    """
    weight = decoder.out.weight
    single = weight.device.type == "cpu" and weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not single or not torch.backends.mkldnn.is_available():
        return decoder
    packed = copy.deepcopy(decoder, {id(p): p for p in decoder.parameters()})
    for module in list(packed.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, PackedLinear(child))
    return packed
