"""Selects the sequences of a layout that a corpus uses, and checks their motion against their template and speech."""

from dataclasses import dataclass

import numpy as np
import torch

from ...core.config import CorpusConfig
from ...core.rates import SPEECH_HZ
from ...speech.languages import ENGLISH
from ...speech.text import transcript_check
from ..specification import MAX_MEAN_DISPLACEMENT, CorpusSpec
from ..utterance import Excluded, Utterance, shortened
from .layouts import Layout
from .sequences import MotionSource, SpeechSource

# speech may be this much longer or shorter than its motion, the larger of the two; it is then cut or padded
MAX_DIFFERENCE_S, MAX_RELATIVE_DIFFERENCE = 0.2, 0.05


@dataclass(frozen=True)
class Sequence:
    """A sequence to be converted. template: (V, 3), of its subject."""

    utterance: Utterance
    motion: MotionSource
    speech: SpeechSource
    template: np.ndarray


def sentence_limits(config: CorpusConfig) -> dict[str, int]:
    """The maximum number of sentences of each subject, by split."""
    return {"train": config.sentences_train, "validation": config.sentences_validation, "test": config.sentences_test}


def select_sequences(
    layout: Layout, spec: CorpusSpec, limits: dict[str, int], language: str = ENGLISH
) -> tuple[list[Sequence], dict]:
    """The sequences to convert: the first of each subject, up to the limit of their split. language: of the
    transcripts.

    The dict is the corpus's origin: "layout", the "counts" of each split, the reasons why sequences are "excluded", and
    those that are there but "unknown" to the specification.
    """
    selected, excluded, counts = [], {}, {}
    available = layout.motions.keys() | layout.speech.keys()
    for split, split_spec in spec.splits.items():
        names = {
            (subject, number): f"{subject}_{spec.sentence.format(number)}"
            for subject in split_spec.subjects
            for number in split_spec.numbers()
        }
        found = [(subject, n) for subject, n in names if (subject, spec.sentence.format(n)) in available]
        limit = limits.get(split, limits["test"])
        requested = [key for s in split_spec.subjects for key in [k for k in found if k[0] == s][:limit]]
        counts[split] = {
            "expected": len(names),
            "published": split_spec.published,
            "found": len(found),
            "requested": len(requested),
            "missing": [name for key, name in names.items() if key not in found],
        }
        for subject, number in requested:
            try:
                selected.append(find_sequence(layout, spec, split, subject, number, language))
            except Excluded as error:
                excluded[names[subject, number]] = str(error)
    sentences = {spec.sentence.format(number) for number in range(1, spec.sentences + 1)}
    unknown = sorted(f"{s}_{key}" for s, key in available if s not in spec.subjects() or key not in sentences)
    return selected, {"layout": layout.name, "excluded": excluded, "counts": counts, "unknown": unknown}


def find_sequence(layout: Layout, spec: CorpusSpec, split: str, subject: str, number: int, language: str) -> Sequence:
    """Excluded says what the sequence lacks."""
    key = subject, spec.sentence.format(number)
    name = "_".join(key)
    motion, speech = layout.motions.get(key), layout.speech.get(key)
    if motion is None or speech is None:
        missing, other = ("motion", speech) if motion is None else ("speech", motion)
        location = layout.motion_location if motion is None else layout.speech_location
        existing = (
            "" if other is None else f"; {other.path} has the {'speech' if motion is None else 'motion'} of {name}"
        )
        raise Excluded(f"{location.format(subject=subject, key=key[1])}: {missing} missing{existing}")
    text, template = layout.transcripts.get((subject, number)), layout.templates.get(subject)
    if text is None:
        raise Excluded(f"{name} has no transcript: {layout.transcript_faults[subject, number]}")
    try:
        transcript_check(language).check(text)
    except ValueError as error:
        raise Excluded(f"{layout.transcript_location.format(subject=subject)}, sentence {number}: {error}") from None
    location = layout.template_location.format(subject=subject)
    if template is None:
        raise Excluded(f"{location}: missing; expected a template (V, 3)")
    check_template(template, spec, location)
    return Sequence(Utterance(name, split, subject, text, 0), motion, speech, template)


def check_template(template: np.ndarray, spec: CorpusSpec, location: str) -> None:
    """Excluded for a template that does not fit the specification. location: of the template, for the message."""
    if template.shape != (spec.vertices, 3):
        raise Excluded(f"{location}: {len(template)} vertices, {spec.name} has {spec.vertices}")
    if not np.isfinite(template).all():
        raise Excluded(f"{location}: contains NaN or infinite values")
    side, (low, high) = float(np.ptp(template, axis=0).max()), spec.extent
    if not low <= side <= high:
        raise Excluded(
            f"{location}: its largest side is {side:.4g}, expected {low:g} to {high:g} {spec.unit}: another unit?"
        )


def read_sequence(sequence: Sequence, spec: CorpusSpec) -> tuple[np.ndarray, torch.Tensor]:
    """Motion (T, V, 3), float32, and speech (S,) at 16 kHz, equally long. ValueError names the file and the fault."""
    path = sequence.motion.path
    count, motion = sequence.motion.read(spec)
    if bad := np.flatnonzero(~np.isfinite(motion).all((1, 2))).tolist():
        raise Excluded(
            f"{path}: {len(bad)} of {len(motion)} frames contain NaN or infinite values, first frame "
            f"{bad[0] * spec.step}; expected numbers"
        )
    side = float(np.ptp(sequence.template, axis=0).max())
    displacement = float(np.linalg.norm(motion - sequence.template, axis=-1).mean())
    if displacement > MAX_MEAN_DISPLACEMENT * side:
        motion_side = float(np.ptp(motion[0], axis=0).max())
        raise Excluded(
            f"{path}: mean displacement from its template {displacement:.4g} {spec.unit}, expected less than "
            f"{MAX_MEAN_DISPLACEMENT * side:.3g}; its largest side is {motion_side:.4g}, the template's {side:.4g}: "
            "another unit?"
        )
    speech = sequence.speech.read()
    motion_s, speech_s = count / spec.scan_fps, len(speech) / SPEECH_HZ
    allowed_s = max(MAX_DIFFERENCE_S, MAX_RELATIVE_DIFFERENCE * motion_s)
    if abs(motion_s - speech_s) > allowed_s:
        raise Excluded(
            f"{path}: {count} frames at {spec.scan_fps:g} fps last {motion_s:.2f} s, the speech "
            f"({sequence.speech.path}) {speech_s:.2f} s, expected within {allowed_s:.2f} s; "
            f"they would agree at {count / speech_s:.1f} fps"
        )
    samples = round(len(motion) / spec.fps * SPEECH_HZ)
    return motion, torch.nn.functional.pad(speech, (0, max(0, samples - len(speech))))[:samples]


def check_strict(config: CorpusConfig, origin: dict, spec: CorpusSpec) -> None:
    """ValueError in a strict run for any excluded sequence, and for fewer sequences than published work reports."""
    if not config.strict:
        return
    faults = [f"{name}: {reason}" for name, reason in origin["excluded"].items()]
    faults += [
        f"split {split} of {spec.name}: {count['found']} sequences found, {count['published']} published; missing: "
        f"{shortened(count['missing'])}"
        for split, count in origin["counts"].items()
        if count["found"] < count["published"]
    ]
    if faults:
        raise ValueError(faults[0])
