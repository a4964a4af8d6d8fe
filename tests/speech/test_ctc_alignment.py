"""Word times follow the CTC path: in order, within the clip, one for each word, independent of the padding."""

import pytest
import torch

from avlib.core.config import ReaderConfig
from avlib.evaluation.word_alignment import align
from avlib.speech.ctc_alignment import REACH, token_frames, word_groups, word_times
from avlib.speech.segment import Segment
from avlib.speech.text import SentencePieceTokenizer, Tokenizer
from avlib.training.readers import build_reader
from tests.conftest import write_units

TEXTS = ("you must go now", "it is just me", "we were away a year ago", "don't buy five big maps", "a", "maam  too")


@pytest.fixture(scope="module", params=["characters", "pieces"])
def tokenizer(request, tmp_path_factory):
    if request.param == "characters":
        return Tokenizer()
    folder = tmp_path_factory.mktemp("units")
    write_units(folder)
    return SentencePieceTokenizer(folder / "unigram5000.model", folder / "unigram5000_units.txt")


def sharp(path: list[int], vocabulary: int) -> torch.Tensor:
    """Log-probabilities (T, vocabulary) of which this path is the most probable."""
    scores = torch.full((len(path), vocabulary), -20.0)
    scores[range(len(path)), path] = 0.0
    return scores.log_softmax(-1)


def test_a_constructed_path_gives_its_times():
    tokenizer = Tokenizer()
    m, e, t, o, space = (tokenizer.ids[c] for c in "meto ")
    path = [0, 0, 0, 0, m, m, e, space, space, 0, t, 0, o, 0, o, o, 0, 0, 0, 0, space, m, 0, e, 0]
    assert token_frames(sharp(path, tokenizer.size), tokenizer.encode("me too me")) == [
        (4, 6),
        (6, 7),
        (7, 9),
        (10, 11),
        (12, 13),
        (14, 16),
        (20, 21),
        (21, 22),
        (23, 24),
    ]
    assert word_times(sharp(path, tokenizer.size), "me too me", tokenizer) == (
        Segment("me", 2 / 25, 8 / 25),
        Segment("too", 8 / 25, 18 / 25),
        Segment("me", 19 / 25, 24 / 25),
    )
    # no word begins before the clip, or before the previous word has ended
    assert word_times(sharp([m, e, space, t, o, 0], tokenizer.size), "me to", tokenizer) == (
        Segment("me", 0.0, 2 / 25),
        Segment("to", 2 / 25, 5 / 25),
    )


def test_units_are_grouped_into_words():
    assert word_groups(["▁DON", "'", "T", "▁GO", "▁", "M", "E"]) == [[0, 1, 2], [3], [5, 6]]
    assert word_groups(list("to  go ")) == [[0, 1], [4, 5]]


@pytest.mark.parametrize("text", TEXTS)
def test_random_outputs_give_words_in_order_within_the_clip(tokenizer, text, generator):
    for frames in (18 + 2 * len(text), 100):
        log_probs = (3 * torch.randn(frames, tokenizer.size, generator=generator)).log_softmax(-1)
        words = word_times(log_probs, text, tokenizer)
        assert [w.label for w in words] == text.split()
        borders = [t for w in words for t in (w.start_s, w.end_s)]
        assert borders == sorted(borders) and 0 <= borders[0] and borders[-1] <= frames / 25
        assert all(w.start_s < w.end_s for w in words)


def test_the_path_is_the_most_probable_one(generator):
    """Of all paths of two tokens through six frames."""
    log_probs = torch.randn(6, 4, generator=generator).log_softmax(-1)
    paths = {}
    for first in range(5):
        for first_end in range(first + 1, 6):
            for second in range(first_end, 6):
                for end in range(second + 1, 7):
                    path = torch.tensor(
                        [2 if first <= t < first_end else 3 if second <= t < end else 0 for t in range(6)]
                    )
                    paths[(first, first_end), (second, end)] = float(log_probs[range(6), path].sum())
    assert tuple(token_frames(log_probs, [2, 3])) == max(paths, key=paths.get)


def test_equal_tokens_need_a_blank_between_them(tokenizer):
    token = tokenizer.encode("a")[0]
    log_probs = torch.zeros(5, tokenizer.size).log_softmax(-1)
    assert token_frames(log_probs, [token] * 3) == [(0, 1), (2, 3), (4, 5)]
    assert token_frames(log_probs[:4], [token] * 3) is None


def test_texts_without_times(tokenizer):
    log_probs = torch.zeros(8, tokenizer.size).log_softmax(-1)
    assert word_times(log_probs, "", tokenizer) == ()
    assert word_times(log_probs, "we were away a year ago", tokenizer) == ()  # more tokens than frames
    with pytest.raises(ValueError, match="no token for '7'"):
        word_times(log_probs, "go 7", tokenizer)


def test_padding_does_not_change_word_times(generator):
    expert = build_reader(
        ReaderConfig(
            width=16,
            heads=2,
            feedforward=16,
            layers=1,
            decoder_layers=1,
            fusion=16,
            frontend_width=2,
            audio_frontend_width=2,
        )
    ).eval()
    features, lengths = 5 * torch.randn(3, 60, 16, generator=generator), torch.tensor([60, 41, 20])
    texts = ["you must go now", "it is just me", "we were away a year ago"]
    together = align(expert, features, lengths, texts)
    assert [len(words) for words in together] == [4, 4, 0]
    features[1, 41:] = torch.randn(19, 16, generator=generator)
    assert align(expert, features, lengths, texts) == together
    for i, n in enumerate(lengths.tolist()):
        assert align(expert, features[i : i + 1, :n], lengths[i : i + 1], texts[i : i + 1]) == together[i : i + 1]


def test_a_word_extends_beyond_its_tokens(tokenizer):
    tokens = tokenizer.encode("must")
    path = [0] * 10 + [k for token in tokens for k in (token, 0)]
    (word,) = word_times(sharp(path, tokenizer.size), "must", tokenizer)
    assert (word.start_s, word.end_s) == ((10 - REACH) / 25, (9 + 2 * len(tokens)) / 25)
