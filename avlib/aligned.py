"""What FaceFormer and CodeTalker share: a decoder that sees past frames and each frame's own speech, its roll-out frame
by frame, and the animator around it."""
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .animator import Animator
from .audio import SpeechEncoder, SpeechFile
from .dropout import Dropout, mask
from .run import fill_weights


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


class Past:
    """Keys and values of the frames so far, the last `context` of them: a frame costs what it adds, with gradient too."""

    def __init__(self, context: int):
        self.context, self.count = context, 0
        self.rows: Tensor | None = None         # (2, N, room, d), N = B * heads; the first `count` are filled
        self.pushed: Tensor | None = None       # their gradient, as far as it is known
        self.reached, self.token = 0, None

    def attend(self, new: Tensor, bias: Tensor, kept: Tensor | None = None) -> Tensor:
        """new (3, N, T, d): queries, keys and values of T frames, which are added; bias (N, T, n) over all known, these
        included; kept: a dropout mask (N, T, n or more), or None. Returns the values attended to, (N, T, d)."""
        self._add(new[1:])
        kept = None if kept is None else kept[..., :bias.shape[-1]]
        if torch.is_grad_enabled() and new.requires_grad:
            context, self.token = _Attend.apply(new, bias, kept, self.token, self)
            return context
        keys, values = self.rows[:, :, max(0, self.count - self.context):self.count]
        return _times(_weights(new[0], keys, bias), kept) @ values

    def _add(self, new: Tensor):
        after = self.count + new.shape[2]
        if self.rows is None or after > self.rows.shape[2]:
            # what backward will ask for stays where it is; else what no frame attends to any more is left behind
            known = self.count if torch.is_grad_enabled() else min(self.count, max(self.context - new.shape[2], 0))
            rows = new.new_empty(*new.shape[:2], 2 * (known + new.shape[2]), new.shape[3])
            if known:
                rows[:, :, :known] = self.rows[:, :, self.count - known:self.count]
            self.rows, self.count, after = rows, known, known + new.shape[2]
        self.rows[:, :, self.count:after] = new.detach()
        self.count = after

    def drop(self, frames: int):
        """Forgets the last `frames` that were added, as long as no gradient is wanted."""
        self.count -= frames

    def gradient(self, count: int) -> Tensor:
        """Where the gradient of the first `count` rows gathers in this pass of backward, (2, N, >= count, d)."""
        if count >= self.reached:               # passes go from the last frame to the first: a new one begins
            self.pushed = self.rows.new_zeros(*self.rows.shape[:2], count, self.rows.shape[3])
        self.reached = count
        return self.pushed


class _Attend(torch.autograd.Function):
    """`Past.attend` with gradient. Backward runs from the last call to the first, which the token that is handed on makes
    sure of; so all that later frames want of a frame's keys and values has gathered by the time it is asked for, and no
    call holds a copy of what came before it."""

    @staticmethod
    def forward(ctx, new, bias, kept, token, past):
        ctx.past, ctx.begin, ctx.end = past, max(0, past.count - past.context), past.count
        ctx.set_materialize_grads(False)
        keys, values = past.rows[:, :, ctx.begin:ctx.end]
        weights = _weights(new[0], keys, bias)
        ctx.save_for_backward(new[0], weights, kept)
        return _times(weights, kept) @ values, new.new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, push, _):
        query, weights, kept = ctx.saved_tensors
        pushed, span = ctx.past.gradient(ctx.end), slice(ctx.begin, ctx.end)
        if push is None:
            wanted = torch.zeros_like(query)
        else:
            keys, values = ctx.past.rows[:, :, span]
            scores = torch._softmax_backward_data(_times(push @ values.transpose(1, 2), kept), weights, -1, weights.dtype)
            scores = scores * query.shape[-1] ** -0.5
            pushed[0, :, span].baddbmm_(scores.transpose(1, 2), query)
            pushed[1, :, span].baddbmm_(_times(weights, kept).transpose(1, 2), push)
            wanted = scores @ keys
        own = pushed[:, :, ctx.end - query.shape[1]:ctx.end]
        return torch.cat((wanted[None], own)), None, None, None, None


def _weights(query: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias, query, keys.transpose(1, 2), alpha=query.shape[-1] ** -0.5).softmax(-1)


def _times(x: Tensor, kept: Tensor | None) -> Tensor:
    return x if kept is None else x * kept


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

    def masks(self, like: Tensor, batch: int, frames: int, known: int) -> tuple[Tensor, ...] | None:
        """In training, the dropout of T = `frames` frames that attend to up to `known`: of attention (B * heads, T, known),
        of what it says, of what is heard, of the hidden layer and of what that says, (B, T, width) each."""
        if not self.drop.active:
            return None
        width, hidden = self.self_out.out_features, self.expand.out_features
        shapes = (batch * self.heads, frames, known), *((batch, frames, w) for w in (width, width, hidden, width))
        return tuple(mask(self.drop.p, shape, like) for shape in shapes)

    def forward(self, x: Tensor, frames: int, bias: Tensor, memory: tuple[Tensor, ...], past: Past,
                kept: tuple[Tensor, ...] | None = None) -> Tensor:
        """x: (B * T, D), the next T = `frames` frames; bias: (B * heads, T, past frames + T); memory: their rows
        (B * T, ...); past: the frames before, to which these are added; kept: what `masks` makes, the last four by
        row. Returns the layer's state (B * T, D)."""
        attention, said, heard, hidden, contracted = kept or (None,) * 5
        new = self.self_qkv(x).view(-1, frames, 3, self.heads, x.shape[-1] // self.heads).permute(2, 0, 3, 1, 4)
        if attention is not None:
            attention = attention.view(-1, frames, attention.shape[-1])
        context = past.attend(new.flatten(1, 2), bias, attention)
        context = context.unflatten(0, (-1, self.heads)).transpose(1, 2).reshape(x.shape)
        x = self.self_norm(x + _times(self.self_out(context), said))
        x = self.cross_norm(x + _times(self._aligned(x, memory), heard))
        return self.last_norm(x + _times(self.contract(_times(self.expand(x).relu(), hidden)), contracted))

    def _aligned(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        if len(memory) == 1:
            return memory[0]
        keys, offsets, values = memory
        scores = (x.unsqueeze(-2) @ keys).squeeze(-2) + offsets
        weights = scores.unflatten(-1, (self.heads, -1)).softmax(-1).flatten(-2)
        return (weights.unsqueeze(-2) @ values).squeeze(-2)


class AlignedDecoder(nn.Module):
    """Layers with periodic positions and causal bias, run over known inputs at once or rolled out frame by frame."""

    def __init__(self, width: int, heads: int, layers: int, period: int, hidden: int | None = None,
                 dropout: float = 0.1):
        """width: D; period: frames, usually one second; hidden: of the feed-forward maps, 2 D unless given."""
        super().__init__()
        self.heads, self.period, self.drop = heads, period, Dropout(dropout)
        self.layers = nn.ModuleList(AlignedDecoderLayer(width, heads, hidden or 2 * width, dropout)
                                    for _ in range(layers))
        self.register_buffer("positions", periodic_positions(width, period), persistent=False)

    def forward(self, inputs: Tensor, speech: Tensor) -> Tensor:
        """inputs: (B, T, D), frame by frame, all known; speech: (B, T, R, D). Returns states (B, T, D)."""
        batch, frames, _ = inputs.shape
        bias = causal_bias(self.heads, self.period, frames).to(inputs).repeat(batch, 1, 1)
        x = self.drop(inputs + self.positions[torch.arange(frames, device=inputs.device) % self.period]).flatten(0, 1)
        rows = lambda parts: tuple(part.flatten(0, 1) for part in parts)
        for layer in self.layers:
            kept = layer.masks(inputs, batch, frames, frames)
            x = layer(x, frames, bias, rows(layer.memory(speech)), Past(frames), kept and (kept[0], *rows(kept[1:])))
        return x.view_as(inputs)


class Rollout:
    """A decoder that feeds on its own output, given speech in as many pieces as there are: what it needs of the frames
    before stays here. A frame attends to the last `MINUTES` alone, far beyond any published table."""

    MINUTES = 1.0

    def __init__(self, decoder: AlignedDecoder, first: Tensor, feedback: Callable[[Tensor], Tensor]):
        """first: input (B, D) of frame 0; feedback: state (B, D) of a frame -> input (B, D) of the next."""
        self.decoder, self.next, self.feedback, self.frame, self.last = decoder, first, feedback, 0, None
        context = round(60 * self.MINUTES * decoder.period)         # a period is a second
        bias = distance_bias(decoder.heads, decoder.period, context).to(first)
        self.recent = bias.flip(1)[:, None].repeat(len(first), 1, 1)        # now comes last
        self.pasts = [Past(context) for _ in decoder.layers]

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
            bias = self.recent[..., -self.frame:]
            for layer, memory, past, kept in zip(decoder.layers, memories, self.pasts, masks):
                x = layer(x, 1, bias, memory[t], past, kept[t])
            states.append(x)
        self.last = states[-1]
        return torch.stack(states, 1)


# official name -> own, replaced in this order
OFFICIAL_NAMES = {
    "audio_encoder.": "encoder.model.",
    ".pos_conv_embed.conv.weight_g": ".pos_conv_embed.conv.parametrizations.weight.original0",
    ".pos_conv_embed.conv.weight_v": ".pos_conv_embed.conv.parametrizations.weight.original1",
    "audio_feature_map.": "speech_map.",
    "vertice_map_r.": "vertex_map.",
    "vertice_map.": "motion_map.",
    "obj_vector.": "style_map.",
    "learnable_style_emb.": "style_map.",
    "feat_map.": "code_map.",
    "transformer_decoder.": "decoder.",
    "self_attn.in_proj_": "self_qkv.",
    "self_attn.out_proj.": "self_out.",
    "multihead_attn.in_proj_": "cross_qkv.",
    "multihead_attn.out_proj.": "cross_out.",
    ".linear1.": ".expand.",
    ".linear2.": ".contract.",
    ".norm1.": ".self_norm.",
    ".norm2.": ".cross_norm.",
    ".norm3.": ".last_norm.",
}


def sizes_of(weights: dict[str, Tensor], style: str, source: str) -> tuple[int, int, int]:
    """Vertices, width and layers of published weights, read off their shapes. ValueError where what tells them, or the
    weight called `style`, is missing."""
    for name in ("vertice_map.weight", style, "transformer_decoder.layers.0.linear1.weight"):
        if name not in weights:
            raise ValueError(f"{source}: {name} is missing, which every such checkpoint has")
    width, coordinates = weights["vertice_map.weight"].shape
    layers = {name.split(".")[2] for name in weights if name.startswith("transformer_decoder.layers.")}
    return coordinates // 3, width, len(layers)


class AlignedAnimator(Animator):
    """What FaceFormer and CodeTalker share: a decoder that takes speech, style and the motion of the frame before.

    `states` runs it over true motion; a subclass rolls it out (`Rollout`) and says what a state means.
    """

    def __init__(self, encoder: SpeechEncoder, vertices: int, styles: int, fps: float, width: int, heads: int, layers: int,
                 period: int | None, dropout: float, scale: float):
        """width: D; period: frames of the periodic positions and of the attention bias, a second unless given; scale: of
        the displacements in the mesh's unit, so that the maps work in numbers of order one (published: 1)."""
        super().__init__(encoder, vertices, styles, fps)
        self.scale = scale
        self.speech_map = nn.Linear(encoder.width, width)
        self.style_map = nn.Linear(styles, width, bias=False)
        self.motion_map = nn.Linear(3 * vertices, width)
        self.decoder = AlignedDecoder(width, heads, layers, round(fps) if period is None else period, dropout=dropout)

    def heard(self, speech: Tensor, lengths: Tensor, frames: Tensor | None) -> Tensor:
        """The speech features of each frame, (B, T, R, D)."""
        frames = self.frames(lengths) if frames is None else frames
        return self.speech_map(self.encoder.contextualise(speech, lengths, frames, self.fps))

    @abstractmethod
    def unroll(self, heard: Iterable[Tensor], template: Tensor, style: Tensor) -> Iterator[Tensor]:
        """Vertices (B, T', V, 3) from what is `heard`, in pieces (B, T, R, D), of one roll-out; template (B, V, 3), style
        (B, styles). Pieces out need not be those that go in."""

    @torch.no_grad()
    def stream(self, speech: "Tensor | SpeechFile", template: Tensor, style: Tensor, frames: int | None = None
               ) -> Iterator[Tensor]:
        """See `Animator.stream`; one roll-out from beginning to end."""
        self.check(template[None], style[None], 1)
        frames = int(self.frames(self.encoder.lengths(torch.tensor(len(speech))))) if frames is None else frames
        heard = (self.speech_map(piece) for piece in self.encoder.stream(speech, frames, self.fps))
        for piece in self.unroll(heard, template[None], style[None]):
            yield piece[0]

    def states(self, speech: Tensor, style: Tensor, template: Tensor, motion: Tensor) -> Tensor:
        """The decoder's states (B, T, D), given what is `heard` and the true motion (B, T, V, 3) of the frame before."""
        if motion.shape[1:] != (speech.shape[1], self.vertices, 3):
            raise ValueError(f"motion has shape {tuple(motion.shape)}, expected "
                             f"{(len(speech), speech.shape[1], self.vertices, 3)}")
        before = torch.cat((template[:, None], motion[:, :-1]), 1) - template[:, None]
        inputs = self.motion_map((before / self.scale).flatten(-2)) + self.style_map(style)[:, None]
        return self.decoder(inputs, speech)

    def folded(self, vertex_map: nn.Linear, style: Tensor) -> Callable[[Tensor], Tensor]:
        """What is fed back, `motion_map` of `vertex_map` plus style, as one map (B, E) -> (B, D), or
        (B, T, E) -> (B, T, D): no vertex is built."""
        weight = (self.motion_map.weight @ vertex_map.weight).T
        constant = self.style_map(style) + self.motion_map.bias
        if vertex_map.bias is not None:
            constant = constant + F.linear(vertex_map.bias, self.motion_map.weight)
        return lambda state: (torch.addmm(constant, state, weight) if state.dim() == 2
                              else state @ weight + constant[:, None])

    def fill(self, weights: dict[str, Tensor], source: str):
        """Takes published weights, given under their official names. ValueError where one is missing, unknown,
        misshapen or not finite."""
        own = {}
        for name, weight in weights.items():
            if name.endswith(".pe"):
                continue        # tables of positions, made anew
            for official, ours in OFFICIAL_NAMES.items():
                name = name.replace(official, ours)
            own[name] = weight
        fill_weights(self, own, source)
