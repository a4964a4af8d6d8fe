"""Equal arguments give equal speech, and the times of phonemes and words match the audio."""

import hashlib
import multiprocessing
import threading

import numpy as np
import pytest

from avlib.speech.espeak import VARIANTS, phonemize, speak

TEXT = "please buy five big maps, she must wash seven shells"


def fingerprint(text=TEXT, **options) -> str:
    speech = speak(text, **options)
    return hashlib.sha256(speech.samples.tobytes() + repr((speech.phonemes, speech.words)).encode()).hexdigest()


def level(speech, segment) -> float:
    """Root mean square of the middle half of a segment."""
    quarter = (segment.end_s - segment.start_s) / 4
    low, high = (round(t * speech.rate_hz) for t in (segment.start_s + quarter, segment.end_s - quarter))
    return float(np.sqrt(np.mean(np.square(speech.samples[low:high]))))


def high_share(speech, segment) -> float:
    """Share of a segment's energy above 2.5 kHz."""
    low, high = (round(t * speech.rate_hz) for t in (segment.start_s, segment.end_s))
    power = np.abs(np.fft.rfft(speech.samples[low:high])) ** 2
    return float(power[np.fft.rfftfreq(high - low, 1 / speech.rate_hz) > 2500].sum() / power.sum())


@pytest.mark.parametrize("variant", ["", "m1", "f3", "whisper", "klatt6"])
def test_same_samples_and_times_whatever_was_spoken_before(variant):
    first = fingerprint(variant=variant)
    speak("hello there", variant="f5", words_per_minute=300, pitch=90)
    phonemize("and this")
    assert fingerprint(variant=variant) == first


def test_same_in_another_process_and_from_many_threads():
    variants = ["f3", "m2", "m7", ""]
    expected = {v: fingerprint(variant=v) for v in variants}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert {v: pool.apply(fingerprint, kwds={"variant": v}) for v in reversed(variants)} == expected
    results = {}
    threads = [threading.Thread(target=lambda v=v: results.update({v: fingerprint(variant=v)})) for v in variants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == expected


def test_phonemes_cover_the_whole_audio_without_gaps():
    speech = speak(TEXT)
    assert speech.rate_hz == 22050 and speech.samples.dtype == np.float32 and 0.1 < np.abs(speech.samples).max() <= 1
    assert speech.phonemes[0].start_s == 0 and speech.phonemes[-1].end_s == len(speech.samples) / speech.rate_hz
    for before, after in zip(speech.phonemes, speech.phonemes[1:]):
        assert before.start_s < before.end_s == after.start_s
        assert before.label or after.label


def test_vowels_are_loud_pauses_silent_and_sibilants_high_in_frequency():
    speech = speak(TEXT)
    vowels = [s for s in speech.phonemes if s.label.strip("ˈˌː") in ("i", "aɪ", "ɪ", "æ", "ʌ", "ɑ", "ɛ")]
    pauses = [s for s in speech.phonemes if not s.label]
    sibilants = [s for s in speech.phonemes if s.label in ("s", "ʃ")]
    assert len(vowels) >= 8 and len(sibilants) >= 4 and pauses
    assert min(level(speech, s) for s in vowels) > 0.05
    assert max(level(speech, s) for s in pauses) < 0.001
    assert min(high_share(speech, s) for s in sibilants) > 0.5
    assert max(high_share(speech, s) for s in vowels) < 0.3


def test_a_stop_begins_with_its_closure():
    speech = speak("a happy papa")
    for stop in (s for s in speech.phonemes if s.label == "p"):
        start, end = (round(t * speech.rate_hz) for t in (stop.start_s, stop.end_s))
        closed = round(0.02 * speech.rate_hz)
        assert np.abs(speech.samples[start : start + closed]).max() < 0.003 < np.abs(speech.samples[start:end]).max()


def test_words_are_those_of_the_text_and_consist_of_whole_phonemes():
    text = 'Anna\'s "big" dog looked in the box, and from the top of the wall; we have been there.'
    speech = speak(text)
    labels = "anna's big dog looked in the box and from the top of the wall we have been there"
    assert [w.label for w in speech.words] == labels.split()
    starts, ends = ({getattr(s, name) for s in speech.phonemes if s.label} for name in ("start_s", "end_s"))
    for before, after in zip(speech.words, speech.words[1:]):
        assert before.end_s <= after.start_s
    assert all(w.start_s < w.end_s and w.start_s in starts and w.end_s in ends for w in speech.words)
    inside = [[s.label for s in speech.phonemes if w.start_s <= s.start_s < w.end_s] for w in speech.words]
    assert inside[4:6] == [["ɪ", "n"], ["ð", "ə"]] and inside[8:10] == [["f", "ɹ", "ʌ", "m"], ["ð", "ə"]]


def test_rate_pitch_and_voice_change_the_speech():
    slow, fast = (speak(TEXT, words_per_minute=w).phonemes[-1].end_s for w in (120, 240))
    assert slow > 1.5 * fast
    assert len({fingerprint(pitch=p, variant=v) for p in (30, 70) for v in ("", "m1", "f1")}) == 6
    assert {"m1", "m8", "f1", "f5"} <= set(VARIANTS)


def test_minutes_of_text_are_spoken():
    text = "the dark robot fetched a map and it was big. " * 60
    speech = speak(text)
    assert speech.phonemes[-1].end_s > 120
    assert [w.label for w in speech.words] == text.replace(".", "").split()


def test_phonemize_separates_words_and_phonemes():
    assert phonemize("she just must") == "ʃ_iː dʒ_ʌ_s_t m_ʌ_s_t"
    assert phonemize("go, now") == "ɡ_oʊ n_aʊ"
    assert phonemize("") == ""


@pytest.mark.parametrize(
    "options, message",
    [
        ({"text": ""}, "nothing to say"),
        ({"text": " ... "}, "nothing to say"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "hello 你好"}, "the voice en-us cannot say 你好 in 'hello 你好'"),
        ({"text": "Привет", "variant": "f1"}, "the voice en-us cannot say Привет"),
        ({"voice": "tlh-x"}, "no voice 'tlh-x"),
        ({"variant": "f99"}, "no voice variant 'f99'"),
        ({"words_per_minute": 10}, "words_per_minute is 10"),
        ({"pitch": 101}, "pitch is 101"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        speak(**{"text": "hello", **options})
    assert speak("hello").words[0].label == "hello"


def test_symbols_foreign_names_and_numbers_are_spoken():
    """Greek letters that stand alone are symbols; accents are no obstacle; other voices say other letters."""
    for text in ("Ω", "π", "naïve Łódź", "3.5", "Dr. Smith", "50 %", "ｆｕｌｌ"):
        assert speak(text).phonemes, text
    assert speak("Привет", voice="ru").phonemes
