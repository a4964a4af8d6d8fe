"""Small corpora of scans in the layouts of VOCASET's and BIWI's owners, byte formats included: a head with a mouth that opens when
it speaks, with the vertices of the real ones."""

import pickle
from pathlib import Path

import numpy as np
import soundfile

from avlib.corpus.scans.meshes import surface_area
from avlib.corpus.specification import CorpusSpec, read_specification, scan_specification
from tests import python2

TEXTS = ["you must go now", "it is just me", "we were away a year ago", "don't buy five big maps"]
RATE = 22000
VOCASET, BIWI = (scan_specification(read_specification(name)) for name in ("vocaset", "biwi"))


def head(spec: CorpusSpec, columns: int, mouth_y: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Template (V, 3), faces (F, 3), and how far each vertex drops when the mouth opens (V,): rings around the mouth, the lips' own
    vertices innermost."""
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
    )  # lips take an eighth of the way out
    mouth = np.hstack((0.025 * np.cos(angle), mouth_y + 0.001 * np.sin(angle)))
    rim = np.hstack((0.1 * np.cos(angle), -0.02 + 0.15 * np.sin(angle)))
    xy = (1 - share) * mouth + share * rim
    z = 0.07 - 0.16 * share**2 + 0.012 * np.sin(np.pi * (share / 0.12).clip(0, 1))
    z += 0.03 * np.exp(-(xy[:, :1] ** 2 + (xy[:, 1:] + 0.005) ** 2) / 0.012**2)  # a nose
    points, drop = np.zeros((spec.vertices, 3)), np.zeros(spec.vertices)
    placed = order[: rings * columns]
    points[placed] = np.hstack((xy, z))
    points[order[rings * columns :]] = points[placed[-1]]
    drop[placed] = np.where(np.sin(angle) < 0, -np.sin(angle) * np.exp(-share / 0.15), 0)[:, 0]
    a = np.arange((rings - 1) * columns).reshape(-1, columns)
    b = np.roll(a, -1, 1)
    quads = np.stack((a, b, b + columns, a + columns), -1).reshape(-1, 4)
    faces = order[np.concatenate((quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]))]
    return points, faces, drop


class Owner:
    """Makes the sequences of a corpus: `motion` and `speech` of one open and sound at the same times."""

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
        """(T, V, 3) float64 at the rate of the scans."""
        times = np.arange(round(self.seconds * self.spec.scan_fps)) / self.spec.scan_fps
        moved = np.repeat(self.templates[subject][None], len(times), 0)
        moved[:, :, 1] -= 0.012 * self.opening(number, times)[:, None] * self.drop
        return moved

    def used(self, subject: str, number: int, recorded: bool) -> np.ndarray:
        """What becomes of a sequence's motion: every second scan of VOCASET; of BIWI as it was recorded, each frame by itself is
        centred and scaled to a surface of 1, as published."""
        frames = self.motion(subject, number)[:: self.spec.step]
        if not (recorded and self.spec.raw):
            return frames
        return np.stack([(f - f.mean(0)) / np.sqrt(surface_area(f, self.faces)) for f in frames])

    def speech(self, number: int, rate: int = RATE) -> np.ndarray:
        """(S,) int16, as long as the motion."""
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
        """What FaceFormer's and CodeTalker's users prepare."""
        for part in ("vertices_npy", "wav"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for subject, number, name in self.names():
            np.save(
                folder / "vertices_npy" / f"{name}.npy",
                self.motion(subject, number).reshape(-1, 3 * self.spec.vertices).astype(np.float32),
            )
            soundfile.write(folder / "wav" / f"{name}.wav", self.speech(number), RATE)
        (folder / "templates.pkl").write_bytes(templates)
        self.write_texts(folder)


def vocaset(sequences: dict[str, list[int]] | None = None, **options) -> Owner:
    """Two subjects of the training part, one of each other."""
    train, validation, test = (VOCASET.splits[s].subjects for s in ("train", "validation", "test"))
    return Owner(
        VOCASET,
        64,
        sequences or {train[0]: [1, 2], train[1]: [1], validation[0]: [21], test[0]: [21]},
        **{"seconds": 0.8, "mouth_y": -0.044} | options,
    )


def ply(vertices: np.ndarray, faces: np.ndarray, real: str = "float", index: str = "int") -> bytes:
    """Binary, as FLAME_sample.ply (float, int) and BIWI.ply (double, uint16) are."""
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


def write_vocaset(folder: Path, owner: Owner | None = None) -> Owner:
    """As distributed: one array of all frames beside three pickles of Python 2, transcripts, and the mesh of VOCA's repository."""
    owner, index, sounds, rows = owner or vocaset(), {}, {}, 0
    folder.mkdir(parents=True, exist_ok=True)
    frames = round(owner.seconds * 60)
    verts = np.lib.format.open_memmap(
        folder / "data_verts.npy", "w+", np.float32, (frames * len(owner.names()), 5023, 3)
    )
    for subject, number, _ in owner.names():
        key = f"sentence{number:02d}".encode()
        verts[rows : rows + frames] = owner.motion(subject, number)
        index.setdefault(subject.encode(), {})[key] = {n: rows + n for n in range(frames)}
        sounds.setdefault(subject.encode(), {})[key] = {b"sample_rate": RATE, b"audio": owner.speech(number)}
        rows += frames
    verts.flush()
    templates = {s.encode(): t for s, t in owner.templates.items()}
    for name, content in (("subj_seq_to_idx", index), ("raw_audio_fixed", sounds), ("templates", templates)):
        (folder / f"{name}.pkl").write_bytes(python2.dumps(content))
    (folder / "FLAME_sample.ply").write_bytes(ply(next(iter(owner.templates.values())), owner.faces))
    owner.write_texts(folder)
    return owner


def write_prepared(folder: Path, owner: Owner | None = None) -> Owner:
    """VOCASET as FaceFormer's users prepare it, still at 60 frames a second; the mesh in templates/, in letters and figures."""
    owner = owner or vocaset()
    owner.write_arrays(folder, python2.dumps({s.encode(): t for s, t in owner.templates.items()}))
    (folder / "templates").mkdir()
    points = next(iter(owner.templates.values()))
    head = [
        "ply",
        "format ascii 1.0",
        "comment VCGLIB generated",
        f"element vertex {len(points)}",
        *(f"property float {axis}" for axis in "xyz"),
        "property uchar red",
        f"element face {len(owner.faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    rows = [f"{x:.6f} {y:.6f} {z:.6f} 255" for x, y, z in points] + [f"3 {a} {b} {c}" for a, b, c in owner.faces]
    (folder / "templates" / "FLAME_sample.ply").write_text("\n".join(head + rows) + "\n")
    return owner


def biwi(sequences: dict[str, list[int]] | None = None, **options) -> Owner:
    """A training subject, seen in validation and test, and an unseen one."""
    return Owner(
        BIWI, 128, sequences or {"F2": [1, 33, 37], "M1": [37]}, **{"seconds": 0.4, "mouth_y": -0.08} | options
    )


def write_biwi_prepared(folder: Path, owner: Owner | None = None) -> Owner:
    """BIWI as CodeTalker's users prepare it; templates pickled by Python 3."""
    owner = owner or biwi()
    owner.write_arrays(folder, pickle.dumps(owner.templates))
    (folder / "BIWI.ply").write_bytes(ply(owner.templates["F2"], owner.faces, "double", "uint16"))
    return owner


def turned(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])


def write_biwi(folder: Path, owner: Owner | None = None, head_turn: float = 0.0, count: str = "<u4") -> Owner:
    """As distributed, in millimetres and upside down: a binary file for each frame, behind the count of its vertices; templates
    as .obj, faces counted from 1; sound at 44.1 kHz. head_turn: rad by which the head turns while it speaks."""
    owner = owner or biwi()
    raw = lambda vertices: 250 * vertices * owner.spec.raw["axes"] + (3, -8, 5)
    for subject, number, name in owner.names():
        place = folder / "faces" / subject / owner.spec.sentence.format(number)
        place.mkdir(parents=True)
        motion = owner.motion(subject, number)
        for k, frame in enumerate(motion):
            data = np.array([owner.spec.vertices], count).tobytes() if count else b""
            frame = raw(frame @ turned(head_turn * k / len(motion)))
            (place / f"frame_{k + 1:03d}.vl").write_bytes(data + frame.astype("<f4").tobytes())
        (folder / "audio").mkdir(exist_ok=True)
        stereo = np.repeat(owner.speech(number, 44100)[:, None], 2, 1)
        soundfile.write(folder / "audio" / f"{name}.wav", stereo, 44100)
    (folder / "rigid_scans").mkdir()
    for subject, template in owner.templates.items():
        lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in raw(template)]
        lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in owner.faces + 1]
        (folder / "rigid_scans" / f"{subject}.obj").write_text("\n".join(["# neutral", *lines]) + "\n")
    owner.write_texts(folder)
    return owner
