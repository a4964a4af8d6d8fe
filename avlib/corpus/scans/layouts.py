"""Folder layouts of scans: raw VOCASET, raw BIWI, and that of FaceFormer and CodeTalker for these and other corpora.

Layouts are recognised by their files. Motion and speech are read only when they are needed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...core.files import find_visible
from ...speech.languages import ENGLISH
from ...speech.text import normalise_text, read_text
from ..specification import CorpusSpec
from .meshes import read_mesh
from .pickles import load_pickle
from .sequences import (
    ArrayMotion,
    FrameFiles,
    MotionSource,
    SampleArray,
    SoundFile,
    SpeechSource,
    StackedMotion,
    frame_number,
    normalise_scan,
    open_scans,
    reshape_scans,
)

MESHES = (
    "*.ply",
    "*.obj",
    "templates/*.ply",
    "templates/*.obj",
    "template/*.ply",
    "template/*.obj",
    "rigid_scans/*.obj",
)
SOUND_FOLDERS = ("wav", "audio", "videos")
# files by which a layout is recognised
RAW_VOCASET = ("data_verts.npy", "raw_audio_fixed.pkl", "subj_seq_to_idx.pkl", "templates.pkl")
ARRAYS = ("vertices_npy", "templates.pkl")
RAW_BIWI = ("faces", "rigid_scans")

SequenceKey = tuple[str, str]  # subject and the name of the sentence


@dataclass
class Layout:
    """The contents of a folder of scans, and where files that it may lack are expected.

    motion_location, speech_location, template_location, transcript_location: with {subject} and {key}, the name of the
    sentence, to be filled in. faces: (F, 3). templates: subject -> (V, 3). transcripts: by subject and sentence number.
    transcript_faults: the reason why a sentence has none.
    """

    name: str
    motion_location: str
    speech_location: str
    template_location: str
    faces: np.ndarray
    motions: dict[SequenceKey, MotionSource] = field(default_factory=dict)
    speech: dict[SequenceKey, SpeechSource] = field(default_factory=dict)
    templates: dict[str, np.ndarray] = field(default_factory=dict)
    transcript_location: str = ""
    transcripts: dict[tuple[str, int], str] = field(default_factory=dict)
    transcript_faults: dict[tuple[str, int], str] = field(default_factory=dict)


def find_layout(folder: Path, spec: CorpusSpec, language: str = ENGLISH) -> Layout:
    """The contents of a folder. language: of the transcripts.

    ValueError names everything that is missing, and where to get it.
    """
    layouts = [
        (read, [folder / name for name in names])
        for read, names in ((read_raw_vocaset, RAW_VOCASET), (read_arrays, ARRAYS), (read_raw_biwi, RAW_BIWI))
    ]
    candidates = [(read, paths) for read, paths in layouts if paths[0].exists()]
    if not candidates:
        raise ValueError(
            f"{folder}: expected {' or '.join(paths[0].name for _, paths in layouts)} in it; get {spec.name} from "
            f"{spec.download.get('data', 'its owners')}"
        )
    complete = (candidate for candidate in candidates if all(path.exists() for path in candidate[1]))
    read, paths = next(complete, candidates[0])
    data_source = spec.download.get("data", "its owners")
    missing = [f"{path}: missing; get it from {data_source}" for path in paths if not path.exists()]
    faces = find_faces(folder, spec)
    if faces is None:
        missing.append(
            f"{folder}: no mesh of {spec.vertices} vertices (.ply, .obj) in it or in templates/; get "
            f"{spec.download.get('mesh', 'one of the corpus')}"
        )
    transcripts, transcript_faults = read_transcripts(folder, spec, language)
    if not transcripts:
        fault = next(iter(transcript_faults.values()))
        missing.append(f"{fault}; get it from {spec.download.get('transcripts', 'its owners')}")
    if missing or faces is None:
        raise ValueError("; ".join(missing))
    layout = read(folder, spec, faces)
    layout.transcripts, layout.transcript_faults = transcripts, transcript_faults
    layout.transcript_location = str(folder / spec.transcripts)
    return layout


def read_raw_vocaset(folder: Path, spec: CorpusSpec, faces: np.ndarray) -> Layout:
    """VOCASET as distributed: one array of all frames and three pickles."""
    verts, sounds, index, templates = (folder / name for name in RAW_VOCASET)
    reshape_scans(open_scans(verts)[:1], spec, verts)
    layout = Layout(
        "raw VOCASET",
        f"{index}: {{subject}} {{key}}",
        f"{sounds}: {{subject}} {{key}}",
        f"{templates}: {{subject}}",
        faces,
        templates=read_templates(templates),
    )
    for subject, key, frames in sequence_entries(index, load_pickle(index)):
        if not all(isinstance(n, int) and isinstance(row, int) and row >= 0 for n, row in frames.items()):
            raise ValueError(f"{index}: {subject} {key}: expected frame -> row, both whole numbers")
        numbers = sorted(frames)
        layout.motions[subject, key] = StackedMotion(verts, numbers, [frames[n] for n in numbers])
    for subject, key, sound in sequence_entries(sounds, load_pickle(sounds)):
        if not isinstance(sound.get("audio"), np.ndarray) or not isinstance(sound.get("sample_rate"), int | float):
            raise ValueError(
                f"{sounds}: {subject} {key} has {', '.join(map(str, sound))}; expected audio and sample_rate"
            )
        layout.speech[subject, key] = SampleArray(sounds, round(sound["sample_rate"]), sound["audio"])
    return layout


def sequence_entries(path: Path, content) -> Iterator[tuple[str, str, dict]]:
    """Subject, sentence and entry of nested dicts. ValueError names the file if the content is not such."""
    for subject, keys in content.items() if isinstance(content, dict) else [("", None)]:
        for key, entry in keys.items() if isinstance(keys, dict) else [("", None)]:
            if not isinstance(entry, dict) or not entry:
                raise ValueError(
                    f"{path}: expected subject -> sentence -> dict, got {type(entry).__name__} at {subject!r}, {key!r}"
                )
            yield subject, key, entry


def read_arrays(folder: Path, spec: CorpusSpec, faces: np.ndarray) -> Layout:
    """FaceFormer's layout: one file of motion and one of speech per sequence."""
    templates = folder / "templates.pkl"
    layout = Layout(
        "one file per sequence, in the layout of FaceFormer and CodeTalker",
        f"{folder / 'vertices_npy'}/{{subject}}_{{key}}.npy",
        f"{folder / 'wav'}/{{subject}}_{{key}}.wav",
        f"{templates}: {{subject}}",
        faces,
        templates=read_templates(templates),
    )
    layout.motions = {sequence_key(p): ArrayMotion(p) for p in find_visible(folder / "vertices_npy", "*.npy")}
    layout.speech = {sequence_key(p): SoundFile(p) for p in sound_files(folder)}
    return layout


def read_raw_biwi(folder: Path, spec: CorpusSpec, faces: np.ndarray) -> Layout:
    """BIWI as distributed, unpacked: faces/<subject>/<sentence>/frame_<number>.vl.

    The head pose is already removed from these frames, and published preprocessing reads no other files. Files of poses
    and other files beside the frames are therefore ignored.
    """
    layout = Layout(
        "raw BIWI",
        f"{folder / 'faces'}/{{subject}}/{{key}}/*.vl",
        f"{folder / 'audio'}/{{subject}}_{{key}}.wav",
        f"{folder / 'rigid_scans'}/{{subject}}.obj",
        faces,
    )
    for path in find_visible(folder / "rigid_scans", "*.obj"):
        layout.templates[path.stem] = normalise_scan(read_mesh(path)[0], faces, spec)
    for sequence in find_visible(folder / "faces", "*/*/"):
        frames, subject = sorted(find_visible(sequence, "*.vl"), key=frame_number), sequence.parent.name
        if frames and subject in layout.templates:
            layout.motions[subject, sequence.name] = FrameFiles(frames, layout.templates[subject], faces)
    layout.speech = {sequence_key(p): SoundFile(p) for p in sound_files(folder)}
    return layout


def sequence_key(path: Path) -> SequenceKey:
    """Subject and sentence in the name of a file, <subject>_<sentence> or <subject>/<sentence>."""
    subject, _, key = path.stem.rpartition("_")
    return (subject, key) if subject else (path.parent.name, key)


def sound_files(folder: Path) -> list[Path]:
    """The sound of each sequence, from an audio or a video file. Earlier folders of SOUND_FOLDERS take precedence."""
    suffixes = (".flv", ".mp4", ".avi", ".wav")
    paths = [
        path
        for sound_folder in reversed(SOUND_FOLDERS)
        for suffix in suffixes
        for path in find_visible(folder / sound_folder, f"**/*{suffix}")
    ]
    return list({sequence_key(path): path for path in paths}.values())


def read_templates(path: Path) -> dict[str, np.ndarray]:
    """Subject -> template (V, 3), float64, of a pickle. ValueError names the file if it contains anything else."""
    content = load_pickle(path)
    if not isinstance(content, dict) or not all(
        isinstance(t, np.ndarray) and t.size % 3 == 0 for t in content.values()
    ):
        raise ValueError(f"{path}: expected a dict of subject -> vertices (V, 3)")
    return {str(subject): np.asarray(t, np.float64).reshape(-1, 3) for subject, t in content.items()}


def find_faces(folder: Path, spec: CorpusSpec) -> np.ndarray | None:
    """The triangles (F, 3) of the first mesh file with the corpus's number of vertices."""
    for path in (p for pattern in MESHES for p in find_visible(folder, pattern)):
        vertices, faces = read_mesh(path)
        if len(vertices) == spec.vertices and len(faces):
            return faces
    return None


def read_transcripts(
    folder: Path, spec: CorpusSpec, language: str
) -> tuple[dict[tuple[str, int], str], dict[tuple[str, int], str]]:
    """Transcripts by subject and sentence number, and for sentences without one the reason."""
    transcripts, faults = {}, {}
    for subject in spec.subjects():
        path = folder / spec.transcripts.format(subject=subject)
        try:
            lines = read_text(path).rstrip().split("\n")
            fault = f"{path}: {len(lines)} lines, expected {spec.sentences}"
        except ValueError as error:
            lines, fault = [], f"{path}: {error if path.exists() else 'no such file'}"
        numbered = numbered_lines(lines, spec.sentences)
        for number in range(1, spec.sentences + 1):
            if text := normalise_text(numbered.get(number, ""), language):
                transcripts[subject, number] = text
            elif len(numbered) == spec.sentences:
                faults[subject, number] = f"{path}: line {number} is empty"
            else:
                faults[subject, number] = fault
    return transcripts, faults


def numbered_lines(lines: list[str], expected: int) -> dict[int, str]:
    """Sentence number -> line, of lines "NN. text" or of the expected number of lines in order; else empty."""
    matches = [re.match(r"\s*(\d+)\s*[.:)]\s*(.*)", line) for line in lines]
    if lines and all(match for match, line in zip(matches, lines) if line.strip()):
        return {int(match[1]): match[2] for match in matches if match}
    in_order = lines if len(lines) == expected else [line for line in lines if line.strip()]
    return dict(enumerate(in_order, 1)) if len(in_order) == expected else {}


def file_states(folder: Path, spec: CorpusSpec) -> list:
    """Name, size and modification time of every file that is read: they stand for its content in the corpus's key."""
    transcripts = spec.transcripts.split("/")[0].format(subject="*")
    patterns = [
        *RAW_VOCASET,
        *MESHES,
        transcripts,
        f"{transcripts}/**/*",
        *(f"{part}/**/*" for part in ("vertices_npy", *RAW_BIWI, *SOUND_FOLDERS)),
    ]
    paths = sorted({p for pattern in patterns for p in find_visible(folder, pattern) if p.is_file()})
    return [[str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
