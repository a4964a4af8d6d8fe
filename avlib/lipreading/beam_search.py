"""Joint CTC/attention beam search over batches (Watanabe et al. 2017).

Published scores depend on these properties of Auto-AVSR's search, which is ESPnet's batched beam search:
* Only the decoder's 1.5 x beam best tokens of each hypothesis, and the end token, get a CTC score. All other tokens are
  ruled out, and so is the blank. If 1.5 x beam covers the vocabulary or CTC alone decides, only the blank is ruled out.
* A hypothesis scores the sum of its tokens' weighted log-probabilities, the end token's included, without
  normalisation by length.
* A hypothesis has at most as many tokens as there are frames. One that reaches this limit ends there, and its score
  lacks that of the end token.
* The search stops early once each of the lengths that ended two to four tokens ago has a best score more than 10 below
  the best of all.

One property differs: here, a hypothesis that is ruled out stays so. In the published search, a beam wider than the
vocabulary keeps the blank; the next token then restores the score that the blank lost, and such a hypothesis can win.

Letters in shapes: B utterances still searched, W hypotheses of each, K candidate tokens of each, L tokens, T frames,
N cache slots, D width.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.tensors import frame_mask
from .attention_decoder import Decoder, pack_linear_weights
from .ctc_prefix import PrefixScorer

STOP_MARGIN = -10.0


class Hypothesis(NamedTuple):
    """Token ids without start and end, and their log-probability under the weights of the search."""

    tokens: list[int]
    score: float


class SearchSettings(NamedTuple):
    """The arguments of `run_beam_search` that are not data."""

    beam: int  # hypotheses kept of each utterance
    ctc_weight: float = 0.1
    length_bonus: float = 0.0


class Candidates(NamedTuple):
    """Every hypothesis extended by each of its candidate tokens, of which the last is the end token."""

    tokens: Tensor  # (B, W, K)
    scores: Tensor  # (B, W, K) float64, of the whole hypothesis
    ctc_scores: Tensor  # (B, W, K) float64, CTC prefix scores


@dataclass
class Beam:
    """The hypotheses of the utterances that are still searched."""

    items: Tensor  # (B,) row of each utterance in the batch
    lengths: Tensor  # (B,) frames
    mask: Tensor  # (B, T), True at valid frames
    memory: list[tuple[Tensor, Tensor]]  # each decoder layer's keys and values (B, heads, T, d) of the features
    prefixes: PrefixScorer
    tokens: Tensor  # (B, W, L), from the start token on
    scores: Tensor  # (B, W) float64; -inf for a hypothesis that has ended
    attended: Tensor  # (B, W, N), True at the cache slots of a hypothesis's tokens
    caches: list[Tensor] | None = None  # each decoder layer's keys and values (B, N, 2 D); None before the first step
    slots: Tensor | None = None  # (B, W) slot of each hypothesis's last token; None before the first step

    @classmethod
    def start(cls, decoder: Decoder, features: Tensor, lengths: Tensor, log_probs: Tensor) -> "Beam":
        """One hypothesis an utterance: the start token. Arguments as of `run_beam_search`."""
        batch, frames, vocabulary = log_probs.shape
        tokens = torch.full((batch, 1, 1), vocabulary - 1, device=features.device)
        prefixes = PrefixScorer(log_probs, lengths)
        return cls(
            items=torch.arange(batch, device=features.device),
            lengths=lengths.to(features.device),
            mask=frame_mask(lengths, frames, features.device),
            memory=decoder.memory(features),
            prefixes=prefixes,
            tokens=tokens,
            scores=prefixes.scores,
            attended=torch.ones_like(tokens, dtype=torch.bool),
        )

    def select(self, kept: Tensor) -> None:
        """Keeps the utterances where `kept` (B,) is True."""
        for name in ("items", "lengths", "mask", "tokens", "scores", "attended"):
            setattr(self, name, getattr(self, name)[kept])
        self.memory = [(key[kept], value[kept]) for key, value in self.memory]
        self.caches = [cache[kept] for cache in self.caches or []]
        self.prefixes.select(kept)


@dataclass
class Results:
    """The best ended hypothesis of each utterance of the batch so far. B: all utterances of the batch."""

    scores: Tensor  # (B,) float64; -inf before the first hypothesis ends
    tokens: Tensor  # (B, T + 1), padded with the end token
    scores_by_step: Tensor  # (T, B) best score among the hypotheses that ended at each step
    end: int  # the end token

    @classmethod
    def start(cls, log_probs: Tensor, device: torch.device) -> "Results":
        batch, frames, vocabulary = log_probs.shape
        scores = torch.full((batch,), -math.inf, dtype=torch.double, device=device)
        tokens = torch.full((batch, frames + 1), vocabulary - 1, device=device)
        return cls(scores, tokens, scores.repeat(frames, 1), vocabulary - 1)

    def hypotheses(self) -> list[Hypothesis]:
        rows = zip(self.tokens.tolist(), self.scores.tolist())
        return [Hypothesis([token for token in tokens if token != self.end], score) for tokens, score in rows]


@torch.no_grad()
def run_beam_search(
    decoder: Decoder,
    features: Tensor,
    lengths: Tensor,
    log_probs: Tensor,
    beam: int,
    ctc_weight: float,
    length_bonus: float = 0.0,
) -> list[Hypothesis]:
    """The best hypothesis of each utterance, which does not depend on the other utterances of the batch.

    features: (B, T, D), the decoder's memory; lengths: (B,) frames; log_probs: of CTC, (B, T, vocabulary), the last
    token being start and end; ctc_weight: weight of CTC, in [0, 1], the decoder has the rest; length_bonus: added for
    every token.
    """
    settings = SearchSettings(beam, ctc_weight, length_bonus)
    decoder = pack_linear_weights(decoder)
    running = Beam.start(decoder, features, lengths, log_probs)
    results = Results.start(log_probs, features.device)
    for step in range(log_probs.shape[1]):
        candidates = score_next_tokens(running, decoder, settings, step)
        keep_best(running, candidates, settings.beam)
        record_ended(running, results, step)
        unfinished = find_unfinished(running, results, step, length_bonus)
        if not unfinished.all():
            running.select(unfinished)
            if not len(running.items):
                break
        assign_slots(running)
    return results.hypotheses()


def score_next_tokens(running: Beam, decoder: Decoder, settings: SearchSettings, step: int) -> Candidates:
    """Extends every hypothesis by the decoder's best tokens and the end token.

    Writes the last tokens' keys and values into the caches.
    """
    logits, running.caches = decoder(
        running.tokens[..., -1], running.memory, running.mask, step, running.caches, running.attended, running.slots
    )
    log_probs = logits.log_softmax(-1)
    vocabulary = log_probs.shape[-1]
    end, ctc_weight = vocabulary - 1, settings.ctc_weight
    count = min(int(1.5 * settings.beam), vocabulary) if ctc_weight < 1 else vocabulary
    best_log_probs, best_tokens = log_probs.topk(count)
    end_is_twice = (best_tokens == end).any(-1)
    decoder_scores = torch.cat((best_log_probs, log_probs[..., end:]), -1)
    tokens = F.pad(best_tokens, (0, 1), value=end)
    ctc_scores = running.prefixes.next_scores(tokens)
    ctc_changes = ctc_scores - running.prefixes.scores[..., None]
    scores = (1 - ctc_weight) * decoder_scores.double() + ctc_weight * ctc_changes + settings.length_bonus
    scores[..., -1].masked_fill_(end_is_twice, -math.inf)
    return Candidates(tokens, running.scores[..., None] + scores, ctc_scores)


def keep_best(running: Beam, candidates: Candidates, beam: int) -> None:
    """The best `beam` candidates of each utterance replace its hypotheses."""
    scores = candidates.scores.flatten(1)
    running.scores, chosen = scores.topk(min(beam, scores.shape[1]))
    parents, new_tokens = chosen // candidates.tokens.shape[-1], candidates.tokens.flatten(1).gather(1, chosen)
    running.prefixes.extend(parents, new_tokens, candidates.ctc_scores.flatten(1).gather(1, chosen))
    rows = torch.arange(len(parents), device=parents.device)[:, None]
    running.tokens = torch.cat((running.tokens[rows, parents], new_tokens[..., None]), -1)
    running.attended = running.attended[rows, parents]


def record_ended(running: Beam, results: Results, step: int) -> None:
    """Records the best of the hypotheses that end at this step, by the end token or the limit, and rules out those."""
    items, at_limit = running.items, running.lengths == step + 1
    ended = (running.tokens[..., -1] == results.end) | at_limit[:, None]
    scores, which = running.scores.masked_fill(~ended, -math.inf).max(1)
    results.scores_by_step[step, items] = scores
    better = scores > results.scores[items]
    results.scores[items] = results.scores[items].maximum(scores)
    results.tokens[items[better], : step + 1] = running.tokens[better, which[better], 1:]
    results.tokens[items[better], step + 1 :] = results.end
    running.scores = running.scores.masked_fill(ended, -math.inf)


def find_unfinished(running: Beam, results: Results, step: int, length_bonus: float) -> Tensor:
    """Utterances to search further, (B,): not at the limit, not stopped early, with a hypothesis that can still win."""
    best, at_limit = results.scores[running.items], running.lengths == step + 1
    recent = results.scores_by_step[max(step - 4, 0) : max(step - 1, 0), running.items]  # ended two to four tokens ago
    stopped = ((recent > -math.inf) & (recent - best < STOP_MARGIN)).sum(0) == 3
    # Log-probabilities only lower a score, so a hypothesis reaches at most its score and all bonuses left. As long as
    # one hypothesis can win, all are kept: the scores with which the others end may stop the search early.
    reachable = running.scores.amax(1) + max(length_bonus, 0.0) * (running.lengths - step - 1)
    return ~(stopped | at_limit) & (reachable > best)


def assign_slots(running: Beam) -> None:
    """Gives each hypothesis's last token a cache slot.

    Hypotheses with a common beginning share the slots of its tokens. A slot is free when no hypothesis that still runs
    attends to it; the caches grow only where fewer slots are free than needed.
    """
    assert running.caches is not None
    attended = running.attended & (running.scores > -math.inf)[..., None]
    free, needed = ~attended.any(1), attended.shape[1]
    if free.sum(1).min() < needed:
        running.caches = [F.pad(cache, (0, 0, 0, needed)) for cache in running.caches]
        attended, free = F.pad(attended, (0, needed)), F.pad(free, (0, needed), value=True)
    running.slots = free.byte().argsort(dim=1, descending=True, stable=True)[:, :needed]
    running.attended = attended.scatter(2, running.slots[..., None], True)
