"""Error rates: values worked out by hand, and those of jiwer."""

import jiwer
import pytest

from avlib.metrics.error_rates import cer, corpus_rate, error_counts, ver, wer


def test_rates_by_hand():
    assert error_counts("you must", "you just") == (1, 8)
    assert cer("abcd", "abXd") == 0.25
    assert wer("we must go", "we just go now") == pytest.approx(2 / 3)
    assert ver("pat", "bat") == 0 < ver("pat", "fat")
    assert cer("", "abc") == 3 and cer("abc", "") == 1 and cer("", "") == 0
    assert cer("kitten", "sitting") == 0.5


def test_rates_equal_those_of_jiwer():
    references, hypotheses = ["you must go now", "it is just me"], ["you just go", "it is a must"]
    assert corpus_rate(references, hypotheses) == pytest.approx(jiwer.cer(references, hypotheses))
    assert corpus_rate(references, hypotheses, words=True) == pytest.approx(jiwer.wer(references, hypotheses))
    assert [wer(*pair) for pair in zip(references, hypotheses)] == [
        jiwer.wer(*pair) for pair in zip(references, hypotheses)
    ]


def test_corpus_rate_weights_utterances_by_length():
    assert corpus_rate(["a", "abcdefghi"], ["x", "abcdefghi"]) == pytest.approx(0.1)
    assert corpus_rate(["go", "we must go now"], ["no", "we must go now"], words=True) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="2 references, 1 hypotheses"):
        corpus_rate(["a", "b"], ["a"])
