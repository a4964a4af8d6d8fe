"""wav2vec 2.0 features of speech at the frame rate of the motion."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ..core.dropout import mask, with_fast_dropout
from ..core.rates import FEATURES_PER_SECOND, SPEECH_HZ, WINDOW
from ..core.tensors import frame_mask
from .sound import SpeechFile

if TYPE_CHECKING:
    from transformers import Wav2Vec2Model

LONG_S = 20.0  # speech longer than this is encoded in pieces
PIECE_S, CONTEXT_S = 12.0, 4.0  # length of a piece, and of the speech added on either side
BASE_960H = "facebook/wav2vec2-base-960h"
# Hugging Face config fields of an encoder that a CPU trains in minutes
SMALL: dict[str, Any] = dict(
    hidden_size=128,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=384,
    conv_dim=(96,) * 7,
    num_conv_pos_embeddings=32,
    num_conv_pos_embedding_groups=8,
    layerdrop=0.0,
)


def features_per_frame(fps: float) -> int:
    """Number of features that belong to one frame: 50 / fps where that is a whole number, else one, interpolated."""
    return round(FEATURES_PER_SECOND / fps) if FEATURES_PER_SECOND % fps == 0 else 1


def feature_positions(feature_lengths: Tensor, frame_lengths: Tensor, fps: float) -> tuple[Tensor, Tensor]:
    """Positions among `feature_lengths` (B,) features of those that belong to `frame_lengths` (B,) frames.

    Returns the index of the feature before, and the weight of the next one in [0, 1), both (B, M) with
    M = max(frame_lengths) * features_per_frame(fps).
    """
    group = features_per_frame(fps)
    if group == 1:
        return even_positions(feature_lengths, frame_lengths)
    positions = torch.arange(int(frame_lengths.max()) * group, device=feature_lengths.device)
    before = torch.minimum(positions, (feature_lengths - 1)[:, None])
    return before, torch.zeros_like(before, dtype=torch.float)


def even_positions(feature_lengths: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of `frame_lengths` (B,) frames spread evenly over `feature_lengths` (B,) features, from first to last.

    Returns the index of the feature before, and the weight of the next one in [0, 1), both (B, T) with
    T = max(frame_lengths).
    """
    steps = torch.arange(int(frame_lengths.max()), device=feature_lengths.device)
    intervals = (frame_lengths - 1).clamp_min(1)[:, None]
    # integers, so that positions are exact for any length; unit: 1 / intervals of a feature
    positions = torch.minimum(steps, intervals) * (feature_lengths - 1)[:, None]  # (B, T)
    return positions // intervals, (positions % intervals) / intervals


def interpolate(features: Tensor, before: Tensor, weight: Tensor) -> Tensor:
    """Features (B, N, C), interpolated linearly at the positions `before` + `weight`, both (B, T) -> (B, T, C)."""
    before, rows = before.to(features.device), torch.arange(len(features), device=features.device)[:, None]
    after = (before + 1).clamp_max(features.shape[1] - 1)
    return torch.lerp(features[rows, before], features[rows, after], weight.to(features)[..., None])


class SpeechEncoder(nn.Module):
    """wav2vec 2.0 (Baevski et al. 2020) in two parts: `extract` (convolutions) and `contextualise` (transformer).

    Takes padded batches; an item's features do not depend on the padding or on other items. The convolutions are frozen
    unless `train_convolutions`; the features of frozen convolutions can be computed once and cached.
    """

    def __init__(self, model: "dict | Wav2Vec2Model" = SMALL, train_convolutions: bool = False):
        """model: fields of Hugging Face's Wav2Vec2Config for a new model, or an existing model."""
        # imported here, because importing transformers takes seconds
        from transformers import AttentionInterface, AttentionMaskInterface, Wav2Vec2Config, Wav2Vec2Model
        from transformers.masking_utils import sdpa_mask

        super().__init__()
        model = Wav2Vec2Model(Wav2Vec2Config(**model)) if isinstance(model, dict) else model
        self.model = cast(Wav2Vec2Model, with_fast_dropout(model))
        AttentionInterface.register("avlib", attend)
        AttentionMaskInterface.register("avlib", sdpa_mask)
        self.model.set_attn_implementation("avlib")
        positional = self.model.encoder.pos_conv_embed.conv
        positional.__class__ = type("PositionalConv", (_ChannelsLastConv, type(positional)), {})
        if not train_convolutions:
            self.freeze()

    @classmethod
    def from_pretrained(cls, name: str | Path = BASE_960H, train_convolutions: bool = False) -> "SpeechEncoder":
        """name: a folder with config.json and weights, or a name on the Hugging Face hub, cached after the download."""
        from transformers import Wav2Vec2Model

        try:
            loaded: Any = Wav2Vec2Model.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        except OSError as error:
            raise ValueError(
                f"{name}: no wav2vec 2.0 in this folder or in the Hugging Face cache, and no download; put "
                f"config.json and model.safetensors of huggingface.co/{BASE_960H} into a folder and give its path"
            ) from error
        model, report = loaded
        missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})  # a CTC checkpoint may lack the mask
        if missing:
            raise ValueError(f"{name}: {len(missing)} weights of wav2vec 2.0 are missing, first {missing[0]}")
        return cls(model, train_convolutions)

    def freeze(self) -> None:
        """Freezes the convolutions, as FaceFormer and CodeTalker do."""
        self.model.freeze_feature_encoder()

    @property
    def width(self) -> int:
        """Width D of the contextualised features."""
        return self.model.config.hidden_size

    def feature_lengths(self, sample_lengths: Tensor) -> Tensor:
        """Number of convolution features of so many samples, elementwise: about samples / 320 - 1."""
        lengths = sample_lengths
        for kernel, stride in zip(self.model.config.conv_kernel, self.model.config.conv_stride):
            lengths = (lengths - kernel) // stride + 1
        return lengths

    def frame_lengths(self, feature_lengths: Tensor, fps: float) -> Tensor:
        """Number of motion frames that so many convolution features span, elementwise, as FaceFormer counts them."""
        group = features_per_frame(fps)
        if group > 1:
            return feature_lengths // group
        # in double precision, as published: integer arithmetic gives another frame for a few lengths
        return (feature_lengths.double() / FEATURES_PER_SECOND * fps).long()

    def extract(self, samples: Tensor, sample_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Convolution features (B, N, C), zero in the padding, and their lengths (B,).

        samples: (B, S) at 16 kHz, normalised; sample_lengths: (B,). Without gradient where the convolutions are frozen.
        """
        feature_lengths = self.feature_lengths(sample_lengths)
        if (feature_lengths < 1).any():
            item = int(feature_lengths.argmin())
            count = int(sample_lengths[item])
            raise ValueError(f"item {item} of the batch has {count} samples of speech, expected at least {WINDOW}")
        if int(sample_lengths.max()) > samples.shape[1]:
            raise ValueError(
                f"sample lengths reach {int(sample_lengths.max())}, expected at most {samples.shape[1]} as in the batch"
            )
        extractor = self.model.feature_extractor
        trained = any(p.requires_grad for p in extractor.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            features = samples.new_zeros(len(samples), int(feature_lengths.max()), self.model.config.conv_dim[-1])
            # items of one length at a time: the first layer normalises over time, padding would change its statistics
            for length in sample_lengths.unique().tolist():
                rows = (sample_lengths == length).nonzero().squeeze(1).to(samples.device)
                extracted = extractor(samples[rows, :length]).transpose(1, 2)
                features[rows, : extracted.shape[1]] = extracted
        return features, feature_lengths

    def contextualise(self, features: Tensor, feature_lengths: Tensor, frames: Tensor, fps: float) -> Tensor:
        """Contextualised features (B, T, R, D) of each motion frame, T = max(frames), zero in the padding.

        features, feature_lengths: (B, N, C) and (B,), of `extract`; frames: (B,) number of motion frames, at `fps`.
        Where fps divides 50, each frame has R = 50 / fps features (Fan et al. 2022 on BIWI); the last feature is
        repeated where speech ends up to half a second before the motion. Otherwise R = 1 and the features are
        interpolated linearly to the frames (Fan et al. 2022 on VOCASET).
        """
        group = features_per_frame(fps)
        if int(frames.min()) < 1:
            item = int(frames.argmin())
            raise ValueError(
                f"item {item} of the batch has {int(feature_lengths[item])} speech features "
                f"and {int(frames.min())} frames at {fps} fps, expected at least one frame"
            )
        missing = frames * group - feature_lengths
        if group > 1 and int(missing.max()) > FEATURES_PER_SECOND // 2:
            item = int(missing.argmax())
            raise ValueError(
                f"item {item} of the batch has {int(frames[item])} frames at {fps} fps and only "
                f"{int(feature_lengths[item])} speech features, expected {int(frames[item] * group)}"
            )
        aligned = interpolate(features, *feature_positions(feature_lengths, frames, fps))
        valid = frame_mask(frames * group, aligned.shape[1], aligned.device)
        return self._transform(aligned, valid).unflatten(1, (-1, group))

    def _transform(self, features: Tensor, valid: Tensor) -> Tensor:
        """(B, M, C) -> (B, M, D), zero in the padding; an item attends to its valid positions (B, M) only."""
        hidden, _ = self.model.feature_projection(features)
        hidden = self.model.encoder(self._mask_spans(hidden), attention_mask=valid).last_hidden_state
        return torch.where(valid[..., None], hidden, 0)

    @torch.no_grad()
    def stream(self, samples: Tensor | SpeechFile, frames: int, fps: float) -> Iterator[Tensor]:
        """`forward` for one utterance of any length, in pieces (1, T', R, D) that add up to `frames` frames.

        samples: (S,) at 16 kHz, normalised. Memory does not grow with the length: each piece of `PIECE_S` seconds is
        encoded with `CONTEXT_S` seconds on either side. Published models were trained on shorter utterances.
        """
        group = features_per_frame(fps)
        feature_length = self.feature_lengths(torch.tensor([len(samples)]))
        before, weight = feature_positions(feature_length, torch.tensor([frames]), fps)
        piece, context = round(PIECE_S * fps), round(CONTEXT_S * fps)
        stride = math.prod(self.model.config.conv_stride)
        device = next(self.parameters()).device
        for begin in range(0, frames, piece):
            end = min(begin + piece, frames)
            first, last = max(0, begin - context), min(frames, end + context)
            chosen = slice(first * group, last * group)
            low, high = int(before[0, chosen][0]), min(int(before[0, chosen][-1]) + 2, int(feature_length))
            # the last piece includes the speech after the last frame, as a single pass does
            after = piece * SPEECH_HZ // round(fps) if last == frames else 0
            window = samples[low * stride : (high - 1) * stride + WINDOW + after].to(device)[None]
            features, _ = self.extract(window, torch.tensor([window.shape[1]], device=device))
            aligned = interpolate(features, before[:, chosen].to(device) - low, weight[:, chosen].to(device))
            valid = torch.ones(aligned.shape[:2], dtype=torch.bool, device=device)
            yield self._transform(aligned, valid).unflatten(1, (-1, group))[:, begin - first : end - first]

    def _mask_spans(self, hidden: Tensor) -> Tensor:
        """SpecAugment over time as in wav2vec 2.0's fine-tuning, in training only. hidden: (B, M, D)."""
        config = self.model.config
        if not (self.training and config.apply_spec_augment and config.mask_time_prob):
            return hidden
        starts = torch.rand(hidden.shape[:2], device=hidden.device) < config.mask_time_prob / config.mask_time_length
        padded = nn.functional.pad(starts.to(hidden), (config.mask_time_length - 1, 0))
        masked = nn.functional.max_pool1d(padded, config.mask_time_length, 1).bool()
        return torch.where(masked[..., None], self.model.masked_spec_embed, hidden)

    def forward(self, samples: Tensor, sample_lengths: Tensor, frames: Tensor, fps: float) -> Tensor:
        """`extract`, then `contextualise`: samples (B, S), sample_lengths (B,), frames (B,) -> (B, T, R, D)."""
        return self.contextualise(*self.extract(samples, sample_lengths), frames, fps)


class _ChannelsLastConv(nn.Conv1d):
    """On a CPU, computes in the memory layout that oneDNN prefers.

    A grouped convolution with many taps then takes two thirds of the time.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type != "cpu":
            return super()._conv_forward(input, weight, bias)
        padding = (0, *cast(tuple[int, ...], self.padding))
        out = nn.functional.conv2d(
            _channels_last(input), _channels_last(weight), bias, padding=padding, groups=self.groups
        )
        return out.squeeze(2)


def _channels_last(x: Tensor) -> Tensor:
    """(B, C, T) -> (B, C, 1, T), channels last in memory."""
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """An attention function for transformers, with the dropout of `core.dropout`.

    query, key, value: (B, heads, T, d); attention_mask: (B, 1, T, T), True where a query may attend to a key; scaling:
    d^-0.5 by default. Returns (B, T, heads, d) and None instead of attention weights.
    """
    if not dropout:
        context = nn.functional.scaled_dot_product_attention(query, key, value, attention_mask, scale=scaling)
    else:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        scores = scale * query @ key.transpose(-1, -2)
        scores = scores if attention_mask is None else scores.masked_fill(~attention_mask, -torch.inf)
        weights = scores.softmax(-1)
        context = weights * mask(dropout, weights.shape, weights) @ value
    return context.transpose(1, 2), None
