"""A stage's key changes with the code that the stage reaches, and with no other code, comments or docstrings."""

import shutil

import pytest

from avlib.core import sources
from avlib.core.sources import PACKAGE, code_of, imported, reachable, source_digest

STAGES = {
    "corpus": "avlib.corpus.embedded.embedded_corpus",
    "scans": "avlib.corpus.prepare",
    "speech": "avlib.training.speech_encoder",
    "readers": "avlib.training.readers",
    "motion VQ-VAE": "avlib.training.motion_vqvae",
    "joint": "avlib.training.joint",
    "evaluation": "avlib.evaluation.evaluate",
    "t-SNE": "avlib.evaluation.tsne",
}


@pytest.fixture
def package(tmp_path):
    """A copy of the package that a test may change."""
    shutil.copytree(PACKAGE, tmp_path / "avlib", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "avlib"


def changed_stages(package, path: str, old: str, new: str) -> set[str]:
    """The stages whose sources change when `old` is replaced in a file of the package."""
    before = {stage: source_digest(module, package) for stage, module in STAGES.items()}
    text = (package / path).read_text()
    assert text.count(old) >= 1, f"{path} has no {old!r}"
    (package / path).write_text(text.replace(old, new, 1))
    for cached in (sources.imported, sources.reachable, sources._read):
        cached.cache_clear()
    return {stage for stage, module in STAGES.items() if source_digest(module, package) != before[stage]}


@pytest.mark.parametrize(
    "path, old, new, stages",
    [
        ("speech/sound.py", "+ 1e-7", "+ 1e-6", {"speech", "readers", "joint", "evaluation", "t-SNE"}),
        (
            "corpus/clips.py",
            ".float() / 32768",
            ".float() / 32767",
            {"speech", "readers", "joint", "evaluation", "t-SNE"},
        ),
        ("core/tensors.py", "< lengths[:, None]", "<= lengths[:, None]", set(STAGES)),
        ("core/tensors.py", "digest(list(numbers)), 16", "digest(list(numbers)), 16 + 0", set(STAGES)),
        ("speech/phonemes_to_visemes.csv", "p,p", "p,q", {"speech", "readers", "joint", "evaluation", "t-SNE"}),
        ("metrics/protocols.json", "sequences", "pooled", {"evaluation", "t-SNE"}),
    ],
)
def test_a_change_of_reached_code_changes_the_key(package, path, old, new, stages):
    assert changed_stages(package, path, old, new) >= stages


@pytest.mark.parametrize(
    "path, old, new",
    [
        ("cli/notebooks.py", "import json", "import json, shutil"),
        ("widgets/player.py", "import ", "import shutil\nimport "),
        ("plots/motion.py", "import ", "import shutil\nimport "),
        ("core/tensors.py", "\ndef ", "\n# a comment\ndef "),
        ("training/loop.py", '"""', '"""Reworded. '),
        ("core/tensors.py", '    """', '    """Reworded. '),
    ],
)
def test_other_code_comments_and_docstrings_keep_the_key(package, path, old, new):
    assert changed_stages(package, path, old, new) == set()


def test_every_reached_module_counts(package):
    """A change in any reached module changes the stage's sources; other modules are not among them."""
    before = {stage: code_of(module, package) for stage, module in STAGES.items()}
    for path in package.rglob("*.py"):
        path.write_text(path.read_text() + "\nCHANGED = 1\n")
    sources._read.cache_clear()
    for stage, module in STAGES.items():
        after = code_of(module, package)
        assert list(after) == reachable(module, package) and module in after and "avlib.core.run" in after
        assert all(after[name] != before[stage][name] for name in after)
        assert not any(name.startswith(("avlib.cli", "avlib.widgets", "avlib.plots")) for name in after)


def test_imports_are_found_at_the_top_and_in_functions(tmp_path):
    package = tmp_path / "avlib"
    (package / "room" / "inner").mkdir(parents=True)
    for folder in (package, package / "room", package / "room" / "inner"):
        (folder / "__init__.py").write_text("")
    (package / "room" / "one.py").write_text(
        "from typing import TYPE_CHECKING\nimport avlib.room.two\nfrom .inner import deep\n"
        "if TYPE_CHECKING:\n    from . import never\n"
        "def f():\n    from ..room import late\n    import json\n"
    )
    for name in ("two", "never", "late", "inner/deep"):
        (package / "room" / f"{name}.py").write_text("")
    assert imported("avlib.room.one", package) == [
        "avlib.room",
        "avlib.room.inner",
        "avlib.room.inner.deep",
        "avlib.room.late",
        "avlib.room.two",
    ]
    with pytest.raises(ValueError, match="avlib.room.none: no module of "):
        reachable("avlib.room.none", package)
