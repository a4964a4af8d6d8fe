"""The code that a result depends on: every module of the package that its function reaches by import.

Comments and docstrings do not count, so that rewording them does not invalidate a training. Imports under
`typing.TYPE_CHECKING` do not count either, because they are not executed. A data file counts if a module in the same
folder, which is reached, names it.
"""

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .digest import digest

PACKAGE = Path(__file__).resolve().parent.parent
DATA_FILES = (".csv", ".json")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def source_digest(module: str, package: Path = PACKAGE) -> str:
    """A digest of the code of all modules that `module`, such as "avlib.training.joint", reaches by import."""
    return digest(code_of(module, package))


def code_of(module: str, package: Path = PACKAGE) -> dict[str, str]:
    """A digest of the code of each module that `module` reaches, by dotted name."""
    return {name: _read(_existing_path(name, package)).digest for name in reachable(module, package)}


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
    for node in _read(path).imports:
        if isinstance(node, ast.Import):
            candidates.update(alias.name for alias in node.names)
        else:
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


class _Source(NamedTuple):
    """What counts of a module: its executed imports, and a digest of its code and of the data files that it names."""

    imports: list[ast.Import | ast.ImportFrom]
    digest: str


@cache
def _read(path: Path) -> _Source:
    """Of each module once, and without keeping the tree: every process of a run does this for a hundred modules."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    not_executed = {
        inner
        for node in nodes
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    imports = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) and n not in not_executed]
    texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    data = sorted(p for p in path.parent.iterdir() if p.suffix in DATA_FILES and p.name in texts)
    for node in nodes:
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    code = ast.dump(tree).replace(", type_params=[]", "")  # Python 3.12 adds it
    return _Source(imports, digest(code, *data))
