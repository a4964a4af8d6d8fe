"""Sentences of a user: read with one line for each fault, and divided so that no two parts share one."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from avlib.core.config import CorpusConfig
from avlib.core.presets import load
from avlib.core.tensors import seeded_generator
from avlib.corpus import prepare
from avlib.corpus.embedded.own_sentences import check_sentences, divide, read_sentences, sentences_of_parts
from avlib.corpus.embedded.sentences import sentences
from avlib.corpus.embedded.spoken_sentence import synthesise_sentence

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
SMOKE = load("smoke").corpus


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "mine.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("language", ["de", "cmn"])
def test_the_examples_make_a_corpus_whose_parts_share_no_sentence(language):
    config = replace(SMOKE, language=language, sentences=str(EXAMPLES / f"sentences_{language}.txt"))
    parts = sentences_of_parts(config)
    assert {part: len(texts) for part, texts in parts.items()} == {
        part: len(texts) for part, texts in sentences_of_parts(SMOKE).items()
    }
    assert all(set(a).isdisjoint(b) for a, b in itertools.combinations(parts.values(), 2))
    assert all(len(set(parts["3d train"][2 * k : 2 * k + 2])) == 2 for k in range(8)), "a subject repeats none"
    assert parts == sentences_of_parts(config) != sentences_of_parts(replace(config, seed=1))
    spoken = synthesise_sentence(parts["train"][0], "f1", seeded_generator(0), language)
    assert [word.label for word in spoken.words] == parts["train"][0].split()


def test_built_in_sentences_are_those_of_english():
    """In the order in which the parts have always drawn them."""
    generator, used = seeded_generator(SMOKE.seed), set()
    first = [sentences(count, generator, used) for count in (48, 24, 24, 16, 4, 4)]
    assert list(sentences_of_parts(SMOKE).values()) == first
    assert sentences_of_parts(replace(SMOKE, language="en")) == sentences_of_parts(SMOKE)


def test_lines_are_normalised_and_empty_ones_and_repetitions_do_not_count(tmp_path):
    path = write(tmp_path, "\ufeffDie Tür geht auf.\r\n\r\n  \n--\ndie TÜR geht auf\nIhr müsst gehen!\n")
    assert read_sentences(path, "de") == ["die tür geht auf", "ihr müsst gehen"]
    assert read_sentences(write(tmp_path, "Don't go, José."), "en-us") == ["don't go jose"]


@pytest.mark.parametrize(
    "content, language, message",
    [
        ("Wir gehen.\nUm 7 Uhr.", "de", "mine.txt, line 2: '7', expected only letters; write numbers as words"),
        ("Привет, мир", "en-us", "mine.txt, line 1: 'в', 'е', .*expected only letters"),
        ("Müller".encode("latin-1"), "de", r"mine.txt: not a text in UTF-8 \(invalid start byte at byte 1\)"),
        ("wir gehen nach hause " * 30, "de", "mine.txt, line 1: [0-9]+ sounds, expected 1 to 150, a sentence"),
        ("", "de", "mine.txt: 0 different sentences, expected at least 16"),
        ("\n".join(f"wir sehen {'n' * k}" for k in range(1, 9)), "de", "expected at least 16: .* share none"),
    ],
)
def test_faults_are_named_in_one_line(tmp_path, content, language, message):
    config = replace(SMOKE, language=language, sentences=str(write(tmp_path, content)))
    with pytest.raises(ValueError, match=message) as error:
        sentences_of_parts(config)
    assert "\n" not in str(error.value)


def test_wrong_settings_are_refused_before_the_run(tmp_path):
    def check(**settings):
        prepare.check_corpus(CorpusConfig(**settings))

    check()
    check(language="en")
    with pytest.raises(ValueError, match="corpus.language: espeak-ng has no voice 'xx'"):
        check(language="xx")
    with pytest.raises(ValueError, match="built-in sentences are English; name a text file .* language de"):
        check(language="de")
    with pytest.raises(ValueError, match="corpus.sentences: expected a text file .* got .*nowhere.txt"):
        check(language="de", sentences=str(tmp_path / "nowhere.txt"))
    with pytest.raises(ValueError, match="corpus.sentences: expected a corpus with a synthetic part"):
        check_sentences(CorpusConfig(language="de", sentences="a.txt"), "captured")
    check_sentences(CorpusConfig(language="de", video_corpus="clips"), "scans")  # its 2D part has transcripts


def test_texts_are_divided_in_proportion_or_in_full():
    texts, counts, least = list("abcdefghij"), {"one": 40, "two": 20, "none": 0}, {"one": 2, "two": 1, "none": 0}
    parts = divide(texts, counts, least)
    assert [len(part) for part in parts.values()] == [40, 20, 0]
    assert parts["one"][:6] == list("abcdef") and parts["one"][6] == "a" and set(parts["two"]) == set("ghi")
    enough = [f"{n}" for n in range(70)]
    assert divide(enough, counts, least) == {"one": enough[:40], "two": enough[40:60], "none": []}
    assert divide(texts[:3], counts, least)["one"][:3] == ["a", "b", "a"]
