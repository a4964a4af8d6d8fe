"""Other languages: voices, letters, sounds and what the lips show of them. English stays as published work has it."""

import hashlib

import pytest

from avlib.corpus.embedded.articulation import PHONEMES, SHAPES, articulate, split
from avlib.corpus.utterance import Utterance
from avlib.speech.espeak import phonemize, speak
from avlib.speech.languages import check_language, languages
from avlib.speech.segment import Segment
from avlib.speech.text import (
    AnyLetters,
    SentencePieceTokenizer,
    Tokenizer,
    characters_of,
    normalise_text,
    train_units,
    transcript_check,
)
from avlib.speech.visemes import in_parts, sound_to_viseme, sounds_of, text_to_visemes
from avlib.training.clip_batches import IGNORED, phoneme_ids, phoneme_labels

CLOSED, ROUNDED, SPREAD = "p", "Oou", "ieE"


@pytest.mark.parametrize(
    "language, word, visemes",
    [
        ("de", "bäume", "pOop@"),  # begins and ends with closed lips
        ("de", "schön", "Sot"),  # ø is rounded
        ("de", "zwei", "sfai"),  # the stop of an affricate does not show
        ("de", "mütze", "pus@"),
        ("fr", "lune", "tut"),
        ("fr", "bon", "pO"),  # a nasal vowel
        ("es", "abogado", "apokaTo"),
        ("it", "pizza", "pisa"),
        ("cmn", "女", "tu"),
        ("cmn", "上海", "Sakkai"),  # retroflex
        ("cmn", "皮", "pi"),  # aspirated
        ("cmn", "人", "S@t"),  # its third tone is no vowel
        ("vi", "má", "pa"),
    ],
)
def test_visemes_follow_the_articulation(language, word, visemes):
    assert text_to_visemes(word, language) == f" {visemes} "


def test_letters_of_phonemes_are_without_stress_length_tone_and_marks():
    assert [sounds_of(p) for p in ("ˈiːɜ", "tʰ", "ɔ̃", "ts.", "phˈa2", "ˈɜː", "ʰ")] == list(
        ("i", "t", "ɔ", "tʂ", "pa", "ɜ", "")
    )
    parts = in_parts([Segment("aʊ", 0.0, 0.2), Segment("", 0.2, 0.3)])
    assert [(p.label, p.start_s, p.end_s) for p in parts] == [("a", 0.0, 0.1), ("ʊ", 0.1, 0.2), ("", 0.2, 0.3)]


def test_every_sound_of_the_table_has_an_articulation():
    """Bilabials close the lips, but approximants and fricatives; rounded vowels and English's ɜ round them."""
    closing, rounding = SHAPES.index("lip_close"), [SHAPES.index("pucker"), SHAPES.index("funnel")]
    for sound, viseme in sound_to_viseme().items():
        assert split([Segment(sound, 0, 1)])[0].label in PHONEMES, sound
        weights = articulate([Segment(sound, 0.0, 0.5)], 0.5, 20)[5]
        if sound not in "ɸβΦ":
            assert (weights[closing] > 0.05) == (viseme == CLOSED), sound
        if viseme in SPREAD + ROUNDED and viseme:
            assert bool((weights[rounding] > 0.3).any()) == (viseme in ROUNDED or sound in "ɜɝ"), sound


def test_a_sound_without_viseme_is_named_with_language_and_word(monkeypatch):
    monkeypatch.setattr("avlib.speech.visemes.sound_to_viseme", lambda: {"ɑ": "a", "m": "p"})
    text_to_visemes.cache_clear()
    with pytest.raises(ValueError, match="^language de: no viseme for the sound 'b' of the word 'ball'; docs/lang"):
        text_to_visemes("mama ball", "de")
    with pytest.raises(ValueError, match="no articulation for the sound 'ʭ' at 0.50 s"):
        split([Segment("ʭ", 0.5, 0.6)])


@pytest.mark.parametrize(
    "code, near",
    [
        ("xx", "such as de"),
        ("german", r"de \(German\)"),
        ("fr-fr", r"fr \(French"),
        ("DE", r"de \(German\)"),
        ("", "de"),
    ],
)
def test_an_unknown_language_is_reported_in_one_line(code, near):
    with pytest.raises(ValueError, match=f"^corpus.language: espeak-ng has no voice '{code}', .*{near}.*$"):
        check_language(code)


def test_languages_are_those_that_espeak_loads():
    for code in ("en-us", "de", "cmn", "fr", "es", "it", "pt-br", "chr"):
        check_language(code)
        assert isinstance(phonemize("1", code), str)  # ValueError without the voice
    assert "xex" not in languages()  # it has a voice, but no dictionary


def test_english_is_unchanged():
    """Digests of the values of commit 005e339, the last before there were other languages."""
    text = "we must just buy some early judge's church bread and use that thing over there tomorrow"
    spoken = speak(text, variant="f2")
    assert digest(phonemize(text), text_to_visemes(text), Tokenizer().encode(text)) == "f8ac35362a64"
    assert digest(spoken.words, spoken.phonemes, split(spoken.phonemes), phoneme_ids("en-us")) == "650eb0aea13d"
    assert digest(articulate(spoken.phonemes, 3.0, 25).numpy().tobytes()) == "440b3ec4cea1"
    assert transcript_check("en-us").units == characters_of(["ä"], "en-us").units == Tokenizer().units


def digest(*values) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def test_texts_keep_their_accents_and_scripts():
    assert normalise_text("„Müßten — Äpfel’s“ (Ü-Bahn)!", "de") == "müßten äpfel's ü bahn"
    assert normalise_text("Mu\u0308he, Kaffee\u00adtasse", "de") == "mühe kaffeetasse"  # composed; a soft hyphen
    assert normalise_text("IŞIK İyi", "tr") == "ışık iyi"
    assert normalise_text("我们 必须，走。", "cmn") == "我们 必须 走"
    assert normalise_text("नमस्ते!", "hi") == "नमस्ते"  # with its vowel signs
    assert AnyLetters("cmn").unknown("一二 3x'") == ["3"]


def test_characters_of_transcripts_round_trip():
    texts = ["wir müssen gehen", "größe"]
    tokenizer = characters_of(texts, "de")
    assert tokenizer.units == tuple(sorted(set("".join(texts)))) and tokenizer.language == "de"
    assert [tokenizer.decode(tokenizer.encode(t)) for t in texts] == texts
    with pytest.raises(ValueError, match="no token for 'x'"):
        tokenizer.encode("xi")


def test_units_of_another_language_keep_its_letters(tmp_path):
    texts = [f"größe und maß {word}" for word in ("straße", "müller", "heiß", "weiß", "grüße", "äpfel")] * 4
    model, units = train_units(texts, 28, "de")
    (tmp_path / "u.model").write_bytes(model)
    (tmp_path / "u_units.txt").write_text(units, encoding="utf-8")
    tokenizer = SentencePieceTokenizer.of_folder(tmp_path, "de")
    assert [tokenizer.decode(tokenizer.encode(t)) for t in texts] == texts and tokenizer.language == "de"


def test_phoneme_labels_are_letters_of_the_ipa():
    utterance = Utterance("a", "train", "", "ei", 10, phonemes=(Segment("ˈaɪ", 0.0, 0.4), Segment("x2", 0.4, 0.6)))
    ids = phoneme_ids("de")
    assert phoneme_labels(utterance, 10, 8, "de").tolist() == [
        *[ids["a"]] * 2,
        *[ids["ɪ"]] * 2,
        *[ids["x"]] * 2,
        *[IGNORED] * 2,
    ]
    assert phoneme_labels(utterance, 10, 8).tolist()[4:6] == [IGNORED] * 2
