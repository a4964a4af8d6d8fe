"""The decoder of FaceFormer and CodeTalker: its frames see past frames and their own speech alone. It runs over known
inputs at once or is rolled out frame by frame, where a frame costs what it adds, with gradient too."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.dropout import Dropout, mask
from .attention_bias import causal_bias, distance_bias, periodic_positions
from .cached_step import EPSILON, KeyValueCache, _Frames, _times, _Weights


class AlignedDecoderLayer(nn.Module):
    """Post-norm transformer decoder layer in which a frame attends to past frames and to its own speech features alone.

    A frame has so few speech features (R, one or two) that all of cross-attention but the query's scores is
    computed for the whole utterance at once, by `memory`.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.1):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.heads, self.drop = heads, Dropout(dropout)
        self.self_qkv, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross_qkv, self.cross_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.self_norm, self.cross_norm, self.last_norm = (nn.LayerNorm(width, EPSILON) for _ in range(3))
        for attention in (self.self_qkv, self.cross_qkv):
            nn.init.xavier_uniform_(attention.weight)
            nn.init.zeros_(attention.bias)
        for out in (self.self_out, self.cross_out):
            nn.init.zeros_(out.bias)

    def memory(self, speech: Tensor) -> tuple[Tensor, ...]:
        """speech: (B, T, R, D), the R features of each frame. Returns what `forward` adds to a frame: the context
        (B, T, D) where R is one; else, with N = heads * R, keys (B, T, D, N) in the space of the layer's state, their
        offsets (B, T, N) and values (B, T, N, D) after the output map."""
        weights, biases = self.cross_qkv.weight.chunk(3), self.cross_qkv.bias.chunk(3)
        if speech.shape[2] == 1:
            return (self.cross_out(F.linear(speech.squeeze(2), weights[2], biases[2])),)
        heads = (self.heads, -1)
        keys = F.linear(speech, weights[1], biases[1]).unflatten(-1, heads)  # (B, T, R, H, d)
        values = F.linear(speech, weights[2], biases[2]).unflatten(-1, heads)
        scale = keys.shape[-1] ** -0.5
        offsets = torch.einsum("btrhd,hd->bthr", keys, scale * biases[0].unflatten(0, heads)).flatten(-2)
        keys = torch.einsum("btrhd,hde->btehr", keys, scale * weights[0].unflatten(0, heads)).flatten(-2)
        out = self.cross_out.weight.unflatten(1, heads)
        # a head's weights sum to one, so an even share of the bias in every head's values adds up to the bias
        values = torch.einsum("btrhd,ehd->bthre", values, out).flatten(2, 3) + self.cross_out.bias / self.heads
        return keys, offsets, values

    def masks(self, like: Tensor, batch: int, frames: int, known: int) -> tuple[Tensor, ...] | None:
        """In training, the dropout of T = `frames` frames that attend to up to `known`: of attention (B * heads, T, known),
        of what it says, of what is heard, of the hidden layer and of what that says, (B, T, width) each."""
        if not self.drop.active:
            return None
        width, hidden = self.self_out.out_features, self.expand.out_features
        shapes = (batch * self.heads, frames, known), *((batch, frames, w) for w in (width, width, hidden, width))
        return tuple(mask(self.drop.p, shape, like) for shape in shapes)

    def past(self, context: int) -> "KeyValueCache":
        """No frames yet, of which the last `context` will be attended to."""
        parts = (
            self.self_qkv,
            self.self_out,
            self.expand,
            self.contract,
            self.self_norm,
            self.cross_norm,
            self.last_norm,
        )
        return KeyValueCache(
            context, self.heads, tuple(weight for part in parts for weight in (part.weight, part.bias))
        )

    def forward(
        self,
        x: Tensor,
        frames: int,
        bias: Tensor,
        memory: tuple[Tensor, ...],
        past: "KeyValueCache",
        kept: tuple[Tensor, ...] | None = None,
    ) -> Tensor:
        """x: (B * T, D), the next T = `frames` frames; bias: (B * heads, T, past frames + T); memory: their rows
        (B * T, ...); past: the frames before, to which these are added; kept: what `masks` makes, all but the first by
        row. Returns the layer's state (B * T, D)."""
        if not torch.is_grad_enabled():
            return past.known.step(x, frames, bias, memory, kept)[0]
        if past.token is None:
            past.token = _Weights.apply(past.known, *past.known.weights)
        state, past.token = _Frames.apply(x, past.token, past.known, frames, bias, kept, *memory)
        return state


class AlignedDecoder(nn.Module):
    """Layers with periodic positions and causal bias, run over known inputs at once or rolled out frame by frame."""

    def __init__(
        self, width: int, heads: int, layers: int, period: int, hidden: int | None = None, dropout: float = 0.1
    ):
        """width: D; period: frames, usually one second; hidden: of the feed-forward maps, 2 D unless given."""
        super().__init__()
        self.heads, self.period, self.drop = heads, period, Dropout(dropout)
        self.layers = nn.ModuleList(
            AlignedDecoderLayer(width, heads, hidden or 2 * width, dropout) for _ in range(layers)
        )
        self.register_buffer("positions", periodic_positions(width, period), persistent=False)

    def forward(self, inputs: Tensor, speech: Tensor) -> Tensor:
        """inputs: (B, T, D), frame by frame, all known; speech: (B, T, R, D). Returns states (B, T, D)."""
        batch, frames, _ = inputs.shape
        bias = causal_bias(self.heads, self.period, frames).to(inputs).repeat(batch, 1, 1)
        x = self.drop(inputs + self.positions[torch.arange(frames, device=inputs.device) % self.period]).flatten(0, 1)
        rows = lambda parts: tuple(part.flatten(0, 1) for part in parts)
        for layer in self.layers:
            kept = layer.masks(inputs, batch, frames, frames)
            x = layer(
                x, frames, bias, rows(layer.memory(speech)), layer.past(frames), kept and (kept[0], *rows(kept[1:]))
            )
        return x.view_as(inputs)


class Rollout:
    """A decoder that feeds on its own output, given speech in as many pieces as there are: what it needs of the frames
    before stays here. A frame attends to the last `MINUTES` alone, far beyond any published table."""

    MINUTES = 1.0

    def __init__(self, decoder: AlignedDecoder, first: Tensor, feedback: Callable[[Tensor], Tensor]):
        """first: input (B, D) of frame 0; feedback: state (B, D) of a frame -> input (B, D) of the next."""
        self.decoder, self.next, self.feedback, self.frame, self.last = decoder, first, feedback, 0, None
        context = round(60 * self.MINUTES * decoder.period)  # a period is a second
        bias = distance_bias(decoder.heads, decoder.period, context).to(first)
        self.recent = bias.flip(1)[:, None].repeat(len(first), 1, 1)  # now comes last
        self.pasts = [layer.past(context) for layer in decoder.layers]

    def __call__(self, speech: Tensor) -> Tensor:
        """speech (B, T, R, D) of the next T frames -> their states (B, T, D), which are those of the decoder on the inputs
        so made."""
        decoder, (batch, frames) = self.decoder, speech.shape[:2]
        # unbound once: a slice a step would cost its backward a whole (B, T, ...) tensor each
        each = lambda parts: [None] * frames if parts is None else list(zip(*(part.unbind(1) for part in parts)))
        memories = [each(layer.memory(speech)) for layer in decoder.layers]
        masks = [each(layer.masks(speech, batch, frames, self.frame + frames)) for layer in decoder.layers]
        inputs = [None] * frames
        if decoder.drop.active:
            inputs = mask(decoder.drop.p, (batch, frames, self.next.shape[-1]), speech).unbind(1)
        positions = decoder.positions.unbind(0)
        states: list[Tensor] = []
        for t in range(frames):
            if self.frame:
                self.next = self.feedback(states[-1] if states else self.last)
            x = _times(self.next + positions[self.frame % decoder.period], inputs[t])
            self.frame += 1
            bias = self.recent[..., -self.frame :]
            for layer, memory, past, kept in zip(decoder.layers, memories, self.pasts, masks):
                x = layer(x, 1, bias, memory[t], past, kept[t])
            states.append(x)
        self.last = states[-1]
        return torch.stack(states, 1)
