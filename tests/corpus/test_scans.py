"""Scans in their owners' layouts: read whole, in step with their speech, and everything that can be wrong with them named."""

import json
import os
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from avlib.core import run as runs
from avlib.core.config import CorpusConfig
from avlib.core.presets import load
from avlib.corpus import prepare
from avlib.corpus.corpus import Corpus
from avlib.corpus.pictures import lip_video
from avlib.corpus.scans import conversion, pickles
from avlib.corpus.scans.layouts import file_states, find_layout
from avlib.corpus.specification import read_specification
from tests import owners, python2
from tests.owners import BIWI, VOCASET

TRAIN, OTHER = VOCASET.splits["train"].subjects[:2]
FIRST, SECOND, THIRD = f"{TRAIN}_sentence01", f"{TRAIN}_sentence02", f"{OTHER}_sentence01"


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """Everything in this process and thread: starting others takes longer than these corpora."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, tuple[Path, owners.Owner]]:
    """A folder in each layout, and who wrote it."""
    folder = tmp_path_factory.mktemp("owners")
    return {
        name: (folder / name, write(folder / name))
        for name, write in (
            ("raw VOCASET", owners.write_vocaset),
            ("VOCASET", owners.write_prepared),
            ("raw BIWI", owners.write_biwi),
            ("BIWI", owners.write_biwi_prepared),
        )
    }


def corpus_of(data: Path, spec=VOCASET, **config) -> Corpus:
    """Prepared; published counts, which so small a corpus never has, left out."""
    spec = replace(spec, splits={name: replace(split, published=0) for name, split in spec.splits.items()})
    folder = data.parent / f"{data.name}-prepared"
    shutil.rmtree(folder, ignore_errors=True)
    conversion.convert(data, spec, CorpusConfig(**config), folder)
    return Corpus(folder)


@pytest.fixture
def copy(folders, tmp_path):
    """A layout's folder, to be damaged."""
    return lambda name: Path(shutil.copytree(folders[name][0], tmp_path / "data"))


@pytest.mark.parametrize("name", ["raw VOCASET", "VOCASET", "raw BIWI", "BIWI"])
def test_a_layout_is_read_whole(folders, name):
    """Every sequence, as it was recorded, at the rate that is used, with its speech and its text; lips inside the crop."""
    folder, owner = folders[name]
    spec = owner.spec
    corpus = corpus_of(folder, spec)
    everything = [u for split in spec.splits for u in corpus.utterances(split)]
    assert {u.name for u in everything} == {n for *_, n in owner.names()} and not corpus.origin["excluded"]
    for u in everything:
        number = int(u.name[-2:])
        truth = owner.used(u.subject, number, recorded="raw" in name)
        motion, speech = corpus.motion(u), corpus.speech(u)
        assert motion.shape == truth.shape and len(speech) == round(len(motion) / spec.fps * 16000)
        assert np.abs(motion.numpy() - truth).max() < 2e-6
        loud = speech.unfold(0, 16000 // 50, 16000 // 50).square().mean(1).sqrt().numpy()
        opening = owner.opening(number, (np.arange(len(loud)) + 0.5) / 50)
        assert np.corrcoef(loud, opening)[0, 1] > 0.95
        assert u.text == owners.TEXTS[number % 4].replace(".", "") and not u.words
    assert corpus.fps == spec.fps and corpus.vertices == spec.vertices and set(corpus.templates) == set(owner.templates)
    for subject, template in corpus.templates.items():
        assert np.abs(template.numpy() - owner.templates[subject]).max() < 1e-5
    assert torch.equal(corpus.faces, torch.from_numpy(owner.faces))
    u = everything[0]
    video, lengths = lip_video(corpus)(
        corpus.motion(u)[None], torch.tensor([u.frames])
    )  # checks that the lips are inside
    assert video.shape[2:] == (48, 48) and abs(int(lengths) / 25 - u.frames / spec.fps) <= 1 / 25
    assert corpus.subjects == {
        s: [p for p in split.subjects if p in owner.sequences] for s, split in spec.splits.items()
    }


def rewrite(path: Path, change) -> None:
    """An array or a sound, changed."""
    if path.suffix == ".npy":
        np.save(path, change(np.load(path)))
    else:
        samples, rate = soundfile.read(path)
        soundfile.write(path, change(samples), rate)


def holding_nan(frames: np.ndarray) -> np.ndarray:
    frames[10:12, 5] = np.nan
    return frames


def motions(change):
    return lambda folder: rewrite(folder / "vertices_npy" / f"{SECOND}.npy", change)


def sounds(change):
    return lambda folder: rewrite(folder / "wav" / f"{SECOND}.wav", change)


def retold(change):
    """The transcripts of one subject, changed."""

    def damage(folder: Path):
        path = folder / "sentencestext" / f"{OTHER}.txt"
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return damage


def restored(change):
    def damage(folder: Path):
        owner = owners.vocaset()
        owner.templates[OTHER] = change(owner.templates[OTHER])
        (folder / "templates.pkl").write_bytes(python2.dumps({s.encode(): t for s, t in owner.templates.items()}))

    return damage


# what is wrong with one sequence -> who suffers, and what the report says of it
FAULTS = {
    "wrong vertex count": (
        motions(lambda m: m[:, :-3]),
        SECOND,
        rf"{SECOND}.npy: 5022 vertices per frame, vocaset has 5023",
    ),
    "no array": (
        lambda f: (f / "vertices_npy" / f"{SECOND}.npy").write_bytes(b"no"),
        SECOND,
        rf"{SECOND}.npy: not a complete array",
    ),
    "cut short": (
        lambda f: (p := f / "vertices_npy" / f"{SECOND}.npy").write_bytes(p.read_bytes()[:-9]),
        SECOND,
        rf"{SECOND}.npy: not a complete array",
    ),
    "objects": (
        lambda f: np.save(f / "vertices_npy" / f"{SECOND}.npy", np.array([None]), allow_pickle=True),
        SECOND,
        rf"{SECOND}.npy: not a complete array .*objects",
    ),
    "millimetres": (
        motions(lambda m: 1000 * m),
        SECOND,
        rf"{SECOND}.npy: mean displacement from its template .* m, .* is 300, the template's 0.3: another unit",
    ),
    "NaN": (
        motions(holding_nan),
        SECOND,
        rf"{SECOND}.npy: 1 of 24 frames contain NaN or infinite values, first frame 10",
    ),
    "half the frames": (
        motions(lambda m: m[::2]),
        SECOND,
        rf"{SECOND}.npy: 24 frames at 60 fps last 0.40 s, the speech \(.*{SECOND}.wav\) 0.80 s, expected within "
        "0.20 s; they would agree at 30.0 fps",
    ),
    "longer speech": (
        sounds(lambda s: np.concatenate((s, s))),
        SECOND,
        rf"{SECOND}.npy: 48 frames .* \(.*{SECOND}.wav\) 1.60 s",
    ),
    "no speech": (
        lambda f: (f / "wav" / f"{SECOND}.wav").unlink(),
        SECOND,
        rf"wav/{SECOND}.wav: speech missing; .*{SECOND}.npy has the motion",
    ),
    "no motion": (
        lambda f: (f / "vertices_npy" / f"{SECOND}.npy").unlink(),
        SECOND,
        rf"vertices_npy/{SECOND}.npy: motion missing; .*{SECOND}.wav has the speech",
    ),
    "no sound file": (
        lambda f: (f / "wav" / f"{SECOND}.wav").write_bytes(b"RIFF"),
        SECOND,
        rf"{SECOND}.wav: .*not an audio file",
    ),
    "transcripts missing": (
        lambda f: (f / "sentencestext" / f"{OTHER}.txt").unlink(),
        THIRD,
        rf"{THIRD} has no transcript: .*{OTHER}.txt: no such file",
    ),
    "lines missing": (
        retold(lambda lines: lines[:-2]),
        THIRD,
        rf"{THIRD} has no transcript: .*{OTHER}.txt: 38 lines, expected 40",
    ),
    "blank lines beside a missing one": (
        retold(lambda lines: sum(([line, ""] for line in lines[:-1]), [])),
        THIRD,
        rf"{OTHER}.txt: 77 lines",
    ),
    "a line empty": (retold(lambda lines: [""] + lines[1:]), THIRD, rf"{OTHER}.txt: line 1 is empty"),
    "digits": (
        retold(lambda lines: ["Take 5."] + lines[1:]),
        THIRD,
        rf"{OTHER}.txt, sentence 1: text 'take 5': no token for '5'",
    ),
    "template in millimetres": (
        restored(lambda t: 1000 * t),
        THIRD,
        rf"templates.pkl: {OTHER}: its largest side is 29., expected 0.15 to 0.6 m",
    ),
    "template of others": (
        restored(lambda t: t[:-1]),
        THIRD,
        rf"templates.pkl: {OTHER}: 5022 vertices, vocaset has 5023",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sequence_with_a_fault_is_set_aside_and_named(copy, fault):
    damage, name, told = FAULTS[fault]
    folder = copy("VOCASET")
    damage(folder)
    corpus = corpus_of(folder)
    assert list(corpus.origin["excluded"]) == [name]
    assert {u.name for u in corpus.utterances("train")} == {FIRST, SECOND, THIRD} - {name}
    reason = corpus.origin["excluded"][name]
    assert re.search(told, reason) and "\n" not in reason
    corpus.origin["clips"], corpus.clips = "nowhere", lambda split: SimpleNamespace(utterances=[])
    assert f"`{name}`: {reason}" in corpus.describe() and "| train | 320 | 0 | 3 | 3 | 2 |" in corpus.describe()


@pytest.mark.parametrize("fault", ["no speech", "lines missing", "NaN", "template of others"])
def test_a_fault_stops_a_strict_run(copy, fault):
    damage, name, told = FAULTS[fault]
    folder = copy("VOCASET")
    damage(folder)
    with pytest.raises(ValueError, match=f"^{name}: .*{told}"):
        corpus_of(folder, strict=True)


MISSING = {
    "raw VOCASET": [
        "data_verts.npy",
        "raw_audio_fixed.pkl",
        "subj_seq_to_idx.pkl",
        "templates.pkl",
        "FLAME_sample.ply",
        "sentencestext",
    ],
    "VOCASET": ["vertices_npy", "templates.pkl", "templates", "sentencestext"],
    "raw BIWI": ["faces", "rigid_scans", "sentences.txt"],
}


@pytest.mark.parametrize("name, part", [(name, part) for name, parts in MISSING.items() for part in parts])
def test_what_is_missing_is_named_with_where_to_get_it(folders, tmp_path, name, part):
    source, owner = folders[name]
    (tmp_path / "data").mkdir()
    for path in source.iterdir():
        if path.name != part:
            (tmp_path / "data" / path.name).symlink_to(path)
    where = {
        "FLAME_sample.ply": "mesh",
        "templates": "mesh",
        "sentencestext": "transcripts",
        "sentences.txt": "transcripts",
    }
    with pytest.raises(ValueError) as error:
        find_layout(tmp_path / "data", owner.spec)
    assert owner.spec.download[where.get(part, "data")] in str(error.value) and str(tmp_path / "data") in str(
        error.value
    )
    assert part in str(error.value) or part == "templates" or part == "FLAME_sample.ply"


def repickled(name: str, change):
    """One of VOCASET's pickles, changed."""

    def damage(folder: Path):
        content = pickles.load_pickle(folder / name)
        change(content)
        encoded = lambda c: (
            {k.encode() if isinstance(k, str) else k: encoded(v) for k, v in c.items()} if isinstance(c, dict) else c
        )
        (folder / name).write_bytes(python2.dumps(encoded(content)))

    return damage


def without_frames(first: int, last: int):
    def change(index: dict):
        for n in range(first, last):
            del index[TRAIN]["sentence02"][n]

    return repickled("subj_seq_to_idx.pkl", change)


@pytest.mark.parametrize(
    "damage, told",
    [
        (without_frames(10, 20), r"data_verts.npy: frames 10 to 19 are missing"),
        (without_frames(0, 10), r"data_verts.npy: frames 1 to 9 are missing"),
        (
            without_frames(20, 48),
            r"data_verts.npy: 20 frames at 60 fps last 0.33 s, .*raw_audio_fixed.pkl\) 0.80 s",
        ),
        (
            repickled("subj_seq_to_idx.pkl", lambda i: i[TRAIN]["sentence02"].update({3: 10**6})),
            r"data_verts.npy: 240 frames, the index asks for frame 1000000",
        ),
        (
            repickled("raw_audio_fixed.pkl", lambda a: a[TRAIN].pop("sentence02")),
            rf"raw_audio_fixed.pkl: {TRAIN} sentence02: speech missing; .*data_verts.npy has the motion of {SECOND}",
        ),
        (repickled("templates.pkl", lambda t: t.pop(OTHER)), rf"templates.pkl: {OTHER}: missing; expected a template"),
    ],
)
def test_a_fault_in_the_raw_files_sets_one_sequence_aside(copy, damage, told):
    folder = copy("raw VOCASET")
    damage(folder)
    excluded = corpus_of(folder).origin["excluded"]
    assert len(excluded) == 1 and re.search(told, *excluded.values()) and set(excluded) <= {SECOND, THIRD}


@pytest.mark.parametrize(
    "damage, told",
    [
        (
            lambda f: np.save(f / "data_verts.npy", np.zeros((3, 5000, 3), np.float32)),
            r"data_verts.npy: 5000 vertices per frame, vocaset has 5023",
        ),
        (
            lambda f: (f / "templates.pkl").write_bytes(pickle.dumps([1])),
            r"templates.pkl: expected a dict of subject -> vertices",
        ),
        (
            lambda f: (f / "templates.pkl").write_bytes(b"cos\nsystem\n."),
            r"templates.pkl: not loaded: it requests os.system",
        ),
        (
            lambda f: (f / "subj_seq_to_idx.pkl").write_bytes(pickle.dumps({"a": [1]})),
            r"subj_seq_to_idx.pkl: expected subject -> sentence",
        ),
        (
            repickled("subj_seq_to_idx.pkl", lambda i: i[TRAIN]["sentence02"].update({3: -1})),
            r"subj_seq_to_idx.pkl: .* sentence02: expected frame -> row",
        ),
        (
            repickled("raw_audio_fixed.pkl", lambda a: a[TRAIN]["sentence02"].pop("audio")),
            r"raw_audio_fixed.pkl: .* sentence02 has sample_rate; expected",
        ),
        (
            lambda f: (f / "FLAME_sample.ply").write_bytes((f / "FLAME_sample.ply").read_bytes()[:-7]),
            r"FLAME_sample.ply: not a complete .ply",
        ),
        (
            lambda f: [p.unlink() for p in (f / "sentencestext").iterdir()],
            r"FaceTalk_170728_03272_TA.txt: no such file",
        ),
        (
            repickled("subj_seq_to_idx.pkl", lambda i: i.pop(VOCASET.splits["test"].subjects[0])),
            r"split test of vocaset is empty: .*subj_seq_to_idx.pkl: .* sentence21: motion missing; .*raw_audio_fixed.pkl has",
        ),
    ],
)
def test_a_fault_that_spoils_everything_stops_with_the_file_named(copy, damage, told):
    folder = copy("raw VOCASET")
    damage(folder)
    with pytest.raises(ValueError, match=told):
        corpus_of(folder)


def test_few_lost_frames_are_bridged(copy):
    """Lost where the jaw moves fast, they lie between their neighbours, and time does not slip."""
    folder = copy("raw VOCASET")
    without_frames(9, 12)(folder)
    corpus = corpus_of(folder)
    (u,) = (u for u in corpus.utterances("train") if u.name == SECOND)
    truth, motion = owners.vocaset().motion(TRAIN, 2), corpus.motion(u).numpy()
    expected = truth[::2].copy()
    expected[5] = truth[8] + (truth[12] - truth[8]) / 2
    assert (
        motion.shape == expected.shape
        and np.abs(motion - expected).max() < 1e-6 < np.abs(truth[10] - expected[5]).max()
    )


@pytest.mark.parametrize("change", [lambda s: s[:-2000], lambda s: np.concatenate((s, s[:2000]))])
def test_speech_a_little_shorter_or_longer_is_padded_or_cut_at_its_end(copy, change):
    """So that nothing is stretched later: the start stays where it is."""
    folder = copy("VOCASET")
    before = corpus_of(folder)
    sounds(change)(folder)
    after = corpus_of(folder)
    (u,) = (u for u in after.utterances("train") if u.name == SECOND)
    whole, changed = before.speech(u), after.speech(u)
    assert not after.origin["excluded"] and len(changed) == len(whole) == round(u.frames / 30 * 16000)
    assert (changed[:10000] - whole[:10000]).abs().max() < 1e-3


def test_raw_and_prepared_files_give_the_same_corpus(folders):
    raw, prepared = (corpus_of(folders[name][0]) for name in ("raw VOCASET", "VOCASET"))
    assert raw.camera == prepared.camera and raw.motion_scale == pytest.approx(prepared.motion_scale)
    for u in raw.utterances("train"):
        assert torch.equal(raw.motion(u), prepared.motion(u))
        assert (raw.speech(u) - prepared.speech(u)).abs().max() < 1e-3  # rounded to 16 bits once more


def test_sixty_frames_taken_for_thirty_are_noticed(folders):
    with pytest.raises(ValueError, match=r"48 frames at 30 fps last 1.60 s, .* they would agree at 60.0 fps"):
        corpus_of(folders["VOCASET"][0], replace(VOCASET, scan_fps=30))


@pytest.mark.parametrize("turn, count", [(0.0, "<u8"), (0.0, ""), (0.6, "<u4")])
def test_biwi_is_read_with_counts_of_any_size_and_without_the_pose_of_the_head(tmp_path, turn, count):
    spec = replace(BIWI, vertices=2000, regions={"lip": list(range(100))})
    owner = owners.Owner(spec, 40, {"F2": [1]}, seconds=0.4, mouth_y=-0.08)
    owners.write_biwi(tmp_path, owner, turn, count)
    for frame in (tmp_path / "faces" / "F2" / "e01").glob("*.vl"):
        frame.with_suffix(".tform").write_text(
            "0 1 0 9\n-1 0 0 9\n0 0 1 9\n"
        )  # how the head was held: no part of the frame
    frames, motion = find_layout(tmp_path, spec).motions["F2", "e01"].read(spec)
    assert frames == 10 and np.abs(motion - owner.used("F2", 1, recorded=True)).max() < (0.01 if turn else 2e-6)
    assert np.ptp(motion, axis=0).max() > 0.03  # the mouth still opens; the head as a whole went further than that
    path = tmp_path / "faces" / "F2" / "e01" / "frame_004.vl"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"frame_004.vl: 2\d+ bytes, expected 2000 vertices of 12"):
        find_layout(tmp_path, spec).motions["F2", "e01"].read(spec)


def test_a_stopped_conversion_goes_on_where_it_stopped(folders, tmp_path, monkeypatch):
    data, whole = folders["VOCASET"][0], corpus_of(folders["VOCASET"][0])
    done = []

    def stops(sequence, spec, folder):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(sequence.utterance.name)
        return convert_sequence(sequence, spec, folder)

    convert_sequence = conversion.convert_sequence
    monkeypatch.setattr(conversion, "convert_sequence", stops)
    with pytest.raises(KeyboardInterrupt):
        conversion.convert(data, VOCASET, CorpusConfig(), tmp_path / "out")
    done.append("anything")
    conversion.convert(data, VOCASET, CorpusConfig(), tmp_path / "out")
    assert len(done) == len(set(done)) == 1 + len(owners.vocaset().names())
    assert [u.as_dict() for u in Corpus(tmp_path / "out").utterances("train")] == [
        u.as_dict() for u in whole.utterances("train")
    ]


def test_a_changed_file_makes_another_corpus_and_files_of_others_do_not(copy):
    folder = copy("VOCASET")
    before = file_states(folder, VOCASET)
    (folder / "result").mkdir()
    (folder / "result" / "prediction.npy").write_bytes(b"")
    assert file_states(folder, VOCASET) == before
    path = folder / "vertices_npy" / f"{SECOND}.npy"
    rewrite(path, lambda motion: motion + 1)  # of the same size
    os.utime(path, (1, 1))
    assert [entry[:2] for entry in file_states(folder, VOCASET)] == [entry[:2] for entry in before] and file_states(
        folder, VOCASET
    ) != before


def test_a_run_prepares_once_and_takes_its_clips_from_the_embedded_corpus(copy, tmp_path, monkeypatch):
    """Its hash stands for both; a strict run does not take what a tolerant one has prepared; other data is another corpus."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(prepare, "DATA", tmp_path / "prepared")
    clips = SimpleNamespace(clips_folder=tmp_path / "2d", hash="one")
    monkeypatch.setattr(prepare.embedded_corpus, "build_embedded", lambda run: clips)
    folder = copy("VOCASET")
    settings = {"corpus.name": "vocaset", "corpus.data": str(folder)}
    run = runs.Run("a", load("smoke", **settings))
    first = prepare.prepare_corpus(run)
    assert (
        run.record("corpus")["corpus"] == first.hash
        and first.clips_folder == tmp_path / "2d"
        and "2D part" in first.title
    )
    assert Path(run.record("corpus")["folder"]) == first.folder

    def converts(*_):
        pytest.fail("converts again")

    converts.__module__ = conversion.__name__  # by which its stage has its key
    monkeypatch.setattr(prepare, "convert", converts)
    assert prepare.prepare_corpus(run).hash == first.hash
    clips.hash = "two"
    assert prepare.prepare_corpus(run).hash != first.hash
    with pytest.raises(
        ValueError, match="split train of vocaset: 3 sequences found, 314 published; missing: .*sentence03"
    ):
        prepare.prepare_corpus(runs.Run("b", load("smoke", **settings, **{"corpus.strict": True})))
    (folder / "wav" / f"{SECOND}.wav").unlink()
    with pytest.raises(pytest.fail.Exception, match="converts again"):
        prepare.prepare_corpus(run)


def test_a_preset_takes_the_first_sentences_of_each_subject(folders):
    corpus = corpus_of(folders["VOCASET"][0], sentences_train=1)
    assert [u.name for u in corpus.utterances("train")] == [FIRST, THIRD]
    counts = {"expected": 320, "published": 0, "found": 3, "requested": 2, "used": 2}
    assert counts.items() <= corpus.origin["counts"]["train"].items()


def test_a_smaller_crop_shows_the_same():
    """Points at the edges of the published crops lie at the edges of smaller ones."""
    for spec in (VOCASET, BIWI):
        camera, small = spec.camera, conversion.resize_crop(spec.camera, 48)
        assert small.size == (48, 48) and conversion.resize_crop(camera, 96) is camera
        points = torch.tensor([[0.01, -0.05, 0.02], [-0.03, -0.02, 0.0]]).T
        (c, r, _), (sc, sr, _) = (one.to_pixels(points * one.pixels_per_unit) for one in (camera, small))
        assert torch.allclose((c + 0.5) / 2, sc + 0.5, atol=1e-4) and torch.allclose((r + 0.5) / 2, sr + 0.5, atol=1e-4)


def test_the_specifications_state_the_published_numbers():
    for spec, counts in ((VOCASET, (320, 40, 40)), (BIWI, (192, 24, 32, 24))):
        splits = spec.splits.values()
        assert tuple(len(s.subjects) * len(s.numbers()) for s in splits) == counts
        assert all(s.published <= n for s, n in zip(splits, counts))
    assert (VOCASET.fps, VOCASET.step, BIWI.fps, BIWI.step) == (30, 2, 25, 1)
    assert (
        len(VOCASET.regions["lip"]) == 250
        and len(BIWI.regions["lip"]) == 4996
        and len(BIWI.regions["upper_face"]) == 7784
    )


@pytest.mark.parametrize(
    "change, told",
    [
        ({"splits": {"train": {"subjects": ["A"], "sentences": [1, 2]}}}, "split validation is missing"),
        ({"vertices": None}, "vertices"),
        ({"colour": 1}, "colour"),
        ({"scan_fps": 50}, "scan_fps is 50, expected a multiple of fps, 30"),
        ({"regions": {"lip": [5023]}}, "a region names vertex 5023 of 5023"),
        ({"camera": {"scale": 0}}, "scale"),
        (
            {
                "splits": {
                    s: {"subjects": ["A"], "sentences": [k, k]} for k, s in enumerate(("train", "validation", "test"))
                }
            },
            "subject A is in train and in validation",
        ),
        (
            {
                "splits": {
                    s: {"subjects": ["A"], "sentences": [1, 2], "seen": True} for s in ("train", "validation", "test")
                }
            },
            "A sentence01 is in train and in validation",
        ),
        ({"kind": "nobody"}, "kind is 'nobody', expected one of embedded, facekit, scans"),
    ],
)
def test_a_wrong_specification_is_named(tmp_path, change, told):
    spec = {k: v for k, v in read_specification("vocaset").items() if k != "path"} | change
    path = tmp_path / "own.json"
    path.write_text(json.dumps({k: v for k, v in spec.items() if v is not None}))
    with pytest.raises(ValueError, match=told) as error:
        prepare.check_corpus(CorpusConfig(name=str(path), data=str(tmp_path)))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "config, told",
    [
        ({"name": "lrs3"}, "expected one of biwi, embedded, facekit, vocaset or a specification file"),
        ({"name": "vocaset"}, "voca.is.tue.mpg.de"),
        ({"name": "vocaset", "data": "/nowhere"}, "corpus.data: .*'/nowhere'"),
        ({"name": "none.json"}, "none.json"),
        ({"data": "."}, "the embedded corpus is synthetic and reads no data"),
    ],
)
def test_a_corpus_that_is_not_there_is_told_at_once(config, told):
    with pytest.raises(ValueError, match=told):
        prepare.check_corpus(CorpusConfig(**config))
