"""Whether the sound of a film is that of its mouth: known lags are found, and other people's sound is refused."""

from pathlib import Path

import numpy as np
import pytest
import soxr
import torch

from avlib.corpus.captured.screening import (
    LAGS,
    MAX_COMMON_LAG_S,
    MAX_LAG_S,
    MIN_CORRELATION,
    MIN_FILMS,
    best_lag,
    check_sound,
    common_lag,
    lag_profile,
    loudness_db,
    times_of_speech,
)
from avlib.corpus.captured.takes import Take
from avlib.corpus.utterance import Excluded
from avlib.corpus.video.source import Source
from avlib.speech.segment import Segment
from tests.corpus.captured import synthetic_face
from tests.corpus.captured.films import say
from tests.corpus.captured.synthetic_face import State
from tests.corpus.video.videos import SOUND_HZ


def syllables(frames: int, seed: int) -> np.ndarray:
    """(frames,): how strongly a mouth speaks, with a pause after every few syllables."""
    random = np.random.default_rng(seed)
    strength = np.zeros(frames)
    at = 5
    while at < frames - 8:
        length = int(random.integers(6, 20))
        strength[at : at + length] = random.uniform(0.6, 1.0)
        at += length + int(random.integers(5, 12))
    return strength


def film(seconds: float = 6.0, lag: int = 0, sound: str = "speech", seed: int = 0) -> Take:
    """A mouth that moves while it speaks, with sound that comes a number of frames later, at 25 fps."""
    frames = round(25 * seconds)
    strength, random = syllables(frames + 60, seed), np.random.default_rng(100 + seed)
    opening = 0.006 * strength * (1 + np.sin(2.1 * np.arange(frames + 60)))
    states = [State(o, yaw=0.1 * np.sin(0.05 * t)) for t, o in enumerate(opening[30 : 30 + frames])]
    landmarks = np.stack([synthetic_face.landmarks(state) for state in states]).astype(np.float32)
    heard = {
        "speech": strength[30 - lag : 30 - lag + frames],
        "silence": np.zeros(frames),
        "noise": np.ones(frames),
    }[sound]
    samples = 3000 * np.repeat(heard, 640) * random.standard_normal(640 * frames)
    video, speech = torch.zeros(frames, 96, 96).byte(), torch.from_numpy(samples.clip(-32768, 32767)).short()
    scores = np.zeros((frames, 51), np.float32)
    return Take(25.0, np.arange(frames) / 25, landmarks, scores, (160, 160), video, speech)


@pytest.mark.parametrize("lag", [-15, -8, -1, 0, 1, 6, 12])
def test_a_known_lag_is_found(lag):
    """Positive: the sound comes after the lips."""
    profile = lag_profile(film(lag=lag))
    lag_s, gain = best_lag(profile)
    assert profile.shape == LAGS.shape and lag_s == pytest.approx(lag / 25, abs=0.021)
    assert profile.max() > 0.6 and gain == pytest.approx(profile.max() - profile[LAGS == 0][0])


def test_the_lag_does_not_depend_on_the_size_of_the_face_or_the_loudness():
    take = film(lag=3)
    smaller = Take(25.0, take.times, take.landmarks / 3, take.scores, take.size, take.video, (take.speech / 8).short())
    np.testing.assert_allclose(lag_profile(smaller), lag_profile(take), atol=0.01)


def test_loudness_is_that_of_each_frame_and_a_little_around_it():
    samples = np.zeros(25 * 640)
    samples[10 * 640 : 11 * 640] = 0.5  # the 40 ms of frame 10
    level = loudness_db(samples, 25)
    assert level.argmax() == 10 and level[10] == pytest.approx(10 * np.log10(0.125), abs=0.01)
    assert level[9] == pytest.approx(level[11]) == pytest.approx(level[10] - 3.01, abs=0.1)
    assert (level[:9] == level[10] - 30).all() and (level[12:] == level[10] - 30).all()


@pytest.mark.parametrize("seed", range(5))
def test_sound_that_moves_with_the_lips_is_used(seed):
    for lag in (-2, 0, 2):
        take = film(lag=lag, seed=seed)
        check_sound(take, lag_profile(take))


def test_silent_films_are_excluded():
    take = film(sound="silence")
    with pytest.raises(Excluded, match="silent: its level is -100 dB, expected more than -65 dB"):
        check_sound(take, lag_profile(take))


@pytest.mark.parametrize("seed", (1, 2, 3))
def test_steady_noise_is_excluded(seed):
    """In a long film; in a short one, noise may seem to follow the lips."""
    take = film(40, sound="noise", seed=seed)
    with pytest.raises(Excluded, match="the lips do not move with the sound: correlation 0"):
        check_sound(take, lag_profile(take))


def test_the_correlation_that_is_expected_is_stated():
    with pytest.raises(Excluded, match=f"correlation 0.05, expected at least {MIN_CORRELATION}"):
        check_sound(film(2.0), np.full(len(LAGS), 0.05))
    check_sound(film(2.0), np.full(len(LAGS), MIN_CORRELATION))


def test_films_without_any_motion_are_excluded():
    take = film()
    still = Take(
        25.0, take.times, take.landmarks * 0 + take.landmarks[:1], take.scores, take.size, take.video, take.speech
    )
    with pytest.raises(Excluded, match="lips do not move with the sound: correlation 0.00"):
        check_sound(still, lag_profile(still))


@pytest.mark.parametrize("lag, message", [(10, "0.40 s after the lips"), (-10, "0.40 s before the lips")])
def test_late_and_early_sound_of_a_long_film_is_excluded(lag, message):
    take = film(20, lag)
    with pytest.raises(Excluded, match=f"the sound comes {message}"):
        check_sound(take, lag_profile(take))


def test_a_short_film_tells_no_lag_and_a_small_lag_is_none():
    profile = np.full(len(LAGS), 0.3)
    profile[LAGS == 10] = 0.7
    check_sound(film(2.0), profile)  # 0.4 more than at lag 0, expected 0.9 / sqrt(2)
    with pytest.raises(Excluded, match="0.40 s after"):
        check_sound(film(6.0), profile)
    profile = np.full(len(LAGS), 0.1)
    profile[LAGS == round(25 * MAX_LAG_S)] = 0.9
    check_sound(film(20.0), profile)


def noisy_profiles(count: int, lag: int) -> list[np.ndarray]:
    """Profiles of short films: each one's own best lag is anywhere."""
    random = np.random.default_rng(0)
    true = 0.3 * np.exp(-(((LAGS - lag) / 3.0) ** 2))
    return [true + random.uniform(0, 0.3, len(LAGS)) for _ in range(count)]


@pytest.mark.parametrize("lag, when", [(4, "0.16 s after"), (-5, "0.20 s before")])
def test_films_of_a_person_tell_a_common_lag_together(lag, when):
    profiles = noisy_profiles(100, lag)
    assert len({best_lag(profile)[0] for profile in profiles}) > 3
    assert common_lag(profiles) == f"in all 100 films of this person, the sound comes {when} the lips"


def test_few_films_and_small_lags_are_no_common_lag():
    late = np.exp(-(((LAGS - 8) / 3.0) ** 2))
    assert common_lag([late] * (MIN_FILMS - 1)) == "" == common_lag([])
    assert (
        common_lag([late] * MIN_FILMS)
        == f"in all {MIN_FILMS} films of this person, the sound comes 0.32 s after the lips"
    )
    allowed = int(25 * MAX_COMMON_LAG_S)
    for lag, reason in ((allowed, ""), (-allowed, ""), (allowed + 1, "0.12 s after")):
        assert reason in common_lag([np.exp(-(((LAGS - lag) / 3.0) ** 2))] * 20)
        assert bool(reason) == bool(common_lag([np.exp(-(((LAGS - lag) / 3.0) ** 2))] * 20))


TEXT = "we bought a big map"


def spoken_take(late_s: float = 0.0) -> Take:
    """A film in which TEXT is said, from which so much is missing at its beginning."""
    samples = soxr.resample(say(TEXT).samples.astype(np.float32), SOUND_HZ, 16000)[round(16000 * late_s) :]
    frames = len(samples) // 640
    speech = torch.from_numpy(samples[: 640 * frames]).round().clamp(-32768, 32767).short()
    landmarks, scores = np.zeros((frames, 478, 3), np.float32), np.zeros((frames, 51), np.float32)
    video = torch.zeros(frames, 96, 96).byte()
    return Take(25.0, np.arange(frames) / 25, landmarks, scores, (160, 160), video, speech, late_s)


def source(text: str = TEXT, words: tuple[Segment, ...] = ()) -> Source:
    return Source("film", "train", Path("film.mkv"), text, words)


def shifted(segments: tuple[Segment, ...], by_s: float) -> tuple[Segment, ...]:
    return tuple(Segment(s.label, s.start_s + by_s, s.end_s + by_s) for s in segments)


def test_times_come_from_the_speech_unless_the_data_have_them():
    aligned, phonemes = times_of_speech(spoken_take(), source())
    assert [w.label for w in aligned] == TEXT.split() and 0.15 < aligned[0].start_s < 0.4
    given = shifted(aligned, 0.05)
    words, moved = times_of_speech(spoken_take(), source(words=given))
    assert words == given and [p.label for p in moved if p.label] == [p.label for p in phonemes if p.label]
    starts = [p.start_s for p in moved if p.label]
    for word in given:
        assert min(abs(start - word.start_s) for start in starts) < 1e-6, "its first phoneme begins with it"


def test_times_of_the_data_count_from_the_first_picture():
    take = spoken_take(late_s=0.2)
    aligned, _ = times_of_speech(take, source())
    words, _ = times_of_speech(take, source(words=shifted(aligned, 0.2)))
    for word, expected in zip(words, aligned):
        assert (word.label, word.start_s) == (expected.label, pytest.approx(expected.start_s))
    with pytest.raises(Excluded, match="word times: 'we' from -0.1"):
        times_of_speech(take, source(words=(Segment("we", 0.1, 0.2), *shifted(aligned[1:], 0.2))))


@pytest.mark.parametrize(
    "text, message",
    [
        ("nobody likes these green dogs", "the speech does not match its transcript"),
        ("we bought a big map " * 9, "too short for the 45 words of its transcript"),
    ],
)
def test_speech_that_is_not_the_transcript_is_excluded(text, message):
    with pytest.raises(Excluded, match=message) as error:
        times_of_speech(spoken_take(), source(text))
    assert "\n" not in str(error.value)
