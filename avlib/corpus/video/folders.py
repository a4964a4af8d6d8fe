"""Folders of films with transcripts beside them: x.mp4 and x.txt."""

from collections.abc import Iterator
from pathlib import Path

from ...core.files import find_visible
from .published_layouts import transcribed
from .source import Source

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v", ".3gp")


def find_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files below a folder whose names end so, in any case; hidden ones, such as macOS's "._x.mp4", left out."""
    return [path for path in find_visible(folder, "**/*") if path.suffix.lower() in suffixes and path.is_file()]


def several_folders(paths: list[Path]) -> bool:
    return len({path.parent for path in paths}) > 1


def name_of(path: Path, folder: Path) -> str:
    """The name of a recording: its path within the corpus, without suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


def read_pairs(folder: Path, videos: list[Path], several: bool, language: str) -> Iterator[Source]:
    """Films with transcripts beside them. several: whether each folder is another person's."""
    for path in videos:
        subject = path.parent.name if several else ""
        yield from transcribed(path, name_of(path, folder), "train", subject, True, language)
