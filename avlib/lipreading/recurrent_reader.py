"""A lip reader of another kind than the expert: plain convolutions, recurrent layers and CTC, after LipNet.

Assael et al. 2016, "LipNet: End-to-End Sentence-level Lipreading": three spatio-temporal convolutions, each with a ReLU
and max pooling, two bidirectional GRUs (Cho et al. 2014), a linear map to characters, and CTC (Graves et al. 2006).

It differs from LipNet in these points, all of which suit short trainings on few clips:
* Batch norm follows each convolution. Its statistics are those of valid frames.
* The last convolution is averaged over a grid of cells instead of pooled, so that crops of any size are read.
* The neighbouring frames that a convolution sees are five in the first layer and three in the others.

Frames are packed, as in `frontend`: padding costs almost nothing, changes no output and enters no batch statistics.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.distributed import mean_over
from ..core.tensors import at_least_float32
from ..speech.text import BLANK, Tokenizer
from .beam_search import Hypothesis
from .ctc_search import search_ctc
from .frontend import Packing

FRAMES, KERNELS, STRIDES = (5, 3, 3), (5, 3, 3), (2, 1, 1)  # of the convolutions, over time and over the picture
GRID = 3  # cells along each side of the picture in which the last convolution is averaged


class RecurrentReader(nn.Module):
    """Recognises speech from lip video. Token 0 is the CTC blank; the last token, start and end, is not used."""

    modalities = ("video",)

    def __init__(
        self,
        tokenizer: Tokenizer,
        channels: tuple[int, ...] = (32, 64, 96),
        width: int = 256,
        layers: int = 2,
        dropout: float = 0.5,
    ):
        """The defaults are the published sizes. channels: of the three convolutions; width: of the GRUs, in each
        direction. ValueError for another number of convolutions."""
        super().__init__()
        if len(channels) != len(FRAMES):
            raise ValueError(f"channels are {channels}, expected those of {len(FRAMES)} convolutions")
        self.tokenizer, self.vocabulary = tokenizer, tokenizer.size
        self.convolutions = nn.ModuleList(
            SpaceTimeConvolution(*sizes) for sizes in zip((1, *channels), channels, FRAMES, KERNELS, STRIDES)
        )
        self.recurrent = nn.GRU(
            channels[-1] * GRID**2, width, layers, batch_first=True, dropout=dropout, bidirectional=True
        )
        self.drop = nn.Dropout(dropout)
        self.ctc = nn.Linear(2 * width, self.vocabulary)
        self.init_recurrent()

    @torch.no_grad()
    def init_recurrent(self) -> None:
        """Orthogonal recurrent weights for each gate (Saxe et al. 2014), with which gradients reach far frames."""
        for name, weight in self.recurrent.named_parameters():
            if name.startswith("weight_hh"):
                for gate in weight.chunk(3):
                    nn.init.orthogonal_(gate)

    def encode(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        lengths: Tensor,
        *,
        present: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Features (B, T, 2 width), zero in the padding.

        video: (B, T, H, W), grey, normalised as for the expert, 25 fps; audio: None; lengths: (B,) frames. present: all
        utterances have video. ValueError for audio, for missing video, and for lengths that do not fit.
        """
        if video is None or audio is not None or not (present or {}).get("video", lengths > 0).all():
            raise ValueError(f"got {'no video' if video is None else 'other streams'}, expected video alone")
        frames = video.shape[1]
        if len(video) != len(lengths) or lengths.min() < 1 or lengths.max() > frames:
            raise ValueError(f"lengths are {lengths.tolist()}, expected {len(video)} of 1 to {frames} frames")
        valid = Packing(lengths, frames, video.device)
        rows = valid.pack(video)[:, None]  # (N, 1, H, W)
        for n, convolution in enumerate(self.convolutions, 1):
            rows = convolution(rows, valid)
            rows = F.max_pool2d(rows, 2) if n < len(self.convolutions) else F.adaptive_avg_pool2d(rows, GRID)
        sequences = valid.unpack(self.drop(rows.flatten(1)))
        packed = nn.utils.rnn.pack_padded_sequence(sequences, lengths.cpu(), batch_first=True, enforce_sorted=False)
        features, _ = self.recurrent(packed)
        return nn.utils.rnn.pad_packed_sequence(features, batch_first=True, total_length=frames)[0]

    def ctc_log_probs(self, features: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, vocabulary), natural logarithms"""
        return at_least_float32(self.ctc(self.drop(features))).log_softmax(-1)

    def loss(self, features: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor) -> Tensor:
        """The CTC loss, a scalar in nats an utterance; zero for utterances with more tokens than frames can hold.

        features: (B, T, D); lengths: (B,) frames; tokens: (B, L), padded; token_lengths: (B,).
        """
        log_probs = self.ctc_log_probs(features).transpose(0, 1)
        tokens = tokens.to(features.device)
        total = F.ctc_loss(log_probs, tokens, lengths, token_lengths, BLANK, "sum", zero_infinity=True)
        return mean_over(total, len(tokens))

    def decode(
        self, features: Tensor, lengths: Tensor, beam: int = 10, ctc_weight: float = 1.0, length_bonus: float = 0.0
    ) -> list[Hypothesis]:
        """The best hypothesis of each utterance by `search_ctc`. There is no decoder that CTC would have to be weighed
        against, nor one that would prefer short texts: ctc_weight and length_bonus are ignored."""
        return search_ctc(self.ctc_log_probs(features), lengths, beam)


class SpaceTimeConvolution(nn.Module):
    """Convolution over neighbouring frames and pixels, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, frames: int, kernel: int, stride: int):
        """frames: odd number of frames around each one; kernel, stride: in pixels."""
        super().__init__()
        self.frames = frames
        self.convolution = nn.Conv2d(inputs * frames, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, rows: Tensor, valid: Packing) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride), of valid frames.

        Frames before the first and after the last are zero. One convolution over the frames' stacked channels equals
        one over time and is faster.
        """
        sequences = valid.unpack(rows.permute(0, 2, 3, 1))  # (B, T, H, W, inputs), zero in the padding
        count, reach = sequences.shape[1], self.frames // 2
        padded = F.pad(sequences, (0, 0) * 3 + (reach, reach))
        windows = torch.cat([padded[:, k : k + count] for k in range(self.frames)], -1)
        stacked = valid.pack(windows).permute(0, 3, 1, 2)  # channels last in memory
        return F.relu(self.norm(self.convolution(stacked)))
