"""Where a name finds its animator: the kit's own, or a plug-in's."""

import importlib.util
import sys
from pathlib import Path

from ..core.config import digest
from . import codetalker, faceformer  # noqa: F401  they register themselves
from .animator import ANIMATORS, Animator


def find_animator(name: str, plugins: tuple[str, ...] = ()) -> type[Animator]:
    """The animator of that name, of the kit's own or of one of these files, which are run. ValueError where none is."""
    for file in plugins:
        path = Path(file).resolve()
        if not path.is_file():
            raise ValueError(f"plugins: {file}: no such file")
        module = f"avlib_plugin_{digest(str(path))}"
        if module not in sys.modules:
            spec = importlib.util.spec_from_file_location(module, path)
            sys.modules[module] = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(sys.modules[module])
            except BaseException:
                del sys.modules[module]
                raise
    if name not in ANIMATORS:
        raise ValueError(f"animator: expected one of {', '.join(ANIMATORS)}, got {name!r}")
    return ANIMATORS[name]
