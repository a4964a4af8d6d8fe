"""Readers that could not read what they are given are refused, with a setting that mends it."""

import re

import pytest
import torch

from avlib.core.presets import PRESETS, load
from avlib.core.published import METHODS
from avlib.evaluation.variants import check_variants
from avlib.training.reader_checks import check_readers, check_sizes, check_weights
from tests.conftest import write_units
from tests.training.test_pretraining import published_weights

PUBLISHED = {"expert.pretrained": "avsr.pth", "corpus.crop": "96"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_its_guide_what_it_was_trained_on(preset, method):
    check_readers(load(preset, method=method))


@pytest.mark.parametrize("method", METHODS)
def test_preset_paper_gives_published_weights_what_they_were_trained_on(method):
    check_readers(load("paper", method=method, **PUBLISHED))


@pytest.mark.parametrize(
    "preset, settings, message",
    [
        ("demo", {"expert.pretrained": "avsr.pth"}, "expert.pretrained: published weights read mouth crops of 96"),
        ("demo", {"reader.pretrained": "vsr.pth"}, "reader.pretrained: published weights read mouth crops of 96"),
        ("demo", PUBLISHED, "joint.babble_db: -10 dB is louder babble than the published expert was trained in, -5 dB"),
        ("demo", {"joint.babble_db": "-20,-15"}, "joint.babble_db: -20 dB is louder babble than the expert"),
        ("demo", {"expert.drop_audio": "0"}, "joint.drop_audio: the expert would read lips without speech"),
        ("demo", PUBLISHED | {"joint.babble_db": "-5,0"}, "joint.drop_audio: the published expert would read lips"),
    ],
)
def test_others_are_refused_with_the_setting_that_mends_it(preset, settings, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        check_readers(load(preset, **settings))
    text = str(error.value)
    mended = re.search(r"set (\S+?)=(\S+?)(?:,? or .*)?$", text)
    assert mended and "\n" not in text
    try:
        check_readers(load(preset, **(settings | {mended[1]: mended[2]})))
    except ValueError as further:
        assert str(further).partition(":")[0] != text.partition(":")[0], "another setting is to be mended as well"


def test_a_guide_of_lips_alone_hears_nothing():
    check_readers(load("demo", **{"expert.modalities": "video", "expert.drop_audio": "0", "joint.babble_db": "-30,0"}))


def test_variants_are_checked_before_the_run():
    check_variants(load("study"))
    with pytest.raises(ValueError, match="^variant audio-absent: joint.drop_audio: the expert would read lips without"):
        check_variants(load("paper", variants="audio_condition"))


def test_all_weights_that_are_missing_are_listed_at_once(tmp_path):
    check_weights(load("demo"))
    settings = {f"{stage}.pretrained": str(tmp_path / f"{stage}.pth") for stage in ("speech", "expert", "reader")}
    with pytest.raises(ValueError) as error:
        check_weights(load("demo", **settings))
    text = str(error.value)
    assert "\n" not in text and [text.count(f"{key}: {path}") for key, path in settings.items()] == [1, 1, 1]
    assert "huggingface.co/facebook/wav2vec2-base-960h" in text, "where to get them"


def test_weights_of_another_kind_are_refused(tmp_path):
    torch.save(published_weights("video", 5049), tmp_path / "vsr.pth")
    write_units(tmp_path, 5047)
    right = {"reader.pretrained": str(tmp_path / "vsr.pth"), "reader.tokenizer": str(tmp_path)}
    check_weights(load("demo", **right))
    with pytest.raises(ValueError, match="^expert.pretrained: .*vsr.pth: reads video, expected audio and video$"):
        check_weights(load("demo", **(right | {"expert.pretrained": str(tmp_path / "vsr.pth")})))


@pytest.mark.parametrize(
    "setting, message",
    [
        ("codetalker.codes_per_frame=3", "codetalker: 3 codes of width 16 do not fill a hidden width of 128"),
        ("expert.heads=5", "expert: width 128 does not divide into 5 heads"),
        ("reader.kernel=8", "reader: kernel is 8, expected an odd number of frames"),
        ("judge.width=0", "judge: hidden_size must be greater than zero"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_the_name_of_the_network(setting, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        check_sizes(load("demo", **dict([setting.split("=")])))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("corpus", ["vocaset", "biwi"])
def test_sizes_of_the_presets_fit(preset, corpus):
    check_sizes(load(preset, **{"corpus.name": corpus}))
