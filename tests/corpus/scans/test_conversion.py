"""Scans in their published layouts are read completely and in synchrony with their speech, and all faults are named."""

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
from avlib.speech.espeak import speak
from tests import python2, scan_corpora
from tests.scan_corpora import BIWI, VOCASET

TRAIN, OTHER = VOCASET.splits["train"].subjects[:2]
OTHERS = [VOCASET.splits[split].subjects[0] for split in ("validation", "test")]
FIRST, SECOND, THIRD = f"{TRAIN}_sentence01", f"{TRAIN}_sentence02", f"{OTHER}_sentence01"


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """One process and one thread: starting others takes longer than converting these corpora."""
    monkeypatch.setattr("avlib.core.parallel.cpu_count", lambda: 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, tuple[Path, scan_corpora.ScanCorpus]]:
    """A folder in each layout, and the corpus in it."""
    folder = tmp_path_factory.mktemp("layouts")
    return {
        name: (folder / name, write(folder / name))
        for name, write in (
            ("raw VOCASET", scan_corpora.write_vocaset),
            ("VOCASET", scan_corpora.write_prepared),
            ("raw BIWI", scan_corpora.write_biwi),
            ("BIWI", scan_corpora.write_biwi_prepared),
        )
    }


def corpus_of(data: Path, spec=VOCASET, **config) -> Corpus:
    """The prepared corpus; the published counts, which so small a corpus does not reach, are set to 0."""
    spec = replace(spec, splits={name: replace(split, published=0) for name, split in spec.splits.items()})
    folder = data.parent / f"{data.name}-prepared"
    shutil.rmtree(folder, ignore_errors=True)
    conversion.convert(data, spec, CorpusConfig(**config), folder)
    return Corpus(folder)


@pytest.fixture
def copy(folders, tmp_path):
    """A function that copies the folder of a layout, to be damaged."""
    return lambda name: Path(shutil.copytree(folders[name][0], tmp_path / "data"))


@pytest.mark.parametrize("name", ["raw VOCASET", "VOCASET", "raw BIWI", "BIWI"])
def test_hidden_files_change_nothing(folders, copy, name):
    """macOS writes a "._x" beside each x, and a ".DS_Store" into each folder, on disks that are not its own."""
    folder, source = folders[name]
    damaged = copy(name)
    for path in [*damaged.rglob("*")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
        (path.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert corpus_of(damaged, source.spec).hash == corpus_of(folder, source.spec).hash


@pytest.mark.parametrize("name", ["raw VOCASET", "VOCASET", "raw BIWI", "BIWI"])
def test_a_layout_is_read_completely(folders, name):
    """Every sequence has the recorded motion, speech and transcript at the used rate; the crop contains the lips."""
    folder, source = folders[name]
    spec = source.spec
    corpus = corpus_of(folder, spec)
    everything = [u for split in spec.splits for u in corpus.utterances(split)]
    assert {u.name for u in everything} == {n for *_, n in source.names()} and not corpus.origin["excluded"]
    for u in everything:
        number = int(u.name[-2:])
        truth = source.used(u.subject, number, recorded="raw" in name)
        motion, speech = corpus.motion(u), corpus.speech(u)
        assert motion.shape == truth.shape and len(speech) == round(len(motion) / spec.fps * 16000)
        assert np.abs(motion.numpy() - truth).max() < 2e-6
        loud = speech.unfold(0, 16000 // 50, 16000 // 50).square().mean(1).sqrt().numpy()
        opening = source.opening(number, (np.arange(len(loud)) + 0.5) / 50)
        assert np.corrcoef(loud, opening)[0, 1] > 0.95
        assert u.text == scan_corpora.TEXTS[number % 4].replace(".", "") and not u.words
    assert (
        corpus.fps == spec.fps and corpus.vertices == spec.vertices and set(corpus.templates) == set(source.templates)
    )
    for subject, template in corpus.templates.items():
        assert np.abs(template.numpy() - source.templates[subject]).max() < 1e-5
    assert torch.equal(corpus.faces, torch.from_numpy(source.faces))
    u = everything[0]
    video, lengths = lip_video(corpus)(
        corpus.motion(u)[None], torch.tensor([u.frames])
    )  # an error if the crop does not contain the lips
    assert video.shape[2:] == (48, 48) and abs(int(lengths) / 25 - u.frames / spec.fps) <= 1 / 25
    assert corpus.subjects == {
        s: [p for p in split.subjects if p in source.sequences] for s, split in spec.splits.items()
    }


def rewrite(path: Path, change) -> None:
    """Changes an array or a sound file."""
    if path.suffix == ".npy":
        np.save(path, change(np.load(path)))
    else:
        samples, rate = soundfile.read(path)
        soundfile.write(path, change(samples), rate)


def with_nan(frames: np.ndarray) -> np.ndarray:
    frames[10:12, 5] = np.nan
    return frames


def motion(change):
    return lambda folder: rewrite(folder / "vertices_npy" / f"{SECOND}.npy", change)


def sound(change):
    return lambda folder: rewrite(folder / "wav" / f"{SECOND}.wav", change)


def transcripts(change):
    """Changes the transcripts of one subject."""

    def damage(folder: Path):
        path = folder / "sentencestext" / f"{OTHER}.txt"
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return damage


def templates(change):
    def damage(folder: Path):
        source = scan_corpora.vocaset()
        source.templates[OTHER] = change(source.templates[OTHER])
        (folder / "templates.pkl").write_bytes(python2.dumps({s.encode(): t for s, t in source.templates.items()}))

    return damage


# fault -> the change of the folder, the excluded sequence, and the reason
FAULTS = {
    "wrong vertex count": (
        motion(lambda m: m[:, :-3]),
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
        motion(lambda m: 1000 * m),
        SECOND,
        rf"{SECOND}.npy: mean displacement from its template .* m, .* is 300, the template's 0.3: another unit",
    ),
    "NaN": (
        motion(with_nan),
        SECOND,
        rf"{SECOND}.npy: 1 of 24 frames contain NaN or infinite values, first frame 10",
    ),
    "half the frames": (
        motion(lambda m: m[::2]),
        SECOND,
        rf"{SECOND}.npy: 24 frames at 60 fps last 0.40 s, the speech \(.*{SECOND}.wav\) 0.80 s, expected within "
        "0.20 s; they would agree at 30.0 fps",
    ),
    "longer speech": (
        sound(lambda s: np.concatenate((s, s))),
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
        rf"{SECOND}.wav: .*not a sound or video file",
    ),
    "transcripts missing": (
        lambda f: (f / "sentencestext" / f"{OTHER}.txt").unlink(),
        THIRD,
        rf"{THIRD} has no transcript: .*{OTHER}.txt: no such file",
    ),
    "lines missing": (
        transcripts(lambda lines: lines[:-2]),
        THIRD,
        rf"{THIRD} has no transcript: .*{OTHER}.txt: 38 lines, expected 40",
    ),
    "blank lines beside a missing one": (
        transcripts(lambda lines: sum(([line, ""] for line in lines[:-1]), [])),
        THIRD,
        rf"{OTHER}.txt: 77 lines",
    ),
    "a line empty": (transcripts(lambda lines: [""] + lines[1:]), THIRD, rf"{OTHER}.txt: line 1 is empty"),
    "digits": (
        transcripts(lambda lines: ["Take 5."] + lines[1:]),
        THIRD,
        rf"{OTHER}.txt, sentence 1: text 'take 5': no token for '5'",
    ),
    "template in millimetres": (
        templates(lambda t: 1000 * t),
        THIRD,
        rf"templates.pkl: {OTHER}: its largest side is 29., expected 0.15 to 0.6 m",
    ),
    "template of others": (
        templates(lambda t: t[:-1]),
        THIRD,
        rf"templates.pkl: {OTHER}: 5022 vertices, vocaset has 5023",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sequence_with_a_fault_is_excluded_and_named(copy, fault):
    damage, name, message = FAULTS[fault]
    folder = copy("VOCASET")
    damage(folder)
    corpus = corpus_of(folder)
    assert list(corpus.origin["excluded"]) == [name]
    assert {u.name for u in corpus.utterances("train")} == {FIRST, SECOND, THIRD} - {name}
    reason = corpus.origin["excluded"][name]
    assert re.search(message, reason) and "\n" not in reason
    corpus.clips_origin, corpus.clips = "nowhere", lambda split: SimpleNamespace(utterances=[])
    assert f"`{name}`: {reason}" in corpus.describe() and "| train | 320 | 0 | 3 | 3 | 2 |" in corpus.describe()


@pytest.mark.parametrize("fault", ["no speech", "lines missing", "NaN", "template of others"])
def test_a_fault_stops_a_strict_run(copy, fault):
    damage, name, message = FAULTS[fault]
    folder = copy("VOCASET")
    damage(folder)
    with pytest.raises(ValueError, match=f"^{name}: .*{message}"):
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
def test_missing_files_are_named_with_where_to_get_them(folders, tmp_path, name, part):
    complete, source = folders[name]
    (tmp_path / "data").mkdir()
    for path in complete.iterdir():
        if path.name != part:
            (tmp_path / "data" / path.name).symlink_to(path)
    where = {
        "FLAME_sample.ply": "mesh",
        "templates": "mesh",
        "sentencestext": "transcripts",
        "sentences.txt": "transcripts",
    }
    with pytest.raises(ValueError) as error:
        find_layout(tmp_path / "data", source.spec)
    assert source.spec.download[where.get(part, "data")] in str(error.value) and str(tmp_path / "data") in str(
        error.value
    )
    assert part in str(error.value) or part == "templates" or part == "FLAME_sample.ply"


def repickled(name: str, change):
    """Changes one of VOCASET's pickles."""

    def damage(folder: Path):
        content = pickles.load_pickle(folder / name)
        change(content)

        def encoded(value):
            if not isinstance(value, dict):
                return value
            return {k.encode() if isinstance(k, str) else k: encoded(v) for k, v in value.items()}

        (folder / name).write_bytes(python2.dumps(encoded(content)))

    return damage


def without_frames(first: int, last: int):
    def change(index: dict):
        for n in range(first, last):
            del index[TRAIN]["sentence02"][n]

    return repickled("subj_seq_to_idx.pkl", change)


@pytest.mark.parametrize(
    "damage, message",
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
def test_a_fault_in_the_raw_files_excludes_one_sequence(copy, damage, message):
    folder = copy("raw VOCASET")
    damage(folder)
    excluded = corpus_of(folder).origin["excluded"]
    assert len(excluded) == 1 and re.search(message, *excluded.values()) and set(excluded) <= {SECOND, THIRD}


@pytest.mark.parametrize(
    "damage, message",
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
            r"split test of vocaset is empty: .*subj_seq_to_idx.pkl: .*21: motion missing; .*raw_audio_fixed.pkl has",
        ),
    ],
)
def test_a_fault_that_affects_all_sequences_is_an_error_that_names_the_file(copy, damage, message):
    folder = copy("raw VOCASET")
    damage(folder)
    with pytest.raises(ValueError, match=message):
        corpus_of(folder)


def test_sequences_under_other_names_are_named(copy):
    """Some copies of BIWI name the emotional sentences without the "e"."""
    folder = copy("BIWI")
    for path in [*folder.rglob("*_e*")]:
        path.rename(path.with_name(path.name.replace("_e", "_")))
    with pytest.raises(ValueError, match=r"split train of biwi is empty: .*missing: F2_e01, .*; not in the .*: F\d_\d"):
        corpus_of(folder, BIWI)


def test_short_gaps_of_missing_frames_are_interpolated(copy):
    """While the jaw moves fast, they are interpolated between their neighbours, and later frames keep their times."""
    folder = copy("raw VOCASET")
    without_frames(9, 12)(folder)
    corpus = corpus_of(folder)
    (u,) = (u for u in corpus.utterances("train") if u.name == SECOND)
    truth, motion = scan_corpora.vocaset().motion(TRAIN, 2), corpus.motion(u).numpy()
    expected = truth[::2].copy()
    expected[5] = truth[8] + (truth[12] - truth[8]) / 2
    assert (
        motion.shape == expected.shape
        and np.abs(motion - expected).max() < 1e-6 < np.abs(truth[10] - expected[5]).max()
    )


@pytest.mark.parametrize("change", [lambda s: s[:-2000], lambda s: np.concatenate((s, s[:2000]))])
def test_slightly_shorter_or_longer_speech_is_padded_or_cut_at_its_end(copy, change):
    """Nothing is stretched: the start stays in place."""
    folder = copy("VOCASET")
    before = corpus_of(folder)
    sound(change)(folder)
    after = corpus_of(folder)
    (u,) = (u for u in after.utterances("train") if u.name == SECOND)
    whole, changed = before.speech(u), after.speech(u)
    assert not after.origin["excluded"] and len(changed) == len(whole) == round(u.frames / 30 * 16000)
    assert (changed[:10000] - whole[:10000]).abs().max() < 1e-3


def test_words_and_phonemes_are_those_of_the_speech_where_it_says_the_transcript(copy, capsys):
    """A sequence whose speech is another, silent, or too short for its transcript is used without their times."""
    spoken = speak(scan_corpora.TEXTS[1], variant="m5", words_per_minute=250)
    samples = np.pad(spoken.samples, (spoken.rate_hz // 10, 0))
    seconds = len(samples) / spoken.rate_hz
    folder = copy("VOCASET")
    source = scan_corpora.vocaset({TRAIN: [1, 2, 3], **dict.fromkeys(OTHERS, [21])}, seconds=seconds)
    shutil.rmtree(folder)
    scan_corpora.write_prepared(folder, source)
    for n in (1, 2):
        soundfile.write(folder / "wav" / f"{TRAIN}_sentence{n:02d}.wav", samples, spoken.rate_hz)
    soundfile.write(folder / "wav" / f"{TRAIN}_sentence03.wav", 0 * samples, spoken.rate_hz)
    corpus = corpus_of(folder)
    assert "corpus: times of words and phonemes in 1 of 5 sequences; the others are used" in capsys.readouterr().out
    first, second, third = corpus.utterances("train")
    assert not second.words and not second.phonemes and not third.words and third.frames == first.frames
    assert [w.label for w in first.words] == first.text.split()
    true, found = ([p for p in ps if p.label] for ps in (spoken.phonemes, first.phonemes))
    assert [p.label for p in true] == [p.label for p in found]
    assert np.median([abs(f.start_s - t.start_s - 0.1) for f, t in zip(found, true)]) < 0.02
    assert first.phonemes[-1].end_s == pytest.approx(first.frames / corpus.fps, abs=1e-3)


def test_raw_and_prepared_files_give_the_same_corpus(folders):
    raw, prepared = (corpus_of(folders[name][0]) for name in ("raw VOCASET", "VOCASET"))
    assert raw.camera == prepared.camera and raw.motion_scale == pytest.approx(prepared.motion_scale)
    for u in raw.utterances("train"):
        assert torch.equal(raw.motion(u), prepared.motion(u))
        assert (raw.speech(u) - prepared.speech(u)).abs().max() < 1e-3  # rounded to 16 bits once more


def test_a_wrong_frame_rate_is_detected(folders):
    with pytest.raises(ValueError, match=r"48 frames at 30 fps last 1.60 s, .* they would agree at 60.0 fps"):
        corpus_of(folders["VOCASET"][0], replace(VOCASET, scan_fps=30))


@pytest.mark.parametrize("turn, count", [(0.0, "<u8"), (0.0, ""), (0.6, "<u4")])
def test_biwi_is_read_with_counts_of_any_size_and_without_head_pose(tmp_path, turn, count):
    spec = replace(BIWI, vertices=2000, regions={"lip": list(range(100))})
    source = scan_corpora.ScanCorpus(spec, 40, {"F2": [1]}, seconds=0.4, mouth_y=-0.08)
    scan_corpora.write_biwi(tmp_path, source, turn, count)
    for frame in (tmp_path / "faces" / "F2" / "e01").glob("*.vl"):
        frame.with_suffix(".tform").write_text(
            "0 1 0 9\n-1 0 0 9\n0 0 1 9\n"
        )  # the head pose, which is not a part of the frame
    frames, motion = find_layout(tmp_path, spec).motions["F2", "e01"].read(spec)
    assert frames == 10 and np.abs(motion - source.used("F2", 1, recorded=True)).max() < (0.01 if turn else 2e-6)
    assert np.ptp(motion, axis=0).max() > 0.03  # the mouth still opens; the head moved more than that
    path = tmp_path / "faces" / "F2" / "e01" / "frame_004.vl"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"frame_004.vl: 2\d+ bytes, expected 2000 vertices of 12"):
        find_layout(tmp_path, spec).motions["F2", "e01"].read(spec)


def test_an_interrupted_conversion_resumes(folders, tmp_path, monkeypatch):
    data, whole = folders["VOCASET"][0], corpus_of(folders["VOCASET"][0])
    done = []

    def stops(sequence, spec, folder, language):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(sequence.utterance.name)
        return convert_sequence(sequence, spec, folder, language)

    convert_sequence = conversion.convert_sequence
    monkeypatch.setattr(conversion, "convert_sequence", stops)
    with pytest.raises(KeyboardInterrupt):
        conversion.convert(data, VOCASET, CorpusConfig(), tmp_path / "out")
    done.append("anything")
    conversion.convert(data, VOCASET, CorpusConfig(), tmp_path / "out")
    assert len(done) == len(set(done)) == 1 + len(scan_corpora.vocaset().names())
    assert [u.as_dict() for u in Corpus(tmp_path / "out").utterances("train")] == [
        u.as_dict() for u in whole.utterances("train")
    ]


def test_a_changed_file_changes_the_key_and_unrelated_files_do_not(copy):
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
    """The hash depends on both, a strict run rejects what another has prepared, and other data give another corpus."""
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


def test_a_preset_uses_the_first_sentences_of_each_subject(folders):
    corpus = corpus_of(folders["VOCASET"][0], sentences_train=1)
    assert [u.name for u in corpus.utterances("train")] == [FIRST, THIRD]
    counts = {"expected": 320, "published": 0, "found": 3, "requested": 2, "used": 2}
    assert counts.items() <= corpus.origin["counts"]["train"].items()


def test_a_smaller_crop_shows_the_same():
    """Points are at the same relative positions in the published crops and in smaller ones."""
    for spec in (VOCASET, BIWI):
        camera, small = spec.camera, conversion.resize_crop(spec.camera, 48)
        assert small.size == (48, 48) and conversion.resize_crop(camera, 96) is camera
        points = torch.tensor([[0.01, -0.05, 0.02], [-0.03, -0.02, 0.0]]).T
        (c, r, _), (sc, sr, _) = (one.to_pixels(points * one.pixels_per_unit) for one in (camera, small))
        assert torch.allclose((c + 0.5) / 2, sc + 0.5, atol=1e-4) and torch.allclose((r + 0.5) / 2, sr + 0.5, atol=1e-4)
