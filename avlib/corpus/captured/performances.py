"""From takes to motion: the 3D part of a captured corpus, in the layout that every notebook reads."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import torch

from ...core.digest import digest
from ...core.files import write_atomic
from ...core.rates import SPEECH_HZ
from ...speech.segment import Segment
from ...speech.sound import write_speech
from ..embedded.facekit_checkout import URL
from ..utterance import Utterance
from ..video.sources import Source
from .face import CapturedMotion, Face, Person
from .facekit_face import FaceKitFace
from .head_pose import Similarity, free, upright
from .people import Resting
from .quality import FilmQuality, film_quality
from .take_files import load_take, load_weights
from .takes import Take
from .weights_take import WeightsTake

SPEAKER = "speaker"  # name of a person whom the data do not name
WITHOUT_SHAPES = (
    "takes of Live Link Face move ARKit's blendshapes, which MediaPipe's mesh does not have; corpus.face has to name a "
    f"checkout of {URL}"
)


@dataclass(frozen=True)
class Cast:
    """The people of a corpus on its mesh.

    resting: by subject, of those whom a film shows. fps: of the 3D part. takes: folder of their recordings. unfilmed:
    the other subjects, whose face is ICT-FaceKit's mean face.
    """

    face: Face
    resting: dict[str, Resting]
    fps: float
    takes: Path
    unfilmed: tuple[str, ...] = ()

    def person(self, subject: str) -> Person:
        return self.face.person(self.resting[subject].rest)

    def filmed(self, subjects: Iterable[str]) -> dict[str, Person]:
        """Those of the subjects whom a film shows."""
        return {subject: self.person(subject) for subject in dict.fromkeys(subjects) if subject in self.resting}

    def template(self, subject: str) -> np.ndarray:
        """(V, 3), metres."""
        return self.person(subject).template if subject in self.resting else weighted_face(self.face).kit.mean

    def subjects(self) -> list[str]:
        return [*self.resting, *self.unfilmed]


def weighted_face(face: Face) -> FaceKitFace:
    """The face as one that weights move. ValueError for MediaPipe's mesh."""
    if not isinstance(face, FaceKitFace):
        raise ValueError(WITHOUT_SHAPES)
    return face


class Performed(NamedTuple):
    """A recording's motion at the corpus's frame rate.

    template: (V, 3), metres, of the person. landmarks: (T, 478, 3), pixels, and similarity, which frees them from the
    pose of the head; None for a take of Live Link Face.
    """

    take: Take | WeightsTake
    motion: CapturedMotion
    template: np.ndarray
    landmarks: np.ndarray | None
    similarity: Similarity | None


class Performance(TypedDict):
    """What is recorded of one recording's motion.

    lip_centre: mean of the lip outline over time, metres. mean_square: of the displacement. begin_s: when it begins in
    its file. face_box: left, top, right and bottom of the picture's part in which the face is seen, pixels; None
    without pictures.
    """

    frames: int
    hash: str
    mean_square: float
    lip_centre: list[float]
    begin_s: float
    face_box: list[float] | None
    quality: FilmQuality


def utterance_of(source: Source, record: dict) -> Utterance:
    """The utterance of a film, still without its number of frames. record: of its take."""
    words, phonemes = (tuple(Segment(*s) for s in record[kind]) for kind in ("words", "phonemes"))
    name = re.sub(r"[^\w.-]+", "-", source.name).strip("-.")
    if name != source.name.replace("/", "-"):
        name = f"{name}-{digest(source.name)}"  # what was replaced could make two names equal
    return Utterance(name, source.split, source.subject or SPEAKER, source.text, 0, words, phonemes)


def perform(source: Source, cast: Cast, people: dict[str, Person]) -> Performed:
    """people: of `Cast.filmed`."""
    subject = source.subject or SPEAKER
    if not source.is_film:
        face, recording = weighted_face(cast.face), load_weights(source, cast.takes)
        template = people[subject].template if subject in people else face.kit.mean
        return Performed(recording, face.weighted(template, recording.at(cast.fps)), template, None, None)
    take, person = load_take(source, cast.takes), people[subject]
    landmarks, _ = take.at(cast.fps)
    freed, similarity = free(upright(landmarks.astype(float)), cast.resting[subject].reference)
    return Performed(take, person.motion(freed, cast.fps), person.template, landmarks, similarity)


def write_performances(films: list[tuple[Source, Utterance, bool]], cast: Cast, folder: Path) -> dict[str, Performance]:
    """Measures the motion of films and, where the third entry says so, writes motion and speech to the corpus folder.

    Returns the performances by the name of the utterance.
    """
    done, people = {}, cast.filmed(utterance.subject for _, utterance, _ in films)
    for source, utterance, kept in films:
        take, motion, template, landmarks, similarity = perform(source, cast, people)
        regions = cast.face.regions(template)
        frames = len(motion.vertices)
        flat = motion.vertices.reshape(frames, -1)
        speech = take.speech.float() / 32768
        samples = round(frames / cast.fps * SPEECH_HZ)
        speech = torch.nn.functional.pad(speech, (0, max(0, samples - len(speech))))[:samples]
        if kept:
            write_atomic(folder / "vertices_npy" / f"{utterance.name}.npy", lambda p, a=flat: np.save(p, a))
            write_speech(folder / "wav" / f"{utterance.name}.wav", speech)
        done[utterance.name] = Performance(
            frames=frames,
            hash=hashlib.sha256(flat.tobytes() + speech.numpy().tobytes()).hexdigest(),
            mean_square=float(np.square(motion.vertices - template).mean()),
            lip_centre=motion.vertices[:, cast.face.lip_outline].mean((0, 1)).tolist(),
            begin_s=round(source.begin_s + take.late_s, 6),
            face_box=None if landmarks is None else box_around(landmarks),
            quality=film_quality(motion, landmarks, similarity, regions, replace(utterance, frames=frames), cast.fps),
        )
    return done


def box_around(landmarks: np.ndarray) -> list[float]:
    """Left, top, right and bottom of landmarks (T, 478, 3), pixels."""
    return [*landmarks[..., :2].min((0, 1)).tolist(), *landmarks[..., :2].max((0, 1)).tolist()]
