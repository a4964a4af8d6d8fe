"""Animators are found by name, also in plug-in files; files of a former layout get an error that says what to write."""

import pytest

from avlib.animators.animator import ANIMATORS, Animator, animator_settings, register
from avlib.animators.faceformer import FaceFormer
from avlib.animators.registry import find_animator
from avlib.core.presets import load


def test_a_name_is_registered_once():
    assert ANIMATORS["faceformer"] is FaceFormer
    with pytest.raises(ValueError, match="'faceformer' is registered already"):
        register("faceformer")(FaceFormer)


def test_plugins_of_the_same_file_name_are_different_modules(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(
            f"from avlib import register\nregister('{name}-of-mine')(type('{name}', (), {{}}))\n"
        )
    files = tuple(str(tmp_path / name / "mine.py") for name in ("one", "two"))
    assert [find_animator(f"{name}-of-mine", files).__name__ for name in ("one", "two")] == ["one", "two"]


def test_a_plugin_that_fails_can_be_loaded_again(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            find_animator("broken", (str(tmp_path / "broken.py"),))


def test_missing_plugins_and_animators_are_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere.py: no such file"):
        find_animator("nowhere", (str(tmp_path / "nowhere.py"),))
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ValueError, match=r"mine.txt: not a Python file, expected a name that ends in .py"):
        find_animator("mine", (str(tmp_path / "mine.txt"),))
    with pytest.raises(ValueError, match="animator: expected one of .*faceformer.*, got 'nobody'"):
        find_animator("nobody")


@pytest.mark.parametrize("module", ["avlib.animator", "avlib.audio"])
def test_a_plugin_of_the_former_layout_gets_the_right_import(tmp_path, module):
    file = tmp_path / "old.py"
    file.write_text(f"from {module} import Animator, register\n")
    with pytest.raises(
        ValueError, match=rf"^plugins: .*old.py: {module} has moved; write: from avlib import Animator, reg"
    ):
        find_animator("old", (str(file),))
    file.write_text("import no_such_library\n")  # not the kit's
    with pytest.raises(ModuleNotFoundError):
        find_animator("old", (str(file),))


@pytest.mark.parametrize("former, current", [("learn", "training_forward"), ("prior", "motion_model")])
def test_a_method_under_its_former_name_is_refused(former, current):
    kind = type("Old", (Animator,), {former: lambda self: None})
    with pytest.raises(ValueError, match=f"'old': Old defines the method {former}, which is now called {current}$"):
        register("old")(kind)
    assert "old" not in ANIMATORS


def test_an_animator_gets_the_settings_of_its_own_name_only():
    config = load("smoke")
    assert animator_settings(config, "codetalker") == config.codetalker
    assert [animator_settings(config, name) for name in ("reader", "seed", "mine")] == [None] * 3
