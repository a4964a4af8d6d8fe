"""When each word of a known text is said: forced alignment along a reader's CTC outputs (Graves et al. 2006; torchaudio)."""

import torch
from torch import Tensor
from torchaudio.functional import forced_align

from ..core.rates import VIDEO_FPS
from .segment import Segment
from .text import BLANK, Tokenizer

REACH = 2  # frames by which a word reaches beyond its tokens: CTC is late with the first, and peaks within long pieces


def token_frames(log_probs: Tensor, tokens: list[int]) -> list[tuple[int, int]] | None:
    """First frame of each token and the one after its last, along the most probable CTC path through all tokens.

    log_probs: (T, vocabulary), natural. None where there are no tokens, or no path: equal neighbours need a blank between.
    """
    if not tokens or len(tokens) + sum(a == b for a, b in zip(tokens, tokens[1:])) > len(log_probs):
        return None
    path, _ = forced_align(log_probs[None].cpu(), torch.tensor([tokens]), blank=BLANK)
    ids, counts = path[0].unique_consecutive(return_counts=True)
    ends = counts.cumsum(0)
    spans = torch.stack([ends - counts, ends], 1)[ids != BLANK]
    return [(first, end) for first, end in spans.tolist()]


def word_groups(units: list[str]) -> list[list[int]]:
    """Which units make up each word: a space parts words, and a SentencePiece unit that starts with "▁" begins one."""
    groups, new = [], True
    for i, unit in enumerate(units):
        new = new or unit[0] in " ▁"
        if unit.strip(" ▁"):
            groups += [[]] if new else []
            groups[-1].append(i)
            new = False
    return groups


def word_times(log_probs: Tensor, text: str, tokenizer: Tokenizer) -> tuple[Segment, ...]:
    """The words of a text with their times, seconds; log_probs (T, vocabulary) at 25 frames a second.

    A word begins `REACH` frames before its first token, if the word before has ended by then. It ends with its last token,
    or up to `REACH` frames later where the next word leaves room. Empty, as of an utterance whose times are unknown, where
    the text is empty or has more tokens than the frames can hold: its CTC loss was zero in training too. ValueError where the
    tokenizer lacks a character.
    """
    units, tokens = tokenizer.split(text), tokenizer.encode(text)
    frames = token_frames(log_probs, tokens)
    if frames is None:
        return ()
    groups, words, end = word_groups(units), [], 0
    begins = [frames[group[0]][0] - REACH for group in groups]
    for group, begin, follows in zip(groups, begins, [*begins[1:], 0]):
        begin, last = max(end, begin), frames[group[-1]][1]
        end = max(last, min(last + REACH, follows))
        words.append(Segment(tokenizer.decode(tokens[i] for i in group), begin / VIDEO_FPS, end / VIDEO_FPS))
    return tuple(words)
