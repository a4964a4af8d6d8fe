"""Reading a corpus: facts as data, 3D utterances as FaceFormer's preparation lays them out, 2D clips in shards."""
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from .audio import SPEECH_HZ, read_speech
from .camera import Camera
from .config import digest
from .espeak import Segment
from .run import read_json

VIDEO_FPS = 25                                  # of everything that a reader sees
SAMPLES_PER_FRAME = SPEECH_HZ // VIDEO_FPS      # 640 samples of speech beside each video frame


@dataclass(frozen=True)
class Utterance:
    """What is known of one recording, 3D or 2D; `frames` at the motion's or the video's own rate."""
    name: str
    split: str
    subject: str
    text: str
    frames: int
    words: tuple[Segment, ...] = ()
    phonemes: tuple[Segment, ...] = ()

    def as_dict(self) -> dict:
        spans = {k: [[s.label, s.start_s, s.end_s] for s in getattr(self, k)] for k in ("words", "phonemes")}
        return {"name": self.name, "split": self.split, "subject": self.subject, "text": self.text,
                "frames": self.frames, **spans}

    @staticmethod
    def from_dict(d: dict) -> "Utterance":
        spans = {k: tuple(Segment(*s) for s in d[k]) for k in ("words", "phonemes")}
        return Utterance(d["name"], d["split"], d["subject"], d["text"], d["frames"], **spans)


def shortened(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class Corpus:
    """A prepared corpus folder.

    corpus.json    name, hash, fps, unit, vertices, subjects of each split, camera, regions, utterances
    mesh.npz       faces (F, 3), albedo (V,), templates (subjects, V, 3), once each in the order of `subjects`
    vertices_npy/<utterance>.npy (T, V*3) float32, wav/<utterance>.wav (16 kHz mono)
    2d/<split>-<NNN>.safetensors    shards of clips
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.clips_folder = self.folder / "2d"
        facts = read_json(self.folder / "corpus.json")
        self.name, self.hash, self.fps, self.unit = (facts[k] for k in ("name", "hash", "fps", "unit"))
        self.motion_scale: float = facts["motion_scale"]    # root mean square of the training motion, in `unit`
        self.antialias: bool = facts["antialias"]           # of the lip crops
        self.subjects: dict[str, list[str]] = facts["subjects"]
        self.camera = Camera(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts["camera"].items()})
        self.regions = {k: torch.tensor(v) for k, v in facts["regions"].items()}
        self._utterances = [Utterance.from_dict(u) for u in facts["utterances"]]
        mesh = np.load(self.folder / "mesh.npz", allow_pickle=False)
        self.faces, self.albedo = torch.from_numpy(mesh["faces"]), torch.from_numpy(mesh["albedo"])
        everyone = dict.fromkeys(s for subjects in self.subjects.values() for s in subjects)     # some are in two splits
        self.templates = dict(zip(everyone, torch.from_numpy(mesh["templates"])))
        self.recordings: dict = facts.get("recordings", {})     # of a user's own: the names of those "used", and why others are "aside"
        self.origin: dict = facts.get("origin", {})         # of scans by others: their layout, counts, and what was set aside

    @property
    def vertices(self) -> int:
        return len(self.albedo)

    @property
    def title(self) -> str:
        """What tables say that their numbers are measured on."""
        return f"{self.name} corpus" + (f" (2D part: {self.origin['clips']})" if self.origin else "")

    def utterances(self, split: str) -> list[Utterance]:
        return [u for u in self._utterances if u.split == split]

    def example(self) -> Utterance:
        """The training sentence to look at: the first of the user's own, where there are any."""
        sentences = self.utterances("train")
        return next((u for u in sentences if u.name in self.recordings.get("used", ())), sentences[0])

    def describe(self) -> str:
        """What there is, as a Markdown table."""
        lines = [f"Corpus *{self.name}* ({self.hash}): {self.vertices} vertices, {len(self.faces)} faces, unit {self.unit}, "
                 f"{self.fps} frames a second.", "",
                 "| part | split | subjects | sentences | minutes | words |", "|---" * 6 + "|"]
        parts = [("2D", s, self.clips(s).utterances, VIDEO_FPS) for s in ("train", "validation")]
        parts += [("3D", s, self.utterances(s), self.fps) for s in self.subjects]
        for part, split, utterances, fps in parts:
            words = {w for u in utterances for w in u.text.split()}
            people = "one each" if self.clips_folder.parent == self.folder else "many"
            people = people if part == "2D" else ", ".join(self.subjects[split])
            minutes = sum(u.frames for u in utterances) / fps / 60
            lines.append(f"| {part} | {split} | {people} | {len(utterances)} | {minutes:.1f} | {len(words)} |")
        if self.recordings:
            lines += ["", f"Own recordings, among the training sentences of both parts: {len(self.recordings['used'])}."]
            lines += _aside_lines(self.recordings["aside"])
        return "\n".join(lines + (self._origin_lines() if self.origin else []))

    def _origin_lines(self) -> list[str]:
        """What was found of scans by others, and what of them is used."""
        columns, counts, aside = ("expected", "published", "found", "asked", "used"), self.origin["counts"], self.origin["aside"]
        lines = ["", f"3D from {self.origin['layout']}; 2D from {self.origin['clips']}. Sequences as the corpus's facts expect them, "
                 "as published work had them, as they were found, as this preset asks for them, and as they are used:",
                 "", "| split | " + " | ".join(columns) + " |", "|---" * 6 + "|"]
        lines += [f"| {split} | " + " | ".join(str(count[k]) for k in columns) + " |" for split, count in counts.items()]
        lines += ["", *(f"Not there, of {split}: {shortened(c['absent'])}." for split, c in counts.items() if c["absent"])]
        return lines + _aside_lines(aside)

    def motion(self, utterance: Utterance) -> torch.Tensor:
        """Vertices over time, (T, V, 3), in the corpus's unit. ValueError names a missing, truncated or odd file."""
        path = self.folder / "vertices_npy" / f"{utterance.name}.npy"
        try:
            flat = np.load(path, "c", allow_pickle=False)       # mapped: processes side by side share its pages
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path}: not a whole array ({error}); delete {self.folder} and run again") from None
        if flat.shape != (utterance.frames, 3 * self.vertices):
            raise ValueError(f"{path}: shape {flat.shape}, expected {(utterance.frames, 3 * self.vertices)}")
        if not np.isfinite(flat).all():
            raise ValueError(f"{path}: holds NaN or infinite values")
        return torch.from_numpy(flat).unflatten(-1, (-1, 3))

    def speech(self, utterance: Utterance) -> torch.Tensor:
        """(S,), 16 kHz."""
        return read_speech(self.folder / "wav" / f"{utterance.name}.wav")

    def clips(self, split: str) -> "Clips":
        return Clips(self.clips_folder, split)

    def learn_from(self, folder: Path) -> None:
        """Takes the 2D part from a folder that avlib.talking made."""
        summary = Path(folder) / "talking.json"
        if not summary.is_file():
            raise ValueError(f"{summary}: no such file; python -m avlib.talking makes it from video")
        self.clips_folder, self.hash = summary.parent / "2d", digest(self.hash, read_json(summary)["holds"])


def _aside_lines(aside: dict[str, str]) -> list[str]:
    return ["", f"Set aside: {len(aside) or 'none'}.", *(f"* `{name}`: {reason}" for name, reason in aside.items())]


class Clips:
    """One split of the 2D part, read clip by clip from its shards: video and speech in step, 640 samples a frame.

    What it keeps of a shard are its utterances and where their bytes begin; no file stays open or mapped, so memory does not
    grow with what was read.
    """

    def __init__(self, folder: Path, split: str):
        self.utterances: list[Utterance] = []
        self._where: list[tuple[Path, tuple[int, int], int, int]] = []     # shard, sides, bytes at which video and speech begin
        for path in sorted(Path(folder).glob(f"{split}-*.safetensors")):
            header, data = _header(path)
            sides, video, speech = header["video"]["shape"][1:], *(data + header[k]["data_offsets"][0] for k in ("video", "speech"))
            for d in json.loads(header["__metadata__"]["utterances"]):
                self.utterances.append(Utterance.from_dict(d))
                self._where.append((path, sides, video, speech))
                video += d["frames"] * sides[0] * sides[1]
                speech += d["frames"] * SAMPLES_PER_FRAME * 2
        if not self.utterances:
            raise ValueError(f"{folder}: no clip of split {split!r}")

    def __len__(self) -> int:
        return len(self.utterances)

    @cached_property
    def frames(self) -> torch.Tensor:
        """(clips,) video frames of each."""
        return torch.tensor([u.frames for u in self.utterances])

    def video(self, i: int) -> torch.Tensor:
        """(T, H, W) uint8."""
        path, sides, begin, _ = self._where[i]
        return torch.from_numpy(np.fromfile(path, np.uint8, self.utterances[i].frames * sides[0] * sides[1], offset=begin)
                                ).view(-1, *sides)

    def speech(self, i: int) -> torch.Tensor:
        """(T * 640,) float32 in [-1, 1]."""
        path, _, _, begin = self._where[i]
        return torch.from_numpy(np.fromfile(path, "<i2", self.utterances[i].frames * SAMPLES_PER_FRAME, offset=begin)).float() / 32768


def _header(path: Path) -> tuple[dict, int]:
    """The header of a safetensors file, and the byte at which its data begin. ValueError, naming the file, if it is cut short."""
    length = path.stat().st_size
    with path.open("rb") as f:
        size = int.from_bytes(f.read(8), "little")
        try:
            header = json.loads(f.read(min(size, length)))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: truncated or no shard ({error}); delete it and run again") from None
    if 8 + size + max(ends) != length:
        raise ValueError(f"{path}: truncated: {length} bytes, expected {8 + size + max(ends)}; delete it and run again")
    return header, 8 + size
