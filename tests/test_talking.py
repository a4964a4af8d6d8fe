"""2D corpora in their owners' layouts: what is found, what is set aside, and that nothing is made twice."""
import shutil

import numpy as np
import pytest
import torch
from conftest import write_units
from test_mouths import RATE, Finder, film, record

from avlib import talking
from avlib.corpus import Clips
from avlib.talking import find, prepare
from avlib.text import SentencePieceTokenizer

TIMED = "Text:  {LG} MUST WE GO\nConf: 4\n\nWORD START END ASDSCORE\nMUST 0.1 0.4 9.1\nWE 0.5 0.7 8.0\nGO 0.8 1.1 5.5\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "whole.mp4")


def put(whole, *paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole, path)


@pytest.fixture
def lrs2(whole, tmp_path):
    root = tmp_path / "lrs2"
    put(whole, *(root / part / f"{name}.mp4" for part, name in (("main", "5/1"), ("main", "5/2"), ("main", "6/1"), ("pretrain", "7/1"))))
    for name in ("main/5/1", "main/5/2", "main/6/1"):
        (root / f"{name}.txt").write_text("Text:  DON'T {NS} GO\nConf: 3\n")
    (root / "pretrain/7/1.txt").write_text(TIMED)
    for name, lines in {"train": "5/1 NF\n5/2 NF\n", "val": "6/1 NF\n", "test": "8/1\n", "pretrain": "7/1\n"}.items():
        (root / f"{name}.txt").write_text(lines)
    return root


def test_lrs2_as_its_owners_lay_it_out(lrs2):
    kind, sources = find(lrs2)
    assert kind == "LRS2"
    assert [(s.split, s.name, s.text) for s in sources] == [
        ("test", "main/8/1", ""), ("train", "main/5/1", "don't go"), ("train", "main/5/2", "don't go"),
        ("train", "pretrain/7/1", "must we go"), ("validation", "main/6/1", "don't go")]
    assert [(w.label, w.start_s, w.end_s) for w in sources[3].words][1] == ("we", 0.5, 0.7)
    (lrs2 / "val.txt").unlink()
    with pytest.raises(ValueError, match="val.txt: no such file, nor above it"):
        find(lrs2)


def test_lrs3_holds_whole_speakers_out_and_cuts_long_recordings_between_words(tmp_path, monkeypatch):
    root = tmp_path / "lrs3"
    for name in (*(f"trainval/{speaker:02d}/{n}" for speaker in range(20) for n in (1, 2)), "test/a/1", "pretrain/b/1"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.mp4").touch()
        (root / f"{name}.txt").write_text("Text:  GO\n")
    words = "".join(f"W{n} {n * 2.0} {n * 2 + 1.5} 1\n" for n in range(15))
    (root / "pretrain/b/1.txt").write_text("Text:  MANY\n\nWORD START END ASDSCORE\n" + words)
    monkeypatch.setattr(talking, "HELD_OUT", 3)
    kind, sources = find(root)
    assert kind == "LRS3" and [s.name for s in sources if s.split == "test"] == ["test/a/1"]
    speakers = lambda split: {s.name.split("/")[1] for s in sources if s.split == split}
    assert speakers("validation") and not speakers("validation") & speakers("train")
    parts = [s for s in sources if s.name.startswith("pretrain")]
    assert [s.text.split() for s in parts] == [[f"w{n}" for n in range(8)], [f"w{n}" for n in range(8, 15)]]
    assert (parts[1].begin_s, parts[1].end_s) == (16.0, 29.5) and parts[1].words[0].start_s == 0
    assert all(s.end_s - s.begin_s <= 16 for s in parts)


def test_clips_come_out_and_the_rest_is_set_aside_and_counted(lrs2, tmp_path, whole):
    (lrs2 / "main/5/2.txt").write_text("Text:  GO 7\n")
    out = tmp_path / "out"
    summary = prepare(lrs2, out, Finder)
    assert summary["layout"] == "LRS2"
    assert summary["splits"] == {"train": {"clips": 2, "frames": 80, "aside": 1}, "validation": {"clips": 1, "frames": 40, "aside": 0},
                                 "test": {"clips": 0, "frames": 0, "aside": 1}}
    reasons = {a["name"]: a["reason"] for a in summary["aside"]}
    assert reasons["main/8/1"] == "no transcript" and "no token for '7'" in reasons["main/5/2"]
    clips = Clips(out / "2d", "train")
    assert [u.text for u in clips.utterances] == ["don't go", "must we go"] and clips.utterances[1].words[2].label == "go"
    assert clips.video(1).shape == (40, 96, 96) and clips.speech(1).shape == (40 * 640,)

    made = {p: p.stat().st_mtime_ns for p in (out / "2d").iterdir()}
    assert prepare(lrs2, out, Finder) == summary
    assert {p: p.stat().st_mtime_ns for p in (out / "2d").iterdir()} == made
    (lrs2 / "main/6/1.txt").write_text("Text:  MUST GO\n")
    prepare(lrs2, out, Finder)
    assert {p.stem for p, at in made.items() if p.stat().st_mtime_ns != at} == {"validation-00000"}
    assert Clips(out / "2d", "validation").utterances[0].text == "must go"


def test_shards_are_the_same_made_by_one_process_or_two(lrs2, tmp_path, monkeypatch):
    monkeypatch.setattr(talking, "CLIPS_A_SHARD", 1)
    prepare(lrs2, tmp_path / "two", Finder)
    monkeypatch.setattr(talking, "side_by_side", lambda jobs: (job[0](*job[1:]) for job in jobs))
    prepare(lrs2, tmp_path / "one", Finder)
    assert len(list((tmp_path / "one" / "2d").iterdir())) == 10
    for path in sorted((tmp_path / "one" / "2d").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / "2d" / path.name).read_bytes()


def test_a_table_tells_files_and_transcripts(tmp_path, whole):
    put(whole, tmp_path / "videos" / "a.mp4")
    table = tmp_path / "list.csv"
    table.write_text("path,text,split\nvideos/a.mp4,Go now!,train\nvideos/b.mp4,go,test\n")
    kind, sources = find(tmp_path)
    assert kind == "table" and [(s.name, s.split, s.text) for s in sources] == [("videos/b", "test", "go"), ("videos/a", "train", "go now")]
    summary = prepare(tmp_path, tmp_path / "out", Finder)
    assert summary["aside"] == [{"name": "videos/b", "reason": "no such file"}]
    table.write_text("file,text\na,b\n")
    with pytest.raises(ValueError, match="list.csv: columns file, text, expected path and text"):
        find(tmp_path)
    table.write_text("path,text,split\na,b,dev\n")
    with pytest.raises(ValueError, match="list.csv, line 2: split 'dev'"):
        find(tmp_path)


def test_crops_that_auto_avsr_has_prepared_are_taken_as_they_are(tmp_path):
    write_units(tmp_path)
    tokenizer = SentencePieceTokenizer(tmp_path / "unigram5000.model", tmp_path / "unigram5000_units.txt")
    folder = tmp_path / "root"
    (folder / "labels").mkdir(parents=True)
    (folder / "lrs3" / "seg").mkdir(parents=True)
    crops = [np.full((96, 96), 5 * t, np.uint8) for t in range(30)]
    record(folder / "lrs3" / "seg" / "a.mp4", crops, np.arange(30) / 25, np.zeros(30 * RATE // 25, np.int16))
    ids = " ".join(map(str, tokenizer.encode("you must go")))
    (folder / "labels" / "lrs3_train_transcript_lengths_seg16s.csv").write_text(
        f"lrs3,seg/a.mp4,30,{ids}\nlrs3,seg/b.mp4,30,{ids}\n")
    (folder / "labels" / "lrs3_test_transcript_lengths_seg16s.csv").write_text(f"lrs3,seg/a2.mp4,30,{ids}\n")
    summary = prepare(folder, tmp_path / "out", None, tokenizer)
    assert {a["name"]: a["reason"] for a in summary["aside"]} == {"lrs3/seg/b": "no such file", "lrs3/seg/a2": "no such file"}
    clips = Clips(tmp_path / "out" / "2d", "train")
    assert clips.utterances[0].text == "you must go" and torch.equal(clips.video(0), torch.from_numpy(np.stack(crops)))
    with pytest.raises(ValueError, match="labels: holds token ids alone"):
        find(folder)
    (folder / "labels" / "x.csv").write_text("lrs3,seg/a.mp4,thirty,1\n")
    with pytest.raises(ValueError, match="x.csv, line 1: expected dataset,path,frames,token ids"):
        find(folder, tokenizer)


def test_unknown_folders_are_told_what_is_known(tmp_path):
    with pytest.raises(ValueError, match="expected a folder of LRS2"):
        find(tmp_path)
    (tmp_path / "labels").mkdir()
    with pytest.raises(ValueError, match="no recordings|token ids alone"):
        find(tmp_path)
