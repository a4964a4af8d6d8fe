"""The paper's second figure: frames in which lips have to close or to open wide, picked by a rule and not by hand, with the error of
each model in colour on the face."""

from dataclasses import dataclass

import torch

from ..core.run import Run
from ..corpus.corpus import Corpus
from ..corpus.utterance import Utterance
from ..metrics.lips import BILABIALS, lip_aperture
from ..training.joint import load_animator, predict

OPEN = frozenset("aæɑɐ")  # vowels, and beginnings of diphthongs, that want an open mouth
QUANTILE = 0.98  # of the errors shown: where the colours end


@dataclass(frozen=True)
class QualitativeFrame:
    """A frame of a test sentence: what is said there, and the faces of the scan and of each model, (V, 3)."""

    utterance: Utterance
    frame: int
    sound: str
    faces: dict[str, torch.Tensor]
    apart: float  # by how much the models' lip apertures differ


def lip_target(label: str) -> str | None:
    """ "closing", "opening" or neither, of a phoneme (IPA)."""
    first = label.lstrip("ˈˌ")[:1]
    return "closing" if first in BILABIALS else "opening" if first in OPEN else None


def candidate_frames(corpus: Corpus, utterance: Utterance, motions: dict[str, torch.Tensor]) -> dict[str, list[QualitativeFrame]]:
    """A moment of every closing and every opening sound: the frame in which the first of the motions (T, V, 3), the scan, has its
    lips closest or furthest apart while the sound lasts."""
    upper, lower = (corpus.regions[f"{side}_lip_middle"] for side in ("upper", "lower"))
    gaps = {name: lip_aperture(motion, upper, lower) for name, motion in motions.items()}
    truth, *models = gaps.values()
    frames, found = min(map(len, gaps.values())), {"closing": [], "opening": []}
    for s in utterance.phonemes:
        begin, end = round(s.start_s * corpus.fps), max(round(s.start_s * corpus.fps) + 1, round(s.end_s * corpus.fps))
        if lip_target(s.label) and begin < frames:
            during = truth[begin : min(end, frames)]
            frame = begin + int(during.argmin() if lip_target(s.label) == "closing" else during.argmax())
            at = torch.stack([gap[frame] for gap in models])
            found[lip_target(s.label)].append(
                QualitativeFrame(
                    utterance,
                    frame,
                    s.label,
                    {name: m[frame] for name, m in motions.items()},
                    float(at.max() - at.min()),
                )
            )
    return found


def select_frames(run: Run, corpus: Corpus, models: list[str], each: int = 3) -> list[QualitativeFrame]:
    """Of all test sentences, in the first training style, the closing and the opening sounds at which the models' lip apertures
    differ most, whichever is nearer to the scan; one a sentence and kind. None where the corpus has no phoneme times."""
    loaded = {name: load_animator(run, corpus, name)[0] for name in models}
    every = {"closing": [], "opening": []}
    for u in (u for u in corpus.utterances("test") if u.phonemes):
        motions = {"scan": corpus.motion(u)} | {name: predict(run, corpus, model, u) for name, model in loaded.items()}
        for sort, moments in candidate_frames(corpus, u, motions).items():
            every[sort] += sorted(moments, key=lambda m: -m.apart)[:1]
    return [m for moments in every.values() for m in sorted(moments, key=lambda m: -m.apart)[:each]]
