"""A run's corpus is found again as it was prepared: with its 2D part, where that comes from, and its hash."""

import shutil
from dataclasses import replace

import pytest
import torch

from avlib.core import run as runs
from avlib.core.files import read_json, write_json
from avlib.core.presets import load
from avlib.core.run import Run
from avlib.corpus import prepare
from avlib.corpus.clips import write_shard
from avlib.corpus.corpus import Corpus
from avlib.corpus.run_corpus import open_corpus, record_corpus, run_characters
from avlib.corpus.utterance import Utterance
from avlib.speech.text import Tokenizer
from avlib.training.readers import tokenizer_of
from tests.scan_corpora import write_prepared

SETTINGS = {"corpus.name": "vocaset", "corpus.sentences_train": 1}
SPLITS = ("train", "validation", "test")
FIELDS = ("folder", "clips_folder", "clips_origin", "hash", "title", "origin")


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    """A run whose corpus of scans is prepared, with clips of another folder."""
    monkeypatch.setattr("avlib.core.parallel.cpu_count", lambda: 1)
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(prepare, "DATA", tmp_path / "prepared")
    clip = Utterance("clip", "train", "", "we go", 2), torch.zeros(2, 96, 96).byte(), torch.zeros(1280).short()
    write_shard(tmp_path / "video" / "2d" / "train-00000.safetensors", [clip])
    write_json(tmp_path / "video" / "video_corpus.json", {"hash": "of the video"})
    write_prepared(tmp_path / "scans")
    folders = {"corpus.data": str(tmp_path / "scans"), "corpus.video_corpus": str(tmp_path / "video")}
    run = Run("one", load("smoke", **SETTINGS, **folders))
    prepare.prepare_corpus(run)
    return run


def test_a_corpus_is_opened_as_it_was_prepared(run, tmp_path):
    prepared, opened = prepare.prepare_corpus(run), open_corpus(run)
    assert [getattr(opened, f) for f in FIELDS] == [getattr(prepared, f) for f in FIELDS]
    assert opened.hash != Corpus(opened.folder).hash and opened.clips_folder == tmp_path / "video" / "2d"
    assert opened.title == f"vocaset corpus (2D part: {tmp_path / 'video'})"
    variant = Run("variant", run.config, run)
    assert open_corpus(variant).hash == prepared.hash, "a variant has the corpus of its run"


def test_networks_of_another_language_spell_in_the_characters_of_both_parts(run):
    assert run_characters(run).units == Tokenizer().units, "of English, all letters"
    corpus = open_corpus(run)
    german = Run("german", replace(run.config, corpus=replace(run.config.corpus, language="de")))
    record_corpus(german, corpus)
    texts = [u.text for u in (*corpus.clips("train").utterances, *(u for s in SPLITS for u in corpus.utterances(s)))]
    characters = run_characters(german)
    assert characters.units == tuple(sorted(set("".join(texts)))) and characters.language == "de"
    assert "w" in set("we go") <= set(characters.units), "a clip's"
    assert tokenizer_of("", characters) is characters


def test_a_record_is_written_once_and_again_if_the_corpus_moves(run, tmp_path):
    path = run.folder / "records" / "corpus.json"
    written = path.stat().st_mtime_ns
    corpus = record_corpus(run, open_corpus(run))
    assert path.stat().st_mtime_ns == written
    corpus.folder = shutil.move(corpus.folder, tmp_path / "moved")
    record_corpus(run, corpus)
    assert open_corpus(run).folder == tmp_path / "moved"


def test_a_deleted_corpus_and_the_record_of_another_version_are_reported_in_one_line(run):
    path = run.folder / "records" / "corpus.json"
    record = read_json(path)
    write_json(path, {name: value for name, value in record.items() if not name.startswith("clips")})
    with pytest.raises(ValueError, match="lacks clips_folder, clips_origin; rerun the command that made .*one to prep"):
        open_corpus(run)
    write_json(path, record)
    shutil.rmtree(record["folder"])
    with pytest.raises(ValueError, match=f"{record['folder']}: no such corpus; rerun the command that made"):
        open_corpus(run)
