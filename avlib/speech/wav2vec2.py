"""Speech from files, and wav2vec 2.0 features at the corpus frame rate."""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.dropout import cheaper, mask
from ..core.rates import FEATURES_PER_SECOND, SPEECH_HZ, WINDOW
from .sound import SpeechFile

LONG_S = 20.0  # seconds from which on speech is encoded in pieces
PIECE_S, CONTEXT_S = 12.0, 4.0
BASE_960H = "facebook/wav2vec2-base-960h"
# Hugging Face config fields of an encoder that a CPU trains in minutes
SMALL = dict(
    hidden_size=128,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=384,
    conv_dim=(96,) * 7,
    num_conv_pos_embeddings=32,
    num_conv_pos_embedding_groups=8,
    layerdrop=0.0,
)


def even_positions(lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Where `targets` (B,) frames lie among `lengths` (B,) features when ends meet ends: the feature before (B, T) and
    how far on to the next one (B, T) in [0, 1), T = max(targets)."""
    steps = torch.arange(int(targets.max()), device=lengths.device)
    intervals = (targets - 1).clamp_min(1)[:, None]
    # in whole numbers, so that no length is too long to be exact
    travelled = torch.minimum(steps, intervals) * (lengths - 1)[:, None]  # (B, T) in units of 1 / intervals
    return travelled // intervals, (travelled % intervals) / intervals


def between(features: Tensor, before: Tensor, weight: Tensor) -> Tensor:
    """Linear interpolation over time: features (B, N, C) at `before` + `weight`, both (B, T) -> (B, T, C)."""
    rows = torch.arange(len(features), device=features.device)[:, None]
    after = (before + 1).clamp_max(features.shape[1] - 1)
    return torch.lerp(features[rows, before], features[rows, after], weight.to(features)[..., None])


class SpeechEncoder(nn.Module):
    """wav2vec 2.0 (Baevski et al. 2020) in two halves, `extract` (convolutions) and `contextualise` (transformer).

    Works on padded batches: an item's features are those it has alone. The convolutions are frozen unless
    `train_convolutions`, and their features can then be computed once and kept.
    """

    def __init__(self, model: dict | nn.Module = SMALL, train_convolutions: bool = False):
        """model: fields of Hugging Face's Wav2Vec2Config for a new one, or a Wav2Vec2Model that exists."""
        # here, for it takes seconds
        from transformers import AttentionInterface, AttentionMaskInterface, Wav2Vec2Config, Wav2Vec2Model
        from transformers.masking_utils import sdpa_mask

        super().__init__()
        self.model = cheaper(Wav2Vec2Model(Wav2Vec2Config(**model)) if isinstance(model, dict) else model)
        AttentionInterface.register("avlib", attend)
        AttentionMaskInterface.register("avlib", sdpa_mask)
        self.model.set_attn_implementation("avlib")
        positional = self.model.encoder.pos_conv_embed.conv
        positional.__class__ = type("PositionalConv", (_ChannelsLast, type(positional)), {})
        if not train_convolutions:
            self.freeze()

    @classmethod
    def from_pretrained(cls, name: str | Path = BASE_960H, train_convolutions: bool = False) -> "SpeechEncoder":
        """name: a folder that holds config.json and weights, or a name on the Hugging Face hub, cached once loaded."""
        from transformers import Wav2Vec2Model

        try:
            model, report = Wav2Vec2Model.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        except OSError as error:
            raise ValueError(
                f"{name}: no wav2vec 2.0 in this folder, in the Hugging Face cache or in reach; put "
                f"config.json and model.safetensors of huggingface.co/{BASE_960H} into a folder and give "
                "its path"
            ) from error
        missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})  # a CTC checkpoint may lack the mask
        if missing:
            raise ValueError(f"{name}: {len(missing)} weights of wav2vec 2.0 are missing, {missing[0]} first")
        return cls(model, train_convolutions)

    def freeze(self):
        """Freezes the convolutions from here on, as FaceFormer and CodeTalker do."""
        self.model.freeze_feature_encoder()

    @property
    def width(self) -> int:
        """Of the contextualised features."""
        return self.model.config.hidden_size

    def lengths(self, samples: Tensor) -> Tensor:
        """Number of convolution features of so many samples, elementwise: about samples / 320 - 1."""
        for kernel, stride in zip(self.model.config.conv_kernel, self.model.config.conv_stride):
            samples = (samples - kernel) // stride + 1
        return samples

    def frames(self, lengths: Tensor, fps: float) -> Tensor:
        """Frames of motion that convolution features of `lengths` last, elementwise, as FaceFormer counts them."""
        group = features_per_frame(fps)
        # rounded down as a double, as published: whole-number arithmetic differs by a frame for a few lengths
        return lengths // group if group > 1 else (lengths.double() / FEATURES_PER_SECOND * fps).long()

    def extract(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """samples: (B, S) at 16 kHz, normalised, with `lengths` (B,). Returns convolution features (B, N, C), zero in
        padding, and their lengths (B,); without gradient where the convolutions are frozen."""
        counts = self.lengths(lengths)
        if (counts < 1).any():
            raise ValueError(
                f"item {int(counts.argmin())} of the batch has {int(lengths[counts.argmin()])} samples of "
                f"speech, expected at least {WINDOW}"
            )
        if int(lengths.max()) > samples.shape[1]:
            raise ValueError(f"lengths reach {int(lengths.max())} samples, the batch holds {samples.shape[1]}")
        extractor = self.model.feature_extractor
        trained = any(p.requires_grad for p in extractor.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            features = samples.new_zeros(len(samples), int(counts.max()), self.model.config.conv_dim[-1])
            # a length at a time: the first layer normalises over time, which padding would pollute
            for length in lengths.unique().tolist():
                rows = lengths == length
                extracted = extractor(samples[rows, :length]).transpose(1, 2)
                features[rows, : extracted.shape[1]] = extracted
        return features, counts

    def contextualise(self, features: Tensor, lengths: Tensor, frames: Tensor, fps: float) -> Tensor:
        """features: (B, N, C) from `extract` with their lengths (B,); frames: (B,) frames of motion wanted, at `fps`.

        Returns (B, T, R, D), T = max(frames), zero in padding. Where fps divides 50, a frame has its own R = 50 / fps
        features (Fan et al. 2022 on BIWI), the last repeated where speech ends up to half a second before the motion;
        else R = 1 and the features are interpolated linearly to the frames (the same on VOCASET).
        """
        group = features_per_frame(fps)
        if int(frames.min()) < 1:
            item = int(frames.argmin())
            raise ValueError(
                f"item {item} of the batch has {int(lengths[item])} speech features "
                f"and {int(frames.min())} frames at {fps} fps, expected at least one frame"
            )
        missing = frames * group - lengths
        if group > 1 and int(missing.max()) > FEATURES_PER_SECOND // 2:
            item = int(missing.argmax())
            raise ValueError(
                f"item {item} of the batch has {int(frames[item])} frames at {fps} fps and only "
                f"{int(lengths[item])} speech features, expected {int(frames[item] * group)}"
            )
        hidden = between(features, *frame_positions(lengths, frames, fps))
        own = torch.arange(hidden.shape[1], device=features.device) < (frames * group)[:, None]
        return self._transform(hidden, own).unflatten(1, (-1, group))

    def _transform(self, features: Tensor, own: Tensor) -> Tensor:
        """(B, M, C) -> (B, M, D), in the context of an item's own positions (B, M) alone, zero in padding."""
        hidden, _ = self.model.feature_projection(features)
        hidden = self.model.encoder(self._mask_spans(hidden), attention_mask=own).last_hidden_state
        return torch.where(own[..., None], hidden, 0)

    @torch.no_grad()
    def stream(self, speech: "Tensor | SpeechFile", frames: int, fps: float) -> Iterator[Tensor]:
        """`forward` for one utterance of any length, (S,) normalised samples at 16 kHz, in pieces (1, T', R, D) that
        add up to `frames` frames, at bounded memory.

        A piece is `PIECE_S` seconds and heard with `CONTEXT_S` on either side; published models were trained on less.
        """
        group = features_per_frame(fps)
        count = self.lengths(torch.tensor([len(speech)]))
        before, weight = frame_positions(count, torch.tensor([frames]), fps)
        piece, context = round(PIECE_S * fps), round(CONTEXT_S * fps)
        stride = math.prod(self.model.config.conv_stride)
        device = next(self.parameters()).device
        for begin in range(0, frames, piece):
            end = min(begin + piece, frames)
            first, last = max(0, begin - context), min(frames, end + context)
            chosen = slice(first * group, last * group)
            low, high = int(before[0, chosen][0]), min(int(before[0, chosen][-1]) + 2, int(count))
            # the last piece hears how the speech goes on after the last frame, as one pass would
            after = piece * SPEECH_HZ // round(fps) if last == frames else 0
            samples = speech[low * stride : (high - 1) * stride + WINDOW + after].to(device)[None]
            features, _ = self.extract(samples, torch.tensor([samples.shape[1]], device=device))
            hidden = between(features, before[:, chosen].to(device) - low, weight[:, chosen].to(device))
            own = torch.ones(hidden.shape[:2], dtype=torch.bool, device=device)
            yield self._transform(hidden, own).unflatten(1, (-1, group))[:, begin - first : end - first]

    def _mask_spans(self, hidden: Tensor) -> Tensor:
        """SpecAugment over time as in wav2vec 2.0's fine-tuning, in training alone."""
        config = self.model.config
        if not (self.training and config.apply_spec_augment and config.mask_time_prob):
            return hidden
        starts = torch.rand(hidden.shape[:2], device=hidden.device) < config.mask_time_prob / config.mask_time_length
        ends = nn.functional.pad(starts.to(hidden), (config.mask_time_length - 1, 0))
        masked = nn.functional.max_pool1d(ends, config.mask_time_length, 1).bool()
        return torch.where(masked[..., None], self.model.masked_spec_embed, hidden)

    def forward(self, samples: Tensor, lengths: Tensor, frames: Tensor, fps: float) -> Tensor:
        """`extract`, then `contextualise`: samples (B, S), lengths (B,), frames (B,) -> (B, T, R, D)."""
        return self.contextualise(*self.extract(samples, lengths), frames, fps)


class _ChannelsLast:
    """A torch.nn.Conv1d laid out as oneDNN likes it: a grouped convolution with many taps takes two thirds of the time."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.device.type != "cpu":
            return super()._conv_forward(x, weight, bias)
        wide = lambda t: t.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(
            wide(x), wide(weight), bias, padding=(0, *self.padding), groups=self.groups
        ).squeeze(2)


def attend(
    module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    own: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_,
) -> tuple[Tensor, None]:
    """transformers' attention function, (B, heads, T, d) each and own (B, 1, T, T) -> (B, T, heads, d): its dropout is
    ours, see `dropout`."""
    if not dropout:
        context = nn.functional.scaled_dot_product_attention(query, key, value, own, scale=scaling)
    else:
        scores = scaling * query @ key.transpose(-1, -2)
        weights = (scores if own is None else scores.masked_fill(~own, -torch.inf)).softmax(-1)
        context = weights * mask(dropout, weights.shape, weights) @ value
    return context.transpose(1, 2), None


def frame_positions(lengths: Tensor, frames: Tensor, fps: float) -> tuple[Tensor, Tensor]:
    """Which of `lengths` (B,) speech features the positions of `frames` (B,) frames take: the one before and how far on to
    the next, each (B, M), M = max(frames) * features_per_frame(fps)."""
    group = features_per_frame(fps)
    if group == 1:
        return even_positions(lengths, frames)
    positions = torch.arange(int(frames.max()) * group, device=lengths.device)
    before = torch.minimum(positions, (lengths - 1)[:, None])
    return before, torch.zeros_like(before, dtype=torch.float)


def features_per_frame(fps: float) -> int:
    """Speech features that belong to one frame: 50 / fps where that is whole, else one interpolated feature."""
    return round(FEATURES_PER_SECOND / fps) if FEATURES_PER_SECOND % fps == 0 else 1
