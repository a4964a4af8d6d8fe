"""Speech from files, and wav2vec 2.0 features at the corpus frame rate."""
import os
from fractions import Fraction
from pathlib import Path

import soundfile
import torch
import torchaudio
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

SPEECH_HZ = 16_000
FEATURES_PER_SECOND = 50
WINDOW = 400  # samples that one wav2vec 2.0 feature sees: the shortest speech there is
BASE_960H = "facebook/wav2vec2-base-960h"
# Hugging Face config fields of an encoder that a CPU trains in minutes
SMALL = dict(hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=384, conv_dim=(96,) * 7,
             num_conv_pos_embeddings=32, num_conv_pos_embedding_groups=8, layerdrop=0.0)


def read_speech(path: str | Path, rate_hz: int = SPEECH_HZ) -> Tensor:
    """Samples (S,) float32 at `rate_hz`, channels averaged, from a WAV, FLAC, OGG or MP3 file of any rate.

    ValueError, naming file and reason, where the file is absent, no audio, not finite or shorter than 25 ms.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path}: {path.stat().st_size} bytes that are no audio file: {error.error_string}") from error
    samples = torch.from_numpy(channels).mean(1)
    if not samples.isfinite().all():
        raise ValueError(f"{path}: {int((~samples.isfinite()).sum())} of {len(samples)} samples are not finite")
    if len(samples) < WINDOW * rate / SPEECH_HZ:
        raise ValueError(f"{path}: {1000 * len(samples) / rate:.1f} ms of audio, expected at least 25 ms")
    # the filter has a phase for each unit of the ratio: a close ratio of small numbers serves odd rates
    ratio = Fraction(rate_hz, rate).limit_denominator(1000)
    return torchaudio.functional.resample(samples, ratio.denominator, ratio.numerator)


def write_speech(path: str | Path, samples: Tensor, rate_hz: int = SPEECH_HZ):
    """Writes samples (S,) as a 16-bit WAV file, whole or not at all; values beyond [-1, 1] are clipped."""
    path = Path(path)
    partial = path.with_name(path.name + ".tmp")
    soundfile.write(partial, samples.detach().cpu().numpy(), rate_hz, subtype="PCM_16", format="WAV")
    os.replace(partial, path)


def normalise(samples: Tensor, lengths: Tensor) -> Tensor:
    """samples (B, S) to zero mean and unit variance over each utterance's own `lengths` (B,); padding becomes zero."""
    own = torch.arange(samples.shape[1], device=samples.device) < lengths[:, None]
    count = lengths[:, None].to(samples)
    centred = torch.where(own, samples - torch.where(own, samples, 0).sum(1, True) / count, 0)
    return centred / (centred.square().sum(1, True) / count + 1e-7).sqrt()


def resample_features(features: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
    """Linear interpolation over time, ends on ends, of each item's own `lengths` (B,) to `targets` (B,) positions:
    (B, N, C) -> (B, max(targets), C); values beyond an item's target mean nothing."""
    steps = torch.arange(int(targets.max()), device=features.device)
    intervals = (targets - 1).clamp_min(1)[:, None]
    # in whole numbers, so that no length is too long to be exact
    travelled = torch.minimum(steps, intervals) * (lengths - 1)[:, None]  # (B, T) in units of 1 / intervals
    before = travelled // intervals
    weight = ((travelled % intervals) / intervals).to(features)[..., None]
    after = torch.minimum(before + 1, (lengths - 1)[:, None])
    rows = torch.arange(len(features), device=features.device)[:, None]
    return torch.lerp(features[rows, before], features[rows, after], weight)


class SpeechEncoder(nn.Module):
    """wav2vec 2.0 (Baevski et al. 2020) in two halves, `extract` (convolutions) and `contextualise` (transformer).

    Works on padded batches: an item's features are those it has alone. The convolutions are frozen unless
    `train_convolutions`, and their features can then be computed once and kept.
    """

    def __init__(self, model: dict | Wav2Vec2Model = SMALL, train_convolutions: bool = False):
        """model: fields of Hugging Face's Wav2Vec2Config for a new one, or one that exists."""
        super().__init__()
        self.model = Wav2Vec2Model(Wav2Vec2Config(**model)) if isinstance(model, dict) else model
        if not train_convolutions:
            self.freeze()

    @classmethod
    def from_pretrained(cls, name: str | Path = BASE_960H, train_convolutions: bool = False) -> "SpeechEncoder":
        """name: a folder that holds config.json and weights, or a name on the Hugging Face hub, cached once loaded."""
        try:
            model, report = Wav2Vec2Model.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        except OSError as error:
            raise ValueError(f"{name}: no wav2vec 2.0 in this folder, in the Hugging Face cache or in reach; put "
                             f"config.json and model.safetensors of huggingface.co/{BASE_960H} into a folder and give "
                             "its path") from error
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
            raise ValueError(f"item {int(counts.argmin())} of the batch has {int(lengths[counts.argmin()])} samples of "
                             f"speech, expected at least {WINDOW}")
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
                features[rows, :extracted.shape[1]] = extracted
        return features, counts

    def contextualise(self, features: Tensor, lengths: Tensor, frames: Tensor, fps: float) -> Tensor:
        """features: (B, N, C) from `extract` with their lengths (B,); frames: (B,) frames of motion wanted, at `fps`.

        Returns (B, T, R, D), T = max(frames), zero in padding. Where fps divides 50, a frame has its own R = 50 / fps
        features (Fan et al. 2022 on BIWI), the last repeated where speech ends up to half a second before the motion;
        else R = 1 and the features are interpolated linearly to the frames (the same on VOCASET).
        """
        group = features_per_frame(fps)
        wanted = frames * group
        if int(frames.min()) < 1:
            item = int(frames.argmin())
            raise ValueError(f"item {item} of the batch has {int(lengths[item])} speech features "
                             f"and {int(frames.min())} frames at {fps} fps, expected at least one frame")
        if group > 1:
            missing = wanted - lengths
            if int(missing.max()) > FEATURES_PER_SECOND // 2:
                item = int(missing.argmax())
                raise ValueError(f"item {item} of the batch has {int(frames[item])} frames at {fps} fps and only "
                                 f"{int(lengths[item])} speech features, expected {int(wanted[item])}")
            positions = torch.arange(int(wanted.max()), device=features.device)
            positions = torch.minimum(positions, (lengths - 1)[:, None])
            features = features[torch.arange(len(features), device=features.device)[:, None], positions]
        else:
            features = resample_features(features, lengths, wanted)
        own = torch.arange(features.shape[1], device=features.device) < wanted[:, None]
        hidden, _ = self.model.feature_projection(features)
        hidden = self._mask_spans(hidden)
        hidden = self.model.encoder(hidden, attention_mask=own).last_hidden_state
        return torch.where(own[..., None], hidden, 0).unflatten(1, (-1, group))

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


def features_per_frame(fps: float) -> int:
    """Speech features that belong to one frame: 50 / fps where that is whole, else one interpolated feature."""
    return round(FEATURES_PER_SECOND / fps) if FEATURES_PER_SECOND % fps == 0 else 1
