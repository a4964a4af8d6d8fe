"""The mesh of one subject's face, of a corpus or of a film: what motion files are made of, besides the motion."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.config import CorpusConfig
from ..corpus.corpus import Corpus
from ..corpus.specification import read_specification


@dataclass(frozen=True)
class SubjectMesh:
    """A subject's face.

    name: of the corpus, or of the mesh on which a film is captured. template: (V, 3), the face at rest, in `unit`.
    faces: (F, 3). albedo: (V,), 0 to 1. regions: vertex indices of "lip", "upper_lip_middle" and "lower_lip_middle".
    checkout: of ICT-FaceKit, if that is the mesh and its folder is known.
    """

    name: str
    subject: str
    template: np.ndarray
    faces: np.ndarray
    albedo: np.ndarray
    regions: dict[str, np.ndarray]
    unit: str = "m"
    checkout: Path | None = None


def corpus_mesh(corpus: Corpus, subject: str, config: CorpusConfig) -> SubjectMesh:
    """The face of a subject of the corpus with this configuration."""
    kind = read_specification(config.name)["kind"]
    checkout = {"facekit": config.data, "captured": config.face}.get(kind)
    return SubjectMesh(
        corpus.name,
        subject,
        corpus.templates[subject].numpy(),
        corpus.faces.numpy(),
        corpus.albedo.numpy(),
        {name: index.numpy() for name, index in corpus.regions.items()},
        corpus.unit,
        Path(checkout) if checkout else None,
    )
