"""Where a folder of scans keeps what: raw VOCASET, raw BIWI, and the layout into which FaceFormer's and CodeTalker's users bring
both, or corpora of their own. Layouts are told apart by their files, and nothing is read before it is needed."""
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample

from .audio import SPEECH_HZ, WINDOW, read_speech
from .corpora import Facts
from .meshes import area, read_mesh, read_vl
from .mouths import SetAside, sound
from .pickles import load_pickle
from .text import normalise_text

LONGEST_GAP_S = 0.1     # of frames that the scanner lost, bridged by those before and after
HEAD_TURN = 0.2         # rad that a head turns against its template before it is taken to have a pose
MESHES = ("*.ply", "*.obj", "templates/*.ply", "templates/*.obj", "template/*.ply", "template/*.obj", "rigid_scans/*.obj")
SOUNDS = ("wav", "audio", "videos")


@dataclass(frozen=True)
class Rows:
    """A sequence in VOCASET's one array of all frames. numbers: its frames, ascending; rows: where they are."""
    path: Path
    numbers: list[int]
    rows: list[int]

    def read(self, facts: Facts) -> tuple[int, np.ndarray]:
        """How many frames there are at the scans' rate, and those that are used, (T, V, 3) float32."""
        count, before, after, weight = every(self.numbers, facts, self.path)
        scans = mapped(self.path)               # anew each time: pages that were read are given back
        if max(self.rows) >= len(scans):
            raise SetAside(f"{self.path}: {len(scans)} frames, the index asks for frame {max(self.rows)}")
        rows = np.asarray(self.rows)
        motion = shaped(scans[rows[before]], facts, self.path)
        lost = np.flatnonzero(weight)
        follows = shaped(scans[rows[after[lost]]], facts, self.path)
        motion[lost] += weight[lost, None, None].astype(np.float32) * (follows - motion[lost])
        return count, motion


@dataclass(frozen=True)
class Array:
    """A sequence in a file of its own, (T, V * 3) or (T, V, 3)."""
    path: Path

    def read(self, facts: Facts) -> tuple[int, np.ndarray]:
        scans = mapped(self.path)
        return len(scans), shaped(scans[::facts.step], facts, self.path)


@dataclass(frozen=True)
class Frames:
    """A sequence in a file for each frame, and the mesh that says which way up it is and how large."""
    paths: list[Path]
    template: np.ndarray
    faces: np.ndarray

    @property
    def path(self) -> Path:
        return self.paths[0].parent

    def read(self, facts: Facts) -> tuple[int, np.ndarray]:
        numbers = [frame_number(p) for p in self.paths]
        count, before, after, weight = every(numbers, facts, self.path)
        one = lambda i: normalised(read_vl(self.paths[i], facts.vertices), self.faces, facts)
        frames = [one(a) if not w else (1 - w) * one(a) + w * one(b) for a, b, w in zip(before, after, weight)]
        return count, unposed(np.stack(frames), self.template).astype(np.float32)


@dataclass(frozen=True)
class Samples:
    """Speech inside another file."""
    path: Path
    rate: int
    samples: np.ndarray

    def read(self) -> Tensor:
        """(S,) at 16 kHz."""
        if self.samples.size < WINDOW:
            raise SetAside(f"{self.path}: {self.samples.size} samples of speech")
        samples = torch.tensor(self.samples, dtype=torch.float32)
        if np.issubdtype(self.samples.dtype, np.integer):
            samples = samples / np.iinfo(self.samples.dtype).max
        samples = samples if samples.ndim == 1 else samples.mean(int(samples.shape[0] > samples.shape[1]))
        if not samples.isfinite().all():
            raise SetAside(f"{self.path}: holds samples that are not finite")
        return resample(samples, self.rate, SPEECH_HZ)


@dataclass(frozen=True)
class Sound:
    """Speech in an audio file, or in the sound of a video."""
    path: Path

    def read(self) -> Tensor:
        """(S,) at 16 kHz."""
        if self.path.suffix.lower() == ".wav":
            return read_speech(self.path)
        samples, late_s = sound(self.path)
        return torch.nn.functional.pad(samples.float() / 32768, (max(0, round(late_s * SPEECH_HZ)), 0))


def mapped(path: Path) -> np.ndarray:
    """A .npy file's array, of which nothing is read yet. ValueError names the file."""
    try:
        scans = np.load(path, "r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SetAside(f"{path}: not a whole array of numbers ({error})") from None
    if not isinstance(scans, np.ndarray) or scans.dtype.kind not in "fiu" or scans.ndim < 2 or not len(scans):
        raise SetAside(f"{path}: no frames of numbers in it")
    return scans


def shaped(scans: np.ndarray, facts: Facts, path: Path) -> np.ndarray:
    """(T, V, 3) float32."""
    if math.prod(scans.shape[1:]) != 3 * facts.vertices:
        raise SetAside(f"{path}: {math.prod(scans.shape[1:]) / 3:g} vertices a frame, {facts.name} has {facts.vertices}")
    return scans.reshape(-1, facts.vertices, 3).astype(np.float32)


def every(numbers: list[int], facts: Facts, path: Path) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Of frames with these ascending numbers, from 0 or 1 on: how many there were at the scans' rate, and for each frame that is
    used the places of the one before and the one after it, and how far on to the latter it lies: 0 where it is there itself."""
    numbers = np.asarray(numbers)
    first = min(int(numbers[0]), 1)
    steps = np.diff(numbers, prepend=first - 1)
    if (lost := int(steps.max()) - 1) > LONGEST_GAP_S * facts.scan_fps:
        last = int(numbers[steps.argmax()]) - 1
        raise SetAside(f"{path}: frames {last - lost + 1} to {last} are missing")
    wanted = np.arange(first, numbers[-1] + 1, facts.step)
    after = np.searchsorted(numbers, wanted)
    before = np.where(numbers[after] == wanted, after, (after - 1).clip(0))
    weight = ((wanted - numbers[before]) / np.maximum(1, numbers[after] - numbers[before])).clip(0)
    return int(numbers[-1]) - first + 1, before, after, weight


def normalised(vertices: np.ndarray, faces: np.ndarray, facts: Facts) -> np.ndarray:
    """Vertices (V, 3) as recorded -> as published work uses them: turned upright and, where facts say so, their mean at 0 and
    their surface 1."""
    vertices = vertices * np.asarray(facts.raw.get("axes", (1, 1, 1)), np.float64)
    if not facts.raw.get("normalised"):
        return vertices
    vertices = vertices - vertices.mean(0)
    return vertices / np.sqrt(area(vertices, faces))


def unposed(motion: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Motion (T, V, 3) without the pose of the head, if it has one: each frame laid onto the template (Kabsch 1976)."""
    middle = motion.mean(1, keepdims=True)
    rest = template - template.mean(0)
    left, _, right = np.linalg.svd(np.einsum("tvi,vj->tij", motion - middle, rest))
    left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
    turn = left @ right                                         # row vectors: frame @ turn is the template's way up
    angle = np.arccos(((np.trace(turn, axis1=1, axis2=2) - 1) / 2).clip(-1, 1))
    if angle.max() <= HEAD_TURN:
        return motion
    return (motion - middle) @ turn + template.mean(0)


@dataclass
class Layout:
    """What a folder holds, by (subject, sentence's key), and where it keeps what it may lack."""
    name: str
    motion_at: str              # with {subject} and {key} to be filled in
    speech_at: str
    template_at: str
    motions: dict = field(default_factory=dict)
    speech: dict = field(default_factory=dict)
    templates: dict[str, np.ndarray] = field(default_factory=dict)
    faces: np.ndarray | None = None
    text_at: str = ""
    texts: dict = field(default_factory=dict)
    unread: dict = field(default_factory=dict)          # why a sentence has no text


STACKED = ("data_verts.npy", "raw_audio_fixed.pkl", "subj_seq_to_idx.pkl", "templates.pkl")
ARRAYS = ("vertices_npy", "templates.pkl")
SCANNED = ("faces", "rigid_scans")


def find(folder: Path, facts: Facts) -> Layout:
    """What is there. ValueError names all that is missing, and where to get it."""
    kinds = [(kind, [folder / name for name in names])
             for kind, names in ((stacked, STACKED), (arrays, ARRAYS), (scanned, SCANNED))]
    begun = [k for k in kinds if k[1][0].exists()]
    if not begun:
        raise ValueError(f"{folder}: expected {' or '.join(names[0].name for _, names in kinds)} in it; get {facts.name} from "
                         f"{facts.where.get('data', 'its owners')}")
    kind, needs = next((k for k in begun if all(p.exists() for p in k[1])), begun[0])
    lacking = [f"{p}: missing; get it from {facts.where.get('data', 'the owners')}" for p in needs if not p.exists()]
    mesh = find_mesh(folder, facts)
    if mesh is None:
        lacking.append(f"{folder}: no mesh of {facts.vertices} vertices (.ply, .obj) in it or in templates/; get "
                       f"{facts.where.get('mesh', 'one of the corpus')}")
    texts, unread = transcripts(folder, facts)
    if not texts:
        lacking.append(f"{next(iter(unread.values()))}; get it from {facts.where.get('transcripts', 'the owners')}")
    if lacking:
        raise ValueError("; ".join(lacking))
    layout = kind(folder, facts, mesh)
    layout.faces, layout.texts, layout.unread, layout.text_at = mesh, texts, unread, str(folder / facts.transcripts)
    return layout


def stacked(folder: Path, facts: Facts, faces: np.ndarray) -> Layout:
    """VOCASET as distributed."""
    verts, sounds, index, rest = (folder / name for name in STACKED)
    shaped(mapped(verts)[:1], facts, verts)
    layout = Layout("raw VOCASET", f"{index}: {{subject}} {{key}}", f"{sounds}: {{subject}} {{key}}", f"{rest}: {{subject}}",
                    templates=templates(rest))
    for subject, key, frames in leaves(index, load_pickle(index)):
        if not all(isinstance(n, int) and isinstance(row, int) and row >= 0 for n, row in frames.items()):
            raise ValueError(f"{index}: {subject} {key}: expected frame -> row, both whole numbers")
        numbers = sorted(frames)
        layout.motions[subject, key] = Rows(verts, numbers, [frames[n] for n in numbers])
    for subject, key, said in leaves(sounds, load_pickle(sounds)):
        if not isinstance(said.get("audio"), np.ndarray) or not isinstance(said.get("sample_rate"), int | float):
            raise ValueError(f"{sounds}: {subject} {key} has {', '.join(map(str, said))}; expected audio and sample_rate")
        layout.speech[subject, key] = Samples(sounds, round(said["sample_rate"]), said["audio"])
    return layout


def leaves(path: Path, content) -> Iterator[tuple[str, str, dict]]:
    """(subject, sentence, what there is of it) of nested dicts."""
    for subject, keys in content.items() if isinstance(content, dict) else [("", None)]:
        for key, leaf in keys.items() if isinstance(keys, dict) else [("", None)]:
            if not isinstance(leaf, dict) or not leaf:
                raise ValueError(f"{path}: expected subject -> sentence -> dict, got {type(leaf).__name__} at {subject!r}, {key!r}")
            yield subject, key, leaf


def arrays(folder: Path, facts: Facts, faces: np.ndarray) -> Layout:
    """A file of motion and one of speech for each sequence."""
    rest = folder / "templates.pkl"
    layout = Layout("a file for each sequence, as FaceFormer and CodeTalker have it",
                    f"{folder / 'vertices_npy'}/{{subject}}_{{key}}.npy", f"{folder / 'wav'}/{{subject}}_{{key}}.wav",
                    f"{rest}: {{subject}}", templates=templates(rest))
    layout.motions = {named(p): Array(p) for p in sorted((folder / "vertices_npy").glob("*.npy"))}
    layout.speech = {named(p): Sound(p) for p in recordings(folder)}
    return layout


def scanned(folder: Path, facts: Facts, faces: np.ndarray) -> Layout:
    """BIWI as distributed, unpacked: faces/<subject>/<sentence>/frame_<number>.vl. Its owners have removed the pose of the head from
    these, and published preprocessing reads nothing else: so files of poses, or any others beside them, are left alone."""
    layout = Layout("raw BIWI", f"{folder / 'faces'}/{{subject}}/{{key}}/*.vl", f"{folder / 'audio'}/{{subject}}_{{key}}.wav",
                    f"{folder / 'rigid_scans'}/{{subject}}.obj")
    for path in sorted((folder / "rigid_scans").glob("*.obj")):
        layout.templates[path.stem] = normalised(read_mesh(path)[0], faces, facts)
    for sequence in sorted((folder / "faces").glob("*/*/")):
        frames, subject = sorted(sequence.glob("*.vl"), key=frame_number), sequence.parent.name
        if frames and subject in layout.templates:
            layout.motions[subject, sequence.name] = Frames(frames, layout.templates[subject], faces)
    layout.speech = {named(p): Sound(p) for p in recordings(folder)}
    return layout


def frame_number(path: Path) -> int:
    """ValueError for a name without any."""
    if not (figures := re.findall(r"\d+", path.stem)):
        raise ValueError(f"{path}: expected the frame's number in its name")
    return int(figures[-1])


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
    if not isinstance(content, dict) or not all(isinstance(t, np.ndarray) and t.size % 3 == 0 for t in content.values()):
        raise ValueError(f"{path}: expected a dict of subject -> vertices (V, 3)")
    return {subject: np.asarray(t, np.float64).reshape(-1, 3) for subject, t in content.items()}


def find_mesh(folder: Path, facts: Facts) -> np.ndarray | None:
    """The triangles (F, 3) of the first mesh file that has the corpus's vertices."""
    for path in (p for pattern in MESHES for p in sorted(folder.glob(pattern))):
        vertices, faces = read_mesh(path)
        if len(vertices) == facts.vertices and len(faces):
            return faces
    return None


def transcripts(folder: Path, facts: Facts) -> tuple[dict, dict]:
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


def listing(folder: Path, facts: Facts) -> list:
    """Name, size and time of every file that is read, which stand for what is in them."""
    texts = facts.transcripts.split("/")[0].format(subject="*")
    patterns = [*STACKED, *MESHES, texts, f"{texts}/**/*", *(f"{part}/**/*" for part in ("vertices_npy", *SCANNED, *SOUNDS))]
    found = sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()})
    return [[str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns] for p in found]
