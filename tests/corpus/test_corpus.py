"""The embedded corpus: in step, deterministic, split by sentence and subject; damaged files are named."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avlib.core.config import CorpusConfig
from avlib.core.parallel import run_parallel
from avlib.core.rates import SAMPLES_PER_FRAME, SPEECH_HZ
from avlib.core.tensors import seeded_generator
from avlib.corpus.clips import Clips
from avlib.corpus.corpus import Corpus
from avlib.corpus.embedded.builder import SUBJECTS, CorpusBuilder, random_head_pose
from avlib.corpus.embedded.sentences import NOUNS, plural, sentences
from avlib.corpus.utterance import Utterance
from avlib.metrics.lips import lip_aperture

TINY = CorpusConfig(
    clips_2d=3,
    validation_clips_2d=2,
    sentences_train=1,
    sentences_validation=1,
    sentences_test=1,
    crop=32,
    strength=(1.0, 1.0),
    noise_mm=0.0,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    CorpusBuilder(TINY, folder).build()
    return Corpus(folder)


def test_the_crop_holds_the_lips_of_everyone_in_every_pose(tmp_path, generator):
    """Of all that the rig can do at once, shape by shape as far out as it goes; and of heads turned at random."""
    builder = CorpusBuilder(TINY, tmp_path)
    lip = builder.rig.regions["lip"]
    for person in builder.identities:
        rest, shapes = person.template[lip], person.shapes[:, lip]
        for way in (1, -1):  # motion is linear in the shapes' weights, from 0 to 1
            builder.camera.check_holds(rest + way * (way * shapes).clamp_min(0).sum(0), "lips")
        weights = torch.cat([torch.eye(len(shapes)), torch.rand(50, len(shapes), generator=generator)])
        moved = rest + (weights @ shapes.flatten(1)).unflatten(1, (-1, 3))
        about = torch.tensor([*builder.camera.centre, float(person.template[:, 2].median())])
        for _ in range(5):
            builder.camera.check_holds(random_head_pose(moved, about, generator), "lips")


def test_speech_video_and_motion_last_equally_long(corpus):
    clips = corpus.clips("train")
    for i, u in enumerate(clips.utterances):
        assert clips.video(i).shape == (u.frames, 32, 32) and clips.video(i).dtype == torch.uint8
        assert clips.speech(i).shape == (u.frames * SAMPLES_PER_FRAME,)
    for u in corpus.utterances("train"):
        assert corpus.motion(u).shape == (u.frames, corpus.vertices, 3)
        assert len(corpus.speech(u)) / SPEECH_HZ == pytest.approx(u.frames / corpus.fps, abs=1e-9)
        assert [w.label for w in u.words] == u.text.split()


def test_lips_meet_when_the_speech_says_so_to_the_frame(corpus):
    """In the middle of p, b and m the lips are closed, one frame's worth of time to either side of an open vowel they
    are not: a slip of two frames between phonemes and motion would show."""
    closed, opened = [], []
    for u in corpus.utterances("train"):
        gap = 1000 * lip_aperture(
            corpus.motion(u), *(int(corpus.regions[f"{s}_lip_middle"][0]) for s in ("upper", "lower"))
        )
        for p in u.phonemes:
            middle = round((p.start_s + p.end_s) / 2 * corpus.fps)
            label = p.label.lstrip("ˈˌ")
            if label in "pbm" and label and p.end_s - p.start_s > 0.05:
                closed.append(float(gap[middle]))
            elif label in ("æ", "ɑː", "aɪ") and p.end_s - p.start_s > 0.09:
                opened.append(float(gap[middle]))
    assert len(closed) > 5 and max(closed) < 1.5 and len(opened) > 2 and min(opened) > 4


def test_the_speech_is_loud_where_the_words_are(corpus):
    for u in corpus.utterances("test"):
        speech = corpus.speech(u)
        first, last = (round(s * SPEECH_HZ) for s in (u.words[0].start_s, u.words[-1].end_s))
        inside, before = speech[first:last].square().mean(), speech[: first - 80].square().mean()
        assert inside > 1e-4 and before < 1e-6


def test_no_sentence_and_no_subject_is_in_two_parts(corpus):
    texts = [u.text for s in ("train", "validation") for u in corpus.clips(s).utterances]
    texts += [u.text for s in SUBJECTS for u in corpus.utterances(s)]
    assert len(texts) == len(set(texts)) == 3 + 2 + 12
    assert sorted(k for people in SUBJECTS.values() for k in people) == list(range(12))


def test_the_same_seed_makes_the_same_bytes_and_another_does_not(corpus, tmp_path):
    CorpusBuilder(TINY, tmp_path / "again").build()
    assert Corpus(tmp_path / "again").hash == corpus.hash
    first, second = [
        CorpusBuilder(CorpusConfig(**{**TINY.__dict__, "seed": seed}), tmp_path / "other") for seed in (1, 2)
    ]
    one = first.render_clip("train_00000", "train", "i must go now")
    assert one[1].shape[1:] == (32, 32) and one[0].text == "i must go now"
    other = second.render_clip("train_00000", "train", "i must go now")
    assert one[1].shape != other[1].shape or not torch.equal(one[1], other[1])


def test_sentences_never_repeat_and_say_the_words_often():
    taken = set()
    first, second = sentences(800, seeded_generator(0), taken), sentences(200, seeded_generator(0), taken)
    assert len(set(first) | set(second)) == 1000 == len(taken)
    assert len({w for s in first for w in s.split()}) >= 300
    assert all(sum(w in s.split() for s in first) > 100 for w in ("just", "must"))
    assert plural("box") == "boxes" and plural("leaf") == "leaves" and len(set(map(plural, NOUNS))) == len(NOUNS)


def test_damaged_files_are_named(corpus, tmp_path):
    u = corpus.utterances("test")[0]
    path = corpus.folder / "vertices_npy" / f"{u.name}.npy"
    whole = path.read_bytes()
    flat = np.load(path)
    for change, told in (
        (lambda: path.write_bytes(whole[:-100]), "not a complete array"),
        (lambda: np.save(path, flat[:-1]), "shape"),
        (lambda: np.save(path, flat * np.nan), "NaN"),
        (path.unlink, "not a complete array"),
    ):
        change()
        with pytest.raises(ValueError, match=f"{u.name}.npy: .*{told}"):
            corpus.motion(u)
        path.write_bytes(whole)
    shard = next((corpus.folder / "2d").glob("train-*"))
    kept = shard.read_bytes()
    shard.write_bytes(kept[:-10])
    with pytest.raises(ValueError, match=f"{shard.name}: truncated"):
        corpus.clips("train")
    shard.write_bytes(kept)
    with pytest.raises(ValueError, match="no clip of split 'nothing'"):
        corpus.clips("nothing")


def resident_mb() -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured where the system is Linux")
def test_ten_times_as_much_as_memory_allows_is_read_at_level_memory(tmp_path, generator):
    budget_mb, clips_a_shard, frames, side = 20, 8, 60, 96
    one_mb = (frames * side * side + 2 * frames * SAMPLES_PER_FRAME) / 2**20
    video = torch.zeros(clips_a_shard * frames, side, side).byte()
    speech = torch.zeros(clips_a_shard * frames * SAMPLES_PER_FRAME).short()
    for shard in range(round(10 * budget_mb / (clips_a_shard * one_mb)) + 1):
        video[:], speech[:] = shard, shard
        about = {
            "utterances": json.dumps(
                [Utterance(str(n), "train", "", "go", frames).as_dict() for n in range(clips_a_shard)]
            )
        }
        save_file({"video": video, "speech": speech}, tmp_path / f"train-{shard:05d}.safetensors", metadata=about)
    clips = Clips(tmp_path, "train")
    assert len(clips) * one_mb > 10 * budget_mb
    clips.video(0), clips.speech(0)
    before, highest, handles = resident_mb(), 0.0, len(list(Path("/proc/self/fd").iterdir()))
    for i in torch.randperm(len(clips), generator=generator).tolist():
        seen, heard = clips.video(i), clips.speech(i)
        assert len(seen) == frames and seen[0, 0, 0] == seen[-1, -1, -1] == i // clips_a_shard
        assert len(heard) == frames * SAMPLES_PER_FRAME and heard[0] * 32768 == heard[-1] * 32768 == i // clips_a_shard
        highest = max(highest, resident_mb())
    assert highest - before < budget_mb
    assert len(list(Path("/proc/self/fd").iterdir())) == handles


def _double(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return 2 * x


def _seat(_: int) -> tuple[str, int]:
    time.sleep(0.5)  # so that no worker takes all
    return os.environ["CUDA_VISIBLE_DEVICES"], torch.get_num_threads()


def test_each_gpu_has_its_workers(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    here = os.environ.get("CUDA_VISIBLE_DEVICES")
    jobs, cuda = [(_seat, k) for k in range(6)], torch.device("cuda")
    assert set(run_parallel(jobs, cuda)) == {("0", 4), ("1", 4)}
    monkeypatch.setenv("AVLIB_WORKERS", "4")
    assert set(run_parallel(jobs, cuda)) == {("0", 2), ("1", 2)} and os.environ.get("CUDA_VISIBLE_DEVICES") == here
    monkeypatch.setenv("AVLIB_WORKERS", "1")
    assert list(run_parallel([(os.getpid,)] * 2, cuda)) == [os.getpid()] * 2


def test_jobs_side_by_side_all_run_and_tell_their_errors():
    assert sorted(run_parallel([(_double, k) for k in range(4)])) == [0, 2, 4, 6]
    with pytest.raises(ValueError, match="-1 is negative"):
        list(run_parallel([(_double, 1), (_double, -1)]))
