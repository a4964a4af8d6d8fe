"""The search by CTC alone finds the most probable text, in any batch."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from avlib.lipreading.ctc_search import search_ctc
from avlib.lipreading.expert import greedy_ctc

VOCABULARY, LENGTHS = 5, torch.tensor([4, 1, 3])  # a blank, three characters, and the end, which no text contains


def probabilities(seed: int, sharpness: float = 1.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(3, 4, VOCABULARY, generator=draw)
    return logits.double().log_softmax(-1)


def best_text(log_probs: torch.Tensor) -> tuple[list[int], float]:
    """Over all texts that the frames (T, vocabulary) can hold."""
    scored = []
    for count in range(len(log_probs) + 1):
        for text in itertools.product(range(1, VOCABULARY - 1), repeat=count):
            loss = F.ctc_loss(
                log_probs[:, None],
                torch.tensor([text], dtype=torch.long),
                torch.tensor([len(log_probs)]),
                torch.tensor([count]),
                reduction="sum",
            )
            scored.append((list(text), -float(loss)))
    return max(scored, key=lambda item: item[1])


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_search_finds_the_most_probable_text(seed):
    log_probs = probabilities(seed)
    for i, found in enumerate(search_ctc(log_probs, LENGTHS, beam=200)):
        text, score = best_text(log_probs[i, : LENGTHS[i]])
        assert found.tokens == text and found.score == pytest.approx(score, abs=1e-9)


def test_it_finds_a_more_probable_text_than_the_best_path():
    frames = torch.tensor([[0.4, 0.35, 0.05, 0.15, 0.05]]).log().repeat(1, 2, 1)  # blank, blank is the best path
    lengths = torch.tensor([2])
    assert greedy_ctc(frames, lengths) == [[]]
    (found,) = search_ctc(frames, lengths, beam=3)
    assert found.tokens == [1] and found.score == pytest.approx(math.log(0.35**2 + 2 * 0.4 * 0.35), abs=1e-6)


def test_utterances_do_not_depend_on_the_batch_and_a_sure_one_is_its_best_path():
    log_probs = probabilities(7, sharpness=20.0)
    together = search_ctc(log_probs, LENGTHS, beam=2)
    assert [h.tokens for h in together] == greedy_ctc(log_probs, LENGTHS)
    for i, n in enumerate(LENGTHS):
        (alone,) = search_ctc(log_probs[i : i + 1, :n], LENGTHS[i : i + 1], beam=2)
        assert alone.tokens == together[i].tokens and alone.score == pytest.approx(together[i].score)
    with pytest.raises(ValueError, match="beam is 0, expected at least 1"):
        search_ctc(log_probs, LENGTHS, beam=0)
