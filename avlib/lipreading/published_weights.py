"""Published weights of Auto-AVSR's readers: their names in this package, and the sizes of the expert that has them."""

import re

from torch import Tensor

OFFICIAL_NAMES = (  # patterns in official names and their replacements, applied in this order
    (r"^frontend\.", "encoder.frontend."),
    (r"^proj_encoder\.", "encoder.embed.0."),  # later releases
    (r"^aux_encoder\.", "encoders.audio."),
    (r"^encoder\.", "encoders.{only}."),
    (r"^ctc\.ctc_lo", "ctc"),
    (r"^proj_decoder", "memory"),
    (r"^fusion\.fc1", "fusion.expand"),
    (r"^fusion\.bn1", "fusion.norm"),
    (r"^fusion\.fc2", "fusion.out"),
    (r"frontend3D\.0|trunk\.conv1", "stem"),
    (r"frontend3D\.1|trunk\.bn1", "stem_norm"),
    (r"embed\.0", "embed"),
    (r"\.(en|de)coders\.(?=\d)", ".layers."),
    (r"^(encoders\.\w+|decoder)\.after_norm", r"\1.norm"),
    (r"norm_ff_macaron", "before_norm"),
    (r"norm_mha", "attention_norm"),
    (r"norm_conv", "convolution_norm"),
    (r"norm_ff", "after_norm"),
    (r"norm_final", "norm"),
    (r"norm1", "self_norm"),
    (r"norm2", "cross_norm"),
    (r"norm3", "feedforward_norm"),
    (r"feed_forward_macaron", "feedforward_before"),
    (r"^(encoders.*)feed_forward", r"\1feedforward_after"),
    (r"feed_forward", "feedforward"),
    (r"w_1", "0"),
    (r"w_2", "3"),
    (r"^(encoders.*)self_attn", r"\1attention"),
    (r"self_attn", "self_attention"),
    (r"src_attn", "cross_attention"),
    (r"linear_q", "query"),
    (r"linear_k", "key"),
    (r"linear_v", "value"),
    (r"linear_out|output_layer", "out"),
    (r"linear_pos", "distance"),
    (r"pos_bias_u", "content_bias"),
    (r"pos_bias_v", "distance_bias"),
    (r"conv_module", "convolution"),
    (r"pointwise_cov1", "gate"),
    (r"pointwise_cov2", "out"),
    (r"depthwise_conv", "depthwise"),
)


def rename_published_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under their official names, or under those of `Expert`, -> weights under the names of `Expert`."""
    reads_audio = any(re.match(r"(encoder\.)?frontend\.trunk\.conv1", name) for name in weights)
    only = "audio" if reads_audio else "video"  # the stream of a reader with one encoder
    renamed = {}
    for name, weight in weights.items():
        if "pointwise" in name:
            weight = weight.squeeze(-1)  # a convolution over one frame is a linear map
        for pattern, replacement in OFFICIAL_NAMES:
            name = re.sub(pattern, replacement.replace("{only}", only), name)
        renamed[name] = weight
    return renamed


def sizes_of(weights: dict[str, Tensor], source: str) -> dict:
    """The arguments of `Expert` that weights under its names have by their shapes; the shapes do not show the decoder's
    number of heads.

    source: what errors call the weights. ValueError where a weight that shows a size is missing or has too few axes.
    """
    modalities = tuple(m for m in ("audio", "video") if any(name.startswith(f"encoders.{m}.") for name in weights))
    if not modalities:
        raise ValueError(f"{source}: no weight of an encoder among {len(weights)} weights")
    both = len(modalities) == 2
    return dict(
        vocabulary=_size(weights, "ctc.weight", 0, source),
        modalities=modalities,
        **_encoder_sizes(weights, modalities[-1], source),
        audio=_encoder_sizes(weights, "audio", source) if both else None,
        fusion=_size(weights, "fusion.expand.weight", 0, source) if both else 0,
        decoder_layers=_layer_count(weights, "decoder.layers."),
        decoder_width=_size(weights, "decoder.embed.weight", 1, source),
        decoder_feedforward=_size(weights, "decoder.layers.0.feedforward.0.weight", 0, source),
    )


def _encoder_sizes(weights: dict[str, Tensor], stream: str, source: str) -> dict[str, int]:
    encoder = f"encoders.{stream}."
    first = f"{encoder}layers.0."
    return dict(
        frontend_width=_size(weights, f"{encoder}frontend.stem.weight", 0, source),
        width=_size(weights, f"{encoder}embed.weight", 0, source),
        heads=_size(weights, f"{first}attention.content_bias", 0, source),
        feedforward=_size(weights, f"{first}feedforward_before.0.weight", 0, source),
        kernel=_size(weights, f"{first}convolution.depthwise.weight", 2, source),
        layers=_layer_count(weights, f"{encoder}layers."),
    )


def _size(weights: dict[str, Tensor], name: str, axis: int, source: str) -> int:
    if name not in weights or weights[name].ndim <= axis:
        raise ValueError(f"{source}: {name} is missing or has fewer than {axis + 1} axes; the sizes cannot be read")
    return weights[name].shape[axis]


def _layer_count(weights: dict[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})
