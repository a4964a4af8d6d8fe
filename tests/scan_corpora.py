"""Small corpora of scans in the published layouts of VOCASET and BIWI, with their byte formats.

The face is a head with the vertices of the real corpora, and with a mouth that opens when it speaks.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avlib.core.config import CorpusConfig
from avlib.core.rates import SAMPLES_PER_FRAME
from avlib.corpus.clips import write_shard
from avlib.corpus.corpus import Corpus
from avlib.corpus.scans import conversion
from avlib.corpus.scans.meshes import surface_area
from avlib.corpus.specification import CorpusSpec, read_specification, scan_specification
from avlib.corpus.utterance import Utterance
from tests import python2

TEXTS = ["you must go now", "it is just me", "we were away a year ago", "don't buy five big maps"]
SOUND_HZ = 22000
VOCASET, BIWI = (scan_specification(read_specification(name)) for name in ("vocaset", "biwi"))


def head(spec: CorpusSpec, columns: int, mouth_y: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Template (V, 3), faces (F, 3), and how much each vertex moves down when the mouth opens, (V,).

    The vertices are rings around the mouth; those of the lips are innermost.
    """
    lip = spec.regions["lip"]
    middles = [spec.regions.get(f"{side}_lip_middle", lip[k : k + 1])[0] for k, side in enumerate(("upper", "lower"))]
    rings = spec.vertices // columns
    inner = [v for v in lip if v not in middles]
    inner[columns // 4 : columns // 4], inner[3 * columns // 4 : 3 * columns // 4] = middles[:1], middles[1:]
    order = np.array(inner + sorted(set(range(spec.vertices)) - set(lip)))  # of the vertices, ring after ring
    ring = np.repeat(np.arange(rings), columns)[:, None] / (rings - 1)
    angle = np.tile(np.arange(columns) * 2 * np.pi / columns, rings)[:, None]
    lips = len(lip) / columns / rings
    share = np.where(
        ring < lips, 0.12 * ring / lips, 0.12 + 0.88 * (ring - lips) / (1 - lips)
    )  # the lips extend to 12 % of the radius
    mouth = np.hstack((0.025 * np.cos(angle), mouth_y + 0.001 * np.sin(angle)))
    rim = np.hstack((0.1 * np.cos(angle), -0.02 + 0.15 * np.sin(angle)))
    xy = (1 - share) * mouth + share * rim
    z = 0.07 - 0.16 * share**2 + 0.012 * np.sin(np.pi * (share / 0.12).clip(0, 1))
    z += 0.03 * np.exp(-(xy[:, :1] ** 2 + (xy[:, 1:] + 0.005) ** 2) / 0.012**2)  # a nose
    points, drop = np.zeros((spec.vertices, 3)), np.zeros(spec.vertices)
    in_rings = order[: rings * columns]
    points[in_rings] = np.hstack((xy, z))
    points[order[rings * columns :]] = points[in_rings[-1]]
    drop[in_rings] = np.where(np.sin(angle) < 0, -np.sin(angle) * np.exp(-share / 0.15), 0)[:, 0]
    a = np.arange((rings - 1) * columns).reshape(-1, columns)
    b = np.roll(a, -1, 1)
    quads = np.stack((a, b, b + columns, a + columns), -1).reshape(-1, 4)
    faces = order[np.concatenate((quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]))]
    return points, faces, drop


class ScanCorpus:
    """A corpus of a few sequences. In each, the mouth is open while the speech is loud.

    sequences: sentence numbers by subject.
    """

    def __init__(self, spec: CorpusSpec, columns: int, sequences: dict[str, list[int]], seconds: float, mouth_y: float):
        self.spec, self.sequences, self.seconds = spec, sequences, seconds
        points, self.faces, self.drop = head(spec, columns, mouth_y)
        self.templates = {s: points * (1 + 0.02 * k, 1 - 0.01 * k, 1) for k, s in enumerate(sequences)}
        if spec.raw.get("normalised"):
            self.drop = self.drop / np.sqrt(surface_area(points, self.faces))
            self.templates = {
                s: (t - t.mean(0)) / np.sqrt(surface_area(t, self.faces)) for s, t in self.templates.items()
            }

    def names(self) -> list[tuple[str, int, str]]:
        return [(s, n, f"{s}_{self.spec.sentence.format(n)}") for s, numbers in self.sequences.items() for n in numbers]

    def opening(self, number: int, times: np.ndarray) -> np.ndarray:
        return (1 - np.cos(2 * np.pi * (2 + number % 3) * times)) / 2

    def motion(self, subject: str, number: int) -> np.ndarray:
        """(T, V, 3), float64, at the rate of the scans."""
        times = np.arange(round(self.seconds * self.spec.scan_fps)) / self.spec.scan_fps
        moved = np.repeat(self.templates[subject][None], len(times), 0)
        moved[:, :, 1] -= 0.012 * self.opening(number, times)[:, None] * self.drop
        return moved

    def used(self, subject: str, number: int, recorded: bool) -> np.ndarray:
        """The motion of a sequence as a prepared corpus uses it.

        recorded: from raw scans. Every second scan of VOCASET is used; raw BIWI is centred and scaled to an area of 1.
        """
        frames = self.motion(subject, number)[:: self.spec.step]
        if not (recorded and self.spec.raw):
            return frames
        return np.stack([(f - f.mean(0)) / np.sqrt(surface_area(f, self.faces)) for f in frames])

    def speech(self, number: int, rate: int = SOUND_HZ) -> np.ndarray:
        """(S,), int16, as long as the motion."""
        times = np.arange(round(self.seconds * rate)) / rate
        noise = np.random.default_rng(number).standard_normal(len(times))
        return (
            (6000 * self.opening(number, times) * (np.sin(2 * np.pi * 200 * times) + 0.3 * noise))
            .clip(-32767, 32767)
            .astype(np.int16)
        )

    def write_texts(self, folder: Path) -> None:
        lines = [TEXTS[n % len(TEXTS)].capitalize() + "." for n in range(1, self.spec.sentences + 1)]
        if "{subject}" not in self.spec.transcripts:
            lines = [f"{n:02d}. {line}" for n, line in enumerate(lines, 1)]
        for subject in self.spec.subjects():
            path = folder / self.spec.transcripts.format(subject=subject)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")

    def write_arrays(self, folder: Path, templates: bytes) -> None:
        """Writes the layout of FaceFormer and CodeTalker."""
        for part in ("vertices_npy", "wav"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for subject, number, name in self.names():
            np.save(
                folder / "vertices_npy" / f"{name}.npy",
                self.motion(subject, number).reshape(-1, 3 * self.spec.vertices).astype(np.float32),
            )
            soundfile.write(folder / "wav" / f"{name}.wav", self.speech(number), SOUND_HZ)
        (folder / "templates.pkl").write_bytes(templates)
        self.write_texts(folder)


def vocaset(sequences: dict[str, list[int]] | None = None, **options) -> ScanCorpus:
    """Two subjects of the training split, and one of each other split."""
    train, validation, test = (VOCASET.splits[s].subjects for s in ("train", "validation", "test"))
    return ScanCorpus(
        VOCASET,
        64,
        sequences or {train[0]: [1, 2], train[1]: [1], validation[0]: [21], test[0]: [21]},
        **{"seconds": 0.8, "mouth_y": -0.044} | options,
    )


def ply(vertices: np.ndarray, faces: np.ndarray, real: str = "float", index: str = "int") -> bytes:
    """A binary PLY file, like FLAME_sample.ply (float, int) and BIWI.ply (double, uint16)."""
    kind, item = {"float": "<f4", "double": "<f8"}[real], {"int": "<i4", "uint16": "<u2"}[index]
    head = [
        b"ply",
        b"format binary_little_endian 1.0",
        f"element vertex {len(vertices)}".encode(),
        *(f"property {real} {axis}".encode() for axis in "xyz"),
        f"element face {len(faces)}".encode(),
        f"property list uchar {index} vertex_indices".encode(),
        b"end_header",
        b"",
    ]
    rows = np.zeros(len(faces), [("size", "u1"), ("items", item, 3)])
    rows["size"], rows["items"] = 3, faces
    return b"\n".join(head) + vertices.astype(kind).tobytes() + rows.tobytes()


def write_vocaset(folder: Path, corpus: ScanCorpus | None = None) -> ScanCorpus:
    """VOCASET as distributed: one array of all frames, three pickles of Python 2, transcripts, and the mesh of VOCA."""
    corpus, index, sounds, rows = corpus or vocaset(), {}, {}, 0
    folder.mkdir(parents=True, exist_ok=True)
    frames = round(corpus.seconds * 60)
    verts = np.lib.format.open_memmap(
        folder / "data_verts.npy", "w+", np.float32, (frames * len(corpus.names()), 5023, 3)
    )
    for subject, number, _ in corpus.names():
        key = f"sentence{number:02d}".encode()
        verts[rows : rows + frames] = corpus.motion(subject, number)
        index.setdefault(subject.encode(), {})[key] = {n: rows + n for n in range(frames)}
        sounds.setdefault(subject.encode(), {})[key] = {b"sample_rate": SOUND_HZ, b"audio": corpus.speech(number)}
        rows += frames
    verts.flush()
    templates = {s.encode(): t for s, t in corpus.templates.items()}
    for name, content in (("subj_seq_to_idx", index), ("raw_audio_fixed", sounds), ("templates", templates)):
        (folder / f"{name}.pkl").write_bytes(python2.dumps(content))
    (folder / "FLAME_sample.ply").write_bytes(ply(next(iter(corpus.templates.values())), corpus.faces))
    corpus.write_texts(folder)
    return corpus


def write_prepared(folder: Path, corpus: ScanCorpus | None = None) -> ScanCorpus:
    """VOCASET in FaceFormer's layout, still at 60 fps; the mesh is an ASCII file in templates/."""
    corpus = corpus or vocaset()
    corpus.write_arrays(folder, python2.dumps({s.encode(): t for s, t in corpus.templates.items()}))
    (folder / "templates").mkdir()
    points = next(iter(corpus.templates.values()))
    head = [
        "ply",
        "format ascii 1.0",
        "comment VCGLIB generated",
        f"element vertex {len(points)}",
        *(f"property float {axis}" for axis in "xyz"),
        "property uchar red",
        f"element face {len(corpus.faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    rows = [f"{x:.6f} {y:.6f} {z:.6f} 255" for x, y, z in points] + [f"3 {a} {b} {c}" for a, b, c in corpus.faces]
    (folder / "templates" / "FLAME_sample.ply").write_text("\n".join(head + rows) + "\n")
    return corpus


def biwi(sequences: dict[str, list[int]] | None = None, **options) -> ScanCorpus:
    """A training subject, who is also in validation and test, and an unseen one."""
    return ScanCorpus(
        BIWI, 128, sequences or {"F2": [1, 33, 37], "M1": [37]}, **{"seconds": 0.4, "mouth_y": -0.08} | options
    )


def write_biwi_prepared(folder: Path, corpus: ScanCorpus | None = None) -> ScanCorpus:
    """BIWI in CodeTalker's layout; templates pickled by Python 3."""
    corpus = corpus or biwi()
    corpus.write_arrays(folder, pickle.dumps(corpus.templates))
    (folder / "BIWI.ply").write_bytes(ply(corpus.templates["F2"], corpus.faces, "double", "uint16"))
    return corpus


def rotation(angle: float) -> np.ndarray:
    """About the y axis, for row vectors."""
    return np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])


def write_biwi(
    folder: Path, corpus: ScanCorpus | None = None, head_rotation: float = 0.0, count: str = "<u4"
) -> ScanCorpus:
    """BIWI as distributed, in millimetres and upside down.

    Each frame is a binary file with its vertex count in front. Templates are .obj files with vertices numbered from 1.
    The sound is at 44.1 kHz. head_rotation: of the head during each sequence, rad. count: type of the vertex count, or
    "".
    """
    corpus = corpus or biwi()

    def raw(vertices: np.ndarray) -> np.ndarray:
        return 250 * vertices * corpus.spec.raw["axes"] + (3, -8, 5)

    for subject, number, name in corpus.names():
        place = folder / "faces" / subject / corpus.spec.sentence.format(number)
        place.mkdir(parents=True)
        motion = corpus.motion(subject, number)
        for k, frame in enumerate(motion):
            data = np.array([corpus.spec.vertices], count).tobytes() if count else b""
            frame = raw(frame @ rotation(head_rotation * k / len(motion)))
            (place / f"frame_{k + 1:03d}.vl").write_bytes(data + frame.astype("<f4").tobytes())
        (folder / "audio").mkdir(exist_ok=True)
        stereo = np.repeat(corpus.speech(number, 44100)[:, None], 2, 1)
        soundfile.write(folder / "audio" / f"{name}.wav", stereo, 44100)
    (folder / "rigid_scans").mkdir()
    for subject, template in corpus.templates.items():
        lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in raw(template)]
        lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in corpus.faces + 1]
        (folder / "rigid_scans" / f"{subject}.obj").write_text("\n".join(["# neutral", *lines]) + "\n")
    corpus.write_texts(folder)
    return corpus


def converted(folder: Path, clips: dict[str, list[str]], corpus: ScanCorpus | None = None) -> Corpus:
    """A corpus of scans, by default `vocaset()`, with a 2D part of noise. clips: transcripts of each split's clips."""
    write_prepared(folder / "data", corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avlib.core.parallel.cpu_count", lambda: 1)
        conversion.convert(folder / "data", VOCASET, CorpusConfig(), folder / "corpus")
    found, draw = Corpus(folder / "corpus"), torch.Generator().manual_seed(0)
    side = found.camera.size[0]
    for split, texts in clips.items():
        written = []
        for n, text in enumerate(texts):
            video = torch.randint(256, (15 + n, side, side), generator=draw).byte()
            speech = torch.randint(-1000, 1000, (len(video) * SAMPLES_PER_FRAME,), generator=draw).short()
            written.append((Utterance(f"{split}{n}", split, "", text, len(video)), video, speech))
        write_shard(found.clips_folder / f"{split}-000.safetensors", written)
    return found
