"""The 2D part of a corpus: clips of mouth crops and speech, read from shards."""

import json
import re
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

from ..core.files import write_atomic
from ..core.rates import SAMPLES_PER_FRAME
from .utterance import Utterance

Clip = tuple[Utterance, torch.Tensor, torch.Tensor]  # with video (T, H, W) uint8 and speech (T * 640,) int16


class ClipPosition(NamedTuple):
    """Where the bytes of a clip are. size: height and width of its frames. video, speech: offsets in bytes."""

    shard: Path
    size: tuple[int, int]
    video: int
    speech: int


class Clips:
    """One split of the 2D part, read clip by clip from its shards: synchronous video and speech, 640 samples a frame.

    Only the utterances and byte offsets are kept in memory. No file stays open or mapped, so memory does not grow with
    the amount of data read.
    """

    def __init__(self, folder: Path, split: str):
        """ValueError if there is no clip, or if a shard is truncated."""
        self.utterances: list[Utterance] = []
        self._positions: list[ClipPosition] = []
        for path in sorted(Path(folder).glob(f"{split}-*.safetensors")):
            header, data_offset = _header(path)
            _, height, width = header["video"]["shape"]
            video, speech = (data_offset + header[k]["data_offsets"][0] for k in ("video", "speech"))
            for d in json.loads(header["__metadata__"]["utterances"]):
                self.utterances.append(Utterance.from_dict(d))
                self._positions.append(ClipPosition(path, (height, width), video, speech))
                video += d["frames"] * height * width
                speech += d["frames"] * SAMPLES_PER_FRAME * 2
        if not self.utterances:
            raise ValueError(f"{folder}: no clip of split {split!r}")

    def __len__(self) -> int:
        return len(self.utterances)

    @cached_property
    def frames(self) -> torch.Tensor:
        """(clips,): video frames of each clip."""
        return torch.tensor([u.frames for u in self.utterances])

    def subset(self, indices: Sequence[int]) -> "Clips":
        """The clips of these indices, in this order."""
        part = copy(self)
        part.__dict__.pop("frames", None)  # of all clips, if it was computed
        part.utterances = [self.utterances[i] for i in indices]
        part._positions = [self._positions[i] for i in indices]
        return part

    def joined(self, other: "Clips") -> "Clips":
        """These clips, then the other's. ValueError if frames are of another size."""
        sizes = {position.size for position in (*self._positions, *other._positions)}
        if len(sizes) > 1:
            raise ValueError(
                f"crops of {' and '.join(f'{h} x {w} pixels' for h, w in sorted(sizes))} cannot be read together; the "
                "setting corpus.crop is the size of renders"
            )
        whole = self.subset(range(len(self)))
        whole.utterances = [*self.utterances, *other.utterances]
        whole._positions = [*self._positions, *other._positions]
        return whole

    def video(self, i: int) -> torch.Tensor:
        """(T, H, W) uint8."""
        position = self._positions[i]
        height, width = position.size
        pixels = np.fromfile(
            position.shard, np.uint8, self.utterances[i].frames * height * width, offset=position.video
        )
        return torch.from_numpy(pixels).view(-1, height, width)

    def speech(self, i: int) -> torch.Tensor:
        """(T * 640,) float32 in [-1, 1], 16 kHz."""
        position = self._positions[i]
        count = self.utterances[i].frames * SAMPLES_PER_FRAME
        samples = np.fromfile(position.shard, "<i2", count, offset=position.speech)
        return torch.from_numpy(samples).float() / 32768


def write_shard(path: Path, clips: list[Clip]) -> None:
    """Writes clips, at least one, with frames of one size, to a shard that `Clips` reads."""
    utterances, videos, speeches = zip(*clips)
    tensors = {"video": torch.cat(videos), "speech": torch.cat(speeches)}
    metadata = {"utterances": json.dumps([u.as_dict() for u in utterances])}
    write_atomic(path, lambda p: save_file(tensors, p, metadata=metadata))


def _header(path: Path) -> tuple[dict, int]:
    """The header of a safetensors file, and the offset of its data in bytes. ValueError names a truncated file."""
    length = path.stat().st_size
    with path.open("rb") as f:
        size = int.from_bytes(f.read(8), "little")
        try:
            header = json.loads(f.read(min(size, length)))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: truncated or not a shard ({error}); delete it and run again") from None
    if 8 + size + max(ends) != length:
        raise ValueError(f"{path}: truncated: {length} bytes, expected {8 + size + max(ends)}; delete it and run again")
    return header, 8 + size


def grouped_by_reason(excluded: list[dict]) -> dict[str, list[str]]:
    """Names of excluded recordings by reason, the most frequent reason first.

    excluded: dicts of "name" and "reason". Reasons that differ only in numbers and quotations are merged.
    """
    names_by_reason: dict[str, list[str]] = {}
    for recording in excluded:
        reason = re.sub(r"'[^']*'|\d[\d.]*", "…", recording["reason"]).replace("|", "/")
        names_by_reason.setdefault(reason, []).append(recording["name"])
    return dict(sorted(names_by_reason.items(), key=lambda item: -len(item[1])))
