"""The lip-reading expert: Auto-AVSR's audio-visual, video or audio reader, at any size (Ma et al. 2023).

Frames are packed: rows (N, D) of the batch's N valid frames. Only attention and convolution arrange them in time.

Published scores depend on these properties of the model:
* Layer norms have eps 1e-12. Features are multiplied by sqrt(width) before the Conformer, without a norm. Positions are
  relative in the Conformer, absolute in the decoder.
* Both feed-forwards of a Conformer layer use ReLU and count half. The convolution module and the front-ends use SiLU.
* Fusion works frame by frame: linear, batch norm, ReLU, linear, on the concatenation of video and audio.
* The CTC loss is a sum over tokens and frames, the attention loss one over tokens, end token included. Both are divided
  by the batch size, not by lengths. The CTC loss of an utterance with more tokens than its frames can hold is zero.
* The attention loss is the Kullback-Leibler divergence from the smoothed target, which has smoothing / (vocabulary - 1)
  at every wrong token: full confidence in the correct token has a positive loss.
* The published model does not mask padding in convolutions, so padding leaks into the last frames of shorter items.
  `encode(..., leak_padding=True)` reproduces that.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.distributed import any_process, mean_over, uncounted
from ..core.files import fill_weights
from ..core.rates import SAMPLES_PER_FRAME
from ..core.tensors import at_least_float32, frame_mask
from ..speech.text import BLANK, Tokenizer
from .attention_decoder import Decoder
from .beam_search import Hypothesis, run_beam_search
from .conformer import Encoder
from .frontend import AudioFrontEnd, Packing, VideoFrontEnd
from .fusion import Fusion
from .published_weights import rename_published_weights, sizes_of


def _encoder(
    frontend: type[VideoFrontEnd] | type[AudioFrontEnd], dropout: float, frontend_width: int, **sizes
) -> Encoder:
    """The encoder of one stream; a front-end's output has eight times as many channels as its first layer."""
    return Encoder(frontend(frontend_width), 8 * frontend_width, **sizes, dropout=dropout)


class Expert(nn.Module):
    """Recognises speech from lip video, audio or both. Token 0 is the CTC blank, the last token is start and end."""

    tokenizer: Tokenizer  # set by `training.readers.build_reader`

    def __init__(
        self,
        vocabulary: int,
        modalities: tuple = ("audio", "video"),
        width: int = 768,
        heads: int = 12,
        feedforward: int = 3072,
        layers: int = 12,
        kernel: int = 31,
        decoder_layers: int = 6,
        decoder_width: int | None = None,
        decoder_heads: int | None = None,
        decoder_feedforward: int | None = None,
        fusion: int = 8192,
        frontend_width: int = 64,
        dropout: float = 0.1,
        label_smoothing: float = 0.1,
        audio: dict | None = None,
    ):
        """The defaults are the published sizes.

        kernel: frames; frontend_width: channels of the front-ends' first layer, their output has eight times as many;
        decoder_*: the encoder's by default; audio: sizes in which the audio encoder differs from the video encoder
        (width, heads, feedforward, layers, kernel, frontend_width).
        """
        super().__init__()
        if not modalities or set(modalities) - {"audio", "video"}:
            raise ValueError(f"modalities are {modalities}, expected audio, video or both")
        self.vocabulary, self.modalities, self.label_smoothing = vocabulary, tuple(modalities), label_smoothing
        video_sizes = dict(
            frontend_width=frontend_width,
            width=width,
            heads=heads,
            feedforward=feedforward,
            layers=layers,
            kernel=kernel,
        )
        audio_sizes = video_sizes | (audio or {})
        self.encoders = nn.ModuleDict()
        if "video" in modalities:
            self.encoders["video"] = _encoder(VideoFrontEnd, dropout, **video_sizes)
        if "audio" in modalities:
            self.encoders["audio"] = _encoder(AudioFrontEnd, dropout, **audio_sizes)
        if len(self.encoders) == 2:
            self.fusion = Fusion(width + audio_sizes["width"], fusion, width)
        decoder_width = decoder_width or width
        self.ctc = nn.Linear(width, vocabulary)
        self.memory = nn.Linear(width, decoder_width) if decoder_width != width else nn.Identity()
        self.decoder = Decoder(
            vocabulary,
            decoder_width,
            decoder_heads or heads,
            decoder_feedforward or feedforward,
            decoder_layers,
            dropout,
        )
        self.drop = nn.Dropout(dropout)

    def encode(self, *streams, **options) -> Tensor:
        """Features (B, T, D) of video, audio or both, zero in the padding. Arguments as of `encode_streams`."""
        return self.fuse(*self.encode_streams(*streams, **options))

    def encode_streams(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        lengths: Tensor,
        leak_padding: bool = False,
        present: dict[str, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], Packing]:
        """Features (N, D) of each stream, and the packing of their rows.

        video: (B, T, H, W), grey, normalised (Auto-AVSR: mean 0.421, standard deviation 0.165), 25 fps; audio:
        (B, T * 640) at 16 kHz, normalised over the utterance; lengths: (B,) frames. A stream that is not one of this
        expert's modalities must be None.

        leak_padding: convolutions read the padding, as in the published model. present: for "audio" or "video", which
        utterances (B,) have that stream, all by default; the features of the others are zero and are not computed
        (modality dropout, Shi et al. 2022).
        """
        streams = {name: x for name, x in (("video", video), ("audio", audio)) if x is not None}
        frames = self._check_streams(streams, lengths)
        device = next(iter(streams.values())).device
        valid = Packing(torch.full_like(lengths, frames) if leak_padding else lengths, frames, device)
        keys = frame_mask(lengths, frames, device)[:, None, None]
        rows = {
            name: self._encode_stream(name, streams[name], valid, keys, (present or {}).get(name))
            for name in self.encoders
        }
        return rows, valid

    def check_layer(self, layer: int) -> None:
        """ValueError unless `visual_features` has that layer."""
        layers = len(cast(Encoder, self.encoders["video"]).layers) if "video" in self.encoders else -1
        if not -1 <= layer <= layers:
            raise ValueError(
                f"joint.feature_layer: expected -1 to {layers} of an expert that sees lips with {max(0, layers)} "
                f"layers, got {layer}"
            )

    def visual_features(self, video: Tensor, lengths: Tensor, layer: int = -1) -> Tensor:
        """Features (N, D) of lips alone, before they are fused with those of speech: one row a frame, without padding.

        video, lengths: see `encode_streams`. layer: 0 for the front-end, n for the n-th Conformer layer, -1 for the
        last.
        """
        valid = Packing(lengths, video.shape[1], video.device)
        keys = frame_mask(lengths, video.shape[1], video.device)[:, None, None]
        encoder = cast(Encoder, self.encoders["video"])
        return encoder(video, valid, keys, None if layer == -1 else layer)

    def _check_streams(self, streams: dict[str, Tensor], lengths: Tensor) -> int:
        """The number of frames T of the padded batch. ValueError where streams or lengths do not fit."""
        if set(streams) != set(self.modalities):
            raise ValueError(f"got {' and '.join(streams) or 'no stream'}, expected {' and '.join(self.modalities)}")
        frames = streams["video"].shape[1] if "video" in streams else streams["audio"].shape[-1] // SAMPLES_PER_FRAME
        for name, x in streams.items():
            expected = ("B", frames, "H", "W") if name == "video" else ("B", frames * SAMPLES_PER_FRAME)
            if x.ndim != len(expected) or len(x) != len(lengths) or x.shape[1] != expected[1]:
                raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {expected} with B = {len(lengths)}")
        if lengths.min() < 1 or lengths.max() > frames:
            raise ValueError(f"lengths are {lengths.tolist()}, expected 1 to {frames} frames")
        return frames

    def _encode_stream(
        self, name: str, x: Tensor, valid: Packing, keys: Tensor, present: Tensor | None = None
    ) -> Tensor:
        """Features (N, D) of one stream: zero, and not computed, for utterances that lack it.

        x: (B, T, H, W) or (B, T * 640); keys: (B, 1, 1, T), True at frames that may be attended to; present: (B,).
        """
        encoder = cast(Encoder, self.encoders[name])
        if present is None:
            return encoder(x, valid, keys)
        used = any_process(present, x.device)  # every process has to take part in this exchange
        if present.all():
            return encoder(x, valid, keys)
        batch, frames = valid.mask.shape
        features = x.new_zeros(batch, frames, encoder.embed.out_features)
        if present.any():
            subset, rows = Packing(valid.lengths[present], frames, x.device), present.nonzero().squeeze(1).to(x.device)
            encoded = subset.unpack(encoder(x.index_select(0, rows), subset, keys.index_select(0, rows)))
            features = features.index_copy(0, rows, encoded.to(features))
        elif used:
            # other processes wait for this one in the encoder's batch norms and for its gradients: zeros, uncounted
            with uncounted():
                encoded = encoder(x[:1], Packing(valid.lengths[:1], frames, x.device), keys[:1])
                features = features + 0 * encoded.sum()
        return valid.pack(features)

    def fuse(self, rows: dict[str, Tensor], valid: Packing) -> Tensor:
        """The results of `encode_streams` -> features (B, T, D), zero in the padding."""
        joined = torch.cat(list(rows.values()), -1)
        return valid.unpack(self.fusion(joined) if len(rows) == 2 else joined)

    def ctc_log_probs(self, features: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, vocabulary), natural logarithms"""
        return at_least_float32(self.ctc(self.drop(features))).log_softmax(-1)

    def losses(self, features: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor) -> dict[str, Tensor]:
        """features: (B, T, D); lengths: (B,) frames; tokens: (B, L), any values in the padding; token_lengths: (B,).

        Returns scalars: "ctc" and "attention", in nats an utterance, and "accuracy", the share of next tokens that the
        decoder predicts correctly, which has no gradient. ValueError for a token that is blank, end or unknown.
        """
        device, end = features.device, self.vocabulary - 1
        self._check_tokens(tokens, token_lengths)
        tokens = tokens.masked_fill(~frame_mask(token_lengths, tokens.shape[1], tokens.device), end).to(device)
        log_probs = self.ctc_log_probs(features).transpose(0, 1)
        ctc = F.ctc_loss(log_probs, tokens, lengths, token_lengths, BLANK, "sum", zero_infinity=True)
        inputs = F.pad(tokens, (1, 0), value=end)
        targets = F.pad(tokens, (0, 1), value=end).masked_fill(
            ~frame_mask(token_lengths + 1, tokens.shape[1] + 1, device), -1
        )
        memory = self.decoder.memory(self.memory(features))
        logits, _ = self.decoder(inputs, memory, frame_mask(lengths, features.shape[1], device))
        logits = at_least_float32(logits)
        count = (targets >= 0).sum()
        correct = (logits.detach().argmax(-1) == targets).sum().float()
        return {
            "ctc": mean_over(ctc, len(tokens)),
            "attention": mean_over(self._divergence(logits, targets, count), len(tokens)),
            "accuracy": mean_over(correct, count),
        }

    def _check_tokens(self, tokens: Tensor, token_lengths: Tensor) -> None:
        """ValueError for a token that is blank, end or unknown."""
        end = self.vocabulary - 1
        used = tokens[frame_mask(token_lengths, tokens.shape[1], tokens.device)]
        if len(used) and not BLANK < used.min() <= used.max() < end:
            raise ValueError(f"tokens lie in {used.min()}..{used.max()}, expected 1..{end - 1}")

    def _divergence(self, logits: Tensor, targets: Tensor, count: Tensor) -> Tensor:
        """Kullback-Leibler divergence of the predictions from the smoothed targets, summed over the batch.

        logits: (B, L, vocabulary); targets: (B, L), -1 in the padding; count: of targets without padding.
        """
        # torch distributes its smoothing over all tokens, the correct one included
        wrong = self.label_smoothing / (self.vocabulary - 1)
        cross_entropy = F.cross_entropy(
            logits.transpose(1, 2), targets, ignore_index=-1, reduction="sum", label_smoothing=self.vocabulary * wrong
        )
        correct = 1 - self.label_smoothing
        negative_entropy = correct * math.log(correct) + (self.label_smoothing * math.log(wrong) if wrong else 0.0)
        return cross_entropy + negative_entropy * count

    @torch.no_grad()
    def decode(
        self, features: Tensor, lengths: Tensor, beam: int = 40, ctc_weight: float = 0.1, length_bonus: float = 0.0
    ) -> list[Hypothesis]:
        """The best hypothesis of each utterance by `run_beam_search`, for use in evaluation mode."""
        if beam < 1 or not 0 <= ctc_weight <= 1:
            raise ValueError(f"beam is {beam} and ctc_weight {ctc_weight}, expected at least 1, and 0 to 1")
        memory, log_probs = self.memory(features), self.ctc_log_probs(features)
        return run_beam_search(self.decoder, memory, lengths, log_probs, beam, ctc_weight, length_bonus)

    @classmethod
    def load_published(
        cls,
        weights: dict[str, Tensor],
        decoder_heads: int | None = None,
        label_smoothing: float = 0.1,
        source: str = "checkpoint",
    ) -> "Expert":
        """An expert with published weights under their official names; its sizes follow from their shapes.

        decoder_heads: the encoder's by default, since no shape shows it. source: what errors call the weights, such as
        their file. ValueError where a weight is missing, unknown, misshapen or not finite.
        """
        renamed = rename_published_weights(weights)
        sizes = sizes_of(renamed, source)
        expert = cls(**sizes, decoder_heads=decoder_heads, label_smoothing=label_smoothing)
        fill_weights(expert, renamed, source)
        return expert


def greedy_ctc(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Token ids along each utterance's most probable CTC path: repetitions merged, then blanks dropped.

    log_probs: (B, T, vocabulary); lengths: (B,) frames.
    """
    paths = log_probs.argmax(-1).cpu()
    return [
        [token for token in path[:n].unique_consecutive().tolist() if token != BLANK]
        for path, n in zip(paths, lengths.tolist())
    ]
