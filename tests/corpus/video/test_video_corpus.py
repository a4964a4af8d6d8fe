"""Video corpora in their published layouts: which clips are found and excluded, and that nothing is prepared twice."""

import importlib.util
import json
import os
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avlib.cli import prepare_video
from avlib.core.presets import load
from avlib.corpus.clips import Clips
from avlib.corpus.clips import write_shard as write_clips
from avlib.corpus.corpus import Corpus
from avlib.corpus.utterance import Excluded, Utterance
from avlib.corpus.video import sources as sources_module
from avlib.corpus.video import video_corpus
from avlib.corpus.video.source import Source
from avlib.corpus.video.sources import find_sources
from avlib.corpus.video.video_corpus import attach_clips, prepare_clips
from avlib.speech.segment import Segment
from avlib.speech.text import SentencePieceTokenizer
from avlib.training.readers import tokenizer_of
from tests.conftest import write_units
from tests.corpus.video.videos import (
    SOUND_HZ,
    TrueDetector,
    add_sound,
    picture,
    write_film,
    write_moving_face,
    write_video,
)

prepare_clips = partial(prepare_clips, workers=1)

TIMED = "Text:  {LG} MUST WE GO\nConf: 4\n\nWORD START END ASDSCORE\nMUST 0.1 0.4 9.1\nWE 0.5 0.7 8.0\nGO 0.8 1.1 5.5\n"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_moving_face(tmp_path_factory.mktemp("film") / "video.mp4", 20)


def put(video, *paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, path)


@pytest.fixture
def lrs2(video, tmp_path):
    root = tmp_path / "lrs2"
    put(
        video,
        *(
            root / part / f"{name}.mp4"
            for part, name in (("main", "5/1"), ("main", "5/2"), ("main", "6/1"), ("pretrain", "7/1"))
        ),
    )
    for name in ("main/5/1", "main/5/2", "main/6/1"):
        (root / f"{name}.txt").write_text("Text:  DON'T {NS} GO\nConf: 3\n")
    (root / "pretrain/7/1.txt").write_text(TIMED)
    for name, lines in {"train": "5/1 NF\n5/2 NF\n", "val": "6/1 NF\n", "test": "8/1\n", "pretrain": "7/1\n"}.items():
        (root / f"{name}.txt").write_text(lines)
    return root


def test_the_layout_of_lrs2_is_read(lrs2):
    kind, sources = find_sources(lrs2)
    assert kind == "LRS2"
    assert [(s.split, s.name, s.text) for s in sources] == [
        ("test", "main/8/1", ""),
        ("train", "main/5/1", "don't go"),
        ("train", "main/5/2", "don't go"),
        ("train", "pretrain/7/1", "must we go"),
        ("validation", "main/6/1", "don't go"),
    ]
    assert [(w.label, w.start_s, w.end_s) for w in sources[3].words][1] == ("we", 0.5, 0.7)
    (lrs2 / "val.txt").unlink()
    with pytest.raises(ValueError, match="val.txt: no such file, nor above it"):
        find_sources(lrs2)


def test_lrs3_holds_out_whole_speakers_and_splits_long_recordings_between_words(tmp_path, monkeypatch):
    root = tmp_path / "lrs3"
    for name in (*(f"trainval/{speaker:02d}/{n}" for speaker in range(20) for n in (1, 2)), "test/a/1", "pretrain/b/1"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.mp4").touch()
        (root / f"{name}.txt").write_text("Text:  GO\n")
    words = "".join(f"W{n} {n * 2.0} {n * 2 + 1.5} 1\n" for n in range(15))
    (root / "pretrain/b/1.txt").write_text("Text:  MANY\n\nWORD START END ASDSCORE\n" + words)
    monkeypatch.setattr(sources_module, "HELD_OUT", 3)
    kind, sources = find_sources(root)
    assert kind == "LRS3" and [s.name for s in sources if s.split == "test"] == ["test/a/1"]

    def speakers(split):
        return {s.name.split("/")[1] for s in sources if s.split == split}

    assert speakers("validation") and not speakers("validation") & speakers("train")
    parts = [s for s in sources if s.name.startswith("pretrain")]
    assert [s.text.split() for s in parts] == [[f"w{n}" for n in range(8)], [f"w{n}" for n in range(8, 15)]]
    assert (parts[1].begin_s, parts[1].end_s) == (16.0, 29.5) and parts[1].words[0].start_s == 0
    assert all(s.end_s - s.begin_s <= 16 for s in parts)


def test_clips_are_written_and_the_others_excluded_and_counted(lrs2, tmp_path, video):
    (lrs2 / "main/5/2.txt").write_text("Text:  GO 7\n")
    out = tmp_path / "out"
    summary = prepare_clips(lrs2, out, TrueDetector)
    assert summary["layout"] == "LRS2"
    assert summary["splits"] == {
        "train": {"clips": 2, "frames": 40, "excluded": 1},
        "validation": {"clips": 1, "frames": 20, "excluded": 0},
        "test": {"clips": 0, "frames": 0, "excluded": 1},
    }
    reasons = {a["name"]: a["reason"] for a in summary["excluded"]}
    assert reasons["main/8/1"] == "no transcript '1.txt'" and "no token for '7'" in reasons["main/5/2"]
    clips = Clips(out / "2d", "train")
    assert [u.text for u in clips.utterances] == ["don't go", "must we go"] and clips.utterances[1].words[
        2
    ].label == "go"
    assert clips.video(1).shape == (20, 96, 96) and clips.speech(1).shape == (20 * 640,)


def test_words_keep_their_place_where_the_first_pictures_could_not_be_decoded(tmp_path):
    """The clip begins with the first picture; what is said before is in no clip."""
    colour = [picture(t)[..., None].repeat(3, -1) for t in range(40)]
    path = write_film(tmp_path / "a.mkv", colour, "mpeg4", keep=range(8, 40), g=12)  # decoded from picture 12 on
    sound = np.zeros(40 * SOUND_HZ // 25, np.int16)
    path = add_sound(path, tmp_path / "b.mkv", sound)

    def clip(*words):
        source = Source("b", "train", path, " ".join(w.label for w in words), words, subject="ann")
        return video_corpus.load_clip(source, TrueDetector)

    utterance, video, speech = clip(Segment("go", 0.2, 0.4), Segment("now", 0.5, 0.8))
    assert utterance.frames == len(video) == 28 and len(speech) == 28 * 640 and utterance.subject == "ann"
    assert [(w.label, w.start_s, w.end_s) for w in utterance.words] == [
        ("go", pytest.approx(0.04), pytest.approx(0.24)),
        ("now", pytest.approx(0.34), pytest.approx(0.64)),
    ]
    with pytest.raises(Excluded, match="no pictures in the first 0.16 s, in which 'go' is said"):
        clip(Segment("go", 0.05, 0.4))
    late = write_film(tmp_path / "late.mkv", colour, "mpeg4", keep=range(2, 40), g=20)
    source = Source("c", "train", add_sound(late, tmp_path / "c.mkv", sound), "go")
    with pytest.raises(Excluded, match="no pictures in the first 0.72 s$"):
        video_corpus.load_clip(source, TrueDetector)


def test_progress_counts_clips_and_shards_are_as_readable_as_their_records(lrs2, tmp_path, monkeypatch):
    seen = []

    def bar(items, label, total):
        seen.append((label, total, len(list(items))))
        return ()

    monkeypatch.setattr(video_corpus, "progress_bar", bar)
    prepare_clips(lrs2, tmp_path / "out", TrueDetector)
    assert seen == [("clips", 5, 5)]
    assert len({path.stat().st_mode for path in (tmp_path / "out" / "2d").iterdir()}) == 1


def test_only_changed_shards_are_written_again(lrs2, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def states():
        return {p.name: p.stat().st_mtime_ns for p in (out / "2d").glob("*.safetensors")}

    def rewritten():
        """The shards that another preparation writes."""
        before = states()
        prepare_clips(lrs2, out, TrueDetector)
        return {name for name, time in states().items() if before.get(name) != time}

    first = prepare_clips(lrs2, out, TrueDetector)
    assert rewritten() == set() and prepare_clips(lrs2, out, TrueDetector) == first
    (lrs2 / "main/6/1.txt").write_text("Text:  MUST GO\n")
    assert rewritten() == {"validation-00000.safetensors"}
    assert Clips(out / "2d", "validation").utterances[0].text == "must go"
    put(
        write_moving_face(tmp_path / "longer.mp4", 50), lrs2 / "main/8/1.mp4", lrs2 / "main/6/1.mp4"
    )  # one that was missing, one changed
    (lrs2 / "main/8/1.txt").write_text("Text:  GO\n")
    assert rewritten() == {"validation-00000.safetensors", "test-00000.safetensors"}
    assert Clips(out / "2d", "validation").frames.tolist() == Clips(out / "2d", "test").frames.tolist() == [50]
    monkeypatch.setattr(video_corpus, "CLIPS_PER_SHARD", 1)
    prepare_clips(lrs2, out, TrueDetector)
    (lrs2 / "train.txt").write_text("5/1 NF\n")
    summary = prepare_clips(lrs2, out, TrueDetector)
    assert {n for n in states() if n.startswith("train")} == {"train-00000.safetensors", "train-00001.safetensors"}
    assert len(Clips(out / "2d", "train")) == summary["splits"]["train"]["clips"] == 2


def test_an_interrupted_preparation_resumes(lrs2, tmp_path, monkeypatch):
    monkeypatch.setattr(video_corpus, "CLIPS_PER_SHARD", 1)
    created = []

    def killed():
        if len(created) == 2:
            raise KeyboardInterrupt
        created.append(1)
        return TrueDetector()

    with pytest.raises(KeyboardInterrupt):
        prepare_clips(lrs2, tmp_path / "out", killed)
    assert not (tmp_path / "out" / "video_corpus.json").exists()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "2d").iterdir()}
    assert len(kept) == 2
    summary = prepare_clips(lrs2, tmp_path / "out", TrueDetector)
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    assert summary == prepare_clips(lrs2, tmp_path / "video", TrueDetector)


def shards(folder):
    return {p.name: p.read_bytes() for p in (folder / "2d").iterdir()}


def test_one_process_and_two_write_the_same_shards(lrs2, tmp_path, monkeypatch):
    monkeypatch.setattr(video_corpus, "CLIPS_PER_SHARD", 2)
    prepare_clips(lrs2, tmp_path / "two", TrueDetector, workers=2)
    prepare_clips(lrs2, tmp_path / "one", TrueDetector)
    assert len(shards(tmp_path / "one")) == 8 and shards(tmp_path / "one") == shards(tmp_path / "two")


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask (distributed) is not installed")
def test_a_dask_cluster_writes_the_same_shards(lrs2, tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(video_corpus, "CLIPS_PER_SHARD", 2)
    prepare_clips(lrs2, tmp_path / "here", TrueDetector)
    monkeypatch.chdir(tmp_path)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        summary = prepare_clips("lrs2", "there", TrueDetector, scheduler=cluster.scheduler_address)
    assert summary["excluded"] == json.loads((tmp_path / "here" / "video_corpus.json").read_text())["excluded"] != []
    assert shards(tmp_path / "here") == shards(tmp_path / "there")


class BrightDetector(TrueDetector):
    """Finds no face in a dark picture."""

    def __call__(self, rgb):
        return super().__call__(rgb) if rgb.max() > 10 else None


def test_every_fault_is_named_and_counted_and_other_clips_are_written(tmp_path, video):
    root = tmp_path / "root"
    root.mkdir()
    sound, black = np.zeros(40 * SOUND_HZ // 25, np.int16), np.zeros((160, 200), np.uint8)
    put(video, root / "video.mp4", root / "digits.mp4", root / "wordless.mp4")
    write_moving_face(root / "mute.mp4", sound=None)
    write_video(root / "faceless.mp4", [black] * 40, np.arange(40) / 25, sound)
    write_moving_face(root / "one.mp4", frames=1)
    (root / "cut.mp4").write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    (root / "text.mp4").write_text("no video")
    times = np.cumsum(np.tile([0.02, 0.05, 0.03], 13))
    write_video(root / "variable.mp4", [picture(int(25 * t)) for t in times], times, sound)
    write_video(
        root / "stands.mp4", [picture(t) for t in range(20)], np.arange(20) * 0.6, np.zeros(12 * SOUND_HZ, np.int16)
    )
    names = ("video", "digits", "wordless", "mute", "faceless", "one", "cut", "text", "variable", "stands", "nowhere")
    texts = {"digits": "go 7", "wordless": "—"}
    (root / "list.csv").write_text(
        "path,text,split\n" + "".join(f"{n}.mp4,{texts.get(n, 'go')},train\n" for n in names)
    )
    summary = prepare_clips(root, tmp_path / "out", BrightDetector)
    reasons = {one["name"]: one["reason"] for one in summary["excluded"]}
    expected = {
        "digits": "no token for '7' in its transcript",
        "wordless": "no transcript",
        "mute": "no audio stream",
        "faceless": "no face in any frame",
        "one": "1 frames, expected at least 5",
        "text": "8 bytes, not a sound or video file",
        "stands": "the same picture for more than 0.5 s from 0.0 s on",
        "nowhere": "no such file",
        "cut": "",
        "variable": "variable frame rate, 20 to 50 ms per frame",
    }
    assert reasons.keys() == expected.keys() and all(
        reasons[name].startswith(message) for name, message in expected.items()
    )
    assert (
        "cut short" in reasons["cut"] or "breaks off" in reasons["cut"] or "not a sound or video file" in reasons["cut"]
    )
    assert (
        sum(n["clips"] for n in summary["splits"].values()) == 1
        and sum(n["excluded"] for n in summary["splits"].values()) == 10
    )
    parts = [Clips(tmp_path / "out" / "2d", split) for split, count in summary["splits"].items() if count["clips"]]
    held = {u.name: clips.video(i) for clips in parts for i, u in enumerate(clips.utterances)}
    assert held.keys() == {"video"} and held["video"].shape[1:] == (96, 96)


def test_a_speaker_or_else_a_recording_is_held_out_without_a_validation_split(tmp_path):
    table = tmp_path / "list.csv"

    def splits():
        return {s.name: s.split for s in find_sources(tmp_path)[1]}

    table.write_text("path,text\n" + "".join(f"{speaker}/{n}.mp4,go\n" for speaker in "ab" for n in range(3)))
    by_speaker = {speaker: {split for name, split in splits().items() if name[0] == speaker} for speaker in "ab"}
    assert sorted(map(sorted, by_speaker.values())) == [["train"], ["validation"]]
    table.write_text("path,text\n" + "".join(f"all/{n}.mp4,go\n" for n in range(30)))
    assert list(splits().values()).count("validation") >= 1 and list(splits().values()).count("train") >= 20
    table.write_text("path,text,split\na/1.mp4,go,train\nb/1.mp4,go,validation\nc/1.mp4,go,train\n")
    assert splits() == {"a/1": "train", "b/1": "validation", "c/1": "train"}


def test_a_table_lists_files_and_transcripts(tmp_path, video):
    put(video, tmp_path / "videos" / "a.mp4")
    table = tmp_path / "list.csv"
    table.write_text("path,text,split\nvideos/a.mp4,Go now!,train\nvideos/b.mp4,go,test\n")
    kind, sources = find_sources(tmp_path)
    assert kind == "table" and [(s.name, s.split, s.text) for s in sources] == [
        ("videos/b", "test", "go"),
        ("videos/a", "train", "go now"),
    ]
    table.write_text("file,text\na,b\n")
    with pytest.raises(ValueError, match="list.csv: columns file, text, expected path and text"):
        find_sources(tmp_path)
    table.write_text("path,text,split\na,b,dev\n")
    with pytest.raises(ValueError, match="list.csv, line 2: path 'a' and split 'dev'"):
        find_sources(tmp_path)
    table.write_text("path,text,split\n,b,train\n")
    with pytest.raises(ValueError, match="list.csv, line 2: path '' and split 'train'"):
        find_sources(tmp_path)


def test_crops_prepared_by_auto_avsr_are_used_unchanged(tmp_path):
    write_units(tmp_path)
    tokenizer = SentencePieceTokenizer(tmp_path / "unigram5000.model", tmp_path / "unigram5000_units.txt")
    folder = tmp_path / "root"
    (folder / "labels").mkdir(parents=True)
    (folder / "lrs3" / "seg").mkdir(parents=True)
    crops = [np.full((96, 96), 5 * t, np.uint8) for t in range(30)]
    write_video(folder / "lrs3" / "seg" / "a.mp4", crops, np.arange(30) / 25, np.zeros(30 * SOUND_HZ // 25, np.int16))
    ids = " ".join(map(str, tokenizer.encode("you must go")))
    (folder / "labels" / "lrs3_train_transcript_lengths_seg16s.csv").write_text(
        f"lrs3,seg/a.mp4,30,{ids}\nlrs3,seg/b.mp4,30,{ids}\n"
    )
    (folder / "labels" / "lrs3_test_transcript_lengths_seg16s.csv").write_text(f"lrs3,seg/a2.mp4,30,{ids}\n")
    (folder / "labels" / "lrs3_val_transcript_lengths_seg16s.csv").write_text("lrs3,seg/a3.mp4,30,7 9000\n")
    summary = prepare_clips(folder, tmp_path / "out", tokenizers=[tokenizer])
    reasons = {a["name"]: a["reason"] for a in summary["excluded"]}
    assert "[9000]: outside" in reasons.pop("lrs3/seg/a3")
    assert reasons == {"lrs3/seg/b": "no such file", "lrs3/seg/a2": "no such file"}
    clips = Clips(tmp_path / "out" / "2d", "train")
    assert clips.utterances[0].text == "you must go" and torch.equal(clips.video(0), torch.from_numpy(np.stack(crops)))
    with pytest.raises(ValueError, match="labels: contains only token ids"):
        find_sources(folder)
    (folder / "labels" / "x.csv").write_text("lrs3,seg/a.mp4,thirty,1\n")
    with pytest.raises(ValueError, match="x.csv, line 1: expected dataset,path,frames,token ids"):
        find_sources(folder, tokenizer)


@pytest.mark.parametrize(
    "transcript, message",
    [(TIMED.replace("0.5 0.7", "then 0.7").encode(), "'1.txt': times 'then' and"), (b"Text:  G\x81", "'1.txt' is not")],
)
def test_unreadable_transcripts_are_excluded(lrs2, tmp_path, transcript, message):
    (lrs2 / "pretrain/7/1.txt").write_bytes(transcript)
    summary = prepare_clips(lrs2, tmp_path / "out", TrueDetector)
    reasons = {one["name"]: one["reason"] for one in summary["excluded"]}
    assert message in reasons["pretrain/7/1"] and summary["splits"]["train"]["clips"] == 2


def test_units_are_trained_on_the_training_transcripts(lrs2, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare_video.MediaPipe, "of_corpus", lambda landmarks, folder: TrueDetector())
    for name, text in {"main/5/1": "WE MUST GO NOW", "main/5/2": "YOU MUST NOT GO", "main/6/1": "QUIZ"}.items():
        (lrs2 / f"{name}.txt").write_text(f"Text:  {text}\n")
    arguments = [str(lrs2), str(tmp_path / "out"), "--processes", "1", "--train-units"]
    prepare_video.main([*arguments, "16"])
    units = tmp_path / "out" / "units"
    assert f"units: {units}" in capsys.readouterr().out
    files = {p.name: p.read_bytes() for p in units.iterdir()}
    assert files.keys() == {"unigram16.model", "unigram16_units.txt"}
    tokenizer = tokenizer_of(str(units))
    assert tokenizer.size == 16 and tokenizer.decode(tokenizer.encode("we must go")) == "we must go"
    assert tokenizer.unknown("quiz") and not tokenizer.unknown("you went now")  # the validation split is not used
    prepare_video.main([*arguments, "16"])
    assert {p.name: p.read_bytes() for p in units.iterdir()} == files
    with pytest.raises(ValueError, match="--train-units: 5000 units of 3 transcripts: .*too high.*<= ") as error:
        prepare_video.main([*arguments, "5000"])
    assert "\n" not in str(error.value)
    shutil.copy(units / "unigram16.model", units / "another.model")
    with pytest.raises(ValueError, match="2 files .*model, expected one"):
        SentencePieceTokenizer.of_folder(units)


def test_a_run_takes_its_clips_from_a_raw_or_prepared_corpus(lrs2, tmp_path, monkeypatch):
    monkeypatch.setattr(video_corpus, "DATA", tmp_path / "data")
    monkeypatch.setattr(video_corpus.MediaPipe, "of_corpus", lambda landmarks, folder: TrueDetector())
    monkeypatch.setattr(video_corpus, "run_parallel", lambda jobs, workers: (job[0](*job[1:]) for job in jobs))

    def attached(folder):
        corpus = Corpus.__new__(Corpus)
        corpus.hash, corpus.clips_folder = "of the 3D part", tmp_path / "none"
        attach_clips(SimpleNamespace(config=load("smoke", **{"corpus.video_corpus": str(folder)})), corpus)
        return corpus

    assert attached("").hash == "of the 3D part"
    raw = attached(lrs2)
    assert raw.clips_folder.parent.parent == tmp_path / "data" and len(raw.clips("train")) == 3
    assert attached(lrs2).hash == raw.hash != "of the 3D part"
    prepare_clips(lrs2, tmp_path / "out", TrueDetector)
    assert attached(tmp_path / "out").hash == raw.hash
    os.utime(lrs2 / "main/6/1.mp4")  # the same again
    assert attached(lrs2).hash == raw.hash
    put(write_moving_face(tmp_path / "longer.mp4", 50), lrs2 / "main/6/1.mp4")
    changed = attached(lrs2)
    assert changed.hash != raw.hash and changed.clips_folder == raw.clips_folder
    with pytest.raises(ValueError, match="expected a folder of LRS2"):
        attached(tmp_path / "data")
    description = changed.describe_clips().splitlines()
    assert (
        description[0] == "2D part: LRS2"
        and "| train | 3 | 0.00 | 0 |" in description
        and "| test | 0 | 0.00 | 1 |" in description
    )
    assert "| no transcript … | 1 | main/8/1 |" in description


def test_the_size_of_the_crops_at_hand_is_stated(tmp_path, capsys):
    u = Utterance("a", "train", "", "go", 5)
    write_clips(
        tmp_path / "2d" / "train-0.safetensors", [(u, torch.zeros(5, 64, 64).byte(), torch.zeros(3200).short())]
    )
    (tmp_path / "video_corpus.json").write_text('{"hash": ""}')
    corpus = Corpus.__new__(Corpus)
    corpus.hash = ""
    for crop, said in ((64, ""), (48, "video crops have 64 pixels and rendered lips 48; corpus.crop=64 equals them")):
        settings = {"corpus.video_corpus": str(tmp_path), "corpus.crop": crop}
        attach_clips(SimpleNamespace(config=load("smoke", **settings)), corpus)
        assert capsys.readouterr().out.strip().removeprefix("corpus: ") == said


def test_an_error_for_an_unknown_folder_lists_the_known_layouts(tmp_path):
    with pytest.raises(ValueError, match="expected a folder of LRS2"):
        find_sources(tmp_path)
    (tmp_path / "labels").mkdir()
    with pytest.raises(ValueError, match="no recordings|only token ids"):
        find_sources(tmp_path)
