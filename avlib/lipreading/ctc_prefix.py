"""Prefix scores of CTC for beam search."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.tensors import frame_mask
from ..speech.text import BLANK

IMPOSSIBLE = -1e10  # log-probability of what cannot occur; finite, so that differences of scores are defined


class PrefixScorer:
    """log P(the transcript begins with this prefix | CTC), for every hypothesis and every next token at once.

    Watanabe et al. 2017, algorithm 2, without its loop over frames. A prefix has two forward variables for each frame:
    of paths that end in its last token, and in a blank. Scores of next tokens depend only on their sum, so one matrix
    product scores all tokens; forward variables are computed only for the prefixes kept, as cumulative sums.
    B utterances, W prefixes each. Computes in float64.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor):
        """log_probs: (B, T, vocabulary), natural logarithms; lengths: (B,) frames."""
        padding = ~frame_mask(lengths, log_probs.shape[1], log_probs.device)
        emitted = log_probs.double().masked_fill(padding[..., None], IMPOSSIBLE)
        emitted[..., BLANK].masked_fill_(padding, 0.0)  # padding emits blanks, so the last frame has the final scores
        self.emitted, self.probs = emitted, emitted.exp()  # (B, T, vocabulary)
        self.last_tokens = torch.full((len(lengths), 1), -1, device=log_probs.device)  # (B, W); -1: the empty prefix
        self.scores = emitted.new_zeros(len(lengths), 1)  # (B, W)
        # forward variables (B, W, 1 + T), the first before the first frame
        self.in_blank = F.pad(emitted[..., BLANK].cumsum(1), (1, 0))[:, None]
        self.in_token = torch.full_like(self.in_blank, -math.inf)

    def select(self, items: Tensor) -> None:
        """Keeps the utterances where `items` (B,) is True."""
        for name, tensor in vars(self).items():
            setattr(self, name, tensor[items])

    def next_scores(self, tokens: Tensor) -> Tensor:
        """Scores (B, W, K) of each prefix extended by each of its K tokens (B, W, K).

        For the end token, log P(the transcript is exactly the prefix).
        """
        total = torch.logaddexp(self.in_token, self.in_blank)
        before = total[..., :-1]
        peak = before.amax(-1, keepdim=True).clamp_min(IMPOSSIBLE)
        scores = ((before - peak).exp() @ self.probs).gather(-1, tokens).log() + peak
        # the last token once more is a new token only after a blank
        repeated = (self.in_blank[..., :-1] + self._emissions(self.last_tokens.clamp_min(0))).logsumexp(-1, True)
        scores = torch.where(tokens == self.last_tokens[..., None], repeated, scores)
        scores = scores.masked_fill(tokens == BLANK, IMPOSSIBLE)
        end = self.probs.shape[-1] - 1
        scores = torch.where(tokens == end, total[..., -1:], scores).clamp_min(IMPOSSIBLE)
        # an extension is never more probable than its prefix; keeps extensions of impossible prefixes impossible
        return scores.minimum(self.scores[..., None])

    def extend(self, parents: Tensor, tokens: Tensor, scores: Tensor) -> None:
        """Replaces the prefixes: the new ones extend `parents` (B, W) by tokens (B, W); scores: their prefix scores."""
        index = parents[..., None].expand(-1, -1, self.in_blank.shape[-1])
        in_token, in_blank = self.in_token.gather(1, index), self.in_blank.gather(1, index)
        repeated = (tokens == self.last_tokens.gather(1, parents))[..., None]
        entering = torch.where(repeated, in_blank, torch.logaddexp(in_token, in_blank))[..., :-1]
        before_first = torch.full_like(entering[..., :1], -math.inf)
        self.in_token = torch.cat((before_first, self._accumulate(entering, self._emissions(tokens))), -1)
        blanks = self.emitted[:, None, :, BLANK]
        self.in_blank = torch.cat((before_first, self._accumulate(self.in_token[..., :-1], blanks)), -1)
        self.last_tokens, self.scores = tokens, scores

    def _emissions(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of tokens (B, W) at every frame, (B, W, T)."""
        return self.emitted.transpose(1, 2).gather(1, tokens[..., None].expand(-1, -1, self.emitted.shape[1]))

    @staticmethod
    def _accumulate(entering: Tensor, emitted: Tensor) -> Tensor:
        """x[t] = log(exp x[t-1] + exp entering[t]) + emitted[t], in closed form."""
        path = emitted.cumsum(-1)
        return path + (entering - (path - emitted)).logcumsumexp(-1)
