"""espeak-ng through ctypes: speech with the times of its phonemes and words, and phonemes of a text.

The `espeakng-loader` wheel provides the library and its voices. Constants and structures are those of `speak_lib.h`.
"""

import ctypes
import re
import unicodedata
from _ctypes import dlclose
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import espeakng_loader
import numpy as np

from .languages import ENGLISH
from .segment import Segment

WORDS_PER_MINUTE, PITCH = (80, 450), (0, 100)  # ranges that espeak-ng accepts
_UNREPEATABLE = {"Reed", "caleb"}  # voices with breath noise from the C library's random numbers
_VARIANT_FILES = Path(espeakng_loader.get_data_path(), "voices", "!v")
VARIANTS = tuple(sorted({path.name for path in _VARIANT_FILES.iterdir()} - _UNREPEATABLE))

_SYNCHRONOUS, _OPTIONS = 2, 0x8003  # phoneme events, in IPA; errors return instead of ending the process
_UTF8, _BY_CHARACTER, _IPA_SPLIT_BY_UNDERSCORE = 1, 1, 2 | ord("_") << 8
_RATE, _PITCH = 1, 3  # parameters
_WORD, _PHONEME = 1, 7  # types of events
_STOPS = tuple("pbtdkɡ")  # dʒ and tʃ begin with one
_SILENCE = 0.003  # amplitude below which a sample is silent
_SWITCH = re.compile(r"\([a-z0-9-]+\)")  # marks the beginning of words that a voice says in another language
_CLOSURE_S = 0.08  # longest silence that is the closure of a stop
_lock = Lock()


@dataclass(frozen=True)
class Speech:
    """One utterance.

    samples: (S,) float32 in [-1, 1] at `rate_hz`.
    phonemes: IPA with stress marks, "" for a pause; in order, without gaps, from 0 to the end of the samples.
    words: the words of the text in lower case, in order; each consists of whole phonemes.
    """

    samples: np.ndarray
    rate_hz: int
    phonemes: tuple[Segment, ...]
    words: tuple[Segment, ...]


@dataclass(frozen=True)
class _RawEvent:
    """An event of espeak-ng: a word or a phoneme begins, or anything else."""

    kind: int
    sample: int
    text_position: int  # characters from the beginning of the text
    label: str  # of a phoneme; "" for other events, and for a pause or the glide into a vowel


@dataclass(frozen=True)
class _Sound:
    """A phoneme, or a pause with label ""."""

    start: int  # sample
    label: str
    text_position: int  # of the word that it belongs to


class _Value(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("value", _Value),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@contextmanager
def _espeak(voice: str) -> Iterator[tuple[ctypes.CDLL, int]]:
    """The library, loaded for one call, and its sample rate.

    Speech depends on what the library spoke before, since phases, flutter and noise are static variables, and on the
    clock, which seeds the noise. Loading the library takes half a millisecond and sets the same state every time.
    """
    with _lock:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            data = espeakng_loader.get_data_path()
            rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _OPTIONS)
            if rate_hz <= 0:
                raise RuntimeError(f"espeak-ng cannot load its data from {data}")
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))
            if library.espeak_SetVoiceByName(voice.encode()):
                raise ValueError(
                    f"espeak-ng has no voice {voice!r}, expected a language such as en-us, en (British) or fr"
                )
            yield library, rate_hz
        finally:
            library.espeak_Terminate()
            dlclose(library._handle)


def speak(text: str, voice: str = ENGLISH, variant: str = "", words_per_minute: int = 160, pitch: int = 50) -> Speech:
    """Speaks `text`. Equal arguments give equal speech, whatever was spoken before.

    voice: a language. variant: "" or one of VARIANTS (m1 to m8, f1 to f5, ...), a speaker. pitch: 0 to 100. ValueError
    for a text without anything to speak or with letters that the voice would only name, an unknown voice or variant, or
    a rate or pitch out of range.
    """
    if variant and variant not in VARIANTS:
        raise ValueError(
            f"espeak-ng has no voice variant {variant!r}, expected m1 to m8, f1 to f5 or another of VARIANTS"
        )
    for name, value, (low, high) in (("words_per_minute", words_per_minute, WORDS_PER_MINUTE), ("pitch", pitch, PITCH)):
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}, expected {low} to {high}")
    if foreign := _foreign_letters(text, voice):
        raise ValueError(f"text: the voice {voice} cannot say {foreign} in {text!r}: it says words in Latin letters")
    samples, events, rate_hz = _synthesise(text, f"{voice}+{variant}" if variant else voice, words_per_minute, pitch)
    if not any(event.label for event in events):
        raise ValueError(f"text: nothing to say in {text!r}")
    sounds = _sounds(events, samples, round(_CLOSURE_S * rate_hz))
    edges = [start / rate_hz for start in [0, *(sound.start for sound in sounds[1:]), len(samples)]]
    phonemes = tuple(Segment(sound.label, start, end) for sound, start, end in zip(sounds, edges, edges[1:]))
    return Speech(samples, rate_hz, phonemes, _words(text, phonemes, [sound.text_position for sound in sounds], voice))


def _foreign_letters(text: str, voice: str) -> str:
    """The letters of a text that an English voice spells, or says "Chinese letter" for. Greek letters that stand alone
    are symbols: it names them."""
    if not voice.startswith("en"):
        return ""
    words = [word for word in re.findall(r"[^\W\d_]+", text) if not re.fullmatch(r"[Α-Ωα-ω]", word)]
    letters = dict.fromkeys(c for word in words for c in word)
    return "".join(c for c in letters if not unicodedata.name(c, "").startswith(("LATIN", "FULLWIDTH LATIN")))


def _synthesise(text: str, voice: str, words_per_minute: int, pitch: int) -> tuple[np.ndarray, list[_RawEvent], int]:
    """Samples (S,) float32 in [-1, 1], events in the order of their samples, and the sample rate in Hz."""
    chunks: list[np.ndarray] = []
    events: list[_RawEvent] = []

    def receive(wave, count, event) -> int:
        if count:
            chunks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        i = 0
        while kind := event[i].type:
            # espeak-ng cuts labels to 8 bytes, possibly within a character
            label = event[i].value.string.decode(errors="ignore") if kind == _PHONEME else ""
            events.append(_RawEvent(kind, event[i].sample, event[i].text_position - 1, label))
            i += 1
        return 0

    callback = _Callback(receive)  # the variable keeps it alive while the library calls it
    encoded = _encode(text)
    with _espeak(voice) as (library, rate_hz):
        library.espeak_SetSynthCallback(callback)
        library.espeak_SetParameter(_RATE, words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, _BY_CHARACTER, 0, _UTF8, None, None)
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.int16)
    return samples.astype(np.float32) / 32768, events, rate_hz


def _sounds(events: list[_RawEvent], samples: np.ndarray, closure: int) -> list[_Sound]:
    """The phonemes and pauses of an utterance, from its events, which mark where sounds begin.

    The events need three corrections: `_is_glide`, `_stop_start` and `_shared_vowel_start`. closure: longest closure of
    a stop, samples.
    """
    loud = np.abs(samples) >= _SILENCE
    raw = _raw_sounds(events)
    sounds: list[_Sound] = []
    glide_start = None
    for sound, end in zip(raw, [sound.start for sound in raw[1:]] + [len(samples)]):
        start, is_pause = sound.start, not sound.label
        audible = bool(loud[start:end].sum() > closure // 16)  # the sound before may ring on for some milliseconds
        if _is_glide(sound, audible):
            glide_start = start
            continue
        if is_pause and (start >= end or (sounds and not sounds[-1].label)):
            continue  # empty, or the rest of a pause
        if sound.label.lstrip("ˈˌ").startswith(_STOPS):
            start = _stop_start(start, sounds, loud, closure)
        elif not is_pause and sounds and not audible:
            start = _shared_vowel_start(start, sounds)
        elif not is_pause and glide_start is not None:
            start = glide_start
        sounds.append(_Sound(start, sound.label, sound.text_position))
        glide_start = None
    return sounds


def _raw_sounds(events: list[_RawEvent]) -> list[_Sound]:
    """Phoneme events, each with the position of the last word event before it."""
    sounds, text_position = [], 0
    for event in events:
        if event.kind == _WORD:
            text_position = event.text_position
        elif event.kind == _PHONEME and not _SWITCH.fullmatch(event.label):
            sounds.append(_Sound(event.sample, event.label, text_position))
    return sounds


def _is_glide(sound: _Sound, audible: bool) -> bool:
    """Whether an event without a label is not a pause but the glide into the next vowel, which then begins there."""
    return not sound.label and audible


def _stop_start(burst: int, sounds: list[_Sound], loud: np.ndarray, closure: int) -> int:
    """The first sample of a stop: its event marks the burst, but it begins with the silent closure before.

    Removes the last of the sounds before, if that is a pause no longer than a closure.
    """
    if sounds and not sounds[-1].label and burst - sounds[-1].start <= closure:
        burst = sounds.pop().start
    low = max(burst - closure, sounds[-1].start if sounds else 0)
    return low + int(np.flatnonzero(loud[low:burst]).max(initial=-1)) + 1


def _shared_vowel_start(start: int, sounds: list[_Sound]) -> int:
    """The first sample of an l that is silent after its event: it is spoken within the vowel before, so that the second
    half of the vowel becomes the l."""
    return (sounds[-1].start + start) // 2


def _words(text: str, phonemes: tuple[Segment, ...], text_positions: list[int], voice: str) -> tuple[Segment, ...]:
    """The words of the text. text_positions: of each phoneme's word.

    espeak-ng merges some neighbouring words ("in the", "have been"). These share the phonemes in proportion to the
    number of phonemes that each has alone.
    """
    tokens = [(m.start(), re.sub(r"^[^\w']+|[^\w']+$", "", m.group()).lower()) for m in re.finditer(r"\S*\w\S*", text)]
    token_starts = [start for start, _ in tokens]
    phonemes_of: dict[int, list[Segment]] = {}  # of the token at which espeak-ng begins a word
    for phoneme, position in zip(phonemes, text_positions):
        if phoneme.label and tokens:
            phonemes_of.setdefault(max(0, bisect_right(token_starts, position) - 1), []).append(phoneme)
    words, spoken = [], sorted(phonemes_of)
    for token, first, last in zip(spoken, [0, *spoken[1:]], [*spoken[1:], len(tokens)]):
        labels = [label for _, label in tokens[first:last]]
        words += _share_phonemes(labels, phonemes_of[token], voice)
    return tuple(words)


def _share_phonemes(labels: list[str], phonemes: list[Segment], voice: str) -> list[Segment]:
    """Words that espeak-ng merged, with the times of their shares of the phonemes."""
    cuts = [0]
    if len(labels) > 1:
        counts = np.cumsum([len(re.split("[ _]+", phonemize(label, voice))) for label in labels])
        cuts += [round(len(phonemes) * count / counts[-1]) for count in counts[:-1]]
    words = []
    for label, first, end in zip(labels, cuts, [*cuts[1:], len(phonemes)]):
        start_s = phonemes[min(first, len(phonemes) - 1)].start_s
        words.append(Segment(label, start_s, phonemes[max(first, end - 1)].end_s))
    return words


def phonemize(text: str, voice: str = ENGLISH) -> str:
    """IPA of a text, without stress: words separated by " ", their phonemes by "_"."""
    with _espeak(voice) as (library, _):
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        rest, clauses = ctypes.c_char_p(_encode(text)), []
        while rest.value is not None:  # each call converts one clause
            clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA_SPLIT_BY_UNDERSCORE).decode())
    return _SWITCH.sub("", re.sub("[ˈˌ]", "", " ".join(clauses)))


def _encode(text: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"text: expected no NUL character, got {text!r}")
    return text.encode()
