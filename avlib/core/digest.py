"""One short digest of values and files, by which stages and corpora are told apart."""

import dataclasses
import hashlib
import json
from pathlib import Path


def digest(*parts) -> str:
    """Twelve hexadecimal digits of a SHA-256 over all parts: dataclasses, JSON values, and the content of paths."""
    sha256 = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                while block := file.read(1 << 24):  # checkpoints may be larger than the memory
                    sha256.update(block)
        else:
            value = dataclasses.asdict(part) if dataclasses.is_dataclass(part) and not isinstance(part, type) else part
            sha256.update(json.dumps(value, sort_keys=True).encode())
        sha256.update(b"\0")
    return sha256.hexdigest()[:12]
