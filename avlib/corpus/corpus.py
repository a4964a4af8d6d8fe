"""Reads a prepared corpus: 3D utterances in the layout of FaceFormer's preparation, 2D clips in shards."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.digest import digest
from ..core.files import read_json
from ..core.rates import VIDEO_FPS
from ..render.camera import Camera
from ..speech.sound import read_speech
from .capture_description import capture_lines, capture_title
from .clips import Clips, grouped_by_reason
from .utterance import Utterance, shortened

MOST_NAMES = 12  # of subjects in a cell of a table
CLIP_SPLITS = ("train", "judge", "validation")  # of a 2D part; few corpora have clips for the judge alone


class Corpus:
    """A prepared corpus folder.

    corpus.json    name, hash, fps, unit, subjects of each split, camera, regions, utterances
    mesh.npz       faces (F, 3), albedo (V,), templates (subjects, V, 3), each once in the order of `subjects`
    vertices_npy/<utterance>.npy (T, V*3) float32, wav/<utterance>.wav (16 kHz mono)
    2d/<split>-<NNN>.safetensors    shards of clips; see `division` for who learns from which

    motion_scale: root mean square displacement of the training motion, in `unit`.
    soft_silhouettes: whether lip crops are rendered with soft silhouettes.
    recordings: of the user, for synthetic corpora: the names of the "used" ones, and the reasons why others are
    "excluded".
    capture: of a captured corpus: where its films are, how good its motion is, and why films are "excluded".
    origin: of scans: their layout, the counts of each split, and the reasons why sequences are "excluded".
    clips_origin: where the 2D part comes from, or "" if it is the corpus's own. It is not in the folder: a run may give
    a corpus any 2D part, and `run_corpus.open_corpus` finds it again.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.clips_folder, self.clips_origin = self.folder / "2d", ""
        description = read_json(self.folder / "corpus.json")
        self.name, self.hash, self.fps, self.unit = (description[k] for k in ("name", "hash", "fps", "unit"))
        self.motion_scale: float = description["motion_scale"]
        self.soft_silhouettes: bool = description["soft_silhouettes"]
        self.subjects: dict[str, list[str]] = description["subjects"]
        camera: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in description["camera"].items()}
        self.camera = Camera(**camera)
        self.regions = {k: torch.tensor(v) for k, v in description["regions"].items()}
        self._utterances = [Utterance.from_dict(u) for u in description["utterances"]]
        mesh = np.load(self.folder / "mesh.npz", allow_pickle=False)
        self.faces, self.albedo = torch.from_numpy(mesh["faces"]), torch.from_numpy(mesh["albedo"])
        all_subjects = dict.fromkeys(
            s for subjects in self.subjects.values() for s in subjects
        )  # some are in two splits
        self.templates = dict(zip(all_subjects, torch.from_numpy(mesh["templates"])))
        self.recordings: dict = description.get("recordings", {})
        self.origin: dict = description.get("origin", {})
        self.capture: dict = description.get("capture", {})

    @property
    def vertices(self) -> int:
        """The number of vertices."""
        return len(self.albedo)

    @property
    def title(self) -> str:
        """The data that results are measured on, for tables."""
        people = len({u.subject for u in self._utterances})
        details = [capture_title(self.capture, people)] if self.capture else []
        details += [f"2D part: {self.clips_origin}"] if self.clips_origin else []
        return f"{self.name} corpus" + (f" ({'; '.join(details)})" if details else "")

    def utterances(self, split: str) -> list[Utterance]:
        return [u for u in self._utterances if u.split == split]

    def example(self) -> Utterance:
        """The training sentence that notebooks show: the user's first recording or, without one, the first sentence."""
        sentences = self.utterances("train")
        return next((u for u in sentences if u.name in self.recordings.get("used", ())), sentences[0])

    def describe(self) -> str:
        """The contents of both parts, as a Markdown table."""
        lines = [
            f"Corpus *{self.name}* ({self.hash}): {self.vertices} vertices, {len(self.faces)} faces, unit {self.unit}, "
            f"{self.fps} frames per second.",
            "",
            "| part | split | subjects | sentences | minutes | words |",
            "|---" * 6 + "|",
        ]
        splits = [split for split in CLIP_SPLITS if self.has_clips(split)]
        parts = [("2D", s, self.clips(s).utterances, VIDEO_FPS) for s in splits]
        parts += [("3D", s, self.utterances(s), self.fps) for s in self.subjects]
        for part, split, utterances, fps in parts:
            words = {w for u in utterances for w in u.text.split()}
            subjects = self._clip_subjects(utterances) if part == "2D" else shortened(self.subjects[split], MOST_NAMES)
            minutes = sum(u.frames for u in utterances) / fps / 60
            lines.append(f"| {part} | {split} | {subjects} | {len(utterances)} | {minutes:.1f} | {len(words)} |")
        if self.recordings:
            lines += ["", f"Your recordings, in the training split of both parts: {len(self.recordings['used'])}."]
            lines += _excluded_lines(self.recordings["excluded"])
        if self.capture:
            lines += capture_lines(self.capture, len(self.clips("train")))
        return "\n".join(lines + (self._origin_lines() if self.origin else []))

    def _clip_subjects(self, utterances: list[Utterance]) -> str:
        """The subjects of clips, as far as they are named. Synthetic clips have one each, without a name."""
        unnamed = "not stated" if (self.clips_folder.parent / "video_corpus.json").is_file() else "one per clip"
        return shortened(list(dict.fromkeys(u.subject for u in utterances if u.subject)), MOST_NAMES) or unnamed

    def _origin_lines(self) -> list[str]:
        """How many sequences of scans are expected, found and used, as Markdown."""
        columns, counts = ("expected", "published", "found", "requested", "used"), self.origin["counts"]
        lines = [
            "",
            f"3D from {self.origin['layout']}; 2D from {self.clips_origin}. Numbers of sequences: "
            "expected by the corpus specification, published, found, requested by this preset, and used:",
            "",
            "| split | " + " | ".join(columns) + " |",
            "|---" * 6 + "|",
        ]
        for split, count in counts.items():
            lines.append(f"| {split} | " + " | ".join(str(count[k]) for k in columns) + " |")
        lines.append("")
        lines += [f"Missing from {split}: {shortened(c['missing'])}." for split, c in counts.items() if c["missing"]]
        return lines + _excluded_lines(self.origin["excluded"])

    def motion(self, utterance: Utterance) -> torch.Tensor:
        """Vertices over time, (T, V, 3), in the corpus's unit.

        ValueError names a missing or truncated file, or one of an unexpected shape or with values that are not finite.
        """
        path = self.folder / "vertices_npy" / f"{utterance.name}.npy"
        try:
            flat = np.load(path, "c", allow_pickle=False)  # mapped: parallel processes share its pages
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path}: not a complete array ({error}); delete {self.folder} and run again") from None
        if flat.shape != (utterance.frames, 3 * self.vertices):
            raise ValueError(f"{path}: shape {flat.shape}, expected {(utterance.frames, 3 * self.vertices)}")
        if not np.isfinite(flat).all():
            raise ValueError(f"{path}: contains NaN or infinite values")
        return torch.from_numpy(flat).unflatten(-1, (-1, 3))

    def speech(self, utterance: Utterance) -> torch.Tensor:
        """(S,), 16 kHz."""
        return read_speech(self.folder / "wav" / f"{utterance.name}.wav")

    def clips(self, split: str) -> Clips:
        """One split of the 2D part."""
        return Clips(self.clips_folder, split)

    def has_clips(self, split: str) -> bool:
        """Whether the 2D part has clips of a split."""
        return any(self.clips_folder.glob(f"{split}-*.safetensors"))

    def describe_clips(self) -> str:
        """The splits of the 2D part, and how many recordings are excluded for which reasons, as Markdown."""
        path = self.clips_folder.parent / "video_corpus.json"
        if path.is_file():
            summary = read_json(path)
        else:
            frames = {split: self.clips(split).frames for split in CLIP_SPLITS if self.has_clips(split)}
            excluded = "listed above" if self.capture.get("excluded") else 0  # films are excluded from both parts
            splits = {s: {"clips": len(f), "frames": int(f.sum()), "excluded": excluded} for s, f in frames.items()}
            layout = "mouth crops of film, and renders of captured motion" if self.capture else self.name
            summary = {"layout": layout, "excluded": [], "splits": splits}
        lines = [f"2D part: {summary['layout']}", "", "| split | clips | hours | excluded |", "|---" * 4 + "|"]
        lines += [
            f"| {split} | {n['clips']} | {n['frames'] / VIDEO_FPS / 3600:.2f} | {n['excluded']} |"
            for split, n in summary["splits"].items()
        ]
        if summary["excluded"]:
            lines += ["", "| reason for exclusion | clips | first |", "|---|---|---|"]
            lines += [
                f"| {reason} | {len(names)} | {names[0]} |"
                for reason, names in grouped_by_reason(summary["excluded"]).items()
            ]
        return "\n".join(lines)

    def use_clips(self, folder: Path, clips_hash: str, origin: str) -> None:
        """Takes the 2D part from a folder of shards. clips_hash: of its content; the corpus's hash then includes it."""
        self.clips_folder, self.clips_origin, self.hash = Path(folder), origin, digest(self.hash, clips_hash)

    def use_video_corpus(self, folder: Path, origin: str) -> None:
        """Takes the 2D part from a folder that avlib.cli.prepare_video wrote. ValueError if it is not one."""
        path = Path(folder) / "video_corpus.json"
        if not path.is_file():
            raise ValueError(f"{path}: no such file; python -m avlib.cli.prepare_video writes it")
        summary = read_json(path)
        if "hash" not in summary:
            raise ValueError(f"{path}: written by another version; run python -m avlib.cli.prepare_video again")
        self.use_clips(path.parent / "2d", summary["hash"], origin)


def _excluded_lines(excluded: dict[str, str]) -> list[str]:
    reasons = [f"* `{name}`: {reason}" for name, reason in excluded.items()]
    return ["", f"Excluded: {len(excluded) or 'none'}.", *reasons]
