"""The published animators written as plain loops, on the weights of avlib's animators: what benchmarks/animate.py
compares with."""

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Model

from avlib.animators.aligned import AlignedAnimator
from avlib.animators.attention_bias import causal_bias
from avlib.animators.codetalker import CodeTalker
from avlib.animators.faceformer import FaceFormer

TABLE_FRAMES = 600  # of the published tables of positions and biases
DECODER_NAMES = {  # torch's name -> avlib's
    "self_attn.in_proj_": "self_qkv.",
    "self_attn.out_proj.": "self_out.",
    "multihead_attn.in_proj_": "cross_qkv.",
    "multihead_attn.out_proj.": "cross_out.",
    "linear1.": "expand.",
    "linear2.": "contract.",
    "norm1.": "self_norm.",
    "norm2.": "cross_norm.",
    "norm3.": "last_norm.",
}


class PlainEncoder(nn.Module):
    """wav2vec 2.0 of transformers as it is, for one utterance at a time, as the published animators call it."""

    def __init__(self, model: AlignedAnimator):
        super().__init__()
        wav2vec2 = model.encoder.model
        self.model = Wav2Vec2Model(wav2vec2.config)
        self.model.load_state_dict(wav2vec2.state_dict())
        self.model.freeze_feature_encoder()
        self.to(model.speech_map.weight.device).train(model.training)
        self.fps, self.speech_map = model.fps, model.speech_map

    def forward(self, samples: Tensor) -> Tensor:
        """samples (1, S) at 16 kHz -> audio features (1, T, R, D)."""
        with torch.no_grad():
            features = self.model.feature_extractor(samples)
        if self.fps == 30:
            count = int(features.shape[2] / 50 * 30)
            features = nn.functional.interpolate(features, count, mode="linear", align_corners=True)
        group = 1 if self.fps == 30 else 2
        features = features[..., : features.shape[2] // group * group].transpose(1, 2)
        hidden = self.model.encoder(self.model.feature_projection(features)[0]).last_hidden_state
        return self.speech_map(hidden).unflatten(1, (-1, group))


class PlainDecoder(nn.Module):
    """The published decoder: torch's layers over all frames so far, with a mask over all speech features."""

    def __init__(self, model: AlignedAnimator):
        super().__init__()
        width, decoder, device = model.speech_map.out_features, model.decoder, model.speech_map.weight.device
        layer = nn.TransformerDecoderLayer(width, decoder.heads, 2 * width, batch_first=True)
        self.layers = nn.TransformerDecoder(layer, len(decoder.layers))
        for plain, layer in zip(self.layers.layers, decoder.layers):
            state = layer.state_dict()
            kinds = "weight", "bias"
            plain.load_state_dict(
                {name + kind: state[current + kind] for name, current in DECODER_NAMES.items() for kind in kinds}
            )
        self.positions = decoder.positions.repeat(TABLE_FRAMES // decoder.period + 1, 1)
        self.bias = causal_bias(decoder.heads, decoder.period, TABLE_FRAMES).to(device)
        self.to(device).train(model.training)

    def forward(self, rows: Tensor, audio_features: Tensor, group: int) -> Tensor:
        """rows: (1, n, D), inputs of all frames so far; audio_features: (1, T * R, D), R = `group` of each frame.
        Returns states (1, n, D)."""
        n = rows.shape[1]
        masked = torch.ones(n, audio_features.shape[1])
        for i in range(n):
            masked[i, group * i : group * (i + 1)] = 0
        memory_mask = (masked == 1).to(rows.device)
        x = rows + self.positions[:n]
        return self.layers(x, audio_features, tgt_mask=self.bias[:, :n, :n], memory_mask=memory_mask)


def plain_faceformer(
    model: FaceFormer, decoder: PlainDecoder, audio_features: Tensor, template: Tensor, style: Tensor
) -> Tensor:
    """audio_features (1, T, R, D) -> vertices (1, T, V, 3). Decodes all frames so far, and computes their vertices,
    for every frame."""
    group, style = audio_features.shape[2], model.style_map(style)[None, None]
    rows = style
    for _ in range(audio_features.shape[1]):
        displacement = model.vertex_map(decoder(rows, audio_features.flatten(1, 2), group))
        rows = torch.cat((rows, model.motion_map(displacement[:, -1:]) + style), 1)
    return displacement.unflatten(-1, (-1, 3)) + template


def plain_codetalker(
    model: CodeTalker, decoder: PlainDecoder, audio_features: Tensor, template: Tensor, style: Tensor
) -> Tensor:
    """audio_features (1, T, 1, D) -> vertices (1, T, V, 3). Decodes all frames so far with both networks for every
    frame."""
    style = model.style_map(style)[None, None]
    rows = style
    for t in range(audio_features.shape[1]):
        codes, _ = model.codes(decoder(rows, audio_features.flatten(1, 2), 1))
        codes = torch.cat((codes, codes), 1) if t == 0 else codes  # one frame alone has no variance
        displacement = model.motion_vqvae.decode(codes, torch.tensor([codes.shape[1]], device=codes.device))
        rows = torch.cat((rows, model.motion_map(displacement[:, t : t + 1]) + style), 1)
    return displacement[:, : t + 1].unflatten(-1, (-1, 3)) + template
