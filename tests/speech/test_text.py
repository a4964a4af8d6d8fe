"""Tokenizers decode what they encode; viseme strings merge phonemes that look alike."""

import pytest

from avlib.speech.text import SentencePieceTokenizer, Tokenizer, normalise_text, read_text
from avlib.speech.visemes import text_to_visemes
from tests.conftest import write_units


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    write_units(folder)
    return folder


def test_characters_round_trip_without_blank_and_end():
    tokenizer = Tokenizer()
    assert tokenizer.size == 30
    ids = tokenizer.encode("don't go")
    assert min(ids) >= 1 and max(ids) <= tokenizer.size - 2
    assert tokenizer.decode([0, *ids, tokenizer.size - 1]) == "don't go"
    assert tokenizer.encode(" 'az") == [1, 2, 3, 28]


def test_unknown_characters_and_ids_are_named():
    with pytest.raises(ValueError, match="no token for '!', 'é'"):
        Tokenizer().encode("é!")
    with pytest.raises(ValueError, match=r"\[30\]: outside 0 to 29"):
        Tokenizer().decode([3, 30])


def test_pieces_have_the_ids_of_the_list(pieces):
    tokenizer = SentencePieceTokenizer(pieces / "unigram5000.model", pieces / "unigram5000_units.txt")
    names = (pieces / "unigram5000_units.txt").read_text().split()[::2]
    assert tokenizer.size == len(names) + 2
    ids = tokenizer.encode("you must go now")
    assert "".join(names[i - 1] for i in ids) == "▁YOU▁MUST▁GO▁NOW"
    assert tokenizer.decode([*ids, tokenizer.size - 1]) == "you must go now"
    with pytest.raises(ValueError, match="no token for"):
        tokenizer.encode("you 7")


def test_faulty_lists_and_models_are_named(pieces, tmp_path):
    (tmp_path / "units.txt").write_text("<unk> 1\nA 3\n")
    with pytest.raises(ValueError, match="units.txt: expected lines"):
        SentencePieceTokenizer(pieces / "unigram5000.model", tmp_path / "units.txt")
    with pytest.raises(ValueError, match="nowhere.model: no such file"):
        SentencePieceTokenizer(tmp_path / "nowhere.model", pieces / "unigram5000_units.txt")
    with pytest.raises(ValueError, match="units.txt: not a SentencePiece model"):
        SentencePieceTokenizer(tmp_path / "units.txt", pieces / "unigram5000_units.txt")


def test_normalised_text_has_only_letters_apostrophes_and_single_spaces():
    assert normalise_text("  Don’t — STOP, naïve\twell-known façade! ") == "don't stop naive well known facade"
    assert normalise_text("Take 7") == "take 7"  # digits are kept, so that `encode` can name them
    once = normalise_text("«It's» (me)...")
    assert once == "it's me" == normalise_text(once)


@pytest.mark.parametrize(
    "text, plain",
    [
        *((f"don{mark}t", "don't") for mark in "'’‘ʼ´`′"),
        ('"Must you go?"', "must you go"),
        ("“Must you,” she said", "must you she said"),
        ("'Must you go?'", "must you go"),
        ("‘Must you go?’ ‘We must.’", "must you go we must"),
        ("'It's just the dogs,' she said", "it's just the dogs she said"),
        ("'Tis the dogs' house", "'tis the dogs' house"),
        ("rock 'n' roll, and get 'em", "rock 'n' roll and get 'em"),
    ],
)
def test_apostrophes_stay_and_quotation_marks_go(text, plain):
    """However they are typed; words that begin or end with an apostrophe keep it."""
    assert normalise_text(text) == plain == normalise_text(plain)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le-bom"])
def test_a_text_is_read_in_its_encoding(tmp_path, encoding):
    text = "It’s just a naïve façade\r\nwe must"
    mark = b"\xff\xfe" if encoding == "utf-16-le-bom" else b""
    (tmp_path / "a.txt").write_bytes(mark + text.encode(encoding.removesuffix("-bom")))
    assert read_text(tmp_path / "a.txt") == text


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "no transcript 'a.txt'"),
        (b" \r\n", "transcript 'a.txt' is empty"),
        ("we must".encode("utf-16-le"), "transcript 'a.txt' is not a text in UTF-8, Windows-1252 or UTF-16"),
        (b"\x81\x8d\x8f", "transcript 'a.txt' is not a text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path / "a.txt")


def test_phonemes_that_look_alike_share_a_viseme():
    assert text_to_visemes("pat") == text_to_visemes("bat") == text_to_visemes("mat") == " pat "
    assert text_to_visemes("fan") == text_to_visemes("van")
    assert text_to_visemes("just") != text_to_visemes("must")


def test_viseme_strings_do_not_depend_on_punctuation_case_or_space():
    assert text_to_visemes("Go,  now!\n(You must.)") == text_to_visemes("go now you must")
    assert text_to_visemes("go now").split() == ["ko", "ta"]


def test_texts_without_words_have_no_visemes():
    assert text_to_visemes("") == text_to_visemes(" ... ") == ""
