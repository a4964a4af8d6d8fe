"""The compared words are those of the setting, or a frequent pair of the corpus whose first sounds look different."""

import pytest

from avlib.core.presets import load
from avlib.corpus.utterance import Utterance
from avlib.evaluation.word_choice import check_words, choose_words, frequent_pair, sounds

WANTED = load("smoke").evaluation.words


def utterances(*texts: str) -> list[Utterance]:
    return [Utterance(f"u{i}", "v", "", text, 30) for i, text in enumerate(texts)]


def test_the_words_of_the_setting_are_taken_if_two_sentences_have_each():
    texts = ["just go", "we must", "we just go just now", "he must go"]
    choice = choose_words(WANTED, utterances(*texts, *["the big boat"] * 9))
    assert choice.words == ("just", "must") and "*just* (in 2 sentences) and *must* (in 2)" in choice.reason
    assert choose_words(("big", "boat"), utterances(*["the big boat"] * 2)).words == ("big", "boat")
    chosen = choose_words(WANTED, utterances(*texts, "a big boat", "a big boat"), preferred=("boat", "big"))
    assert chosen.words == ("boat", "big") and "chosen above" in chosen.reason
    assert choose_words(WANTED, utterances(*texts), preferred=("boat", "big")).words == ("just", "must")


def test_sentences_are_counted_not_words_and_not_styles():
    one = Utterance("same", "v", "", "just must just must", 30)
    assert choose_words(WANTED, [one, one]).words == ()


def test_words_that_differ_in_the_first_sound_alone_are_preferred():
    """If there are five sentences of each; of several such pairs, the most frequent one."""
    common, few = ["we bought the sea"] * 9, ["see the map", "see the tap"] * 4
    several = [*common, *["go near", "go dear", "go peer"] * 6, *["one map", "one tap"] * 5]
    choice = choose_words(WANTED, utterances(*several))
    assert choice.words == ("dear", "peer") and choice.reason.endswith("in the first sound alone, and there in viseme.")
    assert "*just* in 0 and *must* in 0 of 37 sentences" in choice.reason
    choice = choose_words(WANTED, utterances(*common, *few))
    assert choice.words == ("the", "bought") and "Their other sounds differ, too" in choice.reason


def test_first_sounds_that_look_alike_are_no_pair():
    """p, b and m look alike, as do t, d and n."""
    assert frequent_pair({"pea": 9, "bee": 8, "me": 7, "tea": 6, "knee": 6}) == ("pea", "knee")
    assert frequent_pair({"pea": 9, "bee": 8, "me": 7}) == ()
    assert frequent_pair({"a": 9, "map": 1, "day": 1}) == (), "no rest, or too rare"
    assert sounds("just") == ("S", sounds("must")[1])


def test_words_that_open_sentences_are_counted_only_if_others_do_not_suffice():
    opening = [f"{word} to me" for word in ("bin", "lay", "bin", "lay", "bin", "lay")]
    assert choose_words(WANTED, utterances(*opening)).words == ("me", "to")
    assert choose_words(WANTED, utterances("bin it", "lay it", "bin it", "lay it")).words == ("it", "bin")


def test_the_choice_does_not_depend_on_the_order_of_the_sentences():
    texts = ["go near me", "go near it", "the map", "the tap", "the map", "we saw it"]
    assert choose_words(WANTED, utterances(*texts)) == choose_words(WANTED, utterances(*texts[::-1]))


@pytest.mark.parametrize("texts", [(), ("go",), ("",), ("we go", "he went"), ("map map", "map bin", "bin map map")])
def test_a_corpus_without_a_pair_has_a_reason(texts):
    choice = choose_words(WANTED, utterances(*texts))
    assert choice.words == () and choice.reason.endswith("no words are compared.") and "\n" not in choice.reason


@pytest.mark.parametrize("words", [("just",), ("just", "just"), ("just", "Must"), ("a", "b", "c"), ("in the", "a")])
def test_a_setting_other_than_two_words_is_an_error(words):
    with pytest.raises(ValueError, match="evaluation.words: expected two different words"):
        check_words(words)
    assert check_words(WANTED) == WANTED
