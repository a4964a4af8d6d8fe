"""The metadata of one recording, and the error that excludes one."""

from dataclasses import dataclass

from ..speech.segment import Segment


class Excluded(ValueError):
    """A recording that cannot be used; the message gives the reason."""


@dataclass(frozen=True)
class Utterance:
    """The metadata of one recording, 3D or 2D.

    frames: at the rate of the motion or of the video. words, phonemes: with times in seconds, if known.
    """

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


def shortened(names: list[str], limit: int = 6) -> str:
    """The first names as a list in a sentence, and how many more there are."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
