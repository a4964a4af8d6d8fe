"""An animated face and its files, which other programs read.

<name>.json        fps, unit, subject, style, run, model and commit; files and errors of each format
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
from pathlib import Path

import numpy as np
import torch

from ..core.files import write_atomic, write_json
from ..core.run import commit
from ..corpus.embedded.facekit_checkout import URL
from ..corpus.live_link import write_live_link
from ..corpus.obj import face_lines, vertex_lines
from ..corpus.pictures import faces
from ..corpus.specification import read_specification
from ..render.clips import write_clip
from ..speech.sound import write_speech
from . import arkit
from .gltf import write_glb
from .speaker import Sound, Speaker

CLIP_SIDE = 256  # width and height of the clip, pixels
FRAMES_PER_PIECE = 48  # rendered at once, which bounds memory


@dataclass(frozen=True)
class Animation:
    """A speaking face. vertices: (T, V, 3) at speaker.corpus.fps, in the corpus's unit."""

    vertices: torch.Tensor
    sound: Sound
    speaker: Speaker

    def save(
        self, folder: Path | str, name: str = "speech", formats: str = "npy,mp4,glb", face: Path | str | None = None
    ) -> dict:
        """Writes `name`.npy and so on into the folder; returns the content of `name`.json.

        formats: some of npy, mp4, glb, arkit and obj; face: a checkout of ICT-FaceKit, which arkit needs.
        ValueError for an unknown format, and for a folder that cannot be written.
        """
        names = parse_formats(formats)
        return save(self, Path(folder) / name, names, arkit_shapes_for(self.speaker, names, face))


def with_ending(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def thousandth_unit(unit: str) -> str:
    return "mm" if unit == "m" else f"1e-3 {unit}"


def save_npy(animation: Animation, stem: Path, _) -> dict:
    speaker, vertices = animation.speaker, animation.vertices.numpy()
    write_atomic(with_ending(stem, ".npy"), lambda p: np.save(p, vertices))
    rest = stem.with_name(f"{speaker.corpus.name}-{speaker.subject}.obj")
    write_atomic(
        rest, lambda p: p.write_text(vertex_lines(speaker.template.numpy()) + face_lines(speaker.corpus.faces.numpy()))
    )
    return {"file": f"{stem.name}.npy", "shape": list(vertices.shape), "template": rest.name}


def save_mp4(animation: Animation, stem: Path, _) -> dict:
    corpus, threads = animation.speaker.corpus, torch.get_num_threads()
    pictures = (faces(corpus, piece, CLIP_SIDE) for piece in animation.vertices.split(FRAMES_PER_PIECE))
    # Rendering has many short steps, in which threads on busy cores wait for each other.
    torch.set_num_threads(1)
    try:
        write_clip(with_ending(stem, ".mp4"), pictures, corpus.fps, animation.sound.samples)
    finally:
        torch.set_num_threads(threads)
    return {"file": f"{stem.name}.mp4"}


def save_glb(animation: Animation, stem: Path, _) -> dict:
    corpus = animation.speaker.corpus
    about = write_glb(
        with_ending(stem, ".glb"),
        animation.speaker.template.numpy(),
        corpus.faces.numpy(),
        animation.vertices.numpy(),
        corpus.fps,
        corpus.albedo.numpy(),
    )
    return {
        "file": f"{stem.name}.glb",
        "targets": about["targets"],
        "unit": thousandth_unit(corpus.unit),
        "rms": 1000 * about["rms"],
        "largest": 1000 * about["largest"],
    }


def save_arkit(animation: Animation, stem: Path, shapes: arkit.Shapes) -> dict:
    corpus, displacement = animation.speaker.corpus, (animation.vertices - animation.speaker.template).numpy()
    weights, errors = shapes.fit(displacement)
    weights = weights.round(4)
    errors = {part: {"rms": 1000 * e["rms"], "explained": e["explained"]} for part, e in errors.items()}
    about = {
        "unit": thousandth_unit(corpus.unit),
        "error": errors,
        "transferred": not shapes.is_facekit_mesh,
        "fitted": list(shapes.names),
        "missing": list(shapes.missing),
    }
    table, frames = with_ending(stem, "-arkit.csv"), with_ending(stem, "-arkit.json")
    write_live_link(table, weights, corpus.fps)
    content = {"fps": corpus.fps, "names": arkit.NAMES, **about, "frames": weights.tolist()}
    write_atomic(frames, lambda p: p.write_text(json.dumps(content) + "\n"))
    return {"file": table.name, "frames": frames.name, **about}


def save_obj(animation: Animation, stem: Path, _) -> dict:
    folder, faces_text = with_ending(stem, "-obj"), face_lines(animation.speaker.corpus.faces.numpy())
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    digits = max(4, len(str(len(animation.vertices) - 1)))
    try:
        unfinished.mkdir(parents=True)
        for t, vertices in enumerate(animation.vertices.numpy()):
            (unfinished / f"{t:0{digits}d}.obj").write_text(vertex_lines(vertices) + faces_text)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {"file": folder.name, "frames": len(animation.vertices)}


FORMATS: dict[str, Callable] = {"npy": save_npy, "mp4": save_mp4, "glb": save_glb, "arkit": save_arkit, "obj": save_obj}


def parse_formats(formats: str) -> list[str]:
    """Names from a comma-separated list. ValueError for an unknown one."""
    names = [name.strip() for name in formats.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise ValueError(f"formats: expected some of {', '.join(FORMATS)}, got {unknown[0]!r}")
    return names


def arkit_shapes_for(speaker: Speaker, formats: list[str], folder: Path | str | None = None) -> arkit.Shapes | None:
    """ARKit's shapes on the speaker's face, or None if no format needs them.

    folder: a checkout of ICT-FaceKit, by default that of a facekit run. ValueError if there is none.
    """
    if "arkit" not in formats:
        return None
    config = speaker.run.config.corpus
    if not folder and read_specification(config.name)["kind"] == "facekit":
        folder = config.data
    if not folder:
        raise ValueError(f"arkit: expected a checkout of {URL} (--face), whose shapes are transferred to this face")
    return arkit.load_shapes(Path(folder), speaker.corpus, speaker.subject)


def save(animation: Animation, stem: Path, formats: list[str], shapes: arkit.Shapes | None = None) -> dict:
    """Writes the formats, each file atomically, and last <stem>.json; returns its content.

    ValueError for speech shorter than a frame, and for files that cannot be written.
    """
    if not len(animation.vertices):
        raise ValueError(
            f"{stem.name}: expected speech of at least one frame, {1 / animation.speaker.corpus.fps:.3f} s, "
            f"got {animation.sound.seconds:.3f} s"
        )
    speaker, sound = animation.speaker, animation.sound
    about = {
        "fps": speaker.corpus.fps,
        "unit": speaker.corpus.unit,
        "frames": len(animation.vertices),
        "subject": speaker.subject,
        "style": speaker.style,
        "run": speaker.run.name,
        "model": speaker.model,
        "corpus": speaker.corpus.name,
        "commit": commit(),
    }
    try:
        if sound.text:
            about |= {"text": sound.text, "sound": f"{stem.name}.wav"}
            write_atomic(with_ending(stem, ".wav"), lambda p: write_speech(p, sound.samples[:]))
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
