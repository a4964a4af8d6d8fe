"""Phonemes are aligned with speech and fitted into known word times; transcripts of other speech are found."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from avlib.core.rates import SPEECH_HZ
from avlib.corpus.media import read_sound
from avlib.speech import phoneme_alignment
from avlib.speech.espeak import Speech, speak
from avlib.speech.phoneme_alignment import align, align_words, check_match, fit_phonemes
from avlib.speech.segment import Segment

TEXT = "many people came up but nobody bumped the map"
BEFORE_S, PAUSE_S, AFTER_S = 0.9, 0.5, 1.2
FILM = Path(os.environ.get("AVLIB_FILM", "nowhere"))


def at_speech_hz(samples: np.ndarray, rate_hz: int) -> torch.Tensor:
    return torch.from_numpy(soxr.resample(samples, rate_hz, SPEECH_HZ)).float()


def spoken(variant: str = "m7", words_per_minute: int = 125) -> tuple[Speech, np.ndarray, float]:
    """Speech, the same with pauses and noise, and the time in the speech at which the inner pause begins, s.

    Voice and speaking rate differ from the aligner's. Pauses are before, after and between two words.
    """
    speech = speak(TEXT, variant=variant, words_per_minute=words_per_minute, pitch=35)
    cut = next(w.start_s for w in speech.words if w.label == "but")
    at, seconds = round(cut * speech.rate_hz), lambda s: np.zeros(round(s * speech.rate_hz))
    samples = np.concatenate(
        [seconds(BEFORE_S), speech.samples[:at], seconds(PAUSE_S), speech.samples[at:], seconds(AFTER_S)]
    )
    return speech, samples + 2e-4 * np.random.default_rng(0).standard_normal(len(samples)), cut


def shifted(time_s: float, cut: float) -> float:
    return time_s + BEFORE_S + PAUSE_S * (time_s >= cut - 1e-6)


@pytest.mark.parametrize("variant, pace", [("m7", 125), ("f4", 190), ("m1", 155)])
def test_phonemes_and_words_are_aligned_with_the_speech(variant, pace):
    """Pauses at either end and between words do not belong to them."""
    speech, samples, cut = spoken(variant, pace)
    alignment = align(at_speech_hz(samples, speech.rate_hz), TEXT)
    words, phonemes = alignment.words, alignment.phonemes
    truth, found = ([p for p in ps if p.label] for ps in (speech.phonemes, phonemes))
    assert [p.label for p in found] == [p.label for p in truth] and [w.label for w in words] == TEXT.split()
    assert check_match(alignment) == ""
    late = np.array([f.start_s - shifted(p.start_s, cut) for f, p in zip(found, truth)])
    assert np.median(np.abs(late)) < 0.015 and np.percentile(np.abs(late), 90) < 0.05
    before, after = words[TEXT.split().index("but") - 1], words[TEXT.split().index("but")]
    assert before.end_s < BEFORE_S + cut + 0.06 and after.start_s > BEFORE_S + cut + PAUSE_S - 0.06
    edges = [(p.start_s, p.end_s) for p in phonemes]
    assert edges[0][0] == 0 and edges[-1][1] == pytest.approx(len(samples) / speech.rate_hz, abs=0.01)
    assert all(a < b for a, b in edges) and all(a[1] == b[0] for a, b in zip(edges, edges[1:]))


def test_the_cheapest_path_is_the_best_of_all_paths():
    """Compared with an exhaustive search on few states."""
    draw = np.random.default_rng(3)
    for _ in range(20):
        costs, waiting = draw.random((5, 5)), draw.random(5)

        def paths(path, total, costs=costs, waiting=waiting):
            if len(path) == len(costs):
                yield from [(total, path)] if path[-1] >= 3 else []
                return
            for step, extra in ((0, waiting[path[-1]]), (1, 0), (2, phoneme_alignment.STEP_COST)):
                if (state := path[-1] + step) < 5:
                    yield from paths([*path, state], total + extra + costs[len(path), state])

        best = min(path for first in (0, 1) for path in paths([first], costs[0, first]))
        assert phoneme_alignment.cheapest_path(costs, waiting).tolist() == best[1]


@pytest.mark.parametrize("variant", ["m7", "f4"])
def test_transcripts_of_other_speech_do_not_match(variant):
    """Nor does noise; the level of the speech does not matter."""
    speech, samples, _ = spoken(variant)
    samples = at_speech_hz(samples, speech.rate_hz)
    assert check_match(align(samples, TEXT)) == check_match(align(0.01 * samples, TEXT)) == ""
    for text in ("she was far away from her sister's hall", "map the bumped nobody but up came people many"):
        assert check_match(align(samples, text)).startswith("the speech does not match its transcript, or is too noisy")
    noise = torch.randn(len(samples), generator=torch.Generator().manual_seed(0))
    assert align(noise, TEXT).mismatch > phoneme_alignment.MAX_MISMATCH > align(samples, TEXT).mismatch


def test_silent_and_short_speech_is_reported_and_a_click_does_not_match():
    silence = torch.zeros(4 * SPEECH_HZ)
    for samples, message in ((silence, "speech of 4.0 s is silent"), (silence[:8000], "is silent")):
        with pytest.raises(ValueError, match=message):
            align(samples, TEXT)
    with pytest.raises(ValueError, match="speech lasts 0.5 s, too short for the 9 words of its transcript"):
        align(torch.randn(8000, generator=torch.Generator().manual_seed(0)), TEXT)
    silence[20000] = 0.5
    assert check_match(align(silence, TEXT))


def test_memory_does_not_grow_with_the_number_of_recordings(monkeypatch):
    """PyTorch keeps what it prepares for every length of a convolution; the alignment has none."""
    monkeypatch.setattr(torch.nn.functional, "conv1d", lambda *_, **__: pytest.fail("a convolution"))
    align(at_speech_hz(spoken()[1], 22050), TEXT)


KNOWN = (Segment("a", 0.5, 1.0), Segment("b", 1.0, 1.6), Segment("c", 2.0, 2.2))


def test_phonemes_are_fitted_into_known_word_times():
    """The phonemes of a word keep their shares of it; pauses between words are those of the known times."""
    phonemes = [("", 0, 0.4), ("p", 0.4, 0.5), ("q", 0.5, 0.9), ("", 0.9, 1.2), ("r", 1.2, 1.3), ("", 1.3, 1.4)]
    phonemes += [("s", 1.4, 1.5), ("t", 1.5, 1.9), ("", 1.9, 2.5)]
    words = (Segment("a", 0.4, 0.9), Segment("b", 1.2, 1.5), Segment("c", 1.5, 1.9))
    alignment = phoneme_alignment.Alignment(words, tuple(Segment(*p) for p in phonemes), 0.0)
    fitted = fit_phonemes(alignment, KNOWN, 2.5)
    expected = [("", 0, 0.5), ("p", 0.5, 0.6), ("q", 0.6, 1.0), ("r", 1.0, 1.2), ("", 1.2, 1.4), ("s", 1.4, 1.6)]
    expected += [("", 1.6, 2.0), ("t", 2.0, 2.2), ("", 2.2, 2.5)]
    assert [(p.label, pytest.approx(p.start_s), pytest.approx(p.end_s)) for p in fitted] == expected
    assert [p.label for p in fit_phonemes(alignment, words, 2.5)] == [label for label, *_ in phonemes]


def test_words_that_espeak_says_as_one_are_fitted_together():
    """They share phonemes, whose times in one of them are unknown."""
    phonemes = (Segment("p", 0.0, 1.0), Segment("q", 1.0, 1.5), Segment("r", 1.5, 2.0))
    words = (Segment("a", 0.0, 1.5), Segment("b", 1.0, 1.5), Segment("c", 1.5, 2.0))
    fitted = fit_phonemes(phoneme_alignment.Alignment(words, phonemes, 0.0), KNOWN, 2.2)
    labels = [("", 0, 0.5), ("p", 0.5, 0.5 + 1.1 / 1.5), ("q", 0.5 + 1.1 / 1.5, 1.6), ("", 1.6, 2.0), ("r", 2.0, 2.2)]
    assert [(p.label, pytest.approx(p.start_s), pytest.approx(p.end_s)) for p in fitted] == labels


@pytest.mark.parametrize(
    "words, message",
    [
        (KNOWN[:2], "expected times of 'a b c', got those of 'a b'"),
        (
            (KNOWN[0], Segment("b", 0.9, 1.6), KNOWN[2]),
            "'b' from 0.90 to 1.60 s, expected times that ascend from 1.00 s",
        ),
        ((*KNOWN[:2], Segment("c", 2.6, 2.8)), "'c' from 2.60 to 2.80 s, expected .* within the 2.50 s"),
        ((*KNOWN[:2], Segment("c", 2.0, 2.0)), "'c' from 2.00 to 2.00 s"),
    ],
)
def test_wrong_word_times_are_reported_in_one_line(words, message):
    alignment = phoneme_alignment.Alignment(KNOWN, (Segment("p", 0.5, 2.2),), 0.0)
    with pytest.raises(ValueError, match=f"^word times: .*{message}"):
        fit_phonemes(alignment, words, 2.5)


@pytest.mark.parametrize("variant, pace", [("m7", 125), ("f4", 190)])
def test_known_word_times_make_phonemes_more_exact(variant, pace):
    """In reverberant speech; phonemes cover the recording without a gap and change at all known times."""
    speech, samples, cut = spoken(variant, pace)
    samples = at_speech_hz(samples, speech.rate_hz)
    room = torch.randn(3200, generator=torch.Generator().manual_seed(0)) * 10 ** (-torch.arange(3200) / 1600)
    samples = torch.fft.irfft(torch.fft.rfft(samples, 1 << 18) * torch.fft.rfft(room, 1 << 18))[: len(samples)]
    words = tuple(Segment(w.label, shifted(w.start_s, cut), shifted(w.end_s - 1e-4, cut)) for w in speech.words)
    truth = np.array([shifted(p.start_s, cut) for p in speech.phonemes if p.label])
    aligned, fitted = align(samples, TEXT).phonemes, align_words(samples, TEXT, words)
    error, fitted_error = (np.abs([p.start_s for p in ps if p.label] - truth).mean() for ps in (aligned, fitted))
    assert fitted_error < 0.7 * error
    times = np.array([p.start_s for p in fitted] + [fitted[-1].end_s])
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in zip(fitted, fitted[1:]))
    assert times[0] == 0 and times[-1] == pytest.approx(len(samples) / SPEECH_HZ) and (np.diff(times) > 0).all()
    assert all(np.abs(times - t).min() < 1e-6 for w in words for t in (w.start_s, w.end_s))


@pytest.mark.skipif(not (FILM / "grid" / "words.tsv").is_file(), reason="no grid/words.tsv here: AVLIB_FILM names it")
def test_real_sentences_are_aligned_and_other_transcripts_refused():
    with (FILM / "grid" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))[::35]
    with (FILM / "grid" / "words.tsv").open() as file:
        known = [row for row in csv.DictReader(file, delimiter="\t") if row["word"] not in ("sil", "sp")]
    errors_s, accepted, others = [], 0, 0
    for row, other in zip(rows, rows[10:] + rows[:10]):
        samples = read_sound(FILM / "grid" / row["path"])[0].float() / 32768
        alignment = align(samples, row["text"])
        starts = [float(w["start_s"]) for w in known if w["clip"] == Path(row["path"]).stem]
        errors_s += [abs(a.start_s - start) for a, start in zip(alignment.words, starts, strict=True)]
        accepted += not check_match(alignment)
        others += not check_match(align(samples, other["text"]))
    assert np.median(errors_s) < 0.04 and accepted >= 19 and others <= 6, "of 20 each"
