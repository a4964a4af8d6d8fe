"""Public names of a package that are imported on first use, so that importing the package itself is fast."""

import importlib
import sys
from collections.abc import Callable


def lazy_exports(package: str, homes: dict[str, str]) -> tuple[Callable, Callable, list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    homes: public name -> its place, such as ".export.animate:animate", or ".metrics" for a module.
    """

    def getattr_(name: str):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it offers {', '.join(homes)}")
        module, _, attribute = homes[name].partition(":")
        value = importlib.import_module(module, package)
        value = getattr(value, attribute) if attribute else value
        setattr(sys.modules[package], name, value)
        return value

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return getattr_, dir_, list(homes)
