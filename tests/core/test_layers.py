"""The layout of the package, read from its imports: ordered rooms, no circles, private names at home, small files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import avlib
from avlib.core.sources import PACKAGE, imported, path_of, reachable

ROOMS = (
    "core",
    "speech",
    "render",
    "metrics",
    "corpus",
    "animators",
    "lipreading",
    "training",
    "evaluation",
    "plots",
    "export",
    "widgets",
    "cli",
)
PARTS_OF_CORPUS = ("", "video", "embedded", "scans", "captured", "prepare")  # the same within the room `corpus`
HEAVY = (
    "torch",
    "torchaudio",
    "transformers",
    "matplotlib",
    "sklearn",
    "scipy",
    "av",
    "jiwer",
    "anywidget",
    "papermill",
)
LONGEST_FILE, LONGEST_FUNCTION = 300, 60
LONG_FUNCTIONS = {  # why a function is longer than that
    "avlib/corpus/embedded/rig.py:_shapes": "one articulation shape after another, in the order of SHAPES",
}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(("avlib", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = [module_of(path) for path in FILES if path.parent != PACKAGE]


def room_of(module: str) -> int:
    return ROOMS.index(module.split(".")[1])


def part_of(module: str) -> int:
    names = module.split(".")[2:]
    return PARTS_OF_CORPUS.index(names[0] if names and names[0] in PARTS_OF_CORPUS else "")


def test_every_folder_is_a_room():
    assert {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"} == set(ROOMS)
    assert sorted(p.name for p in PACKAGE.glob("*.py")) == ["__init__.py", "__main__.py"]


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_from_rooms_before_it(module):
    for other in imported(module):
        assert room_of(other) <= room_of(module), f"{module} imports {other}, of a room after its own"
        if room_of(module) == room_of(other) == ROOMS.index("corpus"):
            assert part_of(other) <= part_of(module), (
                f"{module} imports {other}, of a part of the corpus room after its own"
            )


@pytest.mark.parametrize("module", MODULES)
def test_no_module_reaches_itself(module):
    for other in imported(module):
        if other != module.rpartition(".")[0]:  # its own package, whose __init__ imports nothing of it
            assert module not in reachable(other), f"{module} imports {other}, which imports it"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_private_name_of_another_module_is_used(path):
    tree = ast.parse(path.read_text("utf-8"))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("avlib")):
            private = [a.name for a in node.names if a.name.startswith("_") and not a.name.startswith("__")]
            assert not private, f"{path}: imports {private[0]}, which is private to {node.module}"
            modules.update(a.asname or a.name for a in node.names if a.name.islower())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert not node.attr.startswith("_") or node.attr.startswith("__"), (
                f"{path}:{node.lineno}: {node.value.id}.{node.attr}"
            )


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_are_short(path):
    text = path.read_text("utf-8")
    lines = text.count("\n")
    assert lines <= LONGEST_FILE, f"{path}: {lines} lines, expected at most {LONGEST_FILE}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            name = f"{path.relative_to(PACKAGE.parent)}:{node.name}"
            length = node.end_lineno - node.lineno + 1
            assert length <= LONGEST_FUNCTION or name in LONG_FUNCTIONS, (
                f"{name}: {length} lines, expected at most {LONGEST_FUNCTION}"
            )


def external_imports(module: str, without: str = "") -> set[str]:
    """The libraries of `HEAVY` that a module loads at its import, itself or by other modules but `without`."""
    pending, seen, libraries = [module], set(), set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        path = path_of(name)
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Import):
                libraries.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                libraries.add(node.module.split(".")[0])
        pending += [other for other in imported(name) if other != without]
    return libraries & set(HEAVY)


def test_constants_cost_no_heavy_import():
    """A module that imports constants alone from another does not load a library for them that it would not load."""
    for module in MODULES:
        path = path_of(module)
        inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level and all(a.name.isupper() for a in node.names):
                base = ".".join(inside.split(".")[: len(inside.split(".")) - node.level + 1])
                other = ".".join(part for part in (base, node.module) if part)
                if path_of(other):
                    more = external_imports(other) - external_imports(module, without=other)
                    assert not more, f"{module} imports constants from {other}, which loads {', '.join(sorted(more))}"


def test_the_rooms_of_the_tests_are_those_of_the_package():
    tests = Path(__file__).parent.parent
    assert {p.parent.name for p in tests.glob("*/test_*.py")} == set(ROOMS)


@pytest.mark.parametrize("wrong", [["--preset", "enormous"], ["--set", "joint.epoch=1"], ["--seeds", "a"]])
def test_wrong_options_are_reported_before_anything_heavy_is_imported(wrong):
    command = [sys.executable, "-X", "importtime", "-m", "avlib", *wrong]
    told = subprocess.run(command, capture_output=True, text=True).stderr.splitlines()
    assert told[-1].startswith("avlib: ") and wrong[1].partition("=")[0] in told[-1]
    imported = {line.split("|")[-1].strip() for line in told if line.startswith("import time:")}
    assert "avlib.core.presets" in imported and not imported & set(HEAVY)


def test_the_package_is_imported_quickly_and_offers_its_names():
    code = (
        "import sys, time; began = time.perf_counter(); import avlib; took = time.perf_counter() - began; "
        f"print(took, [m for m in {HEAVY} if m in sys.modules])"
    )
    took, _, heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.partition(" ")
    assert float(took) < 0.3 and heavy.strip() == "[]"
    for package in (avlib, avlib.metrics, avlib.plots, avlib.evaluation, avlib.widgets):
        for name in package.__all__:
            assert getattr(package, name) is not None and name in dir(package)
            same = path_of(f"{package.__name__}.{name}")  # a module of that name would hide it once imported
            assert same is None or getattr(package, name).__name__ == f"{package.__name__}.{name}"
    with pytest.raises(AttributeError, match="no attribute 'animates'; it offers open_run, "):
        avlib.animates  # noqa: B018
    assert avlib.__version__.count(".") == 2
