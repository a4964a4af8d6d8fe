"""The code that a result depends on: every module of the package that its function reaches by import.

Comments and docstrings do not count, so that rewording them does not invalidate a training. Imports under
`typing.TYPE_CHECKING` do not count either, because they are not executed. A data file counts if a module in the same
folder, which is reached, names it.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .config import digest

PACKAGE = Path(__file__).resolve().parent.parent
DATA_FILES = (".csv", ".json")


def source_digest(module: str, package: Path = PACKAGE) -> str:
    """A digest of the code of all modules that `module`, such as "avlib.training.joint", reaches by import."""
    return digest(code_of(module, package))


def code_of(module: str, package: Path = PACKAGE) -> dict[str, str]:
    """A digest of the code of each module that `module` reaches, by dotted name."""
    return {name: _code_digest(_existing_path(name, package)) for name in reachable(module, package)}


@cache
def reachable(module: str, package: Path = PACKAGE) -> list[str]:
    """The dotted names of the module and of all modules of its package that it reaches by import, sorted.

    ValueError for a module that is not in this package.
    """
    reached, pending = set(), [module]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += imported(name, package)
    return sorted(reached)


@cache
def imported(module: str, package: Path = PACKAGE) -> list[str]:
    """The dotted names of the package's modules that a module imports, at its top or in its functions, sorted."""
    path = _existing_path(module, package)
    inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
    candidates = set()
    for node in _executed(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            candidates.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside.split(".")[: len(inside.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            candidates.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    return sorted(name for name in candidates if path_of(name, package))


def path_of(module: str, package: Path = PACKAGE) -> Path | None:
    """The file of a module of the package, or None if there is none.

    The package's own `__init__` is not among its modules, because its lazy names reach everything.
    """
    first, _, rest = module.partition(".")
    if first != package.name or not rest:
        return None
    place = package.joinpath(*rest.split("."))
    return next((p for p in (place.with_name(f"{place.name}.py"), place / "__init__.py") if p.is_file()), None)


def _existing_path(module: str, package: Path) -> Path:
    path = path_of(module, package)
    if path is None:
        raise ValueError(f"{module}: no module of {package}")
    return path


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes except those under `if TYPE_CHECKING`."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending += node.orelse
            continue
        yield node
        pending += ast.iter_child_nodes(node)


@cache
def _code_digest(path: Path) -> str:
    tree = ast.parse(path.read_text("utf-8"))
    named = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(DATA_FILES)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    code = ast.dump(tree).replace(", type_params=[]", "")  # Python 3.12 adds it
    data = sorted(path.with_name(name) for name in named if path.with_name(name).is_file())
    return digest(code, *data)
