"""Beam search by CTC alone, without a decoder or a language model."""

import math

import torch
from torch import Tensor

from .beam_search import Hypothesis
from .ctc_prefix import PrefixScorer


@torch.no_grad()
def search_ctc(log_probs: Tensor, lengths: Tensor, beam: int) -> list[Hypothesis]:
    """The most probable text of each utterance among those that the search visits; not that of the best single path.

    log_probs: (B, T, vocabulary), the first token being the blank and the last, the end, which is no part of a text;
    lengths: (B,) frames; beam: prefixes kept of each length, at least 1.

    Prefixes grow by a token a step and are ranked by the probability that the text begins with them, which no
    continuation exceeds. The search therefore ends as soon as no prefix is more probable than the best whole text.
    """
    if beam < 1:
        raise ValueError(f"beam is {beam}, expected at least 1")
    prefixes = PrefixScorer(log_probs, lengths)
    batch, frames, vocabulary = log_probs.shape
    tokens = torch.arange(1, vocabulary, device=log_probs.device)  # the end is the last
    texts = torch.zeros(batch, 1, 0, dtype=torch.long, device=log_probs.device)  # (B, W, L)
    best = torch.full((batch,), -math.inf, dtype=torch.double, device=log_probs.device)
    found: list[list[int]] = [[] for _ in range(batch)]
    for _ in range(frames + 1):
        scores = prefixes.next_scores(tokens.expand(*texts.shape[:2], -1))  # (B, W, vocabulary - 1)
        ended, which = scores[..., -1].max(1)
        for i in (ended > best).nonzero().flatten().tolist():
            found[i] = texts[i, which[i]].tolist()
        best = best.maximum(ended)
        growing = scores[..., :-1].flatten(1)
        kept, chosen = growing.topk(min(beam, growing.shape[1]))
        if (kept[:, 0] <= best).all():
            break
        parents, new = chosen // (vocabulary - 2), tokens[chosen % (vocabulary - 2)]
        prefixes.extend(parents, new, kept)
        grown = texts.gather(1, parents[..., None].expand(-1, -1, texts.shape[2]))
        texts = torch.cat((grown, new[..., None]), -1)
    return [Hypothesis(text, score) for text, score in zip(found, best.tolist())]
