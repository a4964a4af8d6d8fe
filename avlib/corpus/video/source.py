"""One recording of a video corpus, and its division between words if it is long."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...speech.segment import Segment

SEGMENT_S = 16.0  # longer recordings with word times are split between words, as in Auto-AVSR
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Source:
    """A recording of a corpus, or a part of one.

    path: a film or, if `sound` names the file of the speech, a take of Live Link Face, which has no pictures. words:
    with times from the beginning of the part, in seconds. cropped: the video is a mouth crop already. fault: the reason
    why it cannot be used, if its transcript gives one, else "". subject: the person who speaks, "" if unknown.
    """

    name: str
    split: str
    path: Path
    text: str
    words: tuple[Segment, ...] = ()
    begin_s: float = 0.0
    end_s: float = math.inf
    cropped: bool = False
    fault: str = ""
    subject: str = ""
    sound: Path | None = None

    @property
    def is_film(self) -> bool:
        return self.sound is None


def split_long(source: Source) -> Iterator[Source]:
    """The parts of at most SEGMENT_S of a recording whose word times are longer, or the recording itself."""
    if not source.words or source.words[-1].end_s <= SEGMENT_S:
        yield source
        return
    part: list[Segment] = []
    for word in [*source.words, None]:
        if part and (word is None or word.end_s - part[0].start_s > SEGMENT_S):
            begin, end = part[0].start_s, part[-1].end_s
            yield replace(
                source,
                name=f"{source.name}/{round(1000 * begin):07d}",
                text=" ".join(w.label for w in part),
                words=tuple(Segment(w.label, w.start_s - begin, w.end_s - begin) for w in part),
                begin_s=begin,
                end_s=end,
            )
            part = []
        if word is not None:
            part.append(word)
