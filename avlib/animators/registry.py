"""Finds an animator by its name, among the kit's own and those of plug-in files."""

import importlib.util
import sys
from pathlib import Path

from ..core.digest import digest
from . import codetalker, faceformer  # noqa: F401  they register themselves
from .animator import ANIMATORS, Animator


def find_animator(name: str, plugins: tuple[str, ...] = ()) -> type[Animator]:
    """The animator registered as `name`, after running the plug-in files. ValueError if there is none, or if a file is
    missing or imports a module of the kit that does not exist."""
    for file in plugins:
        run_plugin(file)
    if name not in ANIMATORS:
        raise ValueError(f"animator: expected one of {', '.join(ANIMATORS)}, got {name!r}")
    return ANIMATORS[name]


def run_plugin(file: str) -> None:
    """Runs a plug-in file as a module of its own, once in a process."""
    path = Path(file).resolve()
    if not path.is_file():
        raise ValueError(f"plugins: {file}: no such file")
    name = f"avlib_plugin_{digest(str(path))}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"plugins: {file}: not a Python file, expected a name that ends in .py")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[name])
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("avlib."):
            raise ValueError(
                f"plugins: {file}: {error.name} has moved; write: from avlib import Animator, register"
            ) from error
        raise
