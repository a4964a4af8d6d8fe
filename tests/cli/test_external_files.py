"""What a notebook depends on outside the run: the files that settings name, and nothing that runs write."""

from pathlib import Path

from avlib.cli import notebooks
from avlib.cli.notebooks import external_files


def names(overrides: dict, predictions=()) -> list[str]:
    parameters = {"preset": "smoke", "overrides": overrides, "predictions": list(predictions)}
    return [Path(path).name for path, _, _ in external_files(parameters)]


def test_files_of_named_folders_count_without_hidden_ones_and_results(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(notebooks, "DATA", tmp_path / "data")
    for path in ("units.txt", "sub/model", ".hidden", "results/run/figure.png", "data/clips", "mine/a.npy", ".git/x"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert names({"reader.tokenizer": str(tmp_path)}) == ["a.npy", "model", "units.txt"]
    assert names({}, [f"mine={tmp_path / 'mine'}"]) == ["a.npy"]
    plugins = [str(tmp_path / "units.txt"), str(tmp_path / "none.py")]
    assert names({"plugins": plugins}) == ["units.txt"]


def test_a_folder_that_has_the_name_of_a_setting_does_not_count(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("embedded", "demo", "avlib", "auto"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    assert names({"corpus.name": "embedded"}) == []
