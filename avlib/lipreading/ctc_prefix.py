"""Prefix scores of CTC for beam search."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..speech.text import BLANK

RULED_OUT = -1e10  # log-probability of the impossible; finite, so that sums and differences of such scores are


class PrefixScorer:
    """log P(the transcript begins with this prefix | CTC), for every hypothesis and every next token at once.

    Watanabe et al. 2017, algorithm 2, without its loop over frames. A prefix is carried as two forward variables over
    frames, ending in its last token or in a blank. For the next token only the latter matter, so all tokens are
    scored by one product, and only the survivors' variables are built, as cumulative sums. float64 throughout.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor):
        """log_probs: (B, T, vocabulary), natural logarithms; lengths: (B,) frames."""
        padding = torch.arange(log_probs.shape[1], device=lengths.device) >= lengths[:, None]
        emitted = log_probs.double().masked_fill(padding[..., None], RULED_OUT)
        emitted[..., BLANK].masked_fill_(padding, 0.0)  # blanks for certain, so the last frame knows the end
        self.emitted, self.probs = emitted, emitted.exp()
        self.token = torch.full_like(lengths[:, None], -1)  # of the empty prefix
        self.score = emitted.new_zeros(len(lengths), 1)
        # forward variables (B, W, 1 + T), from before the first frame on
        self.in_blank = F.pad(emitted[..., BLANK].cumsum(1), (1, 0))[:, None]
        self.in_token = torch.full_like(self.in_blank, -math.inf)

    def select(self, items: Tensor):
        """Keeps these items of the batch."""
        for name, tensor in vars(self).items():
            setattr(self, name, tensor[items])

    def next_scores(self, tokens: Tensor) -> Tensor:
        """(B, W, K): each prefix extended by each of its K tokens; by the end: ended as it is."""
        ended = torch.logaddexp(self.in_token, self.in_blank)
        before = ended[..., :-1]
        peak = before.amax(-1, keepdim=True).clamp_min(RULED_OUT)
        scores = ((before - peak).exp() @ self.probs).gather(-1, tokens).log() + peak
        again = self.token[..., None]  # a token repeated is another one only after a blank
        apart = (self.in_blank[..., :-1] + self._emissions(self.token.clamp_min(0))).logsumexp(-1, True)
        scores = torch.where(tokens == again, apart, scores).masked_fill(tokens == BLANK, RULED_OUT)
        scores = torch.where(tokens == self.probs.shape[-1] - 1, ended[..., -1:], scores).clamp_min(RULED_OUT)
        return scores.minimum(
            self.score[..., None]
        )  # no prefix is likelier than what it begins with, ruled out ones included

    def extend(self, parents: Tensor, tokens: Tensor, scores: Tensor):
        """parents: (B, W), which prefixes live on, each extended by its token (B, W) to its prefix score (B, W)."""
        index = parents[..., None].expand(-1, -1, self.in_blank.shape[-1])
        in_token, in_blank = self.in_token.gather(1, index), self.in_blank.gather(1, index)
        repeated = (tokens == self.token.gather(1, parents))[..., None]
        ready = torch.where(repeated, in_blank, torch.logaddexp(in_token, in_blank))[..., :-1]
        never = torch.full_like(ready[..., :1], -math.inf)
        self.in_token = torch.cat((never, self._accumulate(ready, self._emissions(tokens))), -1)
        blanks = self.emitted[:, None, :, BLANK]
        self.in_blank = torch.cat((never, self._accumulate(self.in_token[..., :-1], blanks)), -1)
        self.token, self.score = tokens, scores

    def _emissions(self, tokens: Tensor) -> Tensor:
        """(B, W) -> (B, W, T)"""
        return self.emitted.transpose(1, 2).gather(1, tokens[..., None].expand(-1, -1, self.emitted.shape[1]))

    @staticmethod
    def _accumulate(entering: Tensor, emitted: Tensor) -> Tensor:
        """x[t] = log(exp x[t-1] + exp entering[t]) + emitted[t], in closed form."""
        path = emitted.cumsum(-1)
        return path + (entering - (path - emitted)).logcumsumexp(-1)
