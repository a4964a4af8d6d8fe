"""From takes to motion: the 3D part of a captured corpus, in the layout that every notebook reads."""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from ...core.config import digest
from ...core.files import write_atomic
from ...core.rates import SPEECH_HZ
from ...speech.segment import Segment
from ...speech.sound import write_speech
from ..utterance import Utterance
from ..video.sources import Source
from .face import CapturedMotion, Face, Person
from .head_pose import Similarity, free, upright
from .people import Resting
from .quality import FilmQuality, film_quality
from .take_files import load_take
from .takes import Take

SPEAKER = "speaker"  # name of a person whom the data do not name


@dataclass(frozen=True)
class Cast:
    """The people of a corpus on its mesh. resting: by subject. fps: of the 3D part. takes: folder of their films."""

    face: Face
    resting: dict[str, Resting]
    fps: float
    takes: Path

    def person(self, subject: str) -> Person:
        return self.face.person(self.resting[subject].rest)

    def subjects(self) -> list[str]:
        return list(self.resting)


class Performance(TypedDict):
    """What is recorded of one film's motion.

    lip_centre: mean over time, metres. mean_square: of the displacement. begin_s: when it begins in its file. face_box:
    left, top, right and bottom of the picture's part in which the face is seen, pixels.
    """

    frames: int
    hash: str
    mean_square: float
    lip_centre: list[float]
    begin_s: float
    face_box: list[float]
    quality: FilmQuality


def utterance_of(source: Source, record: dict) -> Utterance:
    """The utterance of a film, still without its number of frames. record: of its take."""
    words, phonemes = (tuple(Segment(*s) for s in record[kind]) for kind in ("words", "phonemes"))
    name = re.sub(r"[^\w.-]+", "-", source.name).strip("-.")
    if name != source.name.replace("/", "-"):
        name = f"{name}-{digest(source.name)}"  # what was replaced could make two names equal
    return Utterance(name, source.split, source.subject or SPEAKER, source.text, 0, words, phonemes)


def perform(source: Source, cast: Cast, person: Person) -> tuple[Take, CapturedMotion, np.ndarray, Similarity]:
    """The take and the motion of a film at the corpus's frame rate, with the landmarks (T, 478, 3), in pixels, and the
    similarity that frees them from the pose of the head."""
    take = load_take(source, cast.takes)
    landmarks, _ = take.at(cast.fps)
    freed, similarity = free(upright(landmarks.astype(float)), cast.resting[source.subject or SPEAKER].reference)
    return take, person.motion(freed, cast.fps), landmarks, similarity


def write_performances(films: list[tuple[Source, Utterance, bool]], cast: Cast, folder: Path) -> dict[str, Performance]:
    """Measures the motion of films and, where the third entry says so, writes motion and speech to the corpus folder.

    Returns the performances by the name of the utterance.
    """
    done, people = {}, {subject: cast.person(subject) for subject in {u.subject for _, u, _ in films}}
    for source, utterance, kept in films:
        person = people[utterance.subject]
        regions = cast.face.regions(person.template)
        take, motion, landmarks, similarity = perform(source, cast, person)
        frames = len(motion.vertices)
        flat = motion.vertices.reshape(frames, -1)
        speech = take.speech.float() / 32768
        samples = round(frames / cast.fps * SPEECH_HZ)
        speech = torch.nn.functional.pad(speech, (0, max(0, samples - len(speech))))[:samples]
        if kept:
            write_atomic(folder / "vertices_npy" / f"{utterance.name}.npy", lambda p, a=flat: np.save(p, a))
            write_atomic(folder / "wav" / f"{utterance.name}.wav", lambda p, s=speech: write_speech(p, s))
        done[utterance.name] = Performance(
            frames=frames,
            hash=hashlib.sha256(flat.tobytes() + speech.numpy().tobytes()).hexdigest(),
            mean_square=float(np.square(motion.vertices - person.template).mean()),
            lip_centre=motion.vertices[:, regions["lip"]].mean((0, 1)).tolist(),
            begin_s=round(source.begin_s + take.late_s, 6),
            face_box=[*landmarks[..., :2].min((0, 1)).tolist(), *landmarks[..., :2].max((0, 1)).tolist()],
            quality=film_quality(motion, landmarks, similarity, regions, replace(utterance, frames=frames), cast.fps),
        )
    return done
