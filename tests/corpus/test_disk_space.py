"""The room that a corpus takes is known before it is built, and asked for."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from avlib.core.presets import load
from avlib.core.rates import SAMPLES_PER_FRAME, SPEECH_HZ
from avlib.core.run import Run
from avlib.corpus import disk_space
from avlib.corpus.clips import write_shard
from avlib.corpus.disk_space import check_room, clip_bytes, scan_bytes
from avlib.corpus.embedded.embedded_corpus import build_embedded
from avlib.corpus.utterance import Utterance
from avlib.speech.sound import write_speech

Usage = namedtuple("Usage", "total used free")


def test_sizes_are_those_of_the_files(tmp_path):
    frames = 50
    clips = [
        (
            Utterance(f"clip{i}", "train", "", "a map", frames),
            torch.zeros(frames, 48, 48, dtype=torch.uint8),
            torch.zeros(frames * SAMPLES_PER_FRAME, dtype=torch.int16),
        )
        for i in range(3)
    ]
    write_shard(tmp_path / "a.safetensors", clips)
    assert clip_bytes(3, 2.0, 48) == pytest.approx((tmp_path / "a.safetensors").stat().st_size, rel=0.02)
    np.save(tmp_path / "a.npy", np.zeros((60, 3 * 700), np.float32))
    write_speech(tmp_path / "a.wav", torch.zeros(2 * SPEECH_HZ))
    size = sum((tmp_path / name).stat().st_size for name in ("a.npy", "a.wav"))
    assert scan_bytes(1, 2.0, 30, 700) == pytest.approx(size, rel=0.02)


def test_a_folder_that_does_not_exist_yet_has_the_room_of_its_disk(tmp_path):
    check_room(tmp_path / "new" / "corpus", 1000)
    with pytest.raises(ValueError, match=r"corpus: the corpus takes about 9e.09 GB, .* GB are free; make room"):
        check_room(tmp_path / "new" / "corpus", 9 * 10**18)


def test_a_corpus_without_room_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("avlib.core.run.RESULTS", tmp_path / "results")
    monkeypatch.setattr("avlib.corpus.embedded.embedded_corpus.DATA", tmp_path / "data")
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ValueError, match="the corpus takes about .* GB, 1e-06 GB are free"):
        build_embedded(Run("one", load("smoke")))
    assert not [path for path in Path(tmp_path / "data").rglob("*") if path.is_file()]
