"""What every animator shares: the interface, periodic positions, the biased and aligned decoder, weight loading.

An animator turns speech into a moving face. To add one, write a file with

    from avlib.animator import Animator, register

    @register("mine")
    class Mine(Animator):
        def __init__(self, vertices, styles, fps, encoder, scale): ...
        def forward(self, speech, lengths, template, style, frames=None): ...

and name it: `./run_all.sh --run mine --set plugins=mine.py --set animators=faceformer,mine`. It is trained with and
without guidance, evaluated and shown beside the others. `Animator.learn` and `Animator.prior` say what else it may do.
"""
import dataclasses
import importlib.util
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .audio import CONTEXT_S, LONG_S, PIECE_S, SPEECH_HZ, WINDOW, SpeechEncoder, SpeechFile
from .run import fill_weights

ANIMATORS: dict[str, type["Animator"]] = {}


def register(name: str) -> Callable[[type], type]:
    """Class decorator: makes an animator known as `name`."""

    def add(animator: type) -> type:
        if name in ANIMATORS:
            raise ValueError(f"animator {name!r} is registered already, as {ANIMATORS[name].__name__}")
        ANIMATORS[name] = animator
        return animator

    return add


def find(name: str, plugins: tuple[str, ...] = ()) -> type["Animator"]:
    """The animator of that name, of the kit's own or of one of these files, which are run. ValueError where none is."""
    from . import codetalker, faceformer  # noqa: F401  they register themselves
    for file in plugins:
        module = f"avlib_plugin_{Path(file).stem}"
        if module not in sys.modules:
            if not Path(file).is_file():
                raise ValueError(f"plugins: {file}: no such file")
            spec = importlib.util.spec_from_file_location(module, file)
            sys.modules[module] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[module])
    if name not in ANIMATORS:
        raise ValueError(f"animator: expected one of {', '.join(ANIMATORS)}, got {name!r}")
    return ANIMATORS[name]


def settings(config, name: str):
    """The group of a configuration that is called as the animator is, or None."""
    return getattr(config, name, None)


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

    def learn(self, speech: Tensor, lengths: Tensor, template: Tensor, style: Tensor, motion: Tensor, frames: Tensor
              ) -> tuple[Tensor, dict[str, Tensor]]:
        """What training differentiates: the vertices (B, T, V, 3) that the losses judge, and terms of the animator's own
        that are added to them. The roll-out and nothing else, unless overridden. motion: (B, T, V, 3), the truth."""
        return self(speech, lengths, template, style, frames), {}

    @classmethod
    def build(cls, settings, prior: nn.Module | None, **common) -> "Animator":
        """An untrained one. settings: its group of the configuration, as a dataclass, or None; prior: the trained one;
        common: vertices, styles, fps, encoder and scale, the root mean square of the corpus's displacements."""
        return cls(**common, **(dataclasses.asdict(settings) if settings else {}))

    @classmethod
    def prior(cls, vertices: int, settings) -> nn.Module | None:
        """What is trained on motion alone before the animator, untrained: a module with
        `losses(displacement (B, T, 3 V), frames (B,)) -> {"loss": ..., ...}`. None where there is nothing of the kind."""
        return None

    def frames(self, lengths: Tensor) -> Tensor:
        """Frames of motion (B,) that convolution features of `lengths` (B,) last."""
        return self.encoder.frames(lengths, self.fps)

    @torch.no_grad()
    def predict(self, samples: Tensor, lengths: Tensor, template: Tensor, style: Tensor,
                frames: Tensor | None = None) -> Tensor:
        """`forward` from normalised speech samples (B, S) at 16 kHz and their lengths (B,), without gradient. Where the
        longest lasts over `LONG_S` seconds, each by `stream`."""
        if int(lengths.max()) <= LONG_S * SPEECH_HZ:
            return self(*self.encoder.extract(samples, lengths), template, style, frames)
        self.check(template, style, len(samples))
        wanted = [None] * len(samples) if frames is None else frames.tolist()
        moved = [torch.cat(list(self.stream(s[:n], t, y, f)))
                 for s, n, t, y, f in zip(samples, lengths.tolist(), template, style, wanted)]
        return nn.utils.rnn.pad_sequence(moved, batch_first=True)

    @torch.no_grad()
    def stream(self, speech: "Tensor | SpeechFile", template: Tensor, style: Tensor, frames: int | None = None
               ) -> Iterator[Tensor]:
        """One utterance of any length at bounded memory: normalised samples (S,) at 16 kHz, template (V, 3), style
        (styles,). Yields pieces (T', V, 3) that add up to `frames` frames.

        Here piece by piece, each in the middle of its own roll-out; an animator that can go on where it stopped does.
        """
        frames = int(self.frames(self.encoder.lengths(torch.tensor(len(speech))))) if frames is None else frames
        piece, context, step = round(PIECE_S * self.fps), round(CONTEXT_S * self.fps), SPEECH_HZ / self.fps
        device = template.device
        for begin in range(0, frames, piece):
            end = min(begin + piece, frames)
            first, last = max(0, begin - context), min(frames, end + context)
            samples = speech[round(first * step):round(last * step) + WINDOW][None].to(device)
            moved = self(*self.encoder.extract(samples, torch.tensor([samples.shape[1]], device=device)), template[None],
                         style[None], torch.tensor([last - first], device=device))
            yield moved[0, begin - first:end - first]

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


class Past:
    """Keys and values of the frames so far, (B, n, 2 D), the last `context` of them. Written in place where no gradient
    is wanted, so that a frame costs what it adds."""

    def __init__(self, context: int):
        self.context, self.rows, self.count = context, None, 0

    def add(self, new: Tensor) -> Tensor:
        """new: (B, T, 2 D). Returns all that is kept, these included."""
        if torch.is_grad_enabled():
            kept = new if self.rows is None else torch.cat((self.rows[:, :self.count], new), 1)
            self.rows = kept[:, -self.context:]
            self.count = self.rows.shape[1]
            return self.rows
        after = self.count + new.shape[1]
        if self.rows is None or after > self.rows.shape[1]:
            kept = min(self.count, max(self.context - new.shape[1], 0))
            rows = new.new_empty(len(new), min(2 * (kept + new.shape[1]), 2 * self.context + new.shape[1]), new.shape[2])
            if kept:
                rows[:, :kept] = self.rows[:, self.count - kept:self.count]
            self.rows, self.count, after = rows, kept, kept + new.shape[1]
        self.rows[:, self.count:after] = new
        self.count = after
        return self.rows[:, max(0, after - self.context):after]

    def drop(self, frames: int):
        """Forgets the last `frames` that were added, as long as no gradient is wanted."""
        self.count -= frames


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

    def forward(self, x: Tensor, bias: Tensor, memory: tuple[Tensor, ...], past: Past | None = None) -> Tensor:
        """x: (B, T, D), the next T frames; bias: (heads, T, past frames + T); memory: of these T frames; past: the frames
        before, to which these are added, or None. Returns the layer's state (B, T, D)."""
        query, new = self.self_qkv(x).split((x.shape[-1], 2 * x.shape[-1]), -1)
        known = new if past is None else past.add(new)
        query = query.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys, values = known.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias[None],
                                                 dropout_p=self.dropout * self.training)
        x = self.self_norm(x + self._drop(self.self_out(context.transpose(1, 2).flatten(-2))))
        x = self.cross_norm(x + self._drop(self._aligned(x, memory)))
        return self.last_norm(x + self._drop(self.contract(self._drop(self.expand(x).relu()))))

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
        x = self.placed(inputs, torch.arange(frames, device=inputs.device))
        for layer in self.layers:
            x = layer(x, bias, layer.memory(speech))
        return x

    def rollout(self, first: Tensor, speech: Tensor, feedback: Callable[[Tensor], Tensor]) -> Tensor:
        """first: input (B, D) of frame 0; speech: (B, T, R, D); feedback: state (B, D) of a frame -> input (B, D) of
        the next. Returns states (B, T, D), equal to `forward` on the inputs so made, with each frame computed once."""
        return Rollout(self, first, feedback)(speech)

    def placed(self, x: Tensor, frame: Tensor | int) -> Tensor:
        return F.dropout(x + self.positions[frame % self.period], self.dropout, self.training)


class Rollout:
    """A decoder that feeds on its own output, given speech in as many pieces as there are: what it needs of the frames
    before stays here. A frame attends to the last `MINUTES` alone, far beyond any published table."""

    MINUTES = 1.0

    def __init__(self, decoder: AlignedDecoder, first: Tensor, feedback: Callable[[Tensor], Tensor]):
        """See `AlignedDecoder.rollout`."""
        self.decoder, self.next, self.feedback, self.frame, self.last = decoder, first, feedback, 0, None
        context = round(60 * self.MINUTES * decoder.period)         # a period is a second
        self.recent = distance_bias(decoder.heads, decoder.period, context).to(first).flip(1)[:, None]     # now comes last
        self.pasts = [Past(context) for _ in decoder.layers]

    def __call__(self, speech: Tensor) -> Tensor:
        """speech (B, T, R, D) of the next T frames -> their states (B, T, D)."""
        # unbound once: a slice a step would cost its backward a whole (B, T, ...) tensor each
        memories = [list(zip(*(m.split(1, 1) for m in layer.memory(speech)))) for layer in self.decoder.layers]
        states: list[Tensor] = []
        for t in range(speech.shape[1]):
            if self.frame:
                self.next = self.feedback(states[-1] if states else self.last)
            x = self.decoder.placed(self.next, self.frame).unsqueeze(1)
            self.frame += 1
            bias = self.recent[..., -self.frame:]
            for layer, memory, past in zip(self.decoder.layers, memories, self.pasts):
                x = layer(x, bias, memory[t], past)
            states.append(x.squeeze(1))
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

    `states` runs it over true motion; a subclass rolls it out (`decoder.rollout`) and says what a state means.
    """

    def __init__(self, encoder: SpeechEncoder, vertices: int, styles: int, fps: float, width: int, heads: int, layers: int,
                 period: int | None, dropout: float, scale: float):
        """width: D; period: frames of the periodic positions and of the attention bias, a second unless given; scale: of the displacements in
        the mesh's unit, so that the maps work in numbers of order one (published: 1)."""
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
        """What is fed back, `motion_map` of `vertex_map` plus style, as one map (B, E) -> (B, D): no vertex is built."""
        weight = self.motion_map.weight @ vertex_map.weight
        constant = self.style_map(style) + self.motion_map.bias
        if vertex_map.bias is not None:
            constant = constant + F.linear(vertex_map.bias, self.motion_map.weight)
        return lambda state: F.linear(state, weight) + (constant if state.dim() == 2 else constant[:, None])

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
