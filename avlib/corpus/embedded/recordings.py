"""Recordings of the user with transcripts, x.wav and x.txt, that are added to a synthetic corpus."""

from pathlib import Path

import torch
from torch import Tensor

from ...core.files import find_visible
from ...core.media import SOUND_SUFFIXES
from ...core.rates import SPEECH_HZ
from ...speech.languages import ENGLISH
from ...speech.phoneme_alignment import align, check_match
from ...speech.segment import Segment
from ...speech.sound import read_speech
from ...speech.text import transcript_check
from ..transcribed_speech import LONGEST_S, read_transcript
from .articulation import split

SILENT_DB = -65  # relative to full scale


def find_recordings(folder: str) -> dict[str, list[Path]]:
    """Name -> files, of sound and transcript or the one of them that exists; empty for an empty folder name.

    Other files are ignored.
    """
    files: dict[str, list[Path]] = {}
    for path in find_visible(Path(folder)) if folder else ():
        if path.suffix.lower() in (*SOUND_SUFFIXES, ".txt"):
            files.setdefault(path.stem, []).append(path)
    return files


def read_recording(
    files: list[Path], language: str = ENGLISH
) -> tuple[str, Tensor, tuple[Segment, ...], tuple[Segment, ...]]:
    """Transcript, speech (S,) at 16 kHz, words and phonemes of a recording. ValueError says why it cannot be used.

    files: of one name, of `find_recordings`.
    """
    sounds, texts = ([f for f in files if (f.suffix.lower() in SOUND_SUFFIXES) == sound] for sound in (True, False))
    if len(sounds) != 1 or len(texts) != 1:
        raise ValueError(
            f"{files[0].with_suffix('')}: expected a recording (.wav, .flac, .mp3 or the like) and its "
            f"transcript (.txt), got {', '.join(f.name for f in files)}"
        )
    text = read_transcript(texts[0], transcript_check(language))
    speech = read_speech(sounds[0])
    if len(speech) > LONGEST_S * SPEECH_HZ:
        raise ValueError(
            f"{sounds[0]}: {len(speech) / SPEECH_HZ:.1f} s, expected at most {LONGEST_S:g} s: cut it into sentences"
        )
    if (level := 10 * float(torch.log10(speech.square().mean() + 1e-10))) < SILENT_DB:
        raise ValueError(f"{sounds[0]}: silent: its level is {level:.0f} dB, expected more than {SILENT_DB} dB")
    alignment = align(speech, text, language)
    if fault := check_match(alignment):
        raise ValueError(f"{texts[0]} and {sounds[0].name}: {fault}")
    split(alignment.phonemes)  # ValueError for a sound without articulation
    return text, speech, alignment.words, alignment.phonemes
