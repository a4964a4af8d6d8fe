"""What is declared, pinned and mirrored says the same; notebooks hold calls and prose, and no outputs."""

import ast
import json
import re
import tomllib
from pathlib import Path

import papermill
import pytest
from packaging.requirements import Requirement

import avlib
from avlib.cli.notebooks import notebook_parameters

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def declared() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found = [Requirement(r) for r in project["dependencies"] + extras["video"] + extras["usd"] + extras["test"]]
    return {r.name.lower(): r for r in found}


def test_every_declared_package_is_pinned_to_a_version_that_fits():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==\S+", line) for line in lines)
    pins = {line.split("==")[0].lower(): line.split("==")[1] for line in lines}
    for name, requirement in declared().items():
        assert requirement.specifier.contains(pins[name]), (
            f"{name}: pinned {pins[name]}, declared {requirement.specifier}"
        )


def test_environment_mirrors_the_declaration():
    text = (ROOT / "environment.yml").read_text()
    listed = re.findall(r"^ {6}- ([^-\s]\S*)$", text, re.M)
    conda = dict(re.findall(r"^ {2}- ([a-z0-9]+)(?:=(\S+))?$", text, re.M))
    assert conda.pop("python") == "3.12" and conda.pop("pip") == "" and conda.pop("pytorch3d") == ""
    names = {"pytorch": "torch"}
    listed += [f"{names.get(name, name)}=={version}.*" for name, version in conda.items()]
    mirrored = {r.name.lower(): r for r in map(Requirement, listed)}
    wheels = {n: r.specifier for n, r in declared().items() if n != "easypytorch3d"}  # conda-forge has PyTorch3D itself
    assert {n: r.specifier for n, r in mirrored.items()} == wheels


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_hold_calls_and_prose(path):
    cells = json.loads(path.read_text())["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    assert sum("parameters" in c["metadata"].get("tags", []) for c in code) == 1
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    for cell in code[1:]:  # after that which installs the kit
        lines = "".join(cell["source"]).splitlines()
        assert len(lines) <= 15
        assert not any(re.match(r"\s*(def|class|while|for|if|try)\b|[!%]|.*sys\.path", line) for line in lines)
    assert cells[0]["cell_type"] == "markdown"


def test_notebooks_are_numbered():
    assert [p.stem[:2] for p in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_use_only_public_names(path):
    """Notebooks import `avlib` or its public names, and take from these what they offer."""
    code = ["".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    tree = ast.parse("\n".join(code[1:]))  # the first cell installs the kit
    packages = {"avlib": avlib}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(alias.name == "avlib" or not alias.name.startswith("avlib") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avlib"):
            assert node.module == "avlib" and {alias.name for alias in node.names} <= set(avlib.__all__)
            packages |= {alias.name: getattr(avlib, alias.name) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            package = packages[node.value.id]
            offered = getattr(package, "__all__", None) or [name for name in vars(package) if not name.startswith("_")]
            assert node.attr in offered, f"{path.name}: {node.value.id}.{node.attr}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_papermill_understands_the_parameters(path):
    """It parses the cell line by line, comments too, and only warns about a line that it cannot parse."""
    assert papermill.inspect_notebook(path).keys() == notebook_parameters(path)
