"""Run time of the expert's beam search, beside the published search written as a plain loop.

    python benchmarks/beam_search.py [--device cuda] [--threads 2]

The decoder has the published base size and random weights, set such that it predicts a given sequence of tokens from
its positions; CTC log-probabilities predict the same sequence. Times are in seconds: medians of rounds in which the
compared programs alternate.
"""

import argparse
import math
import platform

import torch
import torch.nn.functional as F
from animate import print_row, seconds
from torch import Tensor

from avlib.core.run import commit
from avlib.lipreading.attention_decoder import Decoder, sinusoids
from avlib.lipreading.beam_search import Hypothesis, run_beam_search
from avlib.lipreading.ctc_prefix import IMPOSSIBLE
from avlib.lipreading.expert import Expert, greedy_ctc
from avlib.speech.text import BLANK

VOCABULARY, BEAM, CTC_WEIGHT = 5049, 40, 0.1
VIDEO_S, TOKENS = 4, 27


def plain_step(
    decoder: Decoder, tokens: Tensor, features: Tensor, states: list[Tensor] | None
) -> tuple[Tensor, list[Tensor]]:
    """tokens (W, L), features (1, T, D) -> log-probabilities (W, vocabulary) of the next token, and the layers' inputs
    (W, L, D). Only these inputs are kept: every hypothesis projects all of them, and all features, at every step."""
    positions = sinusoids(torch.arange(tokens.shape[1]), decoder.width).to(features)
    x = decoder.embed(tokens) * decoder.width**0.5 + positions
    features, new_states = features.expand(len(tokens), -1, -1), []
    for n, layer in enumerate(decoder.layers):
        attention, cross = layer.self_attention, layer.cross_attention
        normed = layer.self_norm(x)
        query = attention.split_heads(attention.query(normed[:, -1:]))
        key, value = attention.split_heads(attention.key(normed)), attention.split_heads(attention.value(normed))
        last = x[:, -1:] + attention.attend(query, key, value)
        query = cross.split_heads(cross.query(layer.cross_norm(last)))
        key, value = cross.split_heads(cross.key(features)), cross.split_heads(cross.value(features))
        last = last + cross.attend(query, key, value)
        last = last + layer.feedforward(layer.feedforward_norm(last))
        x = last if states is None else torch.cat((states[n], last), 1)
        new_states.append(x)
    return decoder.out(decoder.norm(x[:, -1])).log_softmax(-1), new_states


class PlainPrefixes:
    """CTC prefix scores of the considered tokens only, frame by frame, as in Watanabe et al. 2017, algorithm 2."""

    def __init__(self, log_probs: Tensor):
        """log_probs: (T, vocabulary)"""
        self.log_probs = log_probs.double()
        in_blank = self.log_probs[:, BLANK].cumsum(0)
        # forward variables (T, 2, W): of paths that end in the prefix's last token, and in a blank
        self.forward = torch.stack((torch.full_like(in_blank, -math.inf), in_blank), 1)[:, :, None]
        self.score = self.log_probs.new_zeros(1)

    def extend(self, tokens: Tensor, considered: Tensor) -> tuple[Tensor, Tensor]:
        """Prefixes (W, L) and next tokens (W, K) -> scores (W, K) and forward variables (T, 2, W, K)."""
        frames, length = len(self.log_probs), tokens.shape[1] - 1
        emitted = self.log_probs[:, considered]  # (T, W, K)
        blank = self.log_probs[:, BLANK]
        repeated = considered == tokens[:, -1:]
        entering = torch.logaddexp(self.forward[:, 0], self.forward[:, 1])[..., None]
        entering = entering.expand(-1, -1, considered.shape[1])
        entering = torch.where(repeated, self.forward[:, 1][..., None], entering)
        extended = torch.full_like(emitted, -math.inf)[:, None].repeat(1, 2, 1, 1)
        if length == 0:
            extended[0, 0] = emitted[0]
        for t in range(max(1, length), frames):
            extended[t, 0] = torch.logaddexp(extended[t - 1, 0], entering[t - 1]) + emitted[t]
            extended[t, 1] = torch.logaddexp(extended[t - 1, 0], extended[t - 1, 1]) + blank[t]
        first = extended[max(1, length) - 1, 0][None]
        score = torch.cat((first, entering[max(1, length) - 1 : -1] + emitted[max(1, length) :])).logsumexp(0)
        ended = torch.logaddexp(self.forward[-1, 0], self.forward[-1, 1])
        score = torch.where(considered == self.log_probs.shape[1] - 1, ended[:, None], score)
        score = torch.where(considered == BLANK, IMPOSSIBLE, score).clamp_min(IMPOSSIBLE)
        return score.minimum(self.score[:, None]), extended


@torch.no_grad()
def plain_search(
    decoder: Decoder, features: Tensor, log_probs: Tensor, beam: int, ctc_weight: float, length_bonus: float = 0.0
) -> Hypothesis:
    """The published search of one utterance, except that a hypothesis that is ruled out stays so. features: (1, T, D);
    log_probs: (1, T, vocabulary)."""
    vocabulary, frames = log_probs.shape[2], log_probs.shape[1]
    considered = min(int(1.5 * beam), vocabulary) if ctc_weight < 1 else vocabulary
    end, prefixes, states = vocabulary - 1, PlainPrefixes(log_probs[0]), None
    tokens = torch.full((1, 1), end, device=features.device)
    running = torch.zeros(1, dtype=torch.double).to(features.device)
    finished: list[Hypothesis] = []
    for step in range(frames):
        decoder_scores, states = plain_step(decoder, tokens, features, states)
        decoder_scores = decoder_scores.double()
        candidates = decoder_scores.topk(considered).indices
        candidates = torch.cat((candidates, torch.full_like(candidates[:, :1], end)), 1)  # the end may be there twice
        ctc_scores, forward = prefixes.extend(tokens, candidates)
        ctc_changes = ctc_scores - prefixes.score[:, None]
        scores = (1 - ctc_weight) * decoder_scores.gather(1, candidates) + ctc_weight * ctc_changes
        scores = running[:, None] + scores + length_bonus
        scores[:, -1] = scores[:, -1].masked_fill((candidates[:, :-1] == end).any(1), -math.inf)
        running, best = scores.flatten().topk(min(beam, scores.numel()))
        parents, which = best // candidates.shape[1], best % candidates.shape[1]
        new_tokens = candidates[parents, which]
        tokens = torch.cat((tokens[parents], new_tokens[:, None]), 1)
        prefixes.forward, prefixes.score = forward[:, :, parents, which], ctc_scores[parents, which]
        states = [state[parents] for state in states]
        for ends, hypothesis, score in zip((new_tokens == end).tolist(), tokens.tolist(), running.tolist()):
            if score > -math.inf and (ends or step == frames - 1):
                finished.append(Hypothesis([token for token in hypothesis[1:] if token != end], score))
        unfinished = new_tokens != end
        recent = [
            max((h.score for h in finished if len(h.tokens) == n), default=None) for n in (step - 2, step - 3, step - 4)
        ]
        if None not in recent and max(recent) < max(h.score for h in finished) - 10 or not unfinished.any():
            break
        tokens, running, states = tokens[unfinished], running[unfinished], [state[unfinished] for state in states]
        prefixes.forward, prefixes.score = prefixes.forward[:, :, unfinished], prefixes.score[unfinished]
    return max(finished, key=lambda h: h.score)


@torch.no_grad()
def predict_script(expert: Expert, script: list[int], frames: int) -> Tensor:
    """Sets the decoder's weights such that it predicts the script's tokens from its positions.

    Returns CTC log-probabilities (frames, vocabulary) that predict the same tokens."""
    decoder, end = expert.decoder, expert.vocabulary - 1
    decoder.embed.weight.zero_()
    for layer in decoder.layers:
        for part in (layer.self_attention.out, layer.cross_attention.out, layer.feedforward[-1]):
            part.weight.mul_(0.02)
            part.bias.zero_()
    positions = decoder.norm(sinusoids(torch.arange(len(script) + 1), decoder.width))
    positions = positions - positions.mean(0)
    decoder.out.weight[[*script, end]] = 0.5 * F.normalize(positions, dim=1)
    decoder.out.bias.zero_()
    log_probs = torch.randn(frames, expert.vocabulary, generator=torch.Generator().manual_seed(0))
    log_probs[:, BLANK] += 10
    for n, token in enumerate(script):
        log_probs[frames * (2 * n + 1) // (2 * len(script)), token] += 14
    return log_probs.log_softmax(-1)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    print(
        f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {device}, {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}"
    )
    torch.manual_seed(0)
    expert, frames = Expert(VOCABULARY, layers=1, modalities=("video",)).eval(), 25 * VIDEO_S
    script = (1 + torch.randperm(VOCABULARY - 2, generator=torch.Generator().manual_seed(0))[:TOKENS]).tolist()
    log_probs = predict_script(expert, script, frames)[None].to(device)
    decoder = expert.decoder.to(device)
    features = torch.randn(1, frames, decoder.width, generator=torch.Generator().manual_seed(1)).to(device)
    results: dict[str, Hypothesis] = {}

    def search_plainly() -> None:
        results["plain"] = plain_search(decoder, features, log_probs, BEAM, CTC_WEIGHT)

    def search(name: str, utterances: int) -> None:
        lengths = torch.full((utterances,), frames, device=device)
        batch = features.expand(utterances, -1, -1), lengths, log_probs.expand(utterances, -1, -1)
        results[name] = run_beam_search(decoder, *batch, BEAM, CTC_WEIGHT)[0]

    plain, one, eight = seconds(
        search_plainly, lambda: search("search", 1), lambda: search("search of eight", 8), rounds=3
    )
    (greedy,) = seconds(lambda: greedy_ctc(log_probs, torch.tensor([frames])), rounds=9)
    print(f"{VIDEO_S} s of video, {TOKENS} tokens, beam {BEAM}, {VOCABULARY} units")
    print_row("plain search", plain)
    print_row("search", one, "the plain search", plain, "0.125")
    print_row("search of eight utterances at once", eight, "one", one, "4")
    print_row("greedy CTC", greedy)
    correct = all(hypothesis.tokens == script for hypothesis in results.values())
    scores = f"{results['plain'].score:.6f} and {results['search'].score:.6f}"
    print(f"  all find the sequence: {correct}; scores {scores}")


if __name__ == "__main__":
    main()
