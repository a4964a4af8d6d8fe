"""What the player of notebook 04 shows: a sentence with its sound, two faces, lip aperture and lip vertex error."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ..core.rates import SPEECH_HZ
from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..evaluation.results import method_label
from ..export.morph_targets import components
from ..export.speaker import Speaker, load_sound
from ..metrics.lips import BILABIALS
from ..metrics.protocols import KIT, read_protocols
from ..metrics.vertices import lve_frames
from ..plots.motion import aperture
from ..speech.segment import Segment
from ..speech.sound import wav_bytes
from ..training.joint import predict
from ..training.objectives import OBJECTIVES, model_name
from ..training.trained_models import load_animator
from .browser_data import as_bytes

SCAN = "scan"
MAX_SECONDS = 60  # of a user's recording, whose motion is held in memory as a whole
TARGET_STEPS = 32767  # targets travel as 16-bit integers; the rounding is far below the error of `components`


@dataclass(frozen=True)
class FaceChoice:
    """What moves a face: the scan, or an animator in the style of a training subject. objective: see `OBJECTIVES`."""

    animator: str = SCAN
    objective: str = OBJECTIVES[0]
    style: str = ""
    seed: int = 0

    @property
    def model(self) -> str:
        return model_name(self.animator, self.objective, self.seed)

    def __str__(self) -> str:
        if self.animator == SCAN:
            return SCAN
        return f"{method_label(self.animator, self.objective, short=True)}, in the style of {self.style}"


@dataclass(frozen=True)
class Sentence:
    """What the faces say. speech: (S,) at 16 kHz; subject: whose face; scan: (T, V, 3), of a test sentence."""

    speech: torch.Tensor
    subject: str
    text: str
    phonemes: tuple[Segment, ...] = ()
    scan: torch.Tensor | None = None


class ClipSource:
    """Clips of a run. Recent sentences and motions are cached: a change of one face does not compute the other."""

    def __init__(self, run: Run, corpus: Corpus, seeds: list[int]):
        self.run, self.corpus, self.seeds = run, corpus, seeds
        self.sentence, self.motion = lru_cache(2)(self._sentence), lru_cache(4)(self._motion)

    def clear_cache(self):
        self.sentence.cache_clear()
        self.motion.cache_clear()

    def clip(self, speech: Utterance | str, subject: str, choices: list[FaceChoice]) -> dict:
        """See `build_clip`. speech: a test sentence, the path of a recording, or words that espeak-ng speaks.

        subject: whose face speaks a recording or words; a test sentence has its own subject.
        ValueError for speech that cannot be read or is too long, and for a scan or model that does not exist.
        """
        motions = {choice: self.motion(speech, subject, choice) for choice in choices}
        return build_clip(self.corpus, self.sentence(speech, subject), motions, choices)

    def _sentence(self, speech: Utterance | str, subject: str) -> Sentence:
        if isinstance(speech, Utterance):
            samples, scan = self.corpus.speech(speech), self.corpus.motion(speech)
            return Sentence(samples, speech.subject, speech.text, speech.phonemes, scan)
        sound = load_sound(speech, self.run.config.corpus.language)
        if sound.seconds > MAX_SECONDS:
            raise ValueError(
                f"{speech}: {sound.seconds:.0f} s, expected at most {MAX_SECONDS}; "
                "./run_all.sh animate has no such limit"
            )
        return Sentence(sound.samples[:], subject, speech)

    def _motion(self, speech: Utterance | str, subject: str, choice: FaceChoice) -> torch.Tensor:
        """Vertices (T, V, 3)."""
        sentence = self.sentence(speech, subject)
        if choice.animator == SCAN:
            if sentence.scan is None:
                raise ValueError(f"{speech}: has no scan; choose an animator for both faces")
            return sentence.scan
        if isinstance(speech, Utterance):
            animator, _ = load_animator(self.run, self.corpus, choice.model)
            return predict(self.run, self.corpus, animator, speech, choice.style)
        speaker = Speaker(self.run, choice.model, subject, choice.style)
        return torch.cat(list(speaker(load_sound(sentence.speech))))


def build_clip(
    corpus: Corpus, sentence: Sentence, motions: dict[FaceChoice, torch.Tensor], choices: list[FaceChoice]
) -> dict:
    """Plain values and bytes for the browser: the sound, the faces, and the curves below them.

    A face is a weighted sum of few targets. The scan's aperture is added where no face shows the scan.
    """
    template = corpus.templates[sentence.subject]
    error_scale, error_unit = read_protocols()[KIT].scores["LVE"].printed(corpus.unit)
    tracks = []
    for choice in choices:
        scan = None if choice.animator == SCAN else sentence.scan
        tracks.append(curves(corpus, str(choice), motions[choice], scan, error_scale))
    if sentence.scan is not None and SCAN not in [choice.animator for choice in choices]:
        tracks.append(curves(corpus, SCAN, sentence.scan))
    return {
        "title": f"{sentence.subject}: “{sentence.text}”",
        "fps": corpus.fps,
        "seconds": len(sentence.speech) / SPEECH_HZ,
        "sound": wav_bytes(sentence.speech),
        "template": as_bytes(template, "<f4"),
        "aim": template[corpus.regions["lip"]].mean(0).tolist(),
        "faces": [{"name": str(choice), **face_bytes(motions[choice] - template)} for choice in choices],
        "tracks": tracks,
        "unit": "mm" if corpus.unit == "m" else f"1e-3 {corpus.unit}",
        "error_unit": error_unit,
        "phonemes": [[p.label, p.start_s, p.end_s, is_bilabial(p.label)] for p in sentence.phonemes],
    }


def face_bytes(displacement: torch.Tensor) -> dict[str, bytes]:
    """Displacements (T, V, 3) as weights (T, K), float32, and targets (K, V, 3), 16-bit integers."""
    weights, targets = components(displacement.numpy())
    largest = np.abs(targets).max((1, 2)).clip(1e-12)
    return {
        "weights": as_bytes(weights * largest / TARGET_STEPS, "<f4"),
        "targets": as_bytes((targets / largest[:, None, None] * TARGET_STEPS).round(), "<i2"),
    }


def curves(
    corpus: Corpus, name: str, motion: torch.Tensor, scan: torch.Tensor | None = None, error_scale: float = 1.0
) -> dict:
    """Lip aperture and, with a scan, lip vertex error of each frame, the error in units of `error_scale`."""
    error = torch.zeros(0) if scan is None else lve_frames(motion, scan, corpus.regions["lip"]) / error_scale
    return {"name": name, "aperture": as_bytes(aperture(corpus, motion), "<f4"), "error": as_bytes(error, "<f4")}


def is_bilabial(label: str) -> bool:
    """Whether the lips close in this phoneme, whose label may begin with a stress mark."""
    return label.lstrip("ˈˌ")[:1] in BILABIALS
