"""The transformer decoder of a lip reader: the next token from tokens and features."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """(N,) -> (N, width), sine and cosine interleaved. Vaswani et al. 2017, section 3.5."""
    rates = torch.exp(torch.arange(0, width, 2, device=positions.device) * (-math.log(10000.0) / width))
    angles = positions[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)


class Attention(nn.Module):
    """Multi-head attention with its four maps apart, so that keys and values can be kept."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Split queries, keys and values -> (B, T, D). bias: added to the scores, or True where a key may be seen."""
        context = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, is_causal=causal, dropout_p=self.dropout * self.training
        )
        return self.out(context.transpose(1, 2).flatten(-2))


class FeedForward(nn.Sequential):
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
        return cross.split(cross.key(features)), cross.split(cross.value(features))

    def forward(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor],
        mask: Tensor,
        past: Tensor | None = None,
        seen: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x: (B, L, D); mask: (B, 1, 1, T), True at the memory's own frames; past: keys and values (B, N, 2 D) of tokens
        before, those of x are written into its slots (B, L); seen: (B, 1, L, N), which x attends to which. Returns the
        state, and all keys and values."""
        own, cross = self.self_attention, self.cross_attention
        normed = self.self_norm(x)
        new = torch.cat((own.key(normed), own.value(normed)), -1)
        kept = new
        if past is not None:
            past[torch.arange(len(past), device=past.device)[:, None], slots] = new
            kept = past
        key, value = kept.chunk(2, -1)
        x = x + self.drop(
            own.attend(own.split(own.query(normed)), own.split(key), own.split(value), seen, seen is None)
        )
        x = x + self.drop(cross.attend(cross.split(cross.query(self.cross_norm(x))), *memory, mask))
        return x + self.drop(self.feedforward(self.feedforward_norm(x))), kept


class Decoder(nn.Module):
    """Transformer decoder: the next token, given the tokens before it and an utterance's features."""

    def __init__(self, vocabulary: int, width: int, heads: int, feedforward: int, layers: int, dropout: float):
        super().__init__()
        self.width = width
        self.embed = nn.Embedding(vocabulary, width)
        # scaled by sqrt(width) below, tokens then weigh as much as positions; published: 1, which drowns positions
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.out = nn.Linear(width, vocabulary)
        self.drop = nn.Dropout(dropout)

    def memory(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [layer.memory(features) for layer in self.layers]

    def forward(
        self,
        tokens: Tensor,
        memory: list[tuple[Tensor, Tensor]],
        mask: Tensor,
        place: int = 0,
        pasts: list[Tensor] | None = None,
        seen: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """tokens: (B, L); memory, of features (B, T, D); mask: (B, T), True at an utterance's own frames.

        The tokens follow each other from the start on, or where `seen` is given are alternatives for one place: token l
        of item b comes after those of the N kept tokens where seen (B, L, N) is True, and sees itself. pasts: of the kept
        tokens, as returned, with room at slots (B, L) for these, which are written there. Returns logits (B, L, vocabulary)
        and pasts.
        """
        places = torch.arange(place, place + (tokens.shape[1] if seen is None else 1), device=tokens.device)
        x = self.embed(tokens) * self.width**0.5
        x = self.drop(x + sinusoids(places, self.width).to(x))
        seen, kept = None if seen is None else seen[:, None], []
        for n, layer in enumerate(self.layers):
            x, past = layer(x, memory[n], mask[:, None, None], pasts[n] if pasts else None, seen, slots)
            kept.append(past)
        return self.out(self.norm(x)), kept


class Packed(nn.Module):
    """A linear map whose weights lie as oneDNN reads them, for inference alone: two to three times as quick for the rows of a beam
    on an AMD processor with AVX-512 (docs/reading.md). The operators are those that PyTorch's own compiler calls."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach()), linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def packed(decoder: Decoder) -> Decoder:
    """The decoder with its maps packed, where it computes in single precision on a processor for which there is oneDNN."""
    weight = decoder.out.weight
    single = weight.device.type == "cpu" and weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not single or not torch.backends.mkldnn.is_available():
        return decoder
    made = copy.deepcopy(decoder, {id(p): p for p in decoder.parameters()})
    for module in list(made.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Packed(child))
    return made
