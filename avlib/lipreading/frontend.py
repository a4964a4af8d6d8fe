"""The expert's front-ends: one ResNet-18 for lip video, frame by frame, and one for audio (Ma et al. 2023).

Whatever concerns a single frame is computed for valid frames only, packed into rows. No convolution crosses the ends of
an utterance. Padding thus costs almost nothing, changes no output and does not enter the batch statistics.
"""

import math
from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.rates import SPEECH_HZ
from ..core.tensors import frame_mask


class Packing:
    """Packs the valid frames of a padded batch (B, T, ...) into rows (N, ...), and unpacks them.

    seams: (B - 1,), the rows at which the second and later utterances begin.
    """

    def __init__(self, lengths: Tensor, frames: int, device: torch.device):
        """lengths: (B,) frames; frames: T; device: of the batch."""
        mask = frame_mask(lengths, frames)
        index = mask.flatten().nonzero().squeeze(-1)
        self.full = len(index) == mask.numel()
        self.lengths, self.mask = lengths, mask.to(device)  # (B,), (B, T)
        self.index, self.seams = index.to(device), lengths.cumsum(0)[:-1].to(device)  # (N,), (B - 1,)

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (N, ...)"""
        return x.flatten(0, 1) if self.full else x.flatten(0, 1).index_select(0, self.index)

    def unpack(self, rows: Tensor) -> Tensor:
        """(N, ...) -> (B, T, ...), zero in the padding"""
        if not self.full:
            rows = rows.new_zeros(self.mask.numel(), *rows.shape[1:]).index_copy(0, self.index, rows)
        return rows.unflatten(0, self.mask.shape)


def pointwise(x: Tensor, conv: nn.Conv1d | nn.Conv2d) -> Tensor:
    """A convolution with a kernel of size 1, computed as a linear map. x: (N, C, H, W).

    oneDNN's kernel for such a convolution writes out of bounds in the gradient of the weights where channels are few
    (torch 2.11; valgrind: jit_avx2_1x1_convolution_bwd_weights_t).
    """
    step = conv.stride[-1]
    rows = x.permute(0, 2, 3, 1)[:, ::step, ::step]
    return F.linear(rows, conv.weight.flatten(1)).permute(0, 3, 1, 2)


class FrameConv(nn.Conv2d):
    """Convolution within each frame, (N, C, H, W). Takes seams as `TimeConv` does, and ignores them."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    def forward(self, x: Tensor, seams: Tensor) -> Tensor:
        return pointwise(x, self) if self.kernel_size == (1, 1) else super().forward(x)


class TimeConv(nn.Conv1d):
    """Convolution over time of concatenated utterances, (1, C, 1, N), each padded with zeros.

    A kernel of size 3 is a matrix product with windows of three columns: oneDNN would compile a convolution anew for
    every N, and batches differ in it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    def forward(self, x: Tensor, seams: Tensor) -> Tensor:
        """seams: (B - 1,), the columns of x at which the second and later utterances begin, multiples of the stride."""
        if self.kernel_size == (1,):
            return pointwise(x, self)
        rows, step = x.permute(0, 2, 3, 1)[0, 0], self.stride[0]
        nothing = rows.new_zeros(1, self.in_channels)
        before = torch.cat([nothing, rows[:-1]]).index_fill_(0, seams, 0)
        after = torch.cat([rows[1:], nothing]).index_fill_(0, seams - 1, 0)
        windows = torch.cat([before[::step], rows[::step], after[::step]], 1)  # (N / step, 3 C)
        # With the strides of .T[None, :, None], torch 2.11's batch norm on processors returns wrong gradients.
        return F.linear(windows, self.weight.mT.flatten(1))[None, None].permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm and SiLU, and a shortcut. conv: `FrameConv` or `TimeConv`."""

    def __init__(self, conv: type, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.ModuleList((conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)))
        self.stride = stride

    def forward(self, x: Tensor, seams: Tensor) -> Tensor:
        out = F.silu(self.bn1(self.conv1(x, seams)))
        out = self.bn2(self.conv2(out, seams // self.stride))
        if self.downsample is not None:
            x = self.downsample[1](self.downsample[0](x, seams))
        return F.silu(out + x)


class ResNet18(nn.Module):
    """The four stages of a ResNet-18, (N, C, H, W) -> (N, 8 C, H / 8, W / 8), with torchvision's names."""

    def __init__(self, conv: type, width: int):
        super().__init__()
        for n in range(4):
            outputs = width << n
            inputs, stride = (outputs // 2, 2) if n else (width, 1)
            self.add_module(
                f"layer{n + 1}",
                nn.ModuleList((ResidualBlock(conv, inputs, outputs, stride), ResidualBlock(conv, outputs, outputs, 1))),
            )

    def forward(self, x: Tensor, seams: Tensor) -> Tensor:
        for stage in self.children():
            for block in cast(Iterable[ResidualBlock], stage):
                x = block(x, seams)
                seams = seams // block.stride
        return x


class VideoFrontEnd(nn.Module):
    """Lip video -> 8 x width features a frame, from five frames around it."""

    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Conv3d(1, width, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.trunk = ResNet18(FrameConv, width)

    def forward(self, video: Tensor, valid: Packing) -> Tensor:
        """video: (B, T, H, W) -> (N, 8 width)"""
        frames, taps = video.shape[1], self.stem.kernel_size[0]
        video = video.masked_fill(~valid.mask[..., None, None], 0.0)
        padded = F.pad(video, (0, 0, 0, 0, taps // 2, taps // 2))
        # a convolution over five frames with one channel equals one over a frame with five channels, which is faster
        windows = torch.stack([padded[:, k : k + frames] for k in range(taps)], -1)
        x = valid.pack(windows).permute(0, 3, 1, 2)  # (N, 5, H, W), channels last in memory
        x = F.conv2d(x, self.stem.weight.squeeze(1), None, self.stem.stride[1:], self.stem.padding[1:])
        x = F.max_pool2d(F.silu(self.stem_norm(x)), 3, 2, 1)
        return self.trunk(x, valid.seams).mean((2, 3))


class AudioFrontEnd(nn.Module):
    """Audio at 16 kHz -> 8 x width features a video frame: stem at 4 kHz, trunk down to 500 Hz, means of 20 steps."""

    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Conv1d(1, width, 80, 4, 38, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.trunk = ResNet18(TimeConv, width)
        self.init_filter_bank()

    @torch.no_grad()
    def init_filter_bank(self) -> None:
        """Initialises the stem as a filter bank: windowed cosines and sines at frequencies from 100 to 6000 Hz, evenly
        spaced on the mel scale. From random weights, a short training would spend most of its time on learning them."""
        (width, _, taps), device = self.stem.weight.shape, self.stem.weight.device
        lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in (100, 6000))
        mel = torch.linspace(lowest, highest, (width + 1) // 2, device=device)
        hertz = 700 * (10 ** (mel / 2595) - 1)
        angle = 2 * math.pi * hertz[:, None] * (torch.arange(taps, device=device) - (taps - 1) / 2) / SPEECH_HZ
        window = torch.hann_window(taps, False, device=device)
        waves = torch.stack([angle.cos(), angle.sin()], 1).flatten(0, 1)[:width] * window
        self.stem.weight.copy_(waves[:, None] / waves.norm(dim=1)[:, None, None])

    def forward(self, audio: Tensor, valid: Packing) -> Tensor:
        """audio: (B, T * 640) -> (N, 8 width)"""
        batch, frames = valid.mask.shape
        stride, taps, width = self.stem.stride[0], self.stem.kernel_size[0], self.stem.out_channels
        audio = audio.unflatten(1, (frames, -1)).masked_fill(~valid.mask[..., None], 0.0).flatten(1)
        # a long filter over one channel is faster as a matrix product with all windows
        padding = cast(tuple[int, ...], self.stem.padding) * 2
        windows = F.pad(audio, padding).unfold(1, taps, stride).unflatten(1, (frames, -1))
        rows = F.linear(valid.pack(windows), self.stem.weight.squeeze(1))  # (N, 160, width)
        per_frame = rows.shape[1]
        x = rows.reshape(1, 1, -1, width).permute(0, 3, 1, 2)  # (1, width, 1, N * 160), channels last in memory
        x = self.trunk(F.silu(self.stem_norm(x)), valid.seams * per_frame)
        return x.permute(0, 2, 3, 1).reshape(len(rows), -1, x.shape[1]).mean(1)
