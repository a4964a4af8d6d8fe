"""The expert's attention decoder, and its joint CTC/attention beam search over whole batches.

Facts of Auto-AVSR's search that its scores depend on (ESPnet's batched beam search, Watanabe et al. 2017):
* Only the decoder's 1.5 x beam best tokens of each hypothesis, and the end, get a CTC score; all others are ruled out,
  and so is the blank. No other is ruled out where that is the whole vocabulary or CTC alone decides.
* What is ruled out stays so: here no prefix is likelier than what it begins with. Published, a blank that a beam wider than
  the vocabulary lets in gets back with the next token what it has lost, and can win.
* A hypothesis scores the sum of its tokens' weighted log-probabilities, the end's included; length is not normalised.
* As many tokens as there are frames is the limit. What is unfinished then ends there, unpaid: the end adds no score.
* The search stops early once each of the lengths ended two to four tokens ago has a best score more than 10 below
  the best of all.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention_decoder import Decoder, packed
from .ctc_prefix import PrefixScorer

STOP_MARGIN = -10.0


class Hypothesis(NamedTuple):
    """Token ids without start and end, and their log-probability under the weights of the search."""

    tokens: list[int]
    score: float


@torch.no_grad()
def beam_search(
    decoder: Decoder,
    features: Tensor,
    lengths: Tensor,
    log_probs: Tensor,
    beam: int,
    ctc_weight: float,
    length_bonus: float = 0.0,
) -> list[Hypothesis]:
    """The best hypothesis of each utterance; a batch gives what its items give alone.

    features: (B, T, D) that the decoder attends to; lengths: (B,) frames; log_probs: of CTC, (B, T, vocabulary);
    ctc_weight: of CTC, in [0, 1], the decoder has the rest; length_bonus: added for every token.
    """
    batch, frames, vocabulary = log_probs.shape
    end, device = vocabulary - 1, features.device
    considered = min(int(1.5 * beam), vocabulary) if ctc_weight < 1 else vocabulary
    mask = torch.arange(frames, device=device) < lengths[:, None]
    decoder = packed(decoder)
    memory, prefixes, pasts, slots = decoder.memory(features), PrefixScorer(log_probs, lengths), None, None
    items = torch.arange(batch, device=device)  # still searched, as rows of the results below
    best = torch.full((batch,), -math.inf, dtype=torch.double, device=device)
    best_tokens = torch.full((batch, frames + 1), end, device=device)
    ended = best.repeat(frames, 1)  # best score that ended at each step
    tokens = torch.full((batch, 1, 1), end, device=device)
    seen = torch.ones_like(tokens, dtype=torch.bool)
    running = prefixes.score
    for step in range(frames):
        logits, pasts = decoder(tokens[..., -1], memory, mask, step, pasts, seen, slots)
        every = logits.log_softmax(-1)
        decoded, options = every.topk(considered)
        twice = (options == end).any(-1)
        decoded, options = torch.cat((decoded, every[..., end:]), -1), F.pad(options, (0, 1), value=end)
        prefix = prefixes.next_scores(options)
        scores = (1 - ctc_weight) * decoded.double() + ctc_weight * (prefix - prefixes.score[..., None]) + length_bonus
        scores[..., -1].masked_fill_(twice, -math.inf)
        scores = (running[..., None] + scores).flatten(1)
        running, chosen = scores.topk(min(beam, scores.shape[1]))
        parents, new = chosen // options.shape[-1], options.flatten(1).gather(1, chosen)
        prefixes.extend(parents, new, prefix.flatten(1).gather(1, chosen))
        rows = torch.arange(len(items), device=device)[:, None]
        tokens, seen = torch.cat((tokens[rows, parents], new[..., None]), -1), seen[rows, parents]

        last = lengths == step + 1
        ends = (new == end) | last[:, None]
        score, which = running.masked_fill(~ends, -math.inf).max(1)
        ended[step, items] = score
        better = score > best[items]
        best[items] = best[items].maximum(score)
        best_tokens[items[better], : step + 1] = tokens[better, which[better], 1:]
        best_tokens[items[better], step + 1 :] = end
        running = running.masked_fill(ends, -math.inf)
        late = ended[max(step - 4, 0) : max(step - 1, 0), items]  # ended two to four tokens ago
        stop = ((late > -math.inf) & (late - best[items] < STOP_MARGIN)).sum(0) == 3
        # Log-probabilities only take away: an item whose hypotheses no bonus lifts above its best has found it. While one can
        # still win, all stay: what the others end with may stop the search first.
        reach = running.amax(1) + max(length_bonus, 0.0) * (lengths - step - 1)
        going = ~(stop | last) & (reach > best[items])
        if not going.all():
            items, lengths, mask, running, tokens, seen = (
                x[going] for x in (items, lengths, mask, running, tokens, seen)
            )
            memory = [(key[going], value[going]) for key, value in memory]
            pasts = [past[going] for past in pasts]
            prefixes.select(going)
            if not len(items):
                break
        # A token is kept once for all hypotheses that begin alike up to it; when none of them goes on, another takes its slot
        seen = seen & (running > -math.inf)[..., None]
        free, wanted = ~seen.any(1), seen.shape[1]
        if free.sum(1).min() < wanted:
            pasts = [F.pad(past, (0, 0, 0, wanted)) for past in pasts]
            seen, free = F.pad(seen, (0, wanted)), F.pad(free, (0, wanted), value=True)
        slots = free.byte().argsort(dim=1, descending=True, stable=True)[:, :wanted]
        seen = seen.scatter(2, slots[..., None], True)
    return [Hypothesis([t for t in row if t != end], score) for row, score in zip(best_tokens.tolist(), best.tolist())]
