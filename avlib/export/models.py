"""The models that motion files are fitted with: ARKit's shapes on a face, and FLAME."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..corpus.embedded.arkit_shapes import Basis, facekit_basis
from ..corpus.embedded.facekit_checkout import URL
from .arkit import Shapes, load_shapes
from .flame import Flame, read_flame
from .subject_mesh import SubjectMesh

ARKIT_TARGETS = ("glb-arkit", "usd-arkit")  # formats that hold ARKit's shapes themselves


@dataclass(frozen=True)
class Models:
    """Those that the wanted formats need. shapes: on the face of one mesh."""

    shapes: Shapes | None = None
    flame: Flame | None = None


def models_for(
    mesh: SubjectMesh,
    formats: Sequence[str],
    face: Path | str | None = None,
    flame: Path | str | None = None,
    filmed: bool = False,
) -> Models:
    """What the formats need to describe motion of the mesh.

    face: a checkout of ICT-FaceKit, by default that of the mesh. flame: FLAME's file. filmed: ARKit's weights come from
    a film, so that the format "arkit" needs shapes only to state its error, and no others than those of the film's mesh
    fit. ValueError names the format for which a file is missing or does not fit the mesh.
    """
    face = mesh.checkout if filmed else face or mesh.checkout
    wanting = [name for name in formats if name in ARKIT_TARGETS or (name == "arkit" and not (filmed and not face))]
    if wanting and not face:
        raise ValueError(
            f"{wanting[0]}: expected a checkout of {URL} (--face), whose shapes are transferred to this face"
        )
    shapes = load_shapes(read_basis(Path(face)), mesh) if wanting and face else None
    return Models(shapes, flame_for(mesh, flame) if "flame" in formats else None)


def check_film_formats(formats: Sequence[str], face: Path | None) -> None:
    """ValueError for a format that the motion of films cannot have, before any film is read."""
    if "flame" in formats:
        raise ValueError("flame: expected a run on FLAME's mesh, films move that of ICT-FaceKit or MediaPipe")
    if face:
        read_basis(face)
    elif wanting := [name for name in formats if name in ARKIT_TARGETS]:
        raise ValueError(f"{wanting[0]}: expected a checkout of {URL} (--face), whose mesh has ARKit's shapes")


def flame_for(mesh: SubjectMesh, path: Path | str | None) -> Flame:
    """FLAME, for a mesh of its topology. ValueError otherwise, and for a unit that is no length."""
    if not path:
        raise ValueError("flame: expected the file of the model, generic_model.pkl or .npz (--flame)")
    model = read_flame(Path(path))
    if len(mesh.template) != len(model.template):
        raise ValueError(
            f"flame: {mesh.name}: expected a mesh of FLAME's {len(model.template)} vertices, got {len(mesh.template)}"
        )
    if mesh.metres is None:
        raise ValueError(f"flame: {mesh.name}: expected vertices in m, cm or mm, got {mesh.unit!r}")
    return model


@lru_cache(1)
def read_basis(checkout: Path) -> Basis:
    """ICT-FaceKit's shapes, which many faces may need. ValueError as of `facekit_basis`."""
    return facekit_basis(checkout)
