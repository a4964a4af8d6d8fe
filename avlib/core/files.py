"""Files that are whole or absent: atomic writes, JSON and safetensors whose errors name the file."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


def write_atomic(path: Path, write: Callable[[Path], None]) -> Path:
    """`write` fills a temporary file beside `path`, which is renamed when whole: a kill leaves the old file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, value) -> Path:
    return write_atomic(path, lambda p: p.write_text(json.dumps(value, indent=1) + "\n"))


def read_json(path: Path):
    """ValueError, naming the file, if it is cut short or no JSON."""
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a whole JSON file ({error}); delete it and run again") from None


def write_weights(path: Path, tensors: dict[str, torch.Tensor], about: dict) -> Path:
    """Tensors as safetensors; `about` travels in the header as JSON."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    return write_atomic(path, lambda p: save_file(tensors, p, metadata={"about": json.dumps(about)}))


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors and their header. ValueError, naming the file, if it is missing or cut short."""
    if not path.exists():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, json.loads((f.metadata() or {}).get("about", "{}"))
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); delete it and run again") from None


def fill_weights(module: torch.nn.Module, weights: dict[str, torch.Tensor], source: str = "checkpoint"):
    """Copies `weights` into `module`; ValueError names the first that is missing, unknown, misshapen or not finite."""
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own if name not in weights]
    faults += [f"{name} is not a weight of {type(module).__name__}" for name in weights if name not in own]
    for name in (name for name in own if name in weights):
        if weights[name].shape != own[name].shape:
            faults.append(f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}")
        elif not weights[name].isfinite().all():
            faults.append(f"{name} holds values that are not finite")
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise ValueError(f"{source}: {faults[0]}{more}")
    module.load_state_dict(weights)


def load_weights(module: torch.nn.Module, path: Path) -> dict:
    """Fills `module` from a checkpoint; returns its header."""
    tensors, about = read_weights(path)
    fill_weights(module, tensors, str(path))
    return about
