"""Reading a corpus: facts as data, 3D utterances as FaceFormer's preparation lays them out, 2D clips in shards."""

from pathlib import Path

import numpy as np
import torch

from ..core.config import digest
from ..core.files import read_json
from ..core.rates import VIDEO_FPS
from ..render.camera import Camera
from ..speech.sound import read_speech
from .clips import Clips, grouped_by_reason
from .utterance import Utterance, shortened


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
        self.motion_scale: float = facts["motion_scale"]  # root mean square of the training motion, in `unit`
        self.soft_silhouettes: bool = facts["soft_silhouettes"]  # of the lip crops
        self.subjects: dict[str, list[str]] = facts["subjects"]
        self.camera = Camera(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts["camera"].items()})
        self.regions = {k: torch.tensor(v) for k, v in facts["regions"].items()}
        self._utterances = [Utterance.from_dict(u) for u in facts["utterances"]]
        mesh = np.load(self.folder / "mesh.npz", allow_pickle=False)
        self.faces, self.albedo = torch.from_numpy(mesh["faces"]), torch.from_numpy(mesh["albedo"])
        everyone = dict.fromkeys(s for subjects in self.subjects.values() for s in subjects)  # some are in two splits
        self.templates = dict(zip(everyone, torch.from_numpy(mesh["templates"])))
        self.recordings: dict = facts.get(
            "recordings", {}
        )  # of a user's own: the names of those "used", and why others are "aside"
        self.origin: dict = facts.get("origin", {})  # of scans by others: their layout, counts, and what was set aside

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
        lines = [
            f"Corpus *{self.name}* ({self.hash}): {self.vertices} vertices, {len(self.faces)} faces, unit {self.unit}, "
            f"{self.fps} frames a second.",
            "",
            "| part | split | subjects | sentences | minutes | words |",
            "|---" * 6 + "|",
        ]
        parts = [("2D", s, self.clips(s).utterances, VIDEO_FPS) for s in ("train", "validation")]
        parts += [("3D", s, self.utterances(s), self.fps) for s in self.subjects]
        for part, split, utterances, fps in parts:
            words = {w for u in utterances for w in u.text.split()}
            people = "one each" if self.clips_folder.parent == self.folder else "many"
            people = people if part == "2D" else ", ".join(self.subjects[split])
            minutes = sum(u.frames for u in utterances) / fps / 60
            lines.append(f"| {part} | {split} | {people} | {len(utterances)} | {minutes:.1f} | {len(words)} |")
        if self.recordings:
            lines += [
                "",
                f"Own recordings, among the training sentences of both parts: {len(self.recordings['used'])}.",
            ]
            lines += _aside_lines(self.recordings["aside"])
        return "\n".join(lines + (self._origin_lines() if self.origin else []))

    def _origin_lines(self) -> list[str]:
        """What was found of scans by others, and what of them is used."""
        columns, counts, aside = (
            ("expected", "published", "found", "asked", "used"),
            self.origin["counts"],
            self.origin["aside"],
        )
        lines = [
            "",
            f"3D from {self.origin['layout']}; 2D from {self.origin['clips']}. Sequences as the corpus's facts expect them, "
            "as published work had them, as they were found, as this preset asks for them, and as they are used:",
            "",
            "| split | " + " | ".join(columns) + " |",
            "|---" * 6 + "|",
        ]
        lines += [
            f"| {split} | " + " | ".join(str(count[k]) for k in columns) + " |" for split, count in counts.items()
        ]
        lines += [
            "",
            *(f"Not there, of {split}: {shortened(c['absent'])}." for split, c in counts.items() if c["absent"]),
        ]
        return lines + _aside_lines(aside)

    def motion(self, utterance: Utterance) -> torch.Tensor:
        """Vertices over time, (T, V, 3), in the corpus's unit. ValueError names a missing, truncated or odd file."""
        path = self.folder / "vertices_npy" / f"{utterance.name}.npy"
        try:
            flat = np.load(path, "c", allow_pickle=False)  # mapped: processes side by side share its pages
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

    def describe_clips(self) -> str:
        """The 2D part's splits, what was set aside, and why, as Markdown."""
        path = self.clips_folder.parent / "video_corpus.json"
        if path.is_file():
            summary = read_json(path)
        else:
            parts = {split: self.clips(split).frames for split in ("train", "validation")}
            summary = {
                "layout": self.name,
                "aside": [],
                "splits": {split: {"clips": len(f), "frames": int(f.sum()), "aside": 0} for split, f in parts.items()},
            }
        lines = [f"2D part: {summary['layout']}", "", "| split | clips | hours | set aside |", "|---" * 4 + "|"]
        lines += [
            f"| {split} | {n['clips']} | {n['frames'] / VIDEO_FPS / 3600:.2f} | {n['aside']} |"
            for split, n in summary["splits"].items()
        ]
        if summary["aside"]:
            lines += ["", "| set aside, because | clips | the first |", "|---|---|---|"]
            lines += [
                f"| {reason} | {len(names)} | {names[0]} |"
                for reason, names in grouped_by_reason(summary["aside"]).items()
            ]
        return "\n".join(lines)

    def learn_from(self, folder: Path) -> None:
        """Takes the 2D part from a folder that avlib.cli.prepare_video made."""
        summary = Path(folder) / "video_corpus.json"
        if not summary.is_file():
            raise ValueError(f"{summary}: no such file; python -m avlib.cli.prepare_video makes it from video")
        self.clips_folder, self.hash = summary.parent / "2d", digest(self.hash, read_json(summary)["holds"])


def _aside_lines(aside: dict[str, str]) -> list[str]:
    return ["", f"Set aside: {len(aside) or 'none'}.", *(f"* `{name}`: {reason}" for name, reason in aside.items())]
