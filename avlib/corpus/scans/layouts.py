"""Where a folder of scans keeps what: raw VOCASET, raw BIWI, and the layout into which FaceFormer's and CodeTalker's users bring
both, or corpora of their own. Layouts are told apart by their files, and nothing is read before it is needed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...speech.text import normalise_text
from ..specification import CorpusSpec
from .meshes import read_mesh
from .pickles import load_pickle
from .sequences import Array, Frames, Rows, Samples, Sound, frame_number, mapped, normalised, shaped

MESHES = (
    "*.ply",
    "*.obj",
    "templates/*.ply",
    "templates/*.obj",
    "template/*.ply",
    "template/*.obj",
    "rigid_scans/*.obj",
)
SOUNDS = ("wav", "audio", "videos")


@dataclass
class Layout:
    """What a folder holds, by (subject, sentence's key), and where it keeps what it may lack."""

    name: str
    motion_at: str  # with {subject} and {key} to be filled in
    speech_at: str
    template_at: str
    motions: dict = field(default_factory=dict)
    speech: dict = field(default_factory=dict)
    templates: dict[str, np.ndarray] = field(default_factory=dict)
    faces: np.ndarray | None = None
    text_at: str = ""
    texts: dict = field(default_factory=dict)
    unread: dict = field(default_factory=dict)  # why a sentence has no text


STACKED = ("data_verts.npy", "raw_audio_fixed.pkl", "subj_seq_to_idx.pkl", "templates.pkl")
ARRAYS = ("vertices_npy", "templates.pkl")
SCANNED = ("faces", "rigid_scans")


def find_layout(folder: Path, facts: CorpusSpec) -> Layout:
    """What is there. ValueError names all that is missing, and where to get it."""
    kinds = [
        (kind, [folder / name for name in names])
        for kind, names in ((stacked, STACKED), (arrays, ARRAYS), (scanned, SCANNED))
    ]
    begun = [k for k in kinds if k[1][0].exists()]
    if not begun:
        raise ValueError(
            f"{folder}: expected {' or '.join(names[0].name for _, names in kinds)} in it; get {facts.name} from "
            f"{facts.where.get('data', 'its owners')}"
        )
    kind, needs = next((k for k in begun if all(p.exists() for p in k[1])), begun[0])
    lacking = [f"{p}: missing; get it from {facts.where.get('data', 'the owners')}" for p in needs if not p.exists()]
    mesh = find_mesh(folder, facts)
    if mesh is None:
        lacking.append(
            f"{folder}: no mesh of {facts.vertices} vertices (.ply, .obj) in it or in templates/; get "
            f"{facts.where.get('mesh', 'one of the corpus')}"
        )
    texts, unread = transcripts(folder, facts)
    if not texts:
        lacking.append(f"{next(iter(unread.values()))}; get it from {facts.where.get('transcripts', 'the owners')}")
    if lacking:
        raise ValueError("; ".join(lacking))
    layout = kind(folder, facts, mesh)
    layout.faces, layout.texts, layout.unread, layout.text_at = mesh, texts, unread, str(folder / facts.transcripts)
    return layout


def stacked(folder: Path, facts: CorpusSpec, faces: np.ndarray) -> Layout:
    """VOCASET as distributed."""
    verts, sounds, index, rest = (folder / name for name in STACKED)
    shaped(mapped(verts)[:1], facts, verts)
    layout = Layout(
        "raw VOCASET",
        f"{index}: {{subject}} {{key}}",
        f"{sounds}: {{subject}} {{key}}",
        f"{rest}: {{subject}}",
        templates=templates(rest),
    )
    for subject, key, frames in leaves(index, load_pickle(index)):
        if not all(isinstance(n, int) and isinstance(row, int) and row >= 0 for n, row in frames.items()):
            raise ValueError(f"{index}: {subject} {key}: expected frame -> row, both whole numbers")
        numbers = sorted(frames)
        layout.motions[subject, key] = Rows(verts, numbers, [frames[n] for n in numbers])
    for subject, key, said in leaves(sounds, load_pickle(sounds)):
        if not isinstance(said.get("audio"), np.ndarray) or not isinstance(said.get("sample_rate"), int | float):
            raise ValueError(
                f"{sounds}: {subject} {key} has {', '.join(map(str, said))}; expected audio and sample_rate"
            )
        layout.speech[subject, key] = Samples(sounds, round(said["sample_rate"]), said["audio"])
    return layout


def leaves(path: Path, content) -> Iterator[tuple[str, str, dict]]:
    """(subject, sentence, what there is of it) of nested dicts."""
    for subject, keys in content.items() if isinstance(content, dict) else [("", None)]:
        for key, leaf in keys.items() if isinstance(keys, dict) else [("", None)]:
            if not isinstance(leaf, dict) or not leaf:
                raise ValueError(
                    f"{path}: expected subject -> sentence -> dict, got {type(leaf).__name__} at {subject!r}, {key!r}"
                )
            yield subject, key, leaf


def arrays(folder: Path, facts: CorpusSpec, faces: np.ndarray) -> Layout:
    """A file of motion and one of speech for each sequence."""
    rest = folder / "templates.pkl"
    layout = Layout(
        "a file for each sequence, as FaceFormer and CodeTalker have it",
        f"{folder / 'vertices_npy'}/{{subject}}_{{key}}.npy",
        f"{folder / 'wav'}/{{subject}}_{{key}}.wav",
        f"{rest}: {{subject}}",
        templates=templates(rest),
    )
    layout.motions = {named(p): Array(p) for p in sorted((folder / "vertices_npy").glob("*.npy"))}
    layout.speech = {named(p): Sound(p) for p in recordings(folder)}
    return layout


def scanned(folder: Path, facts: CorpusSpec, faces: np.ndarray) -> Layout:
    """BIWI as distributed, unpacked: faces/<subject>/<sentence>/frame_<number>.vl. Its owners have removed the pose of the head from
    these, and published preprocessing reads nothing else: so files of poses, or any others beside them, are left alone."""
    layout = Layout(
        "raw BIWI",
        f"{folder / 'faces'}/{{subject}}/{{key}}/*.vl",
        f"{folder / 'audio'}/{{subject}}_{{key}}.wav",
        f"{folder / 'rigid_scans'}/{{subject}}.obj",
    )
    for path in sorted((folder / "rigid_scans").glob("*.obj")):
        layout.templates[path.stem] = normalised(read_mesh(path)[0], faces, facts)
    for sequence in sorted((folder / "faces").glob("*/*/")):
        frames, subject = sorted(sequence.glob("*.vl"), key=frame_number), sequence.parent.name
        if frames and subject in layout.templates:
            layout.motions[subject, sequence.name] = Frames(frames, layout.templates[subject], faces)
    layout.speech = {named(p): Sound(p) for p in recordings(folder)}
    return layout


def named(path: Path) -> tuple[str, str]:
    """Subject and sentence in the name of a file."""
    subject, _, key = path.stem.rpartition("_")
    return (subject, key) if subject else (path.parent.name, key)


def recordings(folder: Path) -> list[Path]:
    """All sound there is, <subject>_<sentence>.wav or <subject>/<sentence>.wav, or in videos; of several the first folder's."""
    kinds = (".flv", ".mp4", ".avi", ".wav")
    found = [p for place in reversed(SOUNDS) for kind in kinds for p in sorted((folder / place).rglob(f"*{kind}"))]
    return list({named(p): p for p in found}.values())


def templates(path: Path) -> dict[str, np.ndarray]:
    content = load_pickle(path)
    if not isinstance(content, dict) or not all(
        isinstance(t, np.ndarray) and t.size % 3 == 0 for t in content.values()
    ):
        raise ValueError(f"{path}: expected a dict of subject -> vertices (V, 3)")
    return {subject: np.asarray(t, np.float64).reshape(-1, 3) for subject, t in content.items()}


def find_mesh(folder: Path, facts: CorpusSpec) -> np.ndarray | None:
    """The triangles (F, 3) of the first mesh file that has the corpus's vertices."""
    for path in (p for pattern in MESHES for p in sorted(folder.glob(pattern))):
        vertices, faces = read_mesh(path)
        if len(vertices) == facts.vertices and len(faces):
            return faces
    return None


def transcripts(folder: Path, facts: CorpusSpec) -> tuple[dict, dict]:
    """Texts by (subject, number of the sentence), and for those without one the reason."""
    texts, unread = {}, {}
    for subject in facts.subjects():
        path = folder / facts.transcripts.format(subject=subject)
        lines = path.read_text("utf-8-sig", "replace").rstrip().split("\n") if path.is_file() else []
        matched = [re.match(r"\s*(\d+)\s*[.:)]\s*(.*)", line) for line in lines]
        if lines and all(m for m, line in zip(matched, lines) if line.strip()):
            said = {int(m[1]): m[2] for m in matched if m}
        else:
            in_order = lines if len(lines) == facts.sentences else [line for line in lines if line.strip()]
            said = dict(enumerate(in_order, 1)) if len(in_order) == facts.sentences else {}
        wrong = f"{path}: {len(lines)} lines, expected {facts.sentences}" if lines else f"{path}: no such file"
        for number in range(1, facts.sentences + 1):
            if text := normalise_text(said.get(number, "")):
                texts[subject, number] = text
            else:
                unread[subject, number] = f"{path}: line {number} is empty" if len(said) == facts.sentences else wrong
    return texts, unread


def listing(folder: Path, facts: CorpusSpec) -> list:
    """Name, size and time of every file that is read, which stand for what is in them."""
    texts = facts.transcripts.split("/")[0].format(subject="*")
    patterns = [
        *STACKED,
        *MESHES,
        texts,
        f"{texts}/**/*",
        *(f"{part}/**/*" for part in ("vertices_npy", *SCANNED, *SOUNDS)),
    ]
    found = sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()})
    return [[str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns] for p in found]
