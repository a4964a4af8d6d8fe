"""What FaceFormer and CodeTalker share around their decoder: speech, style and vertices, and published names."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.files import fill_weights
from ..speech.sound import SpeechFile
from ..speech.wav2vec2 import SpeechEncoder
from .animator import Animator
from .decoder import AlignedDecoder

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

    def __init__(
        self,
        encoder: SpeechEncoder,
        vertices: int,
        styles: int,
        fps: float,
        width: int,
        heads: int,
        layers: int,
        period: int | None,
        dropout: float,
        scale: float,
    ):
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
    def stream(
        self, speech: "Tensor | SpeechFile", template: Tensor, style: Tensor, frames: int | None = None
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
            raise ValueError(
                f"motion has shape {tuple(motion.shape)}, expected {(len(speech), speech.shape[1], self.vertices, 3)}"
            )
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
        return lambda state: (
            torch.addmm(constant, state, weight) if state.dim() == 2 else state @ weight + constant[:, None]
        )

    def fill(self, weights: dict[str, Tensor], source: str):
        """Takes published weights, given under their official names. ValueError where one is missing, unknown,
        misshapen or not finite."""
        own = {}
        for name, weight in weights.items():
            if name.endswith(".pe"):
                continue  # tables of positions, made anew
            for official, ours in OFFICIAL_NAMES.items():
                name = name.replace(official, ours)
            own[name] = weight
        fill_weights(self, own, source)
