"""espeak-ng through ctypes: speech with the times of its phonemes and words, and text to phonemes.

The library and its voices come in the `espeakng-loader` wheel. Constants and structures are those of its `speak_lib.h`.
"""

import ctypes
import re
from _ctypes import dlclose
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import espeakng_loader
import numpy as np

from .segment import Segment

WORDS_PER_MINUTE, PITCH = (80, 450), (0, 100)  # ranges that espeak-ng accepts
_UNREPEATABLE = {"Reed", "caleb"}  # their breath comes from the C library's random numbers
_VARIANT_FILES = Path(espeakng_loader.get_data_path(), "voices", "!v")
VARIANTS = tuple(sorted({path.name for path in _VARIANT_FILES.iterdir()} - _UNREPEATABLE))

_SYNCHRONOUS, _OPTIONS = 2, 0x8003  # phoneme events, in IPA; an error returns instead of ending the process
_UTF8, _BY_CHARACTER, _IPA_SPLIT_BY_UNDERSCORE = 1, 1, 2 | ord("_") << 8
_RATE, _PITCH = 1, 3
_WORD, _PHONEME = 1, 7
_STOPS = tuple("pbtdkɡ")  # dʒ and tʃ begin with one
_SILENCE, _CLOSURE_S = 0.003, 0.08  # amplitude; longest stretch of silence that is a stop's closure
_lock = Lock()


@dataclass(frozen=True)
class Speech:
    """One utterance.

    samples: (S,) float32 in [-1, 1] at `rate_hz`.
    phonemes: IPA with stress marks, "" for a pause; in order, without gaps, from 0 to the end of the samples.
    words: the words of the text in lower case, in order; each is made of whole phonemes.
    """

    samples: np.ndarray
    rate_hz: int
    phonemes: tuple[Segment, ...]
    words: tuple[Segment, ...]


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
    """A library loaded for one call, and its sample rate.

    What is spoken depends on what was spoken before (phases, flutter and noise live in static variables) and on the
    clock (seed of the noise). Loading anew takes half a millisecond and starts it all from the same state.
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
                raise ValueError(f"espeak-ng has no voice {voice!r}; en-us, en (British) and fr are some that it has")
            yield library, rate_hz
        finally:
            library.espeak_Terminate()
            dlclose(library._handle)


def speak(text: str, voice: str = "en-us", variant: str = "", words_per_minute: int = 160, pitch: int = 50) -> Speech:
    """Speak `text`, the same whatever was spoken before.

    voice: a language. variant: "" or one of VARIANTS (m1 to m8, f1 to f5, ...), a speaker. pitch: 0 to 100. Errors:
    ValueError for a text without anything to say, an unknown voice or variant, a rate or pitch out of range.
    """
    if variant and variant not in VARIANTS:
        raise ValueError(f"espeak-ng has no voice variant {variant!r}; it has m1 to m8, f1 to f5 and others")
    for name, value, (low, high) in (("words_per_minute", words_per_minute, WORDS_PER_MINUTE), ("pitch", pitch, PITCH)):
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}, espeak-ng takes {low} to {high}")
    chunks, events = [], []  # (type, first sample, position in the text, label)

    def receive(wave, count, event) -> int:
        if count:
            chunks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        i = 0
        while kind := event[i].type:
            e = event[i]
            events.append((kind, e.sample, e.text_position - 1, e.value.string if kind == _PHONEME else b""))
            i += 1
        return 0

    callback = _Callback(receive)  # a name keeps it alive while the library calls it
    encoded = _encode(text)
    with _espeak(f"{voice}+{variant}" if variant else voice) as (library, rate_hz):
        library.espeak_SetSynthCallback(callback)
        library.espeak_SetParameter(_RATE, words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, _BY_CHARACTER, 0, _UTF8, None, None)
    if not any(label for *_, label in events):
        raise ValueError(f"text: nothing to say in {text!r}")
    samples = np.concatenate(chunks).astype(np.float32) / 32768
    starts, labels, positions = _phonemes(events, samples, round(_CLOSURE_S * rate_hz))
    edges = [s / rate_hz for s in [0, *starts[1:], len(samples)]]
    phonemes = tuple(map(Segment, labels, edges, edges[1:]))
    return Speech(samples, rate_hz, phonemes, _words(text, phonemes, positions))


def _phonemes(events: list[tuple], samples: np.ndarray, closure: int) -> tuple[list[int], list[str], list[int]]:
    """First sample, label and place in the text of every phoneme and pause.

    An event marks where a sound begins. Three things are put right. The event of a stop marks its burst: the silence
    before it is its closure, up to `closure` samples. An event without a label is a pause only where it is silent, else
    the glide into the next vowel. An l with no sound after its event was said with the vowel: it gets the second half.
    """
    loud = np.abs(samples) >= _SILENCE
    sounds, position = [], 0
    for kind, start, at, label in events:
        if kind == _WORD:
            position = at
        elif kind == _PHONEME:
            sounds.append((start, label.decode(errors="ignore"), position))  # espeak-ng cuts labels at 8 bytes
    found, glide, ends = [], None, [start for start, *_ in sounds[1:]] + [len(samples)]
    for (start, label, position), end in zip(sounds, ends):
        audible = loud[start:end].sum() > closure // 16  # a sound may ring on for some milliseconds
        if not label and audible:
            glide = start
        elif label or (start < end and (not found or found[-1][1])):
            if label.lstrip("ˈˌ").startswith(_STOPS):
                if found and not found[-1][1] and start - found[-1][0] <= closure:
                    start = found.pop()[0]  # the pause is no longer than a closure
                low = max(start - closure, found[-1][0] if found else 0)
                start = low + int(np.flatnonzero(loud[low:start]).max(initial=-1)) + 1
            elif label and found and not audible:
                start = (found[-1][0] + start) // 2
            elif label and glide is not None:
                start = glide
            found.append((start, label, position))
            glide = None
    return tuple(map(list, zip(*found)))


def _words(text: str, phonemes: tuple[Segment, ...], positions: list[int]) -> tuple[Segment, ...]:
    """The words of the text, by the place in the text of each phoneme's word.

    espeak-ng says some neighbours as one word ("in the", "have been"): these share its phonemes in proportion to the
    phonemes that each has alone.
    """
    tokens = [(m.start(), re.sub(r"^[^\w']+|[^\w']+$", "", m.group()).lower()) for m in re.finditer(r"\S*\w\S*", text)]
    begins = [begin for begin, _ in tokens]
    owned = {}
    for phoneme, position in zip(phonemes, positions):
        if phoneme.label and tokens:
            owned.setdefault(max(0, bisect_right(begins, position) - 1), []).append(phoneme)
    words, owners = [], sorted(owned)
    for owner, first, last in zip(owners, [0, *owners[1:]], [*owners[1:], len(tokens)]):
        labels, sounds, cuts = [label for _, label in tokens[first:last]], owned[owner], [0]
        if len(labels) > 1:
            sizes = np.cumsum([len(re.split("[ _]+", phonemize(label))) for label in labels])
            cuts += [round(len(sounds) * n / sizes[-1]) for n in sizes[:-1]]
        for label, a, b in zip(labels, cuts, [*cuts[1:], len(sounds)]):
            words.append(Segment(label, sounds[min(a, len(sounds) - 1)].start_s, sounds[max(a, b - 1)].end_s))
    return tuple(words)


def phonemize(text: str) -> str:
    """IPA of English text as en-us says it, without stress: words separated by " ", their phonemes by "_"."""
    with _espeak("en-us") as (library, _):
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        rest, clauses = ctypes.c_char_p(_encode(text)), []
        while rest.value is not None:  # each call takes one clause
            clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA_SPLIT_BY_UNDERSCORE).decode())
    return re.sub("[ˈˌ]", "", " ".join(clauses))


def _encode(text: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"the text holds a NUL character: {text!r}")
    return text.encode()
