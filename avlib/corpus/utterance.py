"""One recording's metadata, and the error that excludes one."""

from dataclasses import dataclass

from ..speech.segment import Segment


class Excluded(ValueError):
    """A clip that cannot be used; says why."""


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
        return {
            "name": self.name,
            "split": self.split,
            "subject": self.subject,
            "text": self.text,
            "frames": self.frames,
            **spans,
        }

    @staticmethod
    def from_dict(d: dict) -> "Utterance":
        spans = {k: tuple(Segment(*s) for s in d[k]) for k in ("words", "phonemes")}
        return Utterance(d["name"], d["split"], d["subject"], d["text"], d["frames"], **spans)


def shortened(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
