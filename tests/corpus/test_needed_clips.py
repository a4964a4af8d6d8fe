"""Clips that no network learns from are not made."""

import pytest

from avlib.core.presets import load
from avlib.corpus.needed_clips import BABBLE_CLIPS, needed_corpus

PUBLISHED = {f"{stage}.pretrained": "weights" for stage in ("speech", "expert", "reader")}


def test_published_weights_need_clips_for_babble_alone():
    config = load("paper", **PUBLISHED)
    needed = needed_corpus(config)
    assert needed.clips_2d == BABBLE_CLIPS < config.corpus.clips_2d
    assert (needed.judge_clips_2d, needed.validation_clips_2d) == (10000, 500)  # the judge learns from its own


@pytest.mark.parametrize(
    "changed",
    [{f"{stage}.pretrained": ""} for stage in ("speech", "expert", "reader")]
    + [{"joint.unscanned": "4"}, {"variants": "ablation"}, {"variants": "published,scans"}, {"variants": "guiding"}],
)
def test_each_network_that_learns_from_clips_needs_all(changed):
    config = load("paper", **PUBLISHED | changed)
    assert needed_corpus(config) == config.corpus


def test_few_clips_stay_few():
    assert needed_corpus(load("smoke", **PUBLISHED)).clips_2d == 48
