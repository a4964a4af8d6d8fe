"""The first cell of each notebook, in a kernel that lacks the kit and in one that has it."""

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.iorw import load_notebook_node

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHOW = "import os, avlib; print(avlib.__file__, os.getcwd(), avlib.open_run.__name__, sep='|')"


def first_cell(path: Path) -> str:
    return next("".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code")


def execute(folder: Path, cwd: Path, *sources: str, kernel: str) -> list[str]:
    """What the cells print, one text for each, executed in the folder `cwd`; notebooks go to `folder`."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / "in.ipynb")
    papermill.execute_notebook(
        folder / "in.ipynb", folder / "out.ipynb", cwd=cwd, progress_bar=False, kernel_name=kernel, start_timeout=300
    )
    done = load_notebook_node(str(folder / "out.ipynb")).cells
    return ["".join(o.get("text", "") for o in cell.outputs).strip() for cell in done if cell.source in sources]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of what is installed, beside a notebook; its folder has the package's name, as after `git clone`."""
    folder = tmp_path_factory.mktemp("home") / "avlib"
    shutil.copytree(ROOT / "avlib", folder / "avlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    (folder / "notebooks").mkdir()
    return folder


@pytest.fixture
def without_kit(tmp_path, monkeypatch) -> str:
    """The name of a kernel of a new environment with all packages of this one but the kit."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    # .pth files of these folders, such as the kit's own, are not followed
    packages = "\n".join(p for p in sys.path if p.endswith(("site-packages", "dist-packages")))
    (next(home.glob("lib/python*/site-packages")) / "packages.pth").write_text(packages + "\n")
    index = [python, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp_path, "setuptools>=77"]
    if subprocess.run(index, capture_output=True).returncode:
        pytest.skip("no package index within reach, which building a package needs")
    kernel = tmp_path / "jupyter" / "kernels" / "without-kit"
    kernel.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "bare", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return "without-kit"


def test_all_notebooks_begin_with_the_same_cell():
    assert len({first_cell(path) for path in NOTEBOOKS}) == 1
    for path in NOTEBOOKS:
        kinds = [cell["cell_type"] for cell in json.loads(path.read_text())["cells"][:3]]
        assert kinds == ["markdown", "code", "code"], f"{path.name}: title, installation, parameters"


@pytest.mark.slow
def test_a_kernel_without_the_kit_gets_it_from_the_checkout(tmp_path, checkout, without_kit):
    missing = "from importlib.util import find_spec; print(find_spec('avlib'))"
    before, _, after = execute(
        tmp_path, checkout / "notebooks", missing, first_cell(NOTEBOOKS[0]), SHOW, kernel=without_kit
    )
    assert before == "None"
    assert after == f"{checkout / 'avlib' / '__init__.py'}|{checkout}|open_run"
    elsewhere = execute(tmp_path, tmp_path, SHOW, kernel=without_kit)  # a new process has it everywhere
    assert elsewhere == [f"{checkout / 'avlib' / '__init__.py'}|{tmp_path}|open_run"]


@pytest.mark.slow
def test_a_notebook_outside_the_checkout_is_told_its_folder(tmp_path, checkout, without_kit):
    """As on Colab, where the notebook is opened by its address and the kit is cloned beside it."""
    cell = first_cell(NOTEBOOKS[0]).replace('kit = ".."', 'kit = "avlib"')
    _, after = execute(tmp_path, checkout.parent, cell, SHOW, kernel=without_kit)
    assert after == f"{checkout / 'avlib' / '__init__.py'}|{checkout}|open_run"


def test_where_the_kit_is_installed_the_cell_does_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(Path(sys.prefix) / "share" / "jupyter"))  # not a kernel of the user's
    printed, after = execute(tmp_path, ROOT, first_cell(NOTEBOOKS[0]), SHOW, kernel="python3")
    assert printed == "" and after == f"{ROOT / 'avlib' / '__init__.py'}|{ROOT}|open_run"
