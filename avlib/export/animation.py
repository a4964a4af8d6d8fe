"""An animated face and its files, which other programs read.

<name>.json        fps, unit, subject and commit; style, run and model, or the film; files and errors of each format
<name>.npy         vertices (T, V, 3), float32; <corpus>-<subject>.obj has the face at rest and the mesh's faces
<name>.mp4         a clip with sound
<name>.glb, .usdc  glTF 2.0 and OpenUSD: the face, and its motion as morph targets, which are its principal motions
<name>-arkit.glb   the same with ARKit's shapes as morph targets; -arkit.usdc likewise
<name>-arkit.csv   weights of ARKit's 52 blendshapes as Live Link Face writes them; -arkit.json has them as JSON, and
                   -a2f.json as the JSON of NVIDIA's Audio2Face
<name>-flame.npz   FLAME's parameters
<name>-obj/        0000.obj and so on, a file for each frame
<name>.wav         the speech of espeak-ng, where a text was given
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..core.files import write_json
from ..core.run import commit
from ..core.scratch import gathered, row_blocks
from ..corpus.pictures import front_view
from ..render.clips import write_clip
from ..speech.sound import write_speech
from .arkit_files import ArkitMotion, FilmWeights, arkit_motion, write_arkit
from .flame import fit_flame, write_flame
from .gltf import write_glb
from .mesh_files import write_npy, write_obj_folder, write_template
from .models import Models, models_for
from .morph_targets import MorphTargets, principal_motions
from .speaker import Sound, Speaker
from .subject_mesh import SubjectMesh, corpus_mesh, thousandth_unit
from .usd import load_openusd, write_usd

CLIP_SIDE = 256  # width and height of the clip, pixels
FRAMES_PER_PIECE = 48  # rendered at once, which bounds memory


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
        self,
        folder: Path | str,
        name: str = "speech",
        formats: str = "npy,mp4,glb",
        face: Path | str | None = None,
        flame: Path | str | None = None,
    ) -> dict:
        """Writes `name`.npy and so on into the folder; returns the content of `name`.json.

        formats: some of FORMATS. face: a checkout of ICT-FaceKit, which those with ARKit's shapes need; a film's motion
        has its own. flame: the file of FLAME, which the format of that name needs. ValueError for an unknown format, a
        missing file, and a folder that cannot be written.
        """
        names = parse_formats(formats)
        models = models_for(self.mesh, names, face, flame, filmed=self.film_weights is not None)
        return save(self, Path(folder) / name, names, models)


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


class Fits:
    """What several formats share of one animation, each computed when the first of them needs it."""

    def __init__(self, animation: Animation, models: Models):
        self.animation, self.models = animation, models

    @cached_property
    def principal(self) -> MorphTargets:
        return principal_motions(self.animation.motion, self.animation.mesh.template)

    @cached_property
    def arkit(self) -> ArkitMotion:
        animation = self.animation
        return arkit_motion(animation.motion, animation.film_weights, self.models.shapes, animation.mesh.unit)


def with_ending(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def save_npy(animation: Animation, stem: Path, _) -> dict:
    mesh, motion = animation.mesh, animation.motion
    write_npy(with_ending(stem, ".npy"), motion)
    rest = stem.with_name(f"{mesh.name}-{mesh.subject}.obj")
    write_template(rest, mesh)
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


def save_targets(animation: Animation, path: Path, write: Callable, targets: MorphTargets) -> dict:
    """Writes motion as morph targets. write: `write_glb` or `write_usd`."""
    write(path, animation.mesh, targets, animation.fps)
    rms, largest = targets.errors(animation.mesh.template, animation.motion)
    about = {"file": path.name, "targets": len(targets.names), "unit": thousandth_unit(animation.mesh.unit)}
    return about | {"rms": 1000 * rms, "largest": 1000 * largest}


def save_glb(animation: Animation, stem: Path, fits: Fits) -> dict:
    return save_targets(animation, with_ending(stem, ".glb"), write_glb, fits.principal)


def save_usd(animation: Animation, stem: Path, fits: Fits) -> dict:
    return save_targets(animation, with_ending(stem, ".usdc"), write_usd, fits.principal)


def save_arkit_targets(animation: Animation, path: Path, write: Callable, fits: Fits) -> dict:
    shapes = fits.models.shapes
    assert shapes is not None  # `models_for` sees to it
    about = save_targets(animation, path, write, shapes.morph_targets(fits.arkit.weights))
    return about | {"left_out": shapes.left_out, "error": fits.arkit.about["error"]}


def save_glb_arkit(animation: Animation, stem: Path, fits: Fits) -> dict:
    return save_arkit_targets(animation, with_ending(stem, "-arkit.glb"), write_glb, fits)


def save_usd_arkit(animation: Animation, stem: Path, fits: Fits) -> dict:
    return save_arkit_targets(animation, with_ending(stem, "-arkit.usdc"), write_usd, fits)


def save_arkit(animation: Animation, stem: Path, fits: Fits) -> dict:
    sound = f"{stem.name}.wav" if animation.sound.text else ""
    return write_arkit(stem, fits.arkit, animation.fps, sound) | fits.arkit.about


def save_flame(animation: Animation, stem: Path, fits: Fits) -> dict:
    mesh, model, path = animation.mesh, fits.models.flame, with_ending(stem, "-flame.npz")
    assert model is not None and mesh.metres is not None  # `models_for` sees to it
    found = fit_flame(model, mesh.template, animation.motion, mesh.metres)
    write_flame(path, found, mesh.metres * mesh.template, animation.fps)
    errors = {"rms": 1000 * found.rms, "largest": 1000 * found.largest, "shape_rms": 1000 * found.shape_rms}
    return {"file": path.name, "model": model.path.name, "unit": "mm", **errors}


def save_obj(animation: Animation, stem: Path, _) -> dict:
    folder = with_ending(stem, "-obj")
    write_obj_folder(folder, animation.motion, animation.mesh.faces)
    return {"file": folder.name, "frames": len(animation.motion)}


FORMATS: dict[str, Callable[[Animation, Path, Fits], dict]] = {
    "npy": save_npy,
    "mp4": save_mp4,
    "glb": save_glb,
    "usd": save_usd,
    "arkit": save_arkit,
    "glb-arkit": save_glb_arkit,
    "usd-arkit": save_usd_arkit,
    "flame": save_flame,
    "obj": save_obj,
}


def parse_formats(formats: str) -> list[str]:
    """Names from a comma-separated list. ValueError for an unknown one, and for USD without OpenUSD."""
    names = [name.strip() for name in formats.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise ValueError(f"formats: expected some of {', '.join(FORMATS)}, got {unknown[0]!r}")
    if {"usd", "usd-arkit"} & set(names):
        load_openusd("Usd")
    return names


def save(animation: Animation, stem: Path, formats: list[str], models: Models | None = None) -> dict:
    """Writes the formats, each file atomically, and last <stem>.json; returns its content.

    models: of `models_for`, which some formats need. ValueError for speech shorter than a frame, and for files that
    cannot be written.
    """
    if not len(animation.motion):
        raise ValueError(
            f"{stem.name}: expected speech of at least one frame, {1 / animation.fps:.3f} s, "
            f"got {animation.sound.seconds:.3f} s"
        )
    mesh, sound, fits = animation.mesh, animation.sound, Fits(animation, models or Models())
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
            about[name] = FORMATS[name](animation, stem, fits)
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
