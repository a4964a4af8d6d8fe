import json
from dataclasses import replace

import pytest
import torch

from avlib.animators.codetalker import CodeTalker
from avlib.core.config import Config, FaceFormerConfig, as_dict
from avlib.core.digest import digest
from avlib.core.overrides import RENAMED_SETTINGS, restored, unknown_settings
from avlib.core.presets import PRESETS, load
from avlib.lipreading.frontend import AudioFrontEnd
from avlib.speech.wav2vec2 import SpeechEncoder
from avlib.training.readers import build_reader


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load_and_override(preset):
    config = load(preset, **{"joint.epochs": "3", "joint.lambda_av": 1, "expert.babble_db": [0, 5], "animators": "a,b"})
    assert config.joint.epochs == 3 and config.preset == preset
    assert config.joint.lambda_av == 1.0 and isinstance(config.joint.lambda_av, float)
    assert config.expert.babble_db == (0.0, 5.0) and config.animators == ("a", "b")


def test_preset_paper_has_the_published_sizes(monkeypatch):
    """Shapes that published checkpoints have, at the vertex count of VOCASET."""
    monkeypatch.setattr(AudioFrontEnd, "init_filter_bank", lambda self: None)  # initial values, which need real tensors
    config, encoder = load("paper"), SpeechEncoder()
    with torch.device("meta"):
        motion_vqvae = CodeTalker.motion_model(5023, config.codetalker)
        talker = CodeTalker.build(
            config.codetalker, motion_vqvae, vertices=5023, styles=8, fps=30, encoder=encoder, scale=1.0
        )
        expert = build_reader(config.expert)
    shapes = {n: tuple(p.shape) for n, p in talker.named_parameters()}
    assert shapes["code_map.weight"] == (1024, 1024) and shapes["motion_vqvae.quantiser.codes"] == (256, 64)
    assert shapes["motion_vqvae.decoder.vertex_map.weight"] == (15069, 1024)
    assert shapes["motion_vqvae.encoder.context.blocks.5.feed.expand.weight"] == (1536, 1024)
    assert (
        len(talker.decoder.layers) == len(motion_vqvae.decoder.context.blocks) == 6 and talker.scheduled_sampling == 0.0
    )
    # the published audio-visual expert has 444 million with the 5,049 units of its vocabulary; the letters are fewer
    weights = sum(p.numel() for p in expert.parameters())
    units = 5049 - expert.vocabulary
    assert round((weights + units * (768 + 768 + 1 + 768 + 1)) / 1e6) == 444
    assert config.faceformer == FaceFormerConfig(width=64, heads=4, layers=1)


@pytest.mark.parametrize(
    "preset, overrides, name",
    [
        ("dem", {}, "dem"),
        ("smoke", {"joint.epoch": 1}, "joint.epoch"),
        ("smoke", {"joint": 1}, "joint"),
        ("smoke", {"seed.x": 1}, "seed"),
        ("smoke", {"joint.epochs": "many"}, "joint.epochs"),
        ("smoke", {"joint.epochs": 1.5}, "joint.epochs"),
        ("smoke", {"joint.epochs": True}, "joint.epochs"),
        ("smoke", {"expert.babble_db": []}, "babble_db"),
        ("smoke", {"preset": "demo"}, "preset"),
    ],
)
def test_wrong_settings_are_named(preset, overrides, name):
    with pytest.raises(ValueError, match=name) as error:
        load(preset, **overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("old, new", RENAMED_SETTINGS.items())
def test_a_renamed_setting_is_named(old, new):
    with pytest.raises(ValueError, match=f"^setting {old} is now {new}$"):
        load("smoke", **{old: "1"})
    group, _, name = new.partition(".")
    assert hasattr(getattr(Config(), group), name) and not hasattr(getattr(Config(), group), old.partition(".")[2])


@pytest.mark.parametrize("variants", ["weight,push", ["push"], '["push"]'])
def test_a_renamed_group_of_variants_is_named(variants):
    with pytest.raises(ValueError, match="^variants push is now gradient_projection$"):
        load("smoke", variants=variants)


@pytest.mark.parametrize("preset", PRESETS)
def test_stored_settings_are_read_again(preset):
    stored = json.loads(json.dumps(as_dict(load(preset))))
    assert restored(stored) == load(preset) and not list(unknown_settings(stored))


@pytest.mark.parametrize("empty", ["", [], ()])
def test_a_list_that_may_be_empty_can_be_emptied(empty):
    assert load("study", variants=empty, **{"joint.as_released": empty}) == replace(load("study"), variants=())
    with pytest.raises(ValueError, match="animators"):
        load("study", animators=empty)


def test_digest_sees_every_part(tmp_path):
    a = tmp_path / "a"
    a.write_text("x")
    digests = {
        digest(Config()),
        digest(load("smoke")),
        digest(Config(seed=1)),
        digest("a", "b"),
        digest("ab"),
        digest(a),
    }
    a.write_text("y")
    assert len(digests | {digest(a)}) == 7
    assert digest(Config()) == digest(as_dict(Config()))
