"""What FaceFormer and CodeTalker share around their decoder: maps of speech, style and motion, and published
weights."""

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

# part of an official name -> part of the name here, replaced in this order
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


def published_sizes(weights: dict[str, Tensor], style: str, source: str) -> tuple[int, int, int]:
    """Numbers of vertices, width and layers, read from the shapes of published weights. ValueError if a weight that
    tells them, or the weight named `style`, is missing."""
    for name in ("vertice_map.weight", style, "transformer_decoder.layers.0.linear1.weight"):
        if name not in weights:
            raise ValueError(f"{source}: {name} is missing, which every such checkpoint has")
    width, coordinates = weights["vertice_map.weight"].shape
    layers = {name.split(".")[2] for name in weights if name.startswith("transformer_decoder.layers.")}
    return coordinates // 3, width, len(layers)


class AlignedAnimator(Animator):
    """What FaceFormer and CodeTalker share: a decoder whose input is the motion of the frame before and the style, and
    which attends to speech.

    `states` runs it over true motion. A subclass rolls it out (`Rollout`) and turns its states into vertices.
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
        """width: D; period: frames of the periodic positions and of the attention bias, one second if None; scale: of
        the displacements in the mesh's unit, so that the maps work with numbers of order one (published: 1)."""
        super().__init__(encoder, vertices, styles, fps)
        self.scale = scale
        self.speech_map = nn.Linear(encoder.width, width)
        self.style_map = nn.Linear(styles, width, bias=False)
        self.motion_map = nn.Linear(3 * vertices, width)
        self.decoder = AlignedDecoder(width, heads, layers, round(fps) if period is None else period, dropout=dropout)

    def audio_features(self, features: Tensor, feature_lengths: Tensor, frames: Tensor | None) -> Tensor:
        """The R speech features of each frame, (B, T, R, D), from convolution features (B, N, C)."""
        frames = self.frames(feature_lengths) if frames is None else frames
        return self.speech_map(self.encoder.contextualise(features, feature_lengths, frames, self.fps))

    @abstractmethod
    def unroll(self, pieces: Iterable[Tensor], template: Tensor, style: Tensor) -> Iterator[Tensor]:
        """One roll-out: from pieces (B, T, R, D) of the audio features to vertices (B, T', V, 3), in pieces that may be
        cut elsewhere; template (B, V, 3), style (B, styles)."""

    @torch.no_grad()
    def stream(
        self, samples: "Tensor | SpeechFile", template: Tensor, style: Tensor, frames: int | None = None
    ) -> Iterator[Tensor]:
        """See `Animator.stream`. One roll-out from beginning to end."""
        self.check(template[None], style[None], 1)
        frames = self.frame_count(samples) if frames is None else frames
        pieces = (self.speech_map(piece) for piece in self.encoder.stream(samples, frames, self.fps))
        for vertices in self.unroll(pieces, template[None], style[None]):
            yield vertices[0]

    def states(self, audio_features: Tensor, style: Tensor, template: Tensor, motion: Tensor) -> Tensor:
        """The decoder's states (B, T, D), given audio features (B, T, R, D) and the motion (B, T, V, 3) whose frame
        before is the input of each frame."""
        batch, frames = audio_features.shape[:2]
        if motion.shape[1:] != (frames, self.vertices, 3):
            raise ValueError(f"motion has shape {tuple(motion.shape)}, expected {(batch, frames, self.vertices, 3)}")
        previous = torch.cat((template[:, None], motion[:, :-1]), 1) - template[:, None]
        inputs = self.motion_map((previous / self.scale).flatten(-2)) + self.style_map(style)[:, None]
        return self.decoder(inputs, audio_features)

    def feedback_map(self, vertex_map: nn.Linear, style: Tensor) -> Callable[[Tensor], Tensor]:
        """`motion_map` of `vertex_map`, plus the style, as a single map (B, E) -> (B, D) or (B, T, E) -> (B, T, D):
        from a state to the next input without computing vertices."""
        weight = (self.motion_map.weight @ vertex_map.weight).T
        constant = self.style_map(style) + self.motion_map.bias
        if vertex_map.bias is not None:
            constant = constant + F.linear(vertex_map.bias, self.motion_map.weight)

        def feedback(state: Tensor) -> Tensor:
            if state.dim() == 2:
                return torch.addmm(constant, state, weight)
            return state @ weight + constant[:, None]

        return feedback

    def fill(self, weights: dict[str, Tensor], source: str) -> None:
        """Loads published weights, given under their official names. ValueError if one is missing, unknown, of another
        shape or not finite."""
        renamed = {}
        for name, weight in weights.items():
            if name.endswith(".pe"):
                continue  # tables of positions, which are computed here
            for official, current in OFFICIAL_NAMES.items():
                name = name.replace(official, current)
            renamed[name] = weight
        fill_weights(self, renamed, source)
