"""Opens sound and video files, from anyone."""

from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

# The containers that FFmpeg may take a file for. Playlists are not among them: they name further files to open.
CONTAINERS = (
    *("wav", "w64", "flac", "ogg", "mp3", "aac", "aiff", "au", "caf", "amr", "nistsphere"),
    *("mov", "matroska", "avi", "flv", "asf", "mpeg", "mpegts", "mpegvideo", "dv"),
)
SOUND_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".au", ".caf", ".w64"),
    *(".amr", ".sph"),
)
OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}


def open_media(path: str | Path) -> InputContainer:
    """A sound or video file, opened. It is told by its content, whatever its name. ValueError with the reason, in which
    the file is not named."""
    path = Path(path)
    if not path.is_file():
        raise ValueError("no such file")
    try:
        # "file:" keeps a name such as "concat:a" from being taken for a protocol
        return av.open(f"file:{path.absolute()}", options=OPTIONS, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        reason = error.strerror if isinstance(error, FFmpegError) else str(error)
        raise ValueError(f"{path.stat().st_size} bytes, not a sound or video file ({reason})") from None
