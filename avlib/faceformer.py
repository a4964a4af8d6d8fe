"""FaceFormer (Fan et al. 2022): speech features and past motion to the next frame, decoded in feature space."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .animator import AlignedDecoder, Animator, register
from .audio import SpeechEncoder
from .run import fill_weights

# official name -> own, replaced in this order
OFFICIAL_NAMES = {
    "audio_encoder.": "encoder.model.",
    ".pos_conv_embed.conv.weight_g": ".pos_conv_embed.conv.parametrizations.weight.original0",
    ".pos_conv_embed.conv.weight_v": ".pos_conv_embed.conv.parametrizations.weight.original1",
    "audio_feature_map.": "speech_map.",
    "vertice_map_r.": "vertex_map.",
    "vertice_map.": "motion_map.",
    "obj_vector.": "style_map.",
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


@register("faceformer")
class FaceFormer(Animator):
    """Displacement from the template, frame by frame, from the frame's own speech and the motion so far.

    The motion fed back is an affine function of the decoder's state (motion map after vertex map), so the loop uses
    that one D x D map and no vertex is built before the end.
    """

    def __init__(self, vertices: int, styles: int, width: int = 64, heads: int = 4, layers: int = 1, period: int = 30,
                 fps: float = 30, encoder: SpeechEncoder | None = None, dropout: float = 0.1, scale: float = 1.0):
        """vertices: of the template; styles: training subjects; width: D; period: frames of the periodic positions
        and of the attention bias; encoder: a small untrained one if absent; scale: of the displacements in the mesh's
        unit, so that the maps work in numbers of order one (published: 1)."""
        super().__init__(encoder or SpeechEncoder(), vertices, styles, fps)
        self.scale = scale
        self.speech_map = nn.Linear(self.encoder.width, width)
        self.style_map = nn.Linear(styles, width, bias=False)
        self.motion_map = nn.Linear(3 * vertices, width)
        self.decoder = AlignedDecoder(width, heads, layers, period, dropout=dropout)
        self.vertex_map = nn.Linear(width, 3 * vertices)
        nn.init.zeros_(self.vertex_map.weight)
        nn.init.zeros_(self.vertex_map.bias)

    def forward(self, speech: Tensor, lengths: Tensor, template: Tensor, style: Tensor,
                frames: Tensor | None = None) -> Tensor:
        """See `Animator.forward`."""
        self.check(template, style, len(speech))
        style = self.style_map(style)  # (B, D)
        feedback = self.motion_map.weight @ self.vertex_map.weight  # (D, D)
        constant = style + F.linear(self.vertex_map.bias, self.motion_map.weight, self.motion_map.bias)
        states = self.decoder.rollout(style, self._speech(speech, lengths, frames),
                                      lambda state: torch.addmm(constant, state, feedback.T))
        return self._vertices(states, template)

    def teacher_forced(self, speech: Tensor, lengths: Tensor, template: Tensor, style: Tensor,
                       motion: Tensor, frames: Tensor | None = None) -> Tensor:
        """As `forward`, with the true motion (B, T, V, 3) of the frame before in place of the predicted one."""
        self.check(template, style, len(speech))
        speech = self._speech(speech, lengths, frames)
        if motion.shape[1:] != (speech.shape[1], self.vertices, 3):
            raise ValueError(f"motion has shape {tuple(motion.shape)}, expected "
                             f"{(len(speech), speech.shape[1], self.vertices, 3)}")
        before = torch.cat((template[:, None], motion[:, :-1]), 1) - template[:, None]
        before = before / self.scale
        inputs = self.motion_map(before.flatten(-2)) + self.style_map(style)[:, None]
        return self._vertices(self.decoder(inputs, speech), template)

    def _speech(self, speech: Tensor, lengths: Tensor, frames: Tensor | None) -> Tensor:
        frames = self.frames(lengths) if frames is None else frames
        return self.speech_map(self.encoder.contextualise(speech, lengths, frames, self.fps))  # (B, T, R, D)

    def _vertices(self, states: Tensor, template: Tensor) -> Tensor:
        return self.scale * self.vertex_map(states).unflatten(-1, (-1, 3)) + template[:, None]

    @classmethod
    def load_published(cls, weights: dict[str, Tensor], fps: float, period: int | None = None, heads: int = 4,
                       encoder: dict | None = None, source: str = "checkpoint") -> "FaceFormer":
        """A FaceFormer with published weights, given under their official names; sizes are read off their shapes.

        fps: 30 (VOCASET) or 25 (BIWI); period: fps unless given; heads: no shape tells; encoder: Hugging Face config
        fields, wav2vec2-base's if absent; source: what errors call the weights, their file for instance.
        ValueError where a weight is missing, unknown, misshapen or not finite.
        """
        for name in ("vertice_map.weight", "obj_vector.weight"):
            if name not in weights:
                raise ValueError(f"{source}: {name} is missing, which every FaceFormer checkpoint has")
        width, coordinates = weights["vertice_map.weight"].shape
        layers = {name.split(".")[2] for name in weights if name.startswith("transformer_decoder.layers.")}
        model = cls(coordinates // 3, weights["obj_vector.weight"].shape[1], width, heads, len(layers),
                    round(fps) if period is None else period, fps, SpeechEncoder(encoder or {}))
        own = {}
        for name, weight in weights.items():
            for official, ours in OFFICIAL_NAMES.items():
                name = name.replace(official, ours)
            own[name] = weight
        own.pop("PPE.pe", None)  # the table of periodic positions, made anew
        fill_weights(model, own, source)
        return model
