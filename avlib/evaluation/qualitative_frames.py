"""Frames for the paper's second figure, in which lips have to close or open: selected by a rule, not by hand."""

from dataclasses import dataclass

import torch

from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..metrics.lips import BILABIALS, lip_aperture
from ..training.joint import predict
from ..training.trained_models import load_animator

CLOSING, OPENING = "closing", "opening"
OPEN_VOWELS = frozenset("aæɑɐ")  # also as the beginning of a diphthong
MAX_SENTENCES = 8  # of the test split, evenly spaced, that are animated to select from: bounds the time
COLOUR_QUANTILE = 0.98  # of the errors in a figure: the strongest colour


@dataclass(frozen=True)
class QualitativeFrame:
    """A frame of a test sentence, with the faces (V, 3) of the scan and of each model.

    aperture_spread: largest minus smallest lip aperture of the models, in the corpus's unit.
    """

    utterance: Utterance
    frame: int
    phoneme: str
    faces: dict[str, torch.Tensor]
    aperture_spread: float


def lip_target(phoneme: str) -> str | None:
    """`CLOSING` for p, b and m (IPA), `OPENING` for open vowels, None for other phonemes."""
    first = phoneme.lstrip("ˈˌ")[:1]
    return CLOSING if first in BILABIALS else OPENING if first in OPEN_VOWELS else None


def candidate_frames(
    corpus: Corpus, utterance: Utterance, motions: dict[str, torch.Tensor]
) -> dict[str, list[QualitativeFrame]]:
    """A frame for each closing and each opening phoneme: where the scan's lips are closest or furthest apart.

    motions: name -> (T, V, 3), the scan first, then the models.
    """
    upper, lower = (corpus.regions[f"{side}_lip_middle"] for side in ("upper", "lower"))
    apertures = {name: lip_aperture(motion, upper, lower) for name, motion in motions.items()}
    scan_aperture, *model_apertures = apertures.values()
    frame_count = min(map(len, apertures.values()))
    candidates: dict[str, list[QualitativeFrame]] = {CLOSING: [], OPENING: []}
    for segment in utterance.phonemes:
        target = lip_target(segment.label)
        begin = round(segment.start_s * corpus.fps)
        end = max(begin + 1, round(segment.end_s * corpus.fps))
        if target is None or begin >= frame_count:
            continue
        during = scan_aperture[begin : min(end, frame_count)]
        frame = begin + int(during.argmin() if target == CLOSING else during.argmax())
        in_models = torch.stack([aperture[frame] for aperture in model_apertures])
        faces = {name: motion[frame] for name, motion in motions.items()}
        spread = float(in_models.max() - in_models.min())
        candidates[target].append(QualitativeFrame(utterance, frame, segment.label, faces, spread))
    return candidates


def select_frames(run: Run, corpus: Corpus, models: list[str], count: int = 3) -> list[QualitativeFrame]:
    """The `count` closing and opening frames of `MAX_SENTENCES` sentences of the test split at which the models' lip
    apertures differ most.

    The rule ignores which model is nearer to the scan. At most one frame of a kind per sentence; models in the first
    training style. Empty where the corpus has no phoneme times.
    """
    sentences = [u for u in corpus.utterances("test") if u.phonemes]
    steps = torch.linspace(0, len(sentences) - 1, min(MAX_SENTENCES, len(sentences))).round().long()
    animators = {name: load_animator(run, corpus, name)[0] for name in models} if sentences else {}
    candidates: dict[str, list[QualitativeFrame]] = {CLOSING: [], OPENING: []}
    for utterance in (sentences[step] for step in steps):
        predictions = {name: predict(run, corpus, animator, utterance) for name, animator in animators.items()}
        motions = {"scan": corpus.motion(utterance), **predictions}
        for target, frames in candidate_frames(corpus, utterance, motions).items():
            candidates[target] += _largest_spreads(frames, 1)
    return [frame for frames in candidates.values() for frame in _largest_spreads(frames, count)]


def _largest_spreads(frames: list[QualitativeFrame], count: int) -> list[QualitativeFrame]:
    return sorted(frames, key=lambda frame: -frame.aperture_spread)[:count]
