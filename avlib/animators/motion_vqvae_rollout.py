"""The motion VQ-VAE's decoder on a sequence that grows, frame by frame or window by window."""

import torch
from torch import Tensor

from .motion_vqvae import Context, Decoder


class Growing:
    """The codec's decoder on a sequence that grows by a frame at a time, and of which the newest frame alone is wanted.

    Norm over time and attention both ways make every frame depend on the newest: the blocks run over the whole
    prefix again, but for the last, of which one frame is wanted. The convolution changes three frames alone.
    """

    def __init__(self, decoder: Decoder):
        self.project, self.context = decoder.project, decoder.context
        self.inputs: list[Tensor] = []  # the last five, each (B, D)
        self.settled: list[Tensor] = []  # convolved frames that no later one changes, each (B, D)

    def add(self, codes: Tensor) -> Tensor:
        """codes (B, parts * W) of the next frame -> its state (B, D) before the vertex map."""
        reach, context = Context.REACH, self.context
        self.inputs = [*self.inputs, self.project(codes)][-(2 * reach + 1) :]
        near = torch.stack(self.inputs, 1)
        lengths = torch.full((len(near),), near.shape[1], device=near.device)
        # right for the last three, which are those that this one changes; the others lack what came before
        fresh = context.convolve(near, lengths)[:, -(reach + 1) :]
        x = torch.cat((torch.stack(self.settled, 1), fresh), 1) if self.settled else fresh
        if fresh.shape[1] > reach:
            self.settled.append(fresh[:, 0])
        x = context.normalise(x, x.mean(1, True), x.var(1, unbiased=False, keepdim=True))
        for n, block in enumerate(context.blocks):
            x, _ = block(x, last=n == len(context.blocks) - 1)
        return x[:, -1]


class Windows:
    """The codec's decoder on a sequence that grows by a window of frames at a time, each window in the context of those
    before as they were then: their keys and values are kept, and no frame is computed again but the last few."""

    OVERLAP = Context.REACH  # frames before a window that are computed with it: its convolution reaches them

    def __init__(self, decoder: Decoder, horizon: int):
        """horizon: frames before that are attended to."""
        self.project, self.context, self.horizon = decoder.project, decoder.context, horizon
        self.inputs: Tensor | None = None  # what the next window's convolution reaches, (B, n, D)
        self.count, self.sum, self.squares = 0, 0.0, 0.0  # of the convolved frames that no window reaches any more
        self.pasts: list[Tensor | None] = [None] * len(self.context.blocks)

    def add(self, codes: Tensor, settle: bool) -> Tensor:
        """codes (B, T, parts * W) of the next window -> its states (B, T, D) before the vertex map. settle: these are the
        codes; else they are tried, and the same window comes again."""
        context, frames = self.context, codes.shape[1]
        inputs = self.project(codes)
        inputs = inputs if self.inputs is None else torch.cat((self.inputs, inputs), 1)
        lengths = torch.full((len(inputs),), inputs.shape[1], device=inputs.device)
        again = min(self.OVERLAP, inputs.shape[1] - frames)
        x = context.convolve(inputs, lengths)[:, -(again + frames) :]
        exact = x.double()  # the first frames hardly vary about their mean
        count = self.count + x.shape[1]
        mean = (self.sum + exact.sum(1, True)) / count
        variance = ((self.squares + exact.square().sum(1, True)) / count - mean.square()).clamp_min(0)
        leave = max(0, x.shape[1] - self.OVERLAP) if settle else 0
        x = context.normalise(x, mean.to(x), variance.to(x))
        for n, (block, past) in enumerate(zip(context.blocks, self.pasts)):
            x, new = block(x, None, frames if n == len(context.blocks) - 1 else 0, past)
            if leave:
                kept = new[:, :leave] if past is None else torch.cat((past, new[:, :leave]), 1)
                self.pasts[n] = kept[:, -self.horizon :]
        if settle:
            self.inputs = inputs[:, -(self.OVERLAP + Context.REACH) :]
            gone = exact[:, :leave]
            self.count, self.sum = self.count + leave, self.sum + gone.sum(1, True)
            self.squares = self.squares + gone.square().sum(1, True)
        return x
