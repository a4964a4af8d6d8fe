"""The expert's front-ends: a ResNet-18 over lips, frame by frame, and one over speech (Ma et al. 2023).

All work that concerns one frame is done on valid frames only, packed into rows, and no convolution sees across an
utterance's ends. So padding costs next to nothing, changes no output, and stays out of the batch statistics.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.rates import SPEECH_HZ
from ..core.tensors import frame_mask


class Packing:
    """Where the valid frames of a padded batch lie."""

    def __init__(self, lengths: Tensor, frames: int):
        self.lengths, self.mask = lengths, frame_mask(lengths, frames)  # (B,), (B, T)
        self.index = self.mask.flatten().nonzero().squeeze(-1)  # (N,)
        self.seams = lengths.cumsum(0)[:-1]  # rows at which the second and later items begin
        self.full = len(self.index) == self.mask.numel()

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (N, ...)"""
        return x.flatten(0, 1) if self.full else x.flatten(0, 1).index_select(0, self.index)

    def unpack(self, rows: Tensor) -> Tensor:
        """(N, ...) -> (B, T, ...), zero in the padding"""
        if not self.full:
            rows = rows.new_zeros(self.mask.numel(), *rows.shape[1:]).index_copy(0, self.index, rows)
        return rows.unflatten(0, self.mask.shape)


def pointwise(x: Tensor, conv: nn.Conv1d | nn.Conv2d) -> Tensor:
    """A convolution with a kernel of 1 as the linear map it is: oneDNN's own kernel writes out of bounds in its weight
    gradient where channels are few (torch 2.11; valgrind: jit_avx2_1x1_convolution_bwd_weights_t)."""
    step = conv.stride[-1]
    rows = x.permute(0, 2, 3, 1)[:, ::step, ::step]
    return F.linear(rows, conv.weight.flatten(1)).permute(0, 3, 1, 2)


class FrameConv(nn.Conv2d):
    """Convolution within each frame, (N, C, H, W)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    def forward(self, x: Tensor, seams: Tensor) -> Tensor:
        return pointwise(x, self) if self.kernel_size == (1, 1) else super().forward(x)


class SeamedConvolution(torch.autograd.Function):
    """Kernel-3 convolution over (1, C, 1, N), less what crosses the seams.

    One convolution over all, then a correction of a few columns, in both directions: autograd would pass over the
    whole of x once more for them.
    """

    @staticmethod
    def crossings(seams: Tensor, stride: int) -> list[tuple[int, Tensor, Tensor]]:
        """Kernel tap, output columns and input columns of each unwanted product."""
        backward = [(0, seams // stride, seams - 1)]
        return backward if stride == 2 else backward + [(2, seams - 1, seams)]

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int, seams: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, seams)
        ctx.stride = stride
        out = F.conv2d(x, weight.unsqueeze(2), None, (1, stride), (0, 1))
        for tap, to, source in SeamedConvolution.crossings(seams, stride):
            out[0, :, 0][:, to] -= weight[..., tap] @ x[0, :, 0][:, source]
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        x, weight, seams = ctx.saved_tensors
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad,
            x,
            weight.unsqueeze(2),
            None,
            [1, ctx.stride],
            [0, 1],
            [1, 1],
            False,
            [0, 0],
            1,
            [*ctx.needs_input_grad[:2], False],
        )
        for tap, to, source in SeamedConvolution.crossings(seams, ctx.stride):
            if grad_x is not None:
                grad_x[0, :, 0][:, source] -= weight[..., tap].T @ grad[0, :, 0][:, to]
            if grad_weight is not None:
                grad_weight[..., 0, tap] -= grad[0, :, 0][:, to] @ x[0, :, 0][:, source].T
        return grad_x, None if grad_weight is None else grad_weight.squeeze(2), None, None


class TimeConv(nn.Conv1d):
    """Convolution over time of utterances laid end to end, (1, C, 1, N); zeros, not neighbours, beyond their ends."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    def forward(self, x: Tensor, seams: Tensor) -> Tensor:
        """seams: (B - 1,), where in x the second and later utterances begin, multiples of the stride."""
        if self.kernel_size == (1,):
            return pointwise(x, self)
        if not len(seams):
            return F.conv2d(x, self.weight.unsqueeze(2), None, (1, *self.stride), (0, 1))
        weight, device = self.weight, x.device.type
        if torch.is_autocast_enabled(device):
            x, weight = (t.to(torch.get_autocast_dtype(device)) for t in (x, weight))
        return SeamedConvolution.apply(x, weight, self.stride[0], seams)


class ResidualBlock(nn.Module):
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
            for block in stage:
                x = block(x, seams)
                seams = seams // block.stride
        return x


class VideoFrontEnd(nn.Module):
    """Five frames of video -> 8 x width features of the middle one."""

    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Conv3d(1, width, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.trunk = ResNet18(FrameConv, width)

    def forward(self, video: Tensor, valid: Packing) -> Tensor:
        """video: (B, T, H, W) -> (N, 8 width)"""
        frames, reach = video.shape[1], self.stem.padding[0]
        video = video.masked_fill(~valid.mask[..., None, None], 0.0)
        padded = F.pad(video, (0, 0, 0, 0, reach, reach))
        # a convolution over five frames of one channel is one over a frame of five channels, and that is faster
        windows = torch.stack([padded[:, k : k + frames] for k in range(2 * reach + 1)], -1)
        x = valid.pack(windows).permute(0, 3, 1, 2)  # (N, 5, H, W), channels last in memory
        x = F.conv2d(x, self.stem.weight.squeeze(1), None, self.stem.stride[1:], self.stem.padding[1:])
        x = F.max_pool2d(F.silu(self.stem_norm(x)), 3, 2, 1)
        return self.trunk(x, valid.seams).mean((2, 3))


class AudioFrontEnd(nn.Module):
    """Speech at 16 kHz -> 8 x width features a video frame: a stem at 4 kHz, a trunk down to 500 Hz, averages of 20."""

    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Conv1d(1, width, 80, 4, 38, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.trunk = ResNet18(TimeConv, width)
        self.listen()

    @torch.no_grad()
    def listen(self) -> None:
        """Starts the stem as a filter bank: windowed cosines and sines at frequencies even on the mel scale, from 100 to
        6000 Hz, as hearing is. From noise, training spends most of a short run on finding them."""
        width, _, taps = self.stem.weight.shape
        mel = torch.linspace(2595 * math.log10(1 + 100 / 700), 2595 * math.log10(1 + 6000 / 700), (width + 1) // 2)
        hertz = 700 * (10 ** (mel / 2595) - 1)
        angle = 2 * math.pi * hertz[:, None] * (torch.arange(taps) - (taps - 1) / 2) / SPEECH_HZ
        waves = torch.stack([angle.cos(), angle.sin()], 1).flatten(0, 1)[:width] * torch.hann_window(taps, False)
        self.stem.weight.copy_(waves[:, None] / waves.norm(dim=1)[:, None, None])

    def forward(self, audio: Tensor, valid: Packing) -> Tensor:
        """audio: (B, T * 640) -> (N, 8 width)"""
        batch, frames = valid.mask.shape
        stride, taps, width = self.stem.stride[0], self.stem.kernel_size[0], self.stem.out_channels
        audio = audio.unflatten(1, (frames, -1)).masked_fill(~valid.mask[..., None], 0.0).flatten(1)
        # one long filter over one channel is faster as a product with all windows
        windows = F.pad(audio, self.stem.padding * 2).unfold(1, taps, stride).unflatten(1, (frames, -1))
        rows = F.linear(valid.pack(windows), self.stem.weight.squeeze(1))  # (N, 160, width)
        per_frame = rows.shape[1]
        x = rows.reshape(1, 1, -1, width).permute(0, 3, 1, 2)  # (1, width, 1, N * 160), channels last in memory
        x = self.trunk(F.silu(self.stem_norm(x)), valid.seams * per_frame)
        return x.permute(0, 2, 3, 1).reshape(len(rows), -1, x.shape[1]).mean(1)
