"""The decoder of the motion VQ-VAE on a growing sequence, frame by frame or window by window."""

import torch
from torch import Tensor

from .motion_transformer import Context
from .motion_vqvae import Decoder


class GrowingDecoder:
    """The decoder on a sequence that grows by one frame at a time. Only the newest frame's state is computed.

    The normalisation over time and the attention to all frames make every frame depend on the newest. So the blocks
    run over the whole prefix again; the last block computes one frame only. The convolution changes three frames only.
    """

    def __init__(self, decoder: Decoder):
        self.project, self.context = decoder.project, decoder.context
        self.inputs: list[Tensor] = []  # of the last five frames, (B, D) each
        self.final: list[Tensor] = []  # convolved frames (B, D) that later frames do not change

    def add(self, codes: Tensor) -> Tensor:
        """codes (B, codes_per_frame * W) of the next frame -> its state (B, D) before the vertex map."""
        reach, context = Context.REACH, self.context
        self.inputs = [*self.inputs, self.project(codes)][-(2 * reach + 1) :]
        recent = torch.stack(self.inputs, 1)
        lengths = torch.full((len(recent),), recent.shape[1])
        # correct for the last three, which are those that the new frame changes; the others lack frames before them
        changed = context.convolve(recent, lengths)[:, -(reach + 1) :]
        x = torch.cat((torch.stack(self.final, 1), changed), 1) if self.final else changed
        if changed.shape[1] > reach:
            self.final.append(changed[:, 0])
        x = context.normalise(x, x.mean(1, True), x.var(1, unbiased=False, keepdim=True))
        for n, block in enumerate(context.blocks):
            x, _ = block(x, last=n == len(context.blocks) - 1)
        return x[:, -1]


class WindowedDecoder:
    """The decoder on a sequence that grows by windows of frames.

    A window attends to the windows before it through their keys and values, which are kept as they were computed then.
    Only the last few frames before a window are computed again.
    """

    OVERLAP = Context.REACH  # frames before a window that are computed with it, since its convolution changes them

    def __init__(self, decoder: Decoder, horizon: int):
        """horizon: past frames that a window attends to."""
        self.project, self.context, self.horizon = decoder.project, decoder.context, horizon
        self.inputs: Tensor | None = None  # (B, n, D), covered by the convolution of the next window
        # number of convolved frames that no later window changes, their sum and the sum of their squares, (B, 1, D)
        self.count, self.sum, self.squares = 0, 0.0, 0.0
        self.caches: list[Tensor | None] = [None] * len(
            self.context.blocks
        )  # keys and values (B, P, 2 D) of each block

    def add(self, codes: Tensor, final: bool) -> Tensor:
        """codes (B, T, codes_per_frame * W) of the next window -> its states (B, T, D) before the vertex map. final:
        whether the window is done; otherwise nothing is kept, and the next call is about the same window."""
        context, frames = self.context, codes.shape[1]
        inputs = self.project(codes)
        inputs = inputs if self.inputs is None else torch.cat((self.inputs, inputs), 1)
        lengths = torch.full((len(inputs),), inputs.shape[1])
        again = min(self.OVERLAP, inputs.shape[1] - frames)
        x = context.convolve(inputs, lengths)[:, -(again + frames) :]
        exact = x.double()  # the first frames vary little about their mean
        count = self.count + x.shape[1]
        mean = (self.sum + exact.sum(1, True)) / count
        variance = ((self.squares + exact.square().sum(1, True)) / count - mean.square()).clamp_min(0)
        unchanged = max(0, x.shape[1] - self.OVERLAP) if final else 0  # frames that no later window changes
        x = context.normalise(x, mean.to(x), variance.to(x))
        for n, (block, cached) in enumerate(zip(context.blocks, self.caches)):
            x, keys_values = block(x, None, frames if n == len(context.blocks) - 1 else 0, cached)
            if unchanged:
                kept = keys_values[:, :unchanged]
                kept = kept if cached is None else torch.cat((cached, kept), 1)
                self.caches[n] = kept[:, -self.horizon :]
        if final:
            self.inputs = inputs[:, -(self.OVERLAP + Context.REACH) :]
            done = exact[:, :unchanged]
            self.count, self.sum = self.count + unchanged, self.sum + done.sum(1, True)
            self.squares = self.squares + done.square().sum(1, True)
        return x
