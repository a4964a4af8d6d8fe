"""Speech with transcripts and without faces: the clips of a 2D part, or a folder of recordings."""

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..core.files import find_visible
from ..core.media import SOUND_SUFFIXES
from ..core.rates import SPEECH_HZ
from ..speech.sound import SpeechFile, read_speech
from ..speech.text import Tokenizer, normalise_text, read_text
from .clips import Clips

LONGEST_S = 12.0  # animators and readers are trained on batches of whole sentences


@dataclass
class TranscribedSpeech:
    """Items of speech, which are read one by one, so that memory does not grow with their number.

    read: an item's name -> its samples (S,) at 16 kHz. excluded: name -> reason.
    """

    texts: dict[str, str]
    read: Callable[[str], Tensor]
    excluded: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def without(self, sentences: Container[str], what: str) -> "TranscribedSpeech":
        """The items that say none of the sentences, which are normalised texts; the others are excluded. what: these
        sentences are, for the reason."""
        kept = {name: text for name, text in self.texts.items() if text not in sentences}
        reasons = {name: f"says {what}: {text!r}" for name, text in self.texts.items() if name not in kept}
        return TranscribedSpeech(kept, self.read, self.excluded | reasons)


def speech_of_clips(clips: Clips, language: str) -> TranscribedSpeech:
    """The speech of clips of a 2D part. language: of their transcripts."""
    index = {utterance.name: i for i, utterance in enumerate(clips.utterances)}
    texts = {utterance.name: normalise_text(utterance.text, language) for utterance in clips.utterances}
    return TranscribedSpeech(texts, lambda name: clips.speech(index[name]))


def speech_of_folder(folder: Path, tokenizer: Tokenizer) -> TranscribedSpeech:
    """The recordings x.wav (or .flac, .ogg, .mp3) with transcripts x.txt of a folder.

    Without a transcript, with one that cannot be read or has letters that the tokenizer has no token for, or longer
    than `LONGEST_S`, they are excluded. ValueError if there is no folder or no usable recording in it.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected recordings x.wav with transcripts x.txt")
    sounds = {path.stem: path for path in find_visible(folder) if path.suffix.lower() in SOUND_SUFFIXES}
    speech = TranscribedSpeech({}, lambda name: read_speech(sounds[name]))
    for name, path in sounds.items():
        try:
            speech.texts[name] = _transcript(path, tokenizer)
        except ValueError as error:
            speech.excluded[name] = str(error)
    if not speech.texts:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(speech.excluded.items())[:3])
        raise ValueError(f"{folder}: no usable recording x.wav with a transcript x.txt ({reasons or 'no sound files'})")
    return speech


def _transcript(sound: Path, tokenizer: Tokenizer) -> str:
    """The normalised transcript of a recording. ValueError says why the recording cannot be used."""
    path = sound.with_suffix(".txt")
    if not path.exists():
        raise ValueError(f"no transcript {path.name}")
    text = read_transcript(path, tokenizer)
    seconds = len(SpeechFile(sound)) / SPEECH_HZ
    if seconds > LONGEST_S:
        raise ValueError(f"{seconds:.1f} s long, expected at most {LONGEST_S:g} s: cut it into sentences")
    return text


def read_transcript(path: Path, tokenizer: Tokenizer) -> str:
    """The normalised text of a file. ValueError if it is no text, has no words, or letters without a token."""
    try:
        text = normalise_text(read_text(path), tokenizer.language)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if unknown := tokenizer.unknown(text):
        raise ValueError(
            f"{path}: no token for {', '.join(map(repr, unknown))} in {text!r}; "
            "expected only letters; write numbers as words"
        )
    if not text.replace("'", "").strip():
        raise ValueError(f"{path}: no words in it")
    return text
