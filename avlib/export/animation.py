"""Motion to take away: `./run_all.sh animate`, and the files that other programs read.

<name>.json        what it is: rate, unit, subject, style, run, model, commit, and of each format its files and its errors
<name>.npy         vertices (T, V, 3) float32; <corpus>-<subject>.obj is that face at rest, with the faces of all
<name>.mp4         a clip with sound
<name>.glb         glTF 2.0: the face, and its motion as morph targets
<name>-arkit.csv   weights of ARKit's 52 blendshapes, a row a frame; -arkit.json the same
<name>-obj/        0000.obj and so on, a file a frame
<name>.wav         what espeak-ng said, where a text was given
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
from ..corpus.embedded.facekit import URL
from ..corpus.obj import face_lines, vertex_lines
from ..corpus.pictures import faces
from ..corpus.specification import read_specification
from ..render.clips import write_clip
from ..speech.sound import write_speech
from . import arkit
from .gltf import write_glb
from .speaker import Sound, Speaker

PICTURE = 256  # pixels, side of the clip


@dataclass(frozen=True)
class Animation:
    """A face that speaks. vertices: (T, V, 3) at speaker.corpus.fps, in the corpus's unit."""

    vertices: torch.Tensor
    sound: Sound
    speaker: Speaker

    def save(
        self, folder: Path | str, name: str = "speech", formats: str = "npy,mp4,glb", face: Path | str | None = None
    ) -> dict:
        """Files `name`.npy and so on: see `avlib.export`."""
        wanted = chosen(formats)
        return save(self, Path(folder) / name, wanted, shapes_for(self.speaker, wanted, face))


def beside(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def thousandths(unit: str) -> str:
    return "mm" if unit == "m" else f"1e-3 {unit}"


def save_npy(animation: Animation, stem: Path, _) -> dict:
    about, vertices = animation.speaker, animation.vertices.numpy()
    write_atomic(beside(stem, ".npy"), lambda p: np.save(p, vertices))
    rest = stem.with_name(f"{about.corpus.name}-{about.subject}.obj")
    write_atomic(
        rest, lambda p: p.write_text(vertex_lines(about.template.numpy()) + face_lines(about.corpus.faces.numpy()))
    )
    return {"file": f"{stem.name}.npy", "shape": list(vertices.shape), "template": rest.name}


def save_mp4(animation: Animation, stem: Path, _) -> dict:
    corpus, threads = animation.speaker.corpus, torch.get_num_threads()
    pictures = (faces(corpus, piece, PICTURE) for piece in animation.vertices.split(48))
    torch.set_num_threads(
        1
    )  # pictures are made of many short steps: where cores are not free, threads wait for each other
    try:
        write_clip(beside(stem, ".mp4"), pictures, corpus.fps, animation.sound.samples)
    finally:
        torch.set_num_threads(threads)
    return {"file": f"{stem.name}.mp4"}


def save_glb(animation: Animation, stem: Path, _) -> dict:
    corpus = animation.speaker.corpus
    about = write_glb(
        beside(stem, ".glb"),
        animation.speaker.template.numpy(),
        corpus.faces.numpy(),
        animation.vertices.numpy(),
        corpus.fps,
        corpus.albedo.numpy(),
    )
    return {
        "file": f"{stem.name}.glb",
        "targets": about["targets"],
        "unit": thousandths(corpus.unit),
        "rms": 1000 * about["rms"],
        "largest": 1000 * about["largest"],
    }


def save_arkit(animation: Animation, stem: Path, shapes: arkit.Shapes) -> dict:
    corpus, moved = animation.speaker.corpus, (animation.vertices - animation.speaker.template).numpy()
    weights, errors = shapes.fit(moved)
    weights = weights.round(4)
    errors = {part: {"rms": 1000 * e["rms"], "explained": e["explained"]} for part, e in errors.items()}
    about = {
        "unit": thousandths(corpus.unit),
        "error": errors,
        "carried": not shapes.own,
        "fitted": list(shapes.names),
        "missing": list(shapes.missing),
    }
    rows = [",".join([timecode(t, corpus.fps), *(f"{w:g}" for w in row)]) for t, row in enumerate(weights.tolist())]
    table, frames = beside(stem, "-arkit.csv"), beside(stem, "-arkit.json")
    write_atomic(table, lambda p: p.write_text("\n".join([",".join(["Timecode", *arkit.NAMES]), *rows]) + "\n"))
    said = {"fps": corpus.fps, "names": arkit.NAMES, **about, "frames": weights.tolist()}
    write_atomic(frames, lambda p: p.write_text(json.dumps(said) + "\n"))
    return {"file": table.name, "frames": frames.name, **about}


def save_obj(animation: Animation, stem: Path, _) -> dict:
    folder, ending = beside(stem, "-obj"), face_lines(animation.speaker.corpus.faces.numpy())
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    digits = max(4, len(str(len(animation.vertices) - 1)))
    try:
        unfinished.mkdir(parents=True)
        for t, vertices in enumerate(animation.vertices.numpy()):
            (unfinished / f"{t:0{digits}d}.obj").write_text(vertex_lines(vertices) + ending)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {"file": folder.name, "frames": len(animation.vertices)}


FORMATS: dict[str, Callable] = {"npy": save_npy, "mp4": save_mp4, "glb": save_glb, "arkit": save_arkit, "obj": save_obj}


def timecode(frame: int, fps: float) -> str:
    """HH:MM:SS:FF, the frame within its second with thousandths, as Live Link Face writes it."""
    second, within = divmod(frame, fps)
    return f"{int(second) // 3600:02d}:{int(second) // 60 % 60:02d}:{int(second) % 60:02d}:{within:06.3f}"


def chosen(formats: str) -> list[str]:
    names = [name.strip() for name in formats.split(",")]
    if wrong := [name for name in names if name not in FORMATS]:
        raise ValueError(f"formats: expected some of {', '.join(FORMATS)}, got {wrong[0]!r}")
    return names


def shapes_for(speaker: Speaker, formats: list[str], folder: Path | str | None = None) -> arkit.Shapes | None:
    """ARKit's shapes on the speaker's face, if a format needs them; from the run's own checkout of ICT-FaceKit, where it has one."""
    if "arkit" not in formats:
        return None
    config = speaker.run.config.corpus
    if not folder and read_specification(config.name)["made_by"] == "facekit":
        folder = config.data
    if not folder:
        raise ValueError(
            f"arkit: this face lacks ARKit's shapes; with a checkout of {URL} (--face) they are carried over to it"
        )
    return arkit.shapes(Path(folder), speaker.corpus, speaker.subject)


def save(animation: Animation, stem: Path, formats: list[str], shapes: arkit.Shapes | None = None) -> dict:
    """Writes the formats, each file whole or not at all, and last <stem>.json, which is returned."""
    if not len(animation.vertices):
        raise ValueError(
            f"{stem.name}: {animation.sound.seconds:.3f} s of speech, expected at least a frame of "
            f"{1 / animation.speaker.corpus.fps:.3f} s"
        )
    by, sound = animation.speaker, animation.sound
    about = {
        "fps": by.corpus.fps,
        "unit": by.corpus.unit,
        "frames": len(animation.vertices),
        "subject": by.subject,
        "style": by.style,
        "run": by.run.name,
        "model": by.model,
        "corpus": by.corpus.name,
        "commit": commit(),
    }
    try:
        if sound.text:
            about |= {"text": sound.text, "sound": f"{stem.name}.wav"}
            write_atomic(beside(stem, ".wav"), lambda p: write_speech(p, sound.samples))
        for name in formats:
            about[name] = FORMATS[name](animation, stem, shapes)
        write_json(beside(stem, ".json"), about)
    except OSError as error:
        raise ValueError(f"{error.filename or stem.parent}: cannot be written: {error.strerror}") from None
    return about


def writable(folder: Path) -> None:
    """ValueError where the folder cannot be made, or nothing can be put into it."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"{folder}: cannot be written: {there} is {'not writable' if there.is_dir() else 'no folder'}")
