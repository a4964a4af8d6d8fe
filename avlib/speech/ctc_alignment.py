"""Times of the words of a transcript: forced alignment to a reader's CTC outputs (Graves et al. 2006; torchaudio)."""

import torch
from torch import Tensor
from torchaudio.functional import forced_align

from ..core.rates import VIDEO_FPS
from .segment import Segment
from .text import BLANK, Tokenizer

# Frames by which a word extends beyond its tokens: CTC emits the first token late, and peaks within long pieces.
REACH = 2


def token_frames(log_probs: Tensor, tokens: list[int]) -> list[tuple[int, int]] | None:
    """First frame of each token, and the frame after its last one, on the most probable CTC path of the tokens.

    log_probs: (T, vocabulary), natural logarithms. None where there are no tokens or too few frames for them: two equal
    tokens in sequence need a blank between them.
    """
    if not tokens or len(tokens) + sum(a == b for a, b in zip(tokens, tokens[1:])) > len(log_probs):
        return None
    path, _ = forced_align(log_probs[None].cpu(), torch.tensor([tokens]), blank=BLANK)
    ids, counts = path[0].unique_consecutive(return_counts=True)
    ends = counts.cumsum(0)
    spans = torch.stack([ends - counts, ends], 1)[ids != BLANK]
    return [(first, end) for first, end in spans.tolist()]


def word_groups(units: list[str]) -> list[list[int]]:
    """Indices of the units of each word. A space separates words; a SentencePiece unit with "▁" begins one."""
    groups: list[list[int]] = []
    begins_word = True
    for i, unit in enumerate(units):
        begins_word = begins_word or unit[0] in " ▁"
        if unit.strip(" ▁"):
            groups += [[]] if begins_word else []
            groups[-1].append(i)
            begins_word = False
    return groups


def word_times(log_probs: Tensor, text: str, tokenizer: Tokenizer) -> tuple[Segment, ...]:
    """The words of a text with their times. log_probs: (T, vocabulary) at 25 frames a second.

    A word begins `REACH` frames before its first token, but not before the end of the previous word. It ends with its
    last token, or up to `REACH` frames later, but not after the next word begins. Empty, as for an utterance with
    unknown times, where the text is empty or has more tokens than the frames can hold; the CTC loss of such an
    utterance is zero. ValueError where the tokenizer lacks a character.
    """
    units, tokens = tokenizer.split(text), tokenizer.encode(text)
    frames = token_frames(log_probs, tokens)
    if frames is None:
        return ()
    groups, words, end = word_groups(units), [], 0
    begins = [frames[group[0]][0] - REACH for group in groups]
    for group, begin, next_begin in zip(groups, begins, [*begins[1:], 0]):
        begin, last = max(end, begin), frames[group[-1]][1]
        end = max(last, min(last + REACH, next_begin))
        words.append(Segment(tokenizer.decode(tokens[i] for i in group), begin / VIDEO_FPS, end / VIDEO_FPS))
    return tuple(words)
