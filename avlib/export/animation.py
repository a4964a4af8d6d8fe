"""An animated face and its files, which other programs read.

<name>.json        fps, unit, subject and commit; style, run and model, or the film; files and errors of each format
<name>.npy         vertices (T, V, 3), float32; <corpus>-<subject>.obj has the face at rest and the mesh's faces
<name>.mp4         a clip with sound
<name>.glb         glTF 2.0: the face, and its motion as morph targets
<name>-arkit.csv   weights of ARKit's 52 blendshapes as Live Link Face writes them; -arkit.json has them as JSON
<name>-obj/        0000.obj and so on, a file for each frame
<name>.wav         the speech of espeak-ng, where a text was given
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from ..core.files import write_atomic, write_json
from ..core.run import commit
from ..core.scratch import gathered, row_blocks
from ..corpus.arkit_names import NAMES
from ..corpus.embedded.arkit_shapes import facekit_basis
from ..corpus.embedded.facekit_checkout import URL
from ..corpus.live_link import write_live_link
from ..corpus.obj import face_lines, vertex_lines
from ..corpus.pictures import front_view
from ..render.clips import write_clip
from ..speech.sound import write_speech
from . import arkit
from .gltf import write_glb
from .speaker import Sound, Speaker
from .subject_mesh import SubjectMesh, corpus_mesh

CLIP_SIDE = 256  # width and height of the clip, pixels
FRAMES_PER_PIECE = 48  # rendered at once, which bounds memory


@dataclass(frozen=True)
class FilmWeights:
    """Weights of ARKit's shapes that came with the motion of a film.

    weights: (T, 52), in the order of NAMES. head: (T, 3), yaw, pitch and roll, rad, with the signs of Live Link Face.
    fitted: names of the shapes that are fitted to the film. scored: of those whose weight is MediaPipe's score.
    """

    weights: np.ndarray
    head: np.ndarray
    fitted: tuple[str, ...]
    scored: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the shapes that nothing measures, whose weight is 0."""
        return tuple(name for name in NAMES if name not in self.fitted + self.scored)


@dataclass(frozen=True)
class Animation:
    """A speaking face.

    motion: vertices (T, V, 3) at `fps`, in the unit of the mesh, float32; of long speech in a temporary file, which is
    read block by block. origin: where the motion comes from, for <name>.json.
    film_weights: of ARKit's shapes, if the motion is that of a film; else they are fitted to the vertices.
    """

    motion: np.ndarray
    fps: float
    sound: Sound
    mesh: SubjectMesh
    origin: dict
    film_weights: FilmWeights | None = None

    @property
    def vertices(self) -> torch.Tensor:
        """The motion as a tensor."""
        return torch.from_numpy(self.motion)

    def save(
        self, folder: Path | str, name: str = "speech", formats: str = "npy,mp4,glb", face: Path | str | None = None
    ) -> dict:
        """Writes `name`.npy and so on into the folder; returns the content of `name`.json.

        formats: some of npy, mp4, glb, arkit and obj; face: a checkout of ICT-FaceKit, which arkit needs unless the
        motion is that of a film. ValueError for an unknown format, and for a folder that cannot be written.
        """
        names, measured = parse_formats(formats), self.film_weights is None or self.mesh.checkout
        shapes = arkit_shapes_for(self.mesh, names, face) if measured else None
        return save(self, Path(folder) / name, names, shapes)


def speaking(speaker: Speaker, sound: Sound) -> Animation:
    """The speaker's face that says something."""
    origin = {
        "style": speaker.style,
        "run": speaker.run.name,
        "model": speaker.model,
        "corpus": speaker.corpus.name,
    }
    mesh = corpus_mesh(speaker.corpus, speaker.subject, speaker.run.config.corpus)
    motion = gathered(piece.numpy() for piece in speaker(sound))
    return Animation(motion, speaker.corpus.fps, sound, mesh, origin)


def with_ending(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def thousandth_unit(unit: str) -> str:
    return "mm" if unit == "m" else f"1e-3 {unit}"


def save_npy(animation: Animation, stem: Path, _) -> dict:
    mesh, motion = animation.mesh, animation.motion

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(motion))
            for block in row_blocks(motion):
                file.write(block.tobytes())

    write_atomic(with_ending(stem, ".npy"), write)
    rest = stem.with_name(f"{mesh.name}-{mesh.subject}.obj")
    write_atomic(rest, lambda p: p.write_text(vertex_lines(mesh.template) + face_lines(mesh.faces)))
    return {"file": f"{stem.name}.npy", "shape": list(motion.shape), "template": rest.name}


def save_mp4(animation: Animation, stem: Path, _) -> dict:
    mesh, threads = animation.mesh, torch.get_num_threads()
    template, faces, albedo = (torch.from_numpy(a) for a in (mesh.template, mesh.faces, mesh.albedo))
    pieces = row_blocks(animation.motion, FRAMES_PER_PIECE)
    pictures = (front_view(template, faces, albedo, torch.from_numpy(piece), CLIP_SIDE) for piece in pieces)
    # Rendering has many short steps, in which threads on busy cores wait for each other.
    torch.set_num_threads(1)
    try:
        write_clip(with_ending(stem, ".mp4"), pictures, animation.fps, animation.sound.samples)
    finally:
        torch.set_num_threads(threads)
    return {"file": f"{stem.name}.mp4"}


def save_glb(animation: Animation, stem: Path, _) -> dict:
    mesh, path = animation.mesh, with_ending(stem, ".glb")
    about = write_glb(path, mesh.template, mesh.faces, animation.motion, animation.fps, mesh.albedo)
    return {
        "file": path.name,
        "targets": about["targets"],
        "unit": thousandth_unit(mesh.unit),
        "rms": 1000 * about["rms"],
        "largest": 1000 * about["largest"],
    }


def save_arkit(animation: Animation, stem: Path, shapes: arkit.Shapes | None) -> dict:
    filmed, motion = animation.film_weights, animation.motion
    if filmed:
        weights, head = filmed.weights.round(4), filmed.head
        about: dict = {"fitted": list(filmed.fitted), "scored": list(filmed.scored), "missing": list(filmed.missing)}
    else:
        assert shapes is not None  # without a film, the weights come from them
        weights, head = shapes.fit(motion).round(4), None
        about = {"transferred": not shapes.is_facekit_mesh, "fitted": list(shapes.names)}
        about |= {"missing": list(shapes.missing)}
    if shapes:
        errors = shapes.errors(weights, motion)
        about["unit"] = thousandth_unit(animation.mesh.unit)
        about["error"] = {p: {"rms": 1000 * e["rms"], "explained": e["explained"]} for p, e in errors.items()}
    table, frames = with_ending(stem, "-arkit.csv"), with_ending(stem, "-arkit.json")
    write_live_link(table, weights, animation.fps, head)
    content = {"fps": animation.fps, "names": NAMES, **about} | ({} if head is None else {"head": head.tolist()})

    def write(path: Path) -> None:
        with open(path, "w") as file:  # frame by frame: an hour of them is large
            file.write(json.dumps(content)[:-1] + ', "frames": [')
            file.writelines(f"{', ' if t else ''}{json.dumps(row.tolist())}" for t, row in enumerate(weights))
            file.write("]}\n")

    write_atomic(frames, write)
    return {"file": table.name, "frames": frames.name, **about}


def save_obj(animation: Animation, stem: Path, _) -> dict:
    folder, faces_text = with_ending(stem, "-obj"), face_lines(animation.mesh.faces)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    digits = max(4, len(str(len(animation.motion) - 1)))
    try:
        unfinished.mkdir(parents=True)
        for t, vertices in enumerate(chain.from_iterable(row_blocks(animation.motion))):
            (unfinished / f"{t:0{digits}d}.obj").write_text(vertex_lines(vertices) + faces_text)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {"file": folder.name, "frames": len(animation.motion)}


FORMATS: dict[str, Callable] = {"npy": save_npy, "mp4": save_mp4, "glb": save_glb, "arkit": save_arkit, "obj": save_obj}


def parse_formats(formats: str) -> list[str]:
    """Names from a comma-separated list. ValueError for an unknown one."""
    names = [name.strip() for name in formats.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise ValueError(f"formats: expected some of {', '.join(FORMATS)}, got {unknown[0]!r}")
    return names


def arkit_shapes_for(mesh: SubjectMesh, formats: list[str], folder: Path | str | None = None) -> arkit.Shapes | None:
    """ARKit's shapes on a face, or None if no format needs them.

    folder: a checkout of ICT-FaceKit, by default that of the mesh. ValueError if there is none, or without the files.
    """
    if "arkit" not in formats:
        return None
    folder = folder or mesh.checkout
    if not folder:
        raise ValueError(f"arkit: expected a checkout of {URL} (--face), whose shapes are transferred to this face")
    return arkit.load_shapes(facekit_basis(Path(folder)), mesh)


def save(animation: Animation, stem: Path, formats: list[str], shapes: arkit.Shapes | None = None) -> dict:
    """Writes the formats, each file atomically, and last <stem>.json; returns its content.

    ValueError for speech shorter than a frame, and for files that cannot be written.
    """
    if not len(animation.motion):
        raise ValueError(
            f"{stem.name}: expected speech of at least one frame, {1 / animation.fps:.3f} s, "
            f"got {animation.sound.seconds:.3f} s"
        )
    mesh, sound = animation.mesh, animation.sound
    about = {
        "fps": animation.fps,
        "unit": mesh.unit,
        "frames": len(animation.motion),
        "subject": mesh.subject,
        **animation.origin,
        "commit": commit(),
    }
    try:
        if sound.text:
            about |= {"text": sound.text, "sound": f"{stem.name}.wav"}
            write_speech(with_ending(stem, ".wav"), sound.samples[:])
        for name in formats:
            about[name] = FORMATS[name](animation, stem, shapes)
        write_json(with_ending(stem, ".json"), about)
    except OSError as error:
        raise ValueError(f"{error.filename or stem.parent}: cannot be written: {error.strerror}") from None
    return about


def check_writable(folder: Path) -> None:
    """ValueError if the folder cannot be made or written to."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        reason = "not writable" if existing.is_dir() else "not a folder"
        raise ValueError(f"{folder}: cannot be written: {existing} is {reason}")
