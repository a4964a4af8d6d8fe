"""The lip-reading expert: Auto-AVSR's audio-visual, video or audio reader, at any size (Ma et al. 2023).

Frames travel packed, as rows (N, D) of the batch's N valid frames; only attention and convolution lay them out in time.

Facts of the published model that its numbers depend on:
* Layer norms have eps 1e-12; features are scaled by sqrt(width) before the Conformer, without a norm; positions are
  relative in the Conformer, absolute in the decoder.
* Both feed-forwards of a Conformer layer use ReLU and count half; the convolution module and the front-ends use SiLU.
* Fusion is frame by frame: linear, batch norm, ReLU, linear, on the concatenation video, audio.
* The CTC loss is a sum over tokens and frames, the attention loss one over tokens, end included: both are divided by
  the batch size, not by lengths. An utterance with more tokens than its frames can hold has a CTC loss of zero.
* The attention loss is the Kullback-Leibler divergence from the smoothed target, which has smoothing / (vocabulary - 1)
  at every wrong token: perfect confidence in the right one costs more than zero.
* Published, padding is not masked in convolutions: it leaks into the last frames of shorter items. `encode(...,
  leak_padding=True)` reproduces that.
"""

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.distributed import any_process, mean_over, uncounted
from ..core.files import fill_weights
from ..core.rates import SAMPLES_PER_FRAME
from ..core.tensors import at_least_float32, frame_mask
from ..speech.text import BLANK
from .attention_decoder import Decoder
from .beam_search import Hypothesis, beam_search
from .conformer import Encoder
from .frontend import AudioFrontEnd, Packing, VideoFrontEnd


class Fusion(nn.Module):
    """Joins two streams. Its batch norm keeps the statistics it has, in training too: where a batch holds few clips, those
    that lack a stream would shift the features of the others. Published, it is trained on hundreds of clips a batch."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.expand, self.norm, self.out = nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, outputs)
        if hidden >= 2 * inputs and inputs == 2 * outputs:
            self.add()
        self.norm.eval()

    def train(self, mode: bool = True) -> "Fusion":
        super().train(mode)
        self.norm.eval()
        return self

    @torch.no_grad()
    def add(self) -> None:
        """Starts as the sum of both streams, carried through the ReLU as x = relu(x) - relu(-x), so that what one stream
        alone has learned to say is understood."""
        inputs, both = self.expand.in_features, torch.eye(self.expand.in_features)
        self.expand.weight[: 2 * inputs] = torch.cat([both, -both])
        self.expand.bias[: 2 * inputs] = 0
        half = torch.eye(self.out.out_features).repeat(1, 2) / math.sqrt(2)
        self.out.weight[:, : 2 * inputs] = torch.cat([half, -half], 1)
        self.out.bias.zero_()

    def forward(self, rows: Tensor) -> Tensor:
        return self.out(self.norm(self.expand(rows)).relu())


class Expert(nn.Module):
    """Reads what is said off lips, speech or both: token ids with 0 = CTC blank and the last = start and end."""

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
        """The defaults are the published sizes. kernel: frames; frontend_width: channels of the stems, the trunks end
        with eight times as many; decoder_*: as the encoder's unless given; audio: sizes in which the audio encoder
        differs from the video encoder (width, heads, feedforward, layers, kernel, frontend_width)."""
        super().__init__()
        if not modalities or set(modalities) - {"audio", "video"}:
            raise ValueError(f"modalities are {modalities}, expected audio, video or both")
        self.vocabulary, self.modalities, self.label_smoothing = vocabulary, tuple(modalities), label_smoothing
        sizes = dict(
            frontend_width=frontend_width,
            width=width,
            heads=heads,
            feedforward=feedforward,
            layers=layers,
            kernel=kernel,
            dropout=dropout,
        )
        self.encoders = nn.ModuleDict()
        if "video" in modalities:
            self.encoders["video"] = Encoder(VideoFrontEnd(frontend_width), **sizes)
        if "audio" in modalities:
            audio = sizes | (audio or {})
            self.encoders["audio"] = Encoder(AudioFrontEnd(audio["frontend_width"]), **audio)
        if len(self.encoders) == 2:
            self.fusion = Fusion(width + audio["width"], fusion, width)
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
        """Features (B, T, D) of video, audio or both, zero in the padding; takes what `encode_streams` takes."""
        return self.fuse(*self.encode_streams(*streams, **options))

    def encode_streams(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        lengths: Tensor,
        leak_padding: bool = False,
        present: dict[str, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], Packing]:
        """video: (B, T, H, W), grey, normalised (Auto-AVSR: mean 0.421, standard deviation 0.165), 25 fps; audio:
        (B, T * 640) at 16 kHz, normalised over the utterance; lengths: (B,) frames. A stream that is no modality of
        this expert must be None. Returns each stream's features (N, D), and where their rows lie.

        present: for "video" or "audio", which utterances (B,) have that stream; for the others its features are zero and
        are not computed (modality dropout, Shi et al. 2022). All have both unless told.
        leak_padding: let convolutions see what lies in the padding, as published.
        """
        streams = {name: x for name, x in (("video", video), ("audio", audio)) if x is not None}
        if set(streams) != set(self.modalities):
            raise ValueError(f"got {' and '.join(streams) or 'no stream'}, expected {' and '.join(self.modalities)}")
        frames = video.shape[1] if video is not None else audio.shape[-1] // SAMPLES_PER_FRAME
        for name, x in streams.items():
            expected = ("B", frames, "H", "W") if name == "video" else ("B", frames * SAMPLES_PER_FRAME)
            if x.ndim != len(expected) or len(x) != len(lengths) or x.shape[1] != expected[1]:
                raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {expected} with B = {len(lengths)}")
        if lengths.min() < 1 or lengths.max() > frames:
            raise ValueError(f"lengths are {lengths.tolist()}, expected 1 to {frames} frames")
        valid = Packing(torch.full_like(lengths, frames) if leak_padding else lengths, frames)
        keys = frame_mask(lengths, frames)[:, None, None]
        rows = {}
        for name, encoder in self.encoders.items():
            here = (present or {}).get(name)
            used = here is None or any_process(here)
            if here is None or here.all():
                rows[name] = encoder(streams[name], valid, keys)
                continue
            whole = video.new_zeros(len(lengths), frames, encoder.embed.out_features)
            if here.any():
                some = Packing(valid.lengths[here], frames)
                whole = whole.index_put((here,), some.unpack(encoder(streams[name][here], some, keys[here])).to(whole))
            elif used:
                with uncounted():
                    whole = whole + 0 * encoder(streams[name][:1], Packing(valid.lengths[:1], frames), keys[:1]).sum()
            rows[name] = valid.pack(whole)
        return rows, valid

    def fuse(self, rows: dict[str, Tensor], valid: Packing) -> Tensor:
        """What `encode_streams` gave -> features (B, T, D), zero in the padding."""
        joined = torch.cat(list(rows.values()), -1)
        return valid.unpack(self.fusion(joined) if len(rows) == 2 else joined)

    def ctc_log_probs(self, features: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, vocabulary), natural logarithms"""
        return at_least_float32(self.ctc(self.drop(features))).log_softmax(-1)

    def losses(self, features: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor) -> dict[str, Tensor]:
        """features: (B, T, D); lengths: (B,) frames; tokens: (B, L), padded with anything; token_lengths: (B,).

        Returns scalars: "ctc" and "attention", in nats an utterance, and "accuracy" of the decoder's next tokens,
        which has no gradient.
        """
        given, end = frame_mask(token_lengths, tokens.shape[1]), self.vocabulary - 1
        if ((tokens <= BLANK) | (tokens >= end))[given].any():
            raise ValueError(f"tokens lie in {tokens[given].min()}..{tokens[given].max()}, expected 1..{end - 1}")
        tokens = tokens.masked_fill(~given, end)
        ctc = F.ctc_loss(
            self.ctc_log_probs(features).transpose(0, 1),
            tokens,
            lengths,
            token_lengths,
            BLANK,
            "sum",
            zero_infinity=True,
        )
        heard = F.pad(tokens, (1, 0), value=end)
        wanted = F.pad(tokens, (0, 1), value=end).masked_fill(~frame_mask(token_lengths + 1, tokens.shape[1] + 1), -1)
        memory = self.decoder.memory(self.memory(features))
        logits, _ = self.decoder(heard, memory, frame_mask(lengths, features.shape[1]))
        logits = at_least_float32(logits)
        # torch spreads its smoothing over all tokens, the right one included
        wrong = self.label_smoothing / (self.vocabulary - 1)
        surprise = F.cross_entropy(
            logits.transpose(1, 2), wanted, ignore_index=-1, reduction="sum", label_smoothing=self.vocabulary * wrong
        )
        right = 1 - self.label_smoothing
        entropy = right * math.log(right) + (self.label_smoothing * math.log(wrong) if wrong else 0.0)
        count = (wanted >= 0).sum()
        hits = (logits.detach().argmax(-1) == wanted).sum().float()
        return {
            "ctc": mean_over(ctc, len(tokens)),
            "attention": mean_over(surprise + entropy * count, len(tokens)),
            "accuracy": mean_over(hits, count),
        }

    def decode(
        self, features: Tensor, lengths: Tensor, beam: int = 40, ctc_weight: float = 0.1, length_bonus: float = 0.0
    ) -> list[Hypothesis]:
        """The best hypothesis of each utterance, by beam search; see `beam_search`. Meant for evaluation mode."""
        if beam < 1 or not 0 <= ctc_weight <= 1:
            raise ValueError(f"beam is {beam} and ctc_weight {ctc_weight}, expected at least 1, and 0 to 1")
        with torch.no_grad():
            return beam_search(
                self.decoder,
                self.memory(features),
                lengths,
                self.ctc_log_probs(features),
                beam,
                ctc_weight,
                length_bonus,
            )

    @classmethod
    def load_published(
        cls,
        weights: dict[str, Tensor],
        decoder_heads: int | None = None,
        label_smoothing: float = 0.1,
        source: str = "checkpoint",
    ) -> "Expert":
        """An expert with published weights, given under their official names; sizes are read off their shapes.

        decoder_heads: no shape tells; the encoder's unless given. source: what errors call the weights, their file for
        instance. ValueError where a weight is missing, unknown, misshapen or not finite.
        """
        own = own_weights(weights)

        def size(name: str, axis: int = 0) -> int:
            if name not in own or own[name].ndim <= axis:
                raise ValueError(f"{source}: {name} is missing or has too few axes; no sizes without it")
            return own[name].shape[axis]

        def encoder_sizes(stream: str) -> dict:
            first = f"encoders.{stream}.layers.0."
            return dict(
                frontend_width=size(f"encoders.{stream}.frontend.stem.weight"),
                width=size(f"encoders.{stream}.embed.weight"),
                heads=size(f"{first}attention.content_bias"),
                feedforward=size(f"{first}feedforward_before.0.weight"),
                kernel=size(f"{first}convolution.depthwise.weight", 2),
                layers=len({n.split(".")[3] for n in own if n.startswith(f"encoders.{stream}.layers.")}),
            )

        modalities = tuple(m for m in ("audio", "video") if any(n.startswith(f"encoders.{m}.") for n in own))
        if not modalities:
            raise ValueError(f"{source}: no weight of an encoder among {len(weights)} weights")
        model = cls(
            size("ctc.weight"),
            modalities,
            **encoder_sizes(modalities[-1]),
            audio=encoder_sizes("audio") if len(modalities) == 2 else None,
            fusion=size("fusion.expand.weight") if len(modalities) == 2 else 0,
            decoder_layers=len({n.split(".")[2] for n in own if n.startswith("decoder.layers.")}),
            decoder_width=size("decoder.embed.weight", 1),
            decoder_heads=decoder_heads,
            decoder_feedforward=size("decoder.layers.0.feedforward.0.weight"),
            label_smoothing=label_smoothing,
        )
        fill_weights(model, own, source)
        return model


def greedy_ctc(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Token ids along each utterance's most probable CTC path: repeats merged, then blanks dropped.

    log_probs: (B, T, vocabulary); lengths: (B,) frames.
    """
    paths = log_probs.argmax(-1).cpu()
    return [
        [token for token in path[:n].unique_consecutive().tolist() if token != BLANK]
        for path, n in zip(paths, lengths.tolist())
    ]


OFFICIAL_NAMES = (  # patterns of official names and what replaces them, in this order
    (r"^frontend\.", "encoder.frontend."),
    (r"^proj_encoder\.", "encoder.embed.0."),  # of later releases
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


def own_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published weights under this module's names."""
    only = "audio" if any(re.match(r"(encoder\.)?frontend\.trunk\.conv1", name) for name in weights) else "video"
    own = {}
    for name, weight in weights.items():
        if "pointwise" in name:
            weight = weight.squeeze(-1)  # a convolution over one frame is a linear map
        for pattern, ours in OFFICIAL_NAMES:
            name = re.sub(pattern, ours.replace("{only}", only), name)
        own[name] = weight
    return own
