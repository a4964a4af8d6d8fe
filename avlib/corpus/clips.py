"""The 2D part: clips of mouth crops and speech, read from shards."""

import json
import re
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..core.rates import SAMPLES_PER_FRAME
from .utterance import Utterance


class Clips:
    """One split of the 2D part, read clip by clip from its shards: video and speech in step, 640 samples a frame.

    What it keeps of a shard are its utterances and where their bytes begin; no file stays open or mapped, so memory does not
    grow with what was read.
    """

    def __init__(self, folder: Path, split: str):
        self.utterances: list[Utterance] = []
        self._where: list[
            tuple[Path, tuple[int, int], int, int]
        ] = []  # shard, sides, bytes at which video and speech begin
        for path in sorted(Path(folder).glob(f"{split}-*.safetensors")):
            header, data = _header(path)
            sides, video, speech = (
                header["video"]["shape"][1:],
                *(data + header[k]["data_offsets"][0] for k in ("video", "speech")),
            )
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
        return torch.from_numpy(
            np.fromfile(path, np.uint8, self.utterances[i].frames * sides[0] * sides[1], offset=begin)
        ).view(-1, *sides)

    def speech(self, i: int) -> torch.Tensor:
        """(T * 640,) float32 in [-1, 1]."""
        path, _, _, begin = self._where[i]
        return (
            torch.from_numpy(
                np.fromfile(path, "<i2", self.utterances[i].frames * SAMPLES_PER_FRAME, offset=begin)
            ).float()
            / 32768
        )


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


def grouped_by_reason(excluded: list[dict]) -> dict[str, list[str]]:
    """Names by reason, the most frequent first; reasons that differ in numbers and quotations are one."""
    found: dict[str, list[str]] = {}
    for one in excluded:
        found.setdefault(re.sub(r"'[^']*'|\d[\d.]*", "…", one["reason"]).replace("|", "/"), []).append(one["name"])
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
