"""The code that a result depends on: every module of the package that its function can reach by import.

Comments and docstrings do not count, so that a corrected sentence does not cost a training. Nor do imports under
`typing.TYPE_CHECKING`, which are never run. A data file counts where a reached module beside it names it.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .config import digest

PACKAGE = Path(__file__).resolve().parent.parent
DATA_FILES = (".csv", ".json")


def source_digest(module: str, package: Path = PACKAGE) -> str:
    """Changes with the code of any module that `module`, as "avlib.training.joint", can reach by import."""
    return digest(code_of(module, package))


def code_of(module: str, package: Path = PACKAGE) -> dict[str, str]:
    """A digest of the code of each module that `module` can reach, by name."""
    return {name: _code_digest(path_of(name, package)) for name in reachable(module, package)}


@cache
def reachable(module: str, package: Path = PACKAGE) -> list[str]:
    """The module itself and all that it can reach by import within its package, by dotted names, sorted.

    ValueError for a module that is not of this package.
    """
    if path_of(module, package) is None:
        raise ValueError(f"{module}: no module of {package}")
    found, pending = set(), [module]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += imported(name, package)
    return sorted(found)


@cache
def imported(module: str, package: Path = PACKAGE) -> list[str]:
    """The package's modules that a module's code imports, at its top or within its functions, by dotted names, sorted."""
    path = path_of(module, package)
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
    """The file of a module of the package, or None for a name that is none of its modules. The package's own `__init__` is
    none of them: its lazy names reach everything."""
    first, _, rest = module.partition(".")
    if first != package.name or not rest:
        return None
    place = package.joinpath(*rest.split("."))
    return next((p for p in (place.with_name(f"{place.name}.py"), place / "__init__.py") if p.is_file()), None)


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING`."""
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
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and str(node.value).endswith(DATA_FILES)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    code = ast.dump(tree).replace(", type_params=[]", "")  # which Python 3.12 adds
    data = sorted(path.with_name(name) for name in named if path.with_name(name).is_file())
    return digest(code, *data)
