"""What every animator shares: the interface, periodic positions, the biased and aligned decoder, weight loading.

An animator turns speech into a moving face. To add one, write a file with

    @register("mine")
    class Mine(Animator):
        def forward(self, speech, lengths, template, style, frames=None): ...

and import it; `ANIMATORS["mine"]` then finds it by name.
"""
import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .audio import SpeechEncoder

ANIMATORS: dict[str, type["Animator"]] = {}


def register(name: str) -> Callable[[type], type]:
    """Class decorator: makes an animator known as `name`."""

    def add(animator: type) -> type:
        if name in ANIMATORS:
            raise ValueError(f"animator {name!r} is registered already, as {ANIMATORS[name].__name__}")
        ANIMATORS[name] = animator
        return animator

    return add


class Animator(nn.Module, ABC):
    """Speech, a face at rest and a speaking style in; moving vertices out.

    `forward` rolls out autoregressively, in training (with gradient) as in prediction, for a padded batch; no item's
    frames depend on another item or on padding. The convolution features it takes come from
    `animator.encoder.extract(samples, lengths)`, apart so that a caller who trains with frozen convolutions can
    compute them once.
    """

    def __init__(self, encoder: SpeechEncoder, vertices: int, styles: int, fps: float):
        """vertices: of the template; styles: number of training subjects; fps: frames per second of the motion."""
        super().__init__()
        self.encoder, self.vertices, self.styles, self.fps = encoder, vertices, styles, fps

    @abstractmethod
    def forward(self, speech: Tensor, lengths: Tensor, template: Tensor, style: Tensor,
                frames: Tensor | None = None) -> Tensor:
        """speech: convolution features (B, N, C), 50 per second, and their lengths (B,); template: (B, V, 3);
        style: (B, styles), one-hot or a mixture; frames: (B,) frames of motion wanted, all of the speech if absent.
        Returns vertices (B, max(frames), V, 3) in the template's unit and frame; what lies beyond an item's own frames
        is finite and means nothing (see `frame_mask`).
        """

    def frames(self, lengths: Tensor) -> Tensor:
        """Frames of motion (B,) that convolution features of `lengths` (B,) last."""
        return self.encoder.frames(lengths, self.fps)

    @torch.no_grad()
    def predict(self, samples: Tensor, lengths: Tensor, template: Tensor, style: Tensor,
                frames: Tensor | None = None) -> Tensor:
        """`forward` from normalised speech samples (B, S) at 16 kHz and their lengths (B,), without gradient."""
        return self(*self.encoder.extract(samples, lengths), template, style, frames)

    def check(self, template: Tensor, style: Tensor, batch: int):
        """Raises ValueError where template or style do not fit this animator and a batch of that size."""
        if template.shape != (batch, self.vertices, 3):
            raise ValueError(f"template has shape {tuple(template.shape)}, expected {(batch, self.vertices, 3)}")
        if style.shape != (batch, self.styles):
            raise ValueError(f"style has shape {tuple(style.shape)}, expected {(batch, self.styles)}: "
                             f"this animator knows {self.styles} styles")


def frame_mask(lengths: Tensor, frames: int | None = None) -> Tensor:
    """True at an item's own frames, False in its padding: (B,) -> (B, T), T = max(lengths) unless given."""
    frames = int(lengths.max()) if frames is None else frames
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def periodic_positions(width: int, period: int) -> Tensor:
    """Sinusoidal positions of one period, (period, width); frame t takes row t % period. Fan et al. 2022."""
    if width % 2:
        raise ValueError(f"periodic positions need an even width, got {width}")
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angles = torch.arange(period)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)


def head_slopes(heads: int) -> Tensor:
    """Slope of each head's distance bias, (heads,). Press et al. 2022 (ALiBi)."""
    power = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * (h + 1) / power) for h in range(power)]
    between = [2.0 ** (-4 * (h + 1) / power) for h in range(0, 2 * power, 2)]
    return torch.tensor(slopes + between[:heads - power])


def distance_bias(heads: int, period: int, frames: int) -> Tensor:
    """Attention bias (heads, frames) for keys 0, 1, ... frames back: a step down every period. Fan et al. 2022."""
    return -head_slopes(heads)[:, None] * (torch.arange(frames) // period)


def causal_bias(heads: int, period: int, frames: int) -> Tensor:
    """The same for all queries and keys, (heads, frames, frames), with -inf where a key lies ahead of its query."""
    back = torch.arange(frames)[:, None] - torch.arange(frames)
    return distance_bias(heads, period, frames)[:, back.clamp_min(0)].masked_fill(back < 0, -math.inf)


class AlignedDecoderLayer(nn.Module):
    """Post-norm transformer decoder layer in which a frame attends to past frames and to its own speech features alone.

    A frame has so few speech features (R, one or two) that all of cross-attention but the query's scores is
    computed for the whole utterance at once, by `memory`.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.1):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.self_qkv, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross_qkv, self.cross_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.self_norm, self.cross_norm, self.last_norm = (nn.LayerNorm(width) for _ in range(3))
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

    def forward(self, x: Tensor, bias: Tensor, memory: tuple[Tensor, ...], past: Tensor | None = None
                ) -> tuple[Tensor, Tensor]:
        """x: (B, T, D), the next T frames; bias: (heads, T, past frames + T); memory: of these T frames; past: keys and
        values of the frames before, or None. Returns the layer's state (B, T, D) and `past` with these frames added."""
        query, new = self.self_qkv(x).split((x.shape[-1], 2 * x.shape[-1]), -1)
        past = new if past is None else torch.cat((past, new), 1)  # (B, past + T, 2 D)
        query = query.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys, values = past.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias[None],
                                                 dropout_p=self.dropout * self.training)
        x = self.self_norm(x + self._drop(self.self_out(context.transpose(1, 2).flatten(-2))))
        x = self.cross_norm(x + self._drop(self._aligned(x, memory)))
        return self.last_norm(x + self._drop(self.contract(self._drop(self.expand(x).relu())))), past

    def _aligned(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        if len(memory) == 1:
            return memory[0]
        keys, offsets, values = memory
        scores = (x.unsqueeze(-2) @ keys).squeeze(-2) + offsets
        weights = scores.unflatten(-1, (self.heads, -1)).softmax(-1).flatten(-2)
        return (weights.unsqueeze(-2) @ values).squeeze(-2)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.training and self.dropout else x


class AlignedDecoder(nn.Module):
    """Layers with periodic positions and causal bias, run over known inputs at once or rolled out frame by frame."""

    def __init__(self, width: int, heads: int, layers: int, period: int, hidden: int | None = None,
                 dropout: float = 0.1):
        """width: D; period: frames, usually one second; hidden: of the feed-forward maps, 2 D unless given."""
        super().__init__()
        self.heads, self.period, self.dropout = heads, period, dropout
        self.layers = nn.ModuleList(AlignedDecoderLayer(width, heads, hidden or 2 * width, dropout)
                                    for _ in range(layers))
        self.register_buffer("positions", periodic_positions(width, period), persistent=False)

    def forward(self, inputs: Tensor, speech: Tensor) -> Tensor:
        """inputs: (B, T, D), frame by frame, all known; speech: (B, T, R, D). Returns states (B, T, D)."""
        frames = inputs.shape[1]
        bias = causal_bias(self.heads, self.period, frames).to(inputs)
        x = self._placed(inputs, torch.arange(frames, device=inputs.device))
        for layer in self.layers:
            x, _ = layer(x, bias, layer.memory(speech))
        return x

    def rollout(self, first: Tensor, speech: Tensor, feedback: Callable[[Tensor], Tensor]) -> Tensor:
        """first: input (B, D) of frame 0; speech: (B, T, R, D); feedback: state (B, D) of a frame -> input (B, D) of
        the next. Returns states (B, T, D), equal to `forward` on the inputs so made, with each frame computed once."""
        frames = speech.shape[1]
        recent = distance_bias(self.heads, self.period, frames).to(first).flip(1)[:, None]  # (H, 1, T), now comes last
        # unbound once: a slice a step would cost its backward a whole (B, T, ...) tensor each
        memories = [list(zip(*(m.split(1, 1) for m in layer.memory(speech)))) for layer in self.layers]
        pasts: list[Tensor | None] = [None] * len(self.layers)
        states, x = [], first
        for t in range(frames):
            x = feedback(states[-1].squeeze(1)) if t else first
            x = self._placed(x, t).unsqueeze(1)
            for n, layer in enumerate(self.layers):
                x, pasts[n] = layer(x, recent[..., frames - 1 - t:], memories[n][t], pasts[n])
            states.append(x)
        return torch.cat(states, 1)

    def _placed(self, x: Tensor, frame: Tensor | int) -> Tensor:
        return F.dropout(x + self.positions[frame % self.period], self.dropout, self.training)
