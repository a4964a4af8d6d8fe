"""Atomic writes of files, and JSON and safetensors files whose errors name the file."""

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE
from tokenize import TokenError

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

# What NumPy raises for damaged arrays, and for damaged headers of theirs, which it evaluates as Python's literals.
ARRAY_FAULTS = (OSError, ValueError, EOFError, TypeError, KeyError, OverflowError, MemoryError)
HEADER_FAULTS = (SyntaxError, TokenError)
FULL_BYTES = 1 << 20  # a disk with less room than this is full


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Writes a file completely or not at all, so that an interruption, or a power cut, leaves the old file or none.

    `write` fills a temporary file in the same folder, which is then renamed to `path`. Its permissions are those of any
    new file, also if `write` made a private one, as safetensors does. ValueError, naming the file, where the disk is
    full or the place read-only.
    """
    temporary = path.with_name(f".{path.stem[:100]}.{os.getpid()}{path.suffix}")  # a name of at most 255 bytes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        if temporary.stat().st_mode != mode:
            temporary.chmod(S_IMODE(mode))
        flush_to_disk(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: cannot be written: {_reason(path, error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def flush_to_disk(path: Path) -> None:
    """Returns when the disk has the file's content. Before, a power cut may leave a file without it."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _reason(path: Path, error: Exception) -> str:
    """Why a file cannot be written. Libraries hide that a disk is full."""
    if path.parent.is_dir() and shutil.disk_usage(path.parent).free < FULL_BYTES:
        return "the disk is full"
    return getattr(error, "strerror", None) or str(error)


def remove_unfinished(folder: Path) -> None:
    """Deletes what `write_atomic` had begun to write in a folder when its process was killed."""
    for path in folder.rglob(".*"):
        match = re.fullmatch(r"\..*\.(\d+)(\.\w+)?", path.name)
        if match and path.is_file() and not _is_running(int(match[1])):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Whether there is a process with this number. Windows does not tell: there is one."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True


def find_visible(folder: Path, pattern: str = "*") -> list[Path]:
    """What a pattern finds in a folder, sorted. Hidden files, such as macOS's "._x.wav", and what lies in hidden
    folders are left out."""
    found = sorted(folder.glob(pattern))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def write_json(path: Path, value) -> Path:
    """Writes a value as indented JSON, atomically."""
    return write_atomic(path, lambda p: p.write_text(json.dumps(value, indent=1) + "\n"))


def read_json(path: Path):
    """The content of a JSON file. ValueError, naming the file, if it is truncated or not JSON."""
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a complete JSON file ({error}); delete it and run again") from None


def open_array(path: Path) -> np.ndarray:
    """The array of numbers in a .npy file, memory-mapped. ValueError names a file that holds none."""
    try:
        array = np.load(path, "r", allow_pickle=False)
    except HEADER_FAULTS:
        raise ValueError(f"{path}: not a complete array of numbers (its header is damaged)") from None
    except ARRAY_FAULTS as error:
        raise ValueError(f"{path}: not a complete array of numbers ({error})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: not an array of numbers")
    return array


def write_weights(path: Path, tensors: dict[str, torch.Tensor], about: dict) -> Path:
    """Writes tensors as safetensors, atomically, with `about` as JSON in the file's header."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    return write_atomic(path, lambda p: save_file(tensors, p, metadata={"about": json.dumps(about)}))


def read_weights(path: Path, prefix: str = "") -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors, and the `about` of the header. ValueError, naming the file, if it is missing or truncated.

    prefix: of the names of those that are read, which are returned without it.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as f:
            tensors = {k.removeprefix(prefix): f.get_tensor(k) for k in f.keys() if k.startswith(prefix)}
            return tensors, json.loads((f.metadata() or {}).get("about", "{}"))
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error}); delete it and run again") from None


def fill_weights(module: torch.nn.Module, weights: dict[str, torch.Tensor], source: str = "checkpoint") -> None:
    """Copies `weights` into `module`.

    ValueError, which names `source` and the weight, if one is missing, unknown, of another shape or not finite; the
    module is then unchanged.
    """
    expected = module.state_dict()
    faults = [f"{name} is missing" for name in expected if name not in weights]
    faults += [f"{name} is not a weight of {type(module).__name__}" for name in weights if name not in expected]
    for name in (name for name in expected if name in weights):
        if weights[name].shape != expected[name].shape:
            faults.append(f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(expected[name].shape)}")
        elif not weights[name].isfinite().all():
            faults.append(f"{name} holds values that are not finite")
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise ValueError(f"{source}: {faults[0]}{more}")
    module.load_state_dict(weights)


def load_weights(module: torch.nn.Module, path: Path, prefix: str = "") -> dict:
    """Fills `module` from a safetensors file and returns the file's `about`. prefix: see `read_weights`.

    ValueError: see `fill_weights`.
    """
    tensors, about = read_weights(path, prefix)
    fill_weights(module, tensors, str(path))
    return about
