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
import copy
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLANK = 0
RULED_OUT = -1e10  # log-probability of the impossible; finite, so that sums and differences of such scores are
STOP_MARGIN = -10.0


class Hypothesis(NamedTuple):
    """Token ids without start and end, and their log-probability under the weights of the search."""
    tokens: list[int]
    score: float


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """(N,) -> (N, width), sine and cosine interleaved. Vaswani et al. 2017, section 3.5."""
    rates = torch.exp(torch.arange(0, width, 2, device=positions.device) * (-math.log(10000.0) / width))
    angles = positions[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)


class Attention(nn.Module):
    """Multi-head attention with its four maps apart, so that keys and values can be kept."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, causal: bool = False
               ) -> Tensor:
        """Split queries, keys and values -> (B, T, D). bias: added to the scores, or True where a key may be seen."""
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, is_causal=causal,
                                                 dropout_p=self.dropout * self.training)
        return self.out(context.transpose(1, 2).flatten(-2))


class FeedForward(nn.Sequential):
    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))


class DecoderLayer(nn.Module):
    """Pre-norm transformer decoder layer."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.self_attention, self.cross_attention = (Attention(width, heads, dropout) for _ in range(2))
        self.feedforward = FeedForward(width, feedforward, dropout)
        self.self_norm, self.cross_norm, self.feedforward_norm = (nn.LayerNorm(width, eps=1e-12) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def memory(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, T, d) of the features (B, T, D), the same for every token."""
        cross = self.cross_attention
        return cross.split(cross.key(features)), cross.split(cross.value(features))

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor], mask: Tensor, past: Tensor | None = None,
                seen: Tensor | None = None, slots: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x: (B, L, D); mask: (B, 1, 1, T), True at the memory's own frames; past: keys and values (B, N, 2 D) of tokens
        before, those of x are written into its slots (B, L); seen: (B, 1, L, N), which x attends to which. Returns the
        state, and all keys and values."""
        own, cross = self.self_attention, self.cross_attention
        normed = self.self_norm(x)
        new = torch.cat((own.key(normed), own.value(normed)), -1)
        kept = new
        if past is not None:
            past[torch.arange(len(past), device=past.device)[:, None], slots] = new
            kept = past
        key, value = kept.chunk(2, -1)
        x = x + self.drop(own.attend(own.split(own.query(normed)), own.split(key), own.split(value), seen, seen is None))
        x = x + self.drop(cross.attend(cross.split(cross.query(self.cross_norm(x))), *memory, mask))
        return x + self.drop(self.feedforward(self.feedforward_norm(x))), kept


class Decoder(nn.Module):
    """Transformer decoder: the next token, given the tokens before it and an utterance's features."""

    def __init__(self, vocabulary: int, width: int, heads: int, feedforward: int, layers: int, dropout: float):
        super().__init__()
        self.width = width
        self.embed = nn.Embedding(vocabulary, width)
        # scaled by sqrt(width) below, tokens then weigh as much as positions; published: 1, which drowns positions
        nn.init.normal_(self.embed.weight, std=width ** -0.5)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.out = nn.Linear(width, vocabulary)
        self.drop = nn.Dropout(dropout)

    def memory(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [layer.memory(features) for layer in self.layers]

    def forward(self, tokens: Tensor, memory: list[tuple[Tensor, Tensor]], mask: Tensor, place: int = 0,
                pasts: list[Tensor] | None = None, seen: Tensor | None = None, slots: Tensor | None = None
                ) -> tuple[Tensor, list[Tensor]]:
        """tokens: (B, L); memory, of features (B, T, D); mask: (B, T), True at an utterance's own frames.

        The tokens follow each other from the start on, or where `seen` is given are alternatives for one place: token l
        of item b comes after those of the N kept tokens where seen (B, L, N) is True, and sees itself. pasts: of the kept
        tokens, as returned, with room at slots (B, L) for these, which are written there. Returns logits (B, L, vocabulary)
        and pasts.
        """
        places = torch.arange(place, place + (tokens.shape[1] if seen is None else 1), device=tokens.device)
        x = self.embed(tokens) * self.width ** 0.5
        x = self.drop(x + sinusoids(places, self.width).to(x))
        seen, kept = None if seen is None else seen[:, None], []
        for n, layer in enumerate(self.layers):
            x, past = layer(x, memory[n], mask[:, None, None], pasts[n] if pasts else None, seen, slots)
            kept.append(past)
        return self.out(self.norm(x)), kept


class Packed(nn.Module):
    """A linear map whose weights lie as oneDNN reads them, for inference alone: two to three times as quick for the rows of a beam
    on an AMD processor with AVX-512 (docs/reading.md). The operators are those that PyTorch's own compiler calls."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach()), linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def packed(decoder: Decoder) -> Decoder:
    """The decoder with its maps packed, where it computes in single precision on a processor for which there is oneDNN."""
    weight = decoder.out.weight
    single = weight.device.type == "cpu" and weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not single or not torch.backends.mkldnn.is_available():
        return decoder
    made = copy.deepcopy(decoder, {id(p): p for p in decoder.parameters()})
    for module in list(made.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Packed(child))
    return made


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
        return scores.minimum(self.score[..., None])  # no prefix is likelier than what it begins with, ruled out ones included

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


@torch.no_grad()
def beam_search(decoder: Decoder, features: Tensor, lengths: Tensor, log_probs: Tensor, beam: int, ctc_weight: float,
                length_bonus: float = 0.0) -> list[Hypothesis]:
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
        best_tokens[items[better], :step + 1] = tokens[better, which[better], 1:]
        best_tokens[items[better], step + 1:] = end
        running = running.masked_fill(ends, -math.inf)
        late = ended[max(step - 4, 0):max(step - 1, 0), items]  # ended two to four tokens ago
        stop = ((late > -math.inf) & (late - best[items] < STOP_MARGIN)).sum(0) == 3
        # Log-probabilities only take away: an item whose hypotheses no bonus lifts above its best has found it. While one can
        # still win, all stay: what the others end with may stop the search first.
        reach = running.amax(1) + max(length_bonus, 0.0) * (lengths - step - 1)
        going = ~(stop | last) & (reach > best[items])
        if not going.all():
            items, lengths, mask, running, tokens, seen = (x[going] for x in (items, lengths, mask, running, tokens, seen))
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
