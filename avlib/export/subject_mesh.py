"""The mesh of one subject's face, of a corpus or of a film: what motion files are made of, besides the motion."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.config import CorpusConfig
from ..corpus.corpus import Corpus
from ..corpus.specification import read_specification

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
SKIN = (0.95, 0.8, 0.72)  # colour of a vertex of albedo 1, linear red, green and blue


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

    @property
    def metres(self) -> float | None:
        """The size of the unit; None for one that is no length, such as BIWI's."""
        return METRES.get(self.unit)


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


def thousandth_unit(unit: str) -> str:
    """The unit of errors: a thousandth of the mesh's."""
    return "mm" if unit == "m" else f"1e-3 {unit}"
