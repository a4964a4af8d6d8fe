"""Clips are read from their shards without keeping them in memory; reasons for exclusion are grouped."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avlib.core.rates import SAMPLES_PER_FRAME
from avlib.corpus.clips import Clips, grouped_by_reason
from avlib.corpus.utterance import Utterance


def resident_mb() -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured only on Linux")
def test_memory_does_not_grow_while_ten_times_the_budget_is_read(tmp_path, generator):
    budget_mb, clips_a_shard, frames, side = 20, 8, 60, 96
    one_mb = (frames * side * side + 2 * frames * SAMPLES_PER_FRAME) / 2**20
    video = torch.zeros(clips_a_shard * frames, side, side).byte()
    speech = torch.zeros(clips_a_shard * frames * SAMPLES_PER_FRAME).short()
    for shard in range(round(10 * budget_mb / (clips_a_shard * one_mb)) + 1):
        video[:], speech[:] = shard, shard
        metadata = {
            "utterances": json.dumps(
                [Utterance(str(n), "train", "", "go", frames).as_dict() for n in range(clips_a_shard)]
            )
        }
        save_file({"video": video, "speech": speech}, tmp_path / f"train-{shard:05d}.safetensors", metadata=metadata)
    clips = Clips(tmp_path, "train")
    assert len(clips) * one_mb > 10 * budget_mb
    clips.video(0), clips.speech(0)
    before, highest, open_files = resident_mb(), 0.0, len(list(Path("/proc/self/fd").iterdir()))
    for i in torch.randperm(len(clips), generator=generator).tolist():
        video_i, speech_i = clips.video(i), clips.speech(i)
        assert len(video_i) == frames and video_i[0, 0, 0] == video_i[-1, -1, -1] == i // clips_a_shard
        assert (
            len(speech_i) == frames * SAMPLES_PER_FRAME
            and speech_i[0] * 32768 == speech_i[-1] * 32768 == i // clips_a_shard
        )
        highest = max(highest, resident_mb())
    assert highest - before < budget_mb
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


def test_reasons_that_differ_in_numbers_are_merged():
    reasons = ["gap of 0.8 s | x", "no face", "gap of 1.2 s | x", "no '7', '8'", "no '9', 'é'"]
    excluded = [{"name": str(n), "reason": reason} for n, reason in enumerate(reasons)]
    assert grouped_by_reason(excluded) == {"gap of … s / x": ["0", "2"], "no …, …": ["3", "4"], "no face": ["1"]}
