"""How long the expert's beam search takes, beside the published search written as a plain loop.

    python benchmarks/read.py [--device cuda] [--threads 2]

Random weights of the published base size, made to say a given sentence of tokens: the decoder follows its positions, and CTC
its frames. Times in seconds, medians of rounds in which what is compared takes turns.
"""

import argparse
import math
import platform

import animate
import torch
import torch.nn.functional as F
from animate import row, seconds
from torch import Tensor

from avlib.core.run import commit
from avlib.lipreading.attention_decoder import Decoder, sinusoids
from avlib.lipreading.beam_search import Hypothesis, beam_search
from avlib.lipreading.ctc_prefix import RULED_OUT
from avlib.lipreading.expert import Expert, greedy_ctc
from avlib.speech.text import BLANK

VOCABULARY, BEAM, CTC = 5049, 40, 0.1
SECONDS, TOKENS = 4, 27


def plain_step(
    decoder: Decoder, tokens: Tensor, features: Tensor, states: list[Tensor] | None
) -> tuple[Tensor, list[Tensor]]:
    """tokens (W, L), features (1, T, D) -> log-probabilities (W, vocabulary) of the next token, and the layers' inputs
    (W, L, D), which are all that is kept: every hypothesis projects all of them, and all features, anew."""
    x = decoder.embed(tokens) * decoder.width**0.5 + sinusoids(torch.arange(tokens.shape[1]), decoder.width).to(
        features
    )
    features, kept = features.expand(len(tokens), -1, -1), []
    for n, layer in enumerate(decoder.layers):
        own, cross = layer.self_attention, layer.cross_attention
        normed = layer.self_norm(x)
        said = own.attend(
            own.split(own.query(normed[:, -1:])), own.split(own.key(normed)), own.split(own.value(normed))
        )
        last = x[:, -1:] + said
        query = cross.split(cross.query(layer.cross_norm(last)))
        last = last + cross.attend(query, cross.split(cross.key(features)), cross.split(cross.value(features)))
        last = last + layer.feedforward(layer.feedforward_norm(last))
        x = last if states is None else torch.cat((states[n], last), 1)
        kept.append(x)
    return decoder.out(decoder.norm(x[:, -1])).log_softmax(-1), kept


class PlainPrefixes:
    """CTC prefix scores of the considered tokens alone, frame after frame, as in Watanabe et al. 2017, algorithm 2."""

    def __init__(self, log_probs: Tensor):
        """(T, vocabulary)"""
        self.x = log_probs.double()
        frames = len(log_probs)
        self.r = torch.stack(
            (torch.full((frames,), -math.inf, dtype=torch.double).to(log_probs.device), self.x[:, BLANK].cumsum(0)), 1
        )[:, :, None]  # (T, 2, W): ends in token, in blank
        self.score = self.x.new_zeros(1)

    def extend(self, tokens: Tensor, considered: Tensor) -> tuple[Tensor, Tensor]:
        """Prefixes (W, L) and next tokens (W, C) -> scores (W, C) and forward variables (T, 2, W, C)."""
        frames, length = len(self.x), tokens.shape[1] - 1
        emitted = self.x[:, considered]  # (T, W, C)
        blank = self.x[:, BLANK]
        repeated = considered == tokens[:, -1:]
        phi = torch.logaddexp(self.r[:, 0], self.r[:, 1])[..., None].expand(-1, -1, considered.shape[1])
        phi = torch.where(repeated, self.r[:, 1][..., None], phi)
        made = torch.full((frames, 2, *considered.shape), -math.inf, dtype=torch.double, device=self.x.device)
        if length == 0:
            made[0, 0] = emitted[0]
        for t in range(max(1, length), frames):
            made[t, 0] = torch.logaddexp(made[t - 1, 0], phi[t - 1]) + emitted[t]
            made[t, 1] = torch.logaddexp(made[t - 1, 0], made[t - 1, 1]) + blank[t]
        first = made[max(1, length) - 1, 0][None]
        score = torch.cat((first, phi[max(1, length) - 1 : -1] + emitted[max(1, length) :])).logsumexp(0)
        ended = torch.logaddexp(self.r[-1, 0], self.r[-1, 1])
        score = torch.where(considered == self.x.shape[1] - 1, ended[:, None], score)
        score = torch.where(considered == BLANK, RULED_OUT, score).clamp_min(RULED_OUT)
        return score.minimum(self.score[:, None]), made


@torch.no_grad()
def plain_search(
    decoder: Decoder, features: Tensor, log_probs: Tensor, beam: int, ctc_weight: float, length_bonus: float = 0.0
) -> Hypothesis:
    """The published search of one utterance, features (1, T, D) and log_probs (1, T, vocabulary), but that what is ruled
    out stays so."""
    vocabulary, frames = log_probs.shape[2], log_probs.shape[1]
    considered = min(int(1.5 * beam), vocabulary) if ctc_weight < 1 else vocabulary
    end, prefixes, states = vocabulary - 1, PlainPrefixes(log_probs[0]), None
    tokens, running = (
        torch.full((1, 1), end, device=features.device),
        torch.zeros(1, dtype=torch.double).to(features.device),
    )
    finished: list[Hypothesis] = []
    for step in range(frames):
        decoded, states = plain_step(decoder, tokens, features, states)
        decoded = decoded.double()
        chosen = decoded.topk(considered).indices
        chosen = torch.cat((chosen, torch.full_like(chosen[:, :1], end)), 1)  # the end may be there twice
        prefix, made = prefixes.extend(tokens, chosen)
        scores = (1 - ctc_weight) * decoded.gather(1, chosen) + ctc_weight * (prefix - prefixes.score[:, None])
        scores = running[:, None] + scores + length_bonus
        scores[:, -1] = scores[:, -1].masked_fill((chosen[:, :-1] == end).any(1), -math.inf)
        running, best = scores.flatten().topk(min(beam, scores.numel()))
        parents, which = best // chosen.shape[1], best % chosen.shape[1]
        new = chosen[parents, which]
        tokens = torch.cat((tokens[parents], new[:, None]), 1)
        prefixes.r, prefixes.score = made[:, :, parents, which], prefix[parents, which]
        states = [state[parents] for state in states]
        for ends, said, score in zip((new == end).tolist(), tokens.tolist(), running.tolist()):
            if score > -math.inf and (ends or step == frames - 1):
                finished.append(Hypothesis([t for t in said[1:] if t != end], score))
        going = new != end
        recent = [
            max((h.score for h in finished if len(h.tokens) == n), default=None) for n in (step - 2, step - 3, step - 4)
        ]
        if None not in recent and max(recent) < max(h.score for h in finished) - 10 or not going.any():
            break
        tokens, running, states = tokens[going], running[going], [state[going] for state in states]
        prefixes.r, prefixes.score = prefixes.r[:, :, going], prefixes.score[going]
    return max(finished, key=lambda h: h.score)


@torch.no_grad()
def say(expert: Expert, script: list[int], frames: int) -> Tensor:
    """Makes the decoder follow its positions through the script; CTC log-probabilities (frames, vocabulary) that do too."""
    decoder, end = expert.decoder, expert.vocabulary - 1
    decoder.embed.weight.zero_()
    for layer in decoder.layers:
        for part in (layer.self_attention.out, layer.cross_attention.out, layer.feedforward[-1]):
            part.weight.mul_(0.02)
            part.bias.zero_()
    places = decoder.norm(sinusoids(torch.arange(len(script) + 1), decoder.width))
    places = places - places.mean(0)
    decoder.out.weight[[*script, end]] = 0.5 * F.normalize(places, dim=1)
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
    animate.device = device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    print(
        f"commit {commit()}, torch {torch.__version__}, {args.threads} threads, {device}, {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}"
    )
    torch.manual_seed(0)
    expert, frames = Expert(VOCABULARY, layers=1, modalities=("video",)).eval(), 25 * SECONDS
    script = (1 + torch.randperm(VOCABULARY - 2, generator=torch.Generator().manual_seed(0))[:TOKENS]).tolist()
    log_probs = say(expert, script, frames)[None].to(device)
    decoder = expert.decoder.to(device)
    features = torch.randn(1, frames, decoder.width, generator=torch.Generator().manual_seed(1)).to(device)
    search = lambda n: beam_search(
        decoder,
        features.expand(n, -1, -1),
        torch.full((n,), frames, device=device),
        log_probs.expand(n, -1, -1),
        BEAM,
        CTC,
    )
    found = {}
    plain = lambda: found.update(plain=plain_search(decoder, features, log_probs, BEAM, CTC))
    one, eight = (lambda n=n: found.update({n: search(n)[0]}) for n in (1, 8))
    slow, fast, many = seconds(plain, one, eight, rounds=3)
    (greedy,) = seconds(lambda: greedy_ctc(log_probs, torch.tensor([frames])), rounds=9)
    print(f"{SECONDS} s of video, {TOKENS} tokens, beam {BEAM}, {VOCABULARY} units")
    row("plain search", slow)
    row("search", fast, "the plain search", slow, "0.125")
    row("search of eight utterances at once", many, "one", fast, "4")
    row("greedy CTC", greedy)
    said = {name: h.tokens == script for name, h in found.items()}
    print(f"  all say the sentence: {all(said.values())}; scores {found['plain'].score:.6f} and {found[1].score:.6f}")


if __name__ == "__main__":
    main()
